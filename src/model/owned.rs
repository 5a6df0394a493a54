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

/// A part of what a user owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedPart<T> {
    /// What Omni shows.
    Read(T),
    /// The API key may not read it, or Omni has no such endpoint.
    NotShown,
    /// Omni could not be asked, for this reason.
    Failed(String),
}

/// The schedules of a user, by name.
pub type OwnedSchedules = OwnedPart<Vec<OwnedSchedule>>;

/// The names of the personal tokens of a user.
pub type OwnedTokens = OwnedPart<Vec<String>>;

/// What a user owns. A removal deletes the schedules and disables the personal tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// When Omni was asked.
    pub read: DateTime<Utc>,
    /// The schedules.
    pub schedules: OwnedSchedules,
    /// The personal tokens.
    pub tokens: OwnedTokens,
}

/// The documents that a user created. A removal keeps them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedDocuments {
    /// Their number.
    pub count: usize,
    /// The names of the first ones, in Omni's order.
    pub names: Vec<String>,
}

impl<T> OwnedPart<T> {
    /// What was read.
    #[must_use]
    pub fn read(&self) -> Option<&T> {
        match self {
            Self::Read(value) => Some(value),
            Self::NotShown | Self::Failed(_) => None,
        }
    }

    /// The same about something else.
    #[must_use]
    pub fn map<U>(&self, change: impl FnOnce(&T) -> U) -> OwnedPart<U> {
        match self {
            Self::Read(value) => OwnedPart::Read(change(value)),
            Self::NotShown => OwnedPart::NotShown,
            Self::Failed(why) => OwnedPart::Failed(why.clone()),
        }
    }

    /// Writes why nothing was read: `schedules not checked`.
    fn write_unread(&self, f: &mut fmt::Formatter<'_>, things: &str) -> fmt::Result {
        match self {
            Self::Read(_) => Ok(()),
            Self::NotShown => write!(f, "{things} not checked"),
            Self::Failed(why) => write!(f, "{things} can't be read: {why}"),
        }
    }
}

impl Owned {
    /// Whether a removal takes nothing of it, as far as Omni shows.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        let has_no_schedules = self.schedules.read().is_some_and(Vec::is_empty);
        has_no_schedules && self.tokens.read().is_some_and(Vec::is_empty)
    }
}

/// `owns 3 schedules: daily revenue, weekly, monthly; 1 personal token`.
impl fmt::Display for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schedules {
            OwnedPart::Read(schedules) => {
                let names: Vec<_> = schedules.iter().map(OwnedSchedule::label).collect();
                write_owned(f, "schedule", names.len(), &names)?;
            }
            unread => unread.write_unread(f, "schedules")?,
        }
        match &self.tokens {
            OwnedPart::Read(tokens) if tokens.is_empty() => Ok(()),
            OwnedPart::Read(tokens) => {
                let s = if tokens.len() == 1 { "" } else { "s" };
                write!(f, "; {} personal token{s}", tokens.len())
            }
            unread => {
                f.write_str("; ")?;
                unread.write_unread(f, "personal tokens")
            }
        }
    }
}

/// `owns 12 documents: Sales overview, Churn and 10 more`.
impl fmt::Display for OwnedDocuments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.names.iter().map(String::as_str).collect();
        write_owned(f, "document", self.count, &names)
    }
}

/// Writes how many things of a kind a user owns, and their names, of which some may be missing.
fn write_owned(
    f: &mut fmt::Formatter<'_>,
    noun: &str,
    count: usize,
    names: &[&str],
) -> fmt::Result {
    match count {
        0 => return write!(f, "owns no {noun}s"),
        1 => write!(f, "owns 1 {noun}")?,
        count => write!(f, "owns {count} {noun}s")?,
    }
    for (at, name) in names.iter().enumerate() {
        let before = if at == 0 { ":" } else { "," };
        write!(f, "{before} {}", Escaped(name))?;
    }
    match count.saturating_sub(names.len()) {
        more @ 1.. if !names.is_empty() => write!(f, " and {more} more"),
        _ => Ok(()),
    }
}
