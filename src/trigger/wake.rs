//! The bell that the loop waits at.

use crate::model::Trigger;
use crate::util::sync::lock;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

/// Wakes the loop. Clones ring the same bell.
#[derive(Clone, Debug, Default)]
pub struct Wake(Arc<Bell>);

#[derive(Debug, Default)]
struct Bell {
    reasons: Mutex<BTreeSet<Trigger>>,
    rung: Notify,
}

impl Wake {
    /// Asks for a run. Asking again before it starts changes nothing.
    pub fn wake(&self, reason: Trigger) {
        self.reasons().insert(reason);
        self.0.rung.notify_one();
    }

    /// Whether someone asks for a run for this reason.
    #[must_use]
    pub fn is_wanted(&self, reason: Trigger) -> bool {
        self.reasons().contains(&reason)
    }

    /// Waits until someone asks, and takes every reason that has come together by then.
    ///
    /// Cancel-safe: the reasons are taken in the same poll that returns them.
    pub async fn wait(&self) -> BTreeSet<Trigger> {
        loop {
            let reasons = std::mem::take(&mut *self.reasons());
            if !reasons.is_empty() {
                return reasons;
            }
            self.0.rung.notified().await;
        }
    }

    fn reasons(&self) -> MutexGuard<'_, BTreeSet<Trigger>> {
        // A set of reasons is whole after every step, so a panic elsewhere spoils nothing.
        lock(&self.0.reasons)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn ten_wakes_are_one() {
        let wake = Wake::default();
        for _ in 0..10 {
            wake.wake(Trigger::File);
        }
        wake.clone().wake(Trigger::Schedule);
        let both = BTreeSet::from([Trigger::Schedule, Trigger::File]);
        assert_eq!(wake.wait().await, both);
        let more = timeout(Duration::from_secs(3600), wake.wait()).await;
        assert!(more.is_err(), "nothing is left");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_given_up_loses_no_wake() {
        let wake = Wake::default();
        let given_up = timeout(Duration::from_secs(1), wake.wait()).await;
        assert!(given_up.is_err());
        wake.wake(Trigger::Signal);
        assert_eq!(wake.wait().await, BTreeSet::from([Trigger::Signal]));
    }
}
