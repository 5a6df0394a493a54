//! The pace of a key that gets 429 below its configured limit. Values only: no clock, no file.
//!
//! Such a limit is lower than configured, or counts shorter periods, and Omni does not say which. So each 429 halves
//! the pace, and each minute without one regains a tenth of the configured pace.

use std::time::Duration;
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);
/// The slowest pace: one request in this time.
const MAX_INTERVAL: Duration = Duration::from_secs(5);
/// The part of the configured pace that is regained per minute.
const REGAINED: f64 = 0.1;
/// Keys that get their 429 within this time of each other share one limit.
const TOGETHER: Duration = Duration::from_secs(10);

/// Fewer requests than configured, spread evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// The time between two requests, right after the last 429.
    pub(super) interval: Duration,
    /// The time of the last 429.
    pub(super) since: Instant,
    /// When the next request may be sent.
    pub(super) next: Instant,
    /// Whether all keys with a shared pace together keep this one.
    pub(super) shared: bool,
}

impl Pace {
    /// Half of the present pace of a key with this limit.
    pub(super) fn halved(before: Option<Self>, per_minute: usize, now: Instant) -> Self {
        let present = before.and_then(|pace| pace.interval(per_minute, now));
        let present = present.unwrap_or_else(|| MINUTE.div_f64(rate(per_minute)));
        let interval = (2 * present).min(MAX_INTERVAL.max(present));
        Self {
            interval,
            since: now,
            next: now + interval,
            shared: before.is_some_and(|pace| pace.shared),
        }
    }

    /// The present time between two requests; `None` once the configured pace is regained.
    pub(super) fn interval(&self, per_minute: usize, now: Instant) -> Option<Duration> {
        let configured = rate(per_minute);
        let minutes = now.saturating_duration_since(self.since).as_secs_f64() / 60.0;
        let present = 60.0 / self.interval.as_secs_f64() + REGAINED * configured * minutes;
        (present < configured).then(|| MINUTE.div_f64(present))
    }

    /// Whether a 429 at this time is one with the last 429 of another key.
    pub(super) fn is_together(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < TOGETHER
    }

    /// Joins what two processes know of one key.
    pub(super) fn merged(self, other: Self) -> Self {
        let latest = if self.since >= other.since {
            self
        } else {
            other
        };
        Self {
            next: self.next.max(other.next),
            ..latest
        }
    }
}

fn rate(per_minute: usize) -> f64 {
    f64::from(u32::try_from(per_minute).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_to_a_minimum_and_recovers() {
        let now = Instant::now();
        let mut pace = None;
        for interval in [200, 400, 800, 1600, 3200, 5000, 5000] {
            let halved = Pace::halved(pace, 600, now);
            assert_eq!(halved.interval.as_millis(), interval);
            pace = Some(halved);
        }
        let pace = pace.expect("it was halved");
        let after = |minutes: u32| pace.interval(600, now + minutes * MINUTE);
        assert_eq!(
            after(1).map(|time| time.as_millis()),
            Some(833),
            "12 + 60 a minute"
        );
        assert!(after(9).is_some() && after(10).is_none());
        let slow = Pace::halved(None, 6, now);
        assert_eq!(slow.interval, MINUTE / 6, "it is slower already");
    }
}
