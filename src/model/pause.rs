//! A pause of the daemon.

use chrono::{DateTime, SecondsFormat, SubsecRound, TimeDelta, Utc};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// The daemon starts no runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pause {
    /// When it began.
    pub since: DateTime<Utc>,
    /// When it ends by itself; `None` for never.
    pub until: Option<DateTime<Utc>>,
    /// The person who paused the daemon.
    pub by: String,
}

impl Pause {
    /// The longest pause, so that its end is a time that the database can store.
    const MAX: TimeDelta = TimeDelta::days(36_500);

    /// A pause from now on, for this time or until it is resumed. In milliseconds, as the database stores times.
    #[must_use]
    pub fn starting(now: DateTime<Utc>, length: Option<TimeDelta>, by: String) -> Self {
        let now = now.trunc_subsecs(3);
        Self {
            since: now,
            until: length.map(|length| now + length),
            by,
        }
    }

    /// Parses the length of a pause, such as `30m` or `2h`.
    ///
    /// # Errors
    /// Says what is expected.
    pub fn parse_length(text: &str) -> Result<TimeDelta, String> {
        let length = humantime::parse_duration(text.trim()).ok();
        let length = length.filter(|length| *length > Duration::ZERO);
        length
            .and_then(|length| TimeDelta::from_std(length).ok())
            .filter(|length| *length < Self::MAX)
            .ok_or_else(|| r#"expected a duration above zero, such as "30m" or "2h""#.into())
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
        write!(f, "since {} by {}", time(self.since), self.by)?;
        match self.until {
            Some(until) => write!(f, ", until {}", time(until)),
            None => f.write_str(", until `omni-user-sync resume`"),
        }
    }
}
