//! Notifications for systemd: ready, watchdog, stopping, and a status line.

use sd_notify::NotifyState;
use std::time::Duration;
use tokio::time::Instant;
use tracing::warn;

/// The heartbeat interval, unless the watchdog requires a shorter one.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The service manager. Without one, notifications do nothing.
#[derive(Debug)]
pub(super) struct Systemd {
    /// The interval of watchdog notifications: half the timeout that systemd sets.
    watchdog_interval: Option<Duration>,
    last_watchdog: Option<Instant>,
    status: String,
    failed: bool,
}

impl Systemd {
    /// Reads the watchdog timeout from the environment.
    pub(super) fn from_environment() -> Self {
        Self::new(sd_notify::watchdog_enabled())
    }

    fn new(watchdog: Option<Duration>) -> Self {
        Self {
            watchdog_interval: watchdog.map(|time| time / 2),
            last_watchdog: None,
            status: String::new(),
            failed: false,
        }
    }

    /// The interval at which [`Systemd::beat`] must be called.
    pub(super) fn interval(&self) -> Duration {
        let interval = self.watchdog_interval.filter(|every| !every.is_zero());
        interval.map_or(HEARTBEAT, |every| every.min(HEARTBEAT))
    }

    /// Reports that the loop runs. This must not depend on the roster or on Omni: systemd would kill a
    /// daemon that waits for them.
    pub(super) fn ready(&mut self, status: &str) {
        self.notify(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// Reports the status line if it has changed.
    pub(super) fn status(&mut self, status: String) {
        if self.status != status {
            self.notify(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    /// Reports that the shutdown has begun.
    pub(super) fn stopping(&mut self) {
        self.notify(&[NotifyState::Stopping, NotifyState::Status("Stopping")]);
    }

    /// Reports that the loop is alive.
    pub(super) fn beat(&mut self) {
        if self.is_due(Instant::now()) {
            self.notify(&[NotifyState::Watchdog]);
        }
    }

    /// Whether a watchdog notification is due: one heartbeat early is better than one late.
    fn is_due(&mut self, now: Instant) -> bool {
        let Some(every) = self.watchdog_interval else {
            return false;
        };
        let due = self
            .last_watchdog
            .is_none_or(|last| now + self.interval() > last + every);
        if due {
            self.last_watchdog = Some(now);
        }
        due
    }

    fn notify(&mut self, state: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(state)
            && !std::mem::replace(&mut self.failed, true)
        {
            let error: &dyn std::error::Error = &error;
            warn!(error, "can't notify systemd");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The heartbeats of a minute that notify the watchdog.
    fn notified(watchdog: Option<Duration>) -> Vec<u32> {
        let mut systemd = Systemd::new(watchdog);
        let (start, every) = (Instant::now(), systemd.interval());
        let beats = 0..60;
        beats
            .filter(|beat| systemd.is_due(start + every * *beat))
            .collect()
    }

    #[test]
    fn notifies_the_watchdog_in_time() {
        assert!(notified(None).is_empty());
        assert_eq!(notified(Some(Duration::from_secs(30)))[..3], [0, 15, 30]);
        let often = Systemd::new(Some(Duration::from_millis(500)));
        assert_eq!(often.interval(), Duration::from_millis(250));
        assert_eq!(notified(Some(Duration::from_millis(500))).len(), 60);
        assert_eq!(Systemd::new(Some(Duration::ZERO)).interval(), HEARTBEAT);
    }
}
