//! What users own in Omni and lose when they are removed.

use super::plain_id::plain_id;
use super::{Escaped, trim};
use chrono::{DateTime, Utc};
use std::fmt;

plain_id! {
    /// Omni's id of a schedule.
    ScheduleId
}

impl fmt::Display for ScheduleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A scheduled delivery. Omni deletes it for good when its owner is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedSchedule {
    /// The id.
    pub id: ScheduleId,
    /// The name.
    pub name: String,
    /// The number of recipients, if Omni shows it.
    pub recipients: Option<u64>,
}

impl OwnedSchedule {
    /// The name, or the id if Omni shows no name.
    #[must_use]
    pub fn label(&self) -> &str {
        match trim(&self.name) {
            "" => self.id.as_str(),
            name => name,
        }
    }
}

/// The schedules of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedSchedules {
    /// All of them, by name.
    Read(Vec<OwnedSchedule>),
    /// The API key may not read schedules, or Omni has no such endpoint.
    NotShown,
    /// Omni could not be asked, for this reason.
    Failed(String),
}

/// What a user owns. A removal deletes the schedules and disables the personal tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// When Omni was asked.
    pub read: DateTime<Utc>,
    /// The schedules.
    pub schedules: OwnedSchedules,
    /// The names of the personal tokens; empty as well if Omni does not show them.
    pub tokens: Vec<String>,
}

/// The documents that a user created. A removal keeps them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedDocuments {
    /// Their number.
    pub count: usize,
    /// The names of the first ones, by name.
    pub names: Vec<String>,
}

impl Owned {
    /// Whether a removal takes nothing of it, as far as Omni shows.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        let has_none = matches!(&self.schedules, OwnedSchedules::Read(all) if all.is_empty());
        has_none && self.tokens.is_empty()
    }
}

/// `owns 3 schedules: daily revenue, weekly, monthly; 1 personal token`.
impl fmt::Display for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schedules {
            OwnedSchedules::Read(schedules) if schedules.is_empty() => {
                f.write_str("owns no schedules")?
            }
            OwnedSchedules::Read(schedules) => {
                let noun = if schedules.len() == 1 {
                    "schedule"
                } else {
                    "schedules"
                };
                write!(f, "owns {} {noun}: ", schedules.len())?;
                for (at, schedule) in schedules.iter().enumerate() {
                    let comma = if at > 0 { ", " } else { "" };
                    write!(f, "{comma}{}", Escaped(schedule.label()))?;
                }
            }
            OwnedSchedules::NotShown => f.write_str("schedules not checked")?,
            OwnedSchedules::Failed(why) => write!(f, "schedules can't be read: {why}")?,
        }
        match self.tokens.len() {
            0 => Ok(()),
            1 => f.write_str("; 1 personal token"),
            count => write!(f, "; {count} personal tokens"),
        }
    }
}
