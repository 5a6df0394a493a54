//! How much of Omni a run may read.

use crate::model::ReadingTime;
use crate::settings::Settings;
use chrono::{DateTime, TimeDelta, Utc};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio_util::sync::CancellationToken;

/// What a run may read, over all its observations.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance<'a> {
    pub(super) time: ReadingTime,
    /// When the run started.
    pub(super) started: DateTime<Utc>,
    /// The requests that the run has sent so far, for whatever purpose.
    pub(super) sent: u64,
    /// A new roster waits.
    pub(super) interrupt: &'a CancellationToken,
}

impl Allowance<'_> {
    /// What is left with this number of keys.
    pub(super) fn budget(&self, settings: &Settings, keys: usize) -> ReadBudget {
        let sent = usize::try_from(self.sent).unwrap_or(usize::MAX);
        match self.time {
            ReadingTime::Unlimited => ReadBudget::unlimited(),
            ReadingTime::UntilNextRun => {
                self.limited(settings.read_budget(keys, self.started), sent)
            }
            ReadingTime::Within(time) => {
                let time = TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX);
                self.limited(settings.read_budget_within(keys, time), sent)
            }
        }
    }

    fn limited(&self, requests: usize, sent: usize) -> ReadBudget {
        ReadBudget {
            left: AtomicUsize::new(requests.saturating_sub(sent)),
            is_limited: true,
            interrupt: self.interrupt.clone(),
        }
    }
}

/// The requests that a run may spend on reading beyond what its roster needs at once. A run of the daemon leaves
/// requests for changes, and makes way for a new roster between two requests.
#[derive(Debug)]
pub(super) struct ReadBudget {
    left: AtomicUsize,
    is_limited: bool,
    /// A new roster waits.
    interrupt: CancellationToken,
}

impl ReadBudget {
    /// A budget without a limit, which nothing interrupts.
    pub(super) fn unlimited() -> Self {
        Self {
            left: AtomicUsize::new(usize::MAX),
            is_limited: false,
            interrupt: CancellationToken::new(),
        }
    }

    /// Takes one request. Returns whether it may be sent.
    pub(super) fn take(&self) -> bool {
        let take = |left: usize| left.checked_sub(1);
        !self.interrupt.is_cancelled()
            && self
                .left
                .try_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .is_ok()
    }

    /// Waits until a new roster is pending.
    pub(super) async fn interrupted(&self) {
        self.interrupt.cancelled().await;
    }

    /// Counts requests that the roster needs at once, whatever is left.
    pub(super) fn spend(&self, requests: usize) {
        let spend = |left: usize| Some(left.saturating_sub(requests));
        let _ = self
            .left
            .try_update(Ordering::Relaxed, Ordering::Relaxed, spend);
    }

    /// Whether there is a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.is_limited
    }

    /// The number of requests that are left.
    pub(super) fn left(&self) -> usize {
        match self.interrupt.is_cancelled() {
            true => 0,
            false => self.left.load(Ordering::Relaxed),
        }
    }
}
