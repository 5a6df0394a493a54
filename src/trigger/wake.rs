//! Waking the loop, and stopping its run.

use crate::model::Trigger;
use crate::util::sync::lock;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

/// Wakes the loop. All clones wake the same loop.
#[derive(Clone, Debug, Default)]
pub struct Wake(Arc<WakeState>);

#[derive(Debug, Default)]
struct WakeState {
    reasons: Mutex<BTreeSet<Trigger>>,
    changed: Notify,
    is_stop_requested: AtomicBool,
    have_hidden_changed: AtomicBool,
}

impl Wake {
    /// Requests that the run in progress stops.
    pub fn request_stop(&self) {
        self.0.is_stop_requested.store(true, Ordering::Relaxed);
    }

    /// Whether a stop was requested since the last call.
    #[must_use]
    pub fn take_stop(&self) -> bool {
        self.0.is_stop_requested.swap(false, Ordering::Relaxed)
    }

    /// Requests a run. Further requests for the same reason are ignored until it starts.
    pub fn wake(&self, reason: Trigger) {
        self.reasons().insert(reason);
        self.0.changed.notify_one();
    }

    /// Requests a run because files have changed that the roster does not show: the newest one, which is dated in the
    /// future, hides them.
    pub fn wake_for_hidden(&self) {
        self.0.have_hidden_changed.store(true, Ordering::Relaxed);
        self.wake(Trigger::File);
    }

    /// Whether hidden files have changed since the last call.
    #[must_use]
    pub fn take_hidden(&self) -> bool {
        self.0.have_hidden_changed.swap(false, Ordering::Relaxed)
    }

    /// Whether a run is requested for this reason.
    #[must_use]
    pub fn is_requested(&self, reason: Trigger) -> bool {
        self.reasons().contains(&reason)
    }

    /// Waits for a request, and takes all reasons.
    ///
    /// Cancel-safe: the reasons are taken in the same poll that returns them.
    pub async fn wait(&self) -> BTreeSet<Trigger> {
        loop {
            let reasons = std::mem::take(&mut *self.reasons());
            if !reasons.is_empty() {
                return reasons;
            }
            self.0.changed.notified().await;
        }
    }

    fn reasons(&self) -> MutexGuard<'_, BTreeSet<Trigger>> {
        // The set is valid after every operation, so a panic elsewhere does no harm.
        lock(&self.0.reasons)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn repeated_wakes_are_merged() {
        let wake = Wake::default();
        for _ in 0..10 {
            wake.wake(Trigger::File);
        }
        wake.clone().wake(Trigger::Schedule);
        let both = BTreeSet::from([Trigger::Schedule, Trigger::File]);
        assert_eq!(wake.wait().await, both);
        let more = timeout(Duration::from_secs(3600), wake.wait()).await;
        assert!(more.is_err(), "no reason is left");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_wait_loses_no_wake() {
        let wake = Wake::default();
        let cancelled = timeout(Duration::from_secs(1), wake.wait()).await;
        assert!(cancelled.is_err());
        wake.wake(Trigger::Signal);
        assert_eq!(wake.wait().await, BTreeSet::from([Trigger::Signal]));
    }
}
