//! What systemd is told, where it asked: ready, alive, stopping, and the state in a sentence.

use sd_notify::NotifyState;
use std::time::Duration;
use tokio::time::Instant;
use tracing::warn;

/// How often the loop beats, unless the watchdog wants it more often.
const BEAT: Duration = Duration::from_secs(1);

/// The service manager, if there is one. Telling none is no error.
#[derive(Debug)]
pub(super) struct Systemd {
    /// How often to say that the loop is alive: at half the time that systemd grants.
    alive_every: Option<Duration>,
    said_alive: Option<Instant>,
    status: String,
    failed: bool,
}

impl Systemd {
    /// Finds out from the environment what is wanted.
    pub(super) fn from_environment() -> Self {
        Self::new(sd_notify::watchdog_enabled())
    }

    fn new(watchdog: Option<Duration>) -> Self {
        Self {
            alive_every: watchdog.map(|time| time / 2),
            said_alive: None,
            status: String::new(),
            failed: false,
        }
    }

    /// How often [`Systemd::beat`] is to be called.
    pub(super) fn beat_every(&self) -> Duration {
        let wanted = self.alive_every.filter(|every| !every.is_zero());
        wanted.map_or(BEAT, |every| every.min(BEAT))
    }

    /// The loop runs. A missing roster or an Omni that is away must not keep this back: systemd
    /// would end a daemon that only waits.
    pub(super) fn ready(&mut self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// How the daemon is now; told where it has changed.
    pub(super) fn status(&mut self, status: String) {
        if self.status != status {
            self.tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    /// The end has begun.
    pub(super) fn stopping(&mut self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("Stopping")]);
    }

    /// The loop is alive.
    pub(super) fn beat(&mut self) {
        if self.is_time(Instant::now()) {
            self.tell(&[NotifyState::Watchdog]);
        }
    }

    /// Whether to say that the loop is alive now. A beat early is better than a beat late.
    fn is_time(&mut self, now: Instant) -> bool {
        let Some(every) = self.alive_every else {
            return false;
        };
        let due = self
            .said_alive
            .is_none_or(|said| now + self.beat_every() > said + every);
        if due {
            self.said_alive = Some(now);
        }
        due
    }

    fn tell(&mut self, state: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(state)
            && !std::mem::replace(&mut self.failed, true)
        {
            let error: &dyn std::error::Error = &error;
            warn!(error, "systemd can't be told how the daemon is");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which of the beats in a minute it is said that the loop is alive.
    fn said(watchdog: Option<Duration>) -> Vec<u32> {
        let mut systemd = Systemd::new(watchdog);
        let (start, every) = (Instant::now(), systemd.beat_every());
        let beats = 0..60;
        beats
            .filter(|beat| systemd.is_time(start + every * *beat))
            .collect()
    }

    #[test]
    fn says_that_it_is_alive_in_time() {
        assert!(said(None).is_empty());
        assert_eq!(said(Some(Duration::from_secs(30)))[..3], [0, 15, 30]);
        let often = Systemd::new(Some(Duration::from_millis(500)));
        assert_eq!(often.beat_every(), Duration::from_millis(250));
        assert_eq!(said(Some(Duration::from_millis(500))).len(), 60);
        assert_eq!(Systemd::new(Some(Duration::ZERO)).beat_every(), BEAT);
    }
}
