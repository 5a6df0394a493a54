//! A pause of the daemon.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use std::fmt;

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
