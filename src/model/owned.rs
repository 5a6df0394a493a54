//! What users own in Omni and lose when they are removed.

use super::{UserId, trim};
use chrono::{DateTime, Utc};
use std::fmt;
use std::sync::Arc;

/// Omni's id of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleId(Arc<str>);

impl ScheduleId {
    /// Takes an id as Omni sent it, with the rule of [`UserId::parse`].
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        UserId::parse(id).map(|_| Self(id.into()))
    }

    /// The id as Omni spells it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ScheduleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A scheduled delivery. Omni deletes it for good when its owner is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The id.
    pub id: ScheduleId,
    /// The name.
    pub name: String,
    /// The number of recipients, if Omni shows it.
    pub recipients: Option<u64>,
}

impl Schedule {
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
    Read(Vec<Schedule>),
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
