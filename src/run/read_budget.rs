//! How much of Omni a run may read.

use std::sync::atomic::{AtomicUsize, Ordering};
use tokio_util::sync::CancellationToken;

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
    pub(super) fn new(requests: usize, interrupt: CancellationToken) -> Self {
        Self {
            left: AtomicUsize::new(requests),
            is_limited: requests < usize::MAX,
            interrupt,
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
