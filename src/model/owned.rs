//! What users own in Omni: schedules and personal tokens, which a removal takes, and documents, which stay.

use super::plain_id::plain_id;
use super::{Escaped, UserId, trim};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OwnedDocuments {
    /// Their number.
    pub count: usize,
    /// The names of the first ones, in Omni's order.
    pub names: Vec<String>,
}

/// The documents of several users.
pub type DocumentsByCreator = HashMap<UserId, OwnedPart<OwnedDocuments>>;

/// All that one user owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedDetails {
    /// What a removal would affect.
    pub owned: Arc<Owned>,
    /// What would stay.
    pub documents: OwnedPart<OwnedDocuments>,
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

    /// Applies a function to what was read.
    #[must_use]
    pub fn map<U>(&self, change: impl FnOnce(&T) -> U) -> OwnedPart<U> {
        match self {
            Self::Read(value) => OwnedPart::Read(change(value)),
            Self::NotShown => OwnedPart::NotShown,
            Self::Failed(why) => OwnedPart::Failed(why.clone()),
        }
    }

    /// Why these things are not known, as a clause: `schedules not checked`.
    #[must_use]
    pub fn why_unread(&self, things: &str) -> Option<String> {
        match self {
            Self::Read(_) => None,
            Self::NotShown => Some(format!("{things} not checked")),
            Self::Failed(why) => Some(format!("{things} can't be read: {why}")),
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

    fn schedule_names(&self) -> Vec<&str> {
        let schedules = self.schedules.read().into_iter().flatten();
        schedules.map(OwnedSchedule::label).collect()
    }
}

/// `owns 3 schedules: daily revenue, weekly, monthly; 1 personal token`.
impl fmt::Display for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.schedule_names();
        let tokens = self.tokens.read().map_or(0, Vec::len);
        let unread_tokens = self.tokens.why_unread("personal tokens");
        match self.schedules.why_unread("schedules") {
            Some(why) => f.write_str(&why)?,
            None if names.is_empty() && tokens > 0 => {
                return write!(f, "owns {}", tokens_text(tokens));
            }
            None => write_owned(f, "schedule", names.len(), &names)?,
        }
        match (unread_tokens, tokens) {
            (Some(why), _) => write!(f, "; {why}"),
            (None, 0) => Ok(()),
            (None, count) => write!(f, "; {}", tokens_text(count)),
        }
    }
}

fn tokens_text(count: usize) -> String {
    match count {
        1 => "1 personal token".to_owned(),
        count => format!("{count} personal tokens"),
    }
}

/// `owns 12 documents: Sales overview, Churn and 10 more`.
impl fmt::Display for OwnedDocuments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.names.iter().map(String::as_str).collect();
        write_owned(f, "document", self.count, &names)
    }
}

impl OwnedDetails {
    /// The names of schedules, personal tokens and documents as text, or why they are not known.
    #[must_use]
    pub fn texts(&self) -> [(&'static str, String); 3] {
        let Self { owned, documents } = self;
        let tokens = owned.tokens.read().map_or(&[][..], Vec::as_slice);
        let named = documents.read().map_or(&[][..], |all| &all.names);
        let count = documents.read().map_or(0, |all| all.count);
        [
            (
                "schedules",
                listed(&owned.schedules, &owned.schedule_names(), 0),
            ),
            ("personal tokens", listed(&owned.tokens, tokens, 0)),
            ("documents", listed(documents, named, count)),
        ]
    }

    /// Why something of it is not known, as clauses.
    #[must_use]
    pub fn unread(&self) -> Vec<String> {
        let Self { owned, documents } = self;
        let unread = [
            owned.schedules.why_unread("schedules"),
            owned.tokens.why_unread("personal tokens"),
            documents.why_unread("documents"),
        ];
        unread.into_iter().flatten().collect()
    }
}

/// The names, and how many more there are if `count` is higher; or why they are not known.
fn listed<T>(part: &OwnedPart<T>, names: &[impl AsRef<str>], count: usize) -> String {
    let names: Vec<_> = names.iter().map(AsRef::as_ref).collect();
    match (part, count.saturating_sub(names.len())) {
        (OwnedPart::NotShown, _) => "not checked: Omni does not show them (403 or 404)".to_owned(),
        (OwnedPart::Failed(why), _) => format!("can't be read: {why}"),
        (OwnedPart::Read(_), 0) if names.is_empty() => "none".to_owned(),
        (OwnedPart::Read(_), 0) => names.join(", "),
        (OwnedPart::Read(_), more) if names.is_empty() => more.to_string(),
        (OwnedPart::Read(_), more) => format!("{} and {more} more", names.join(", ")),
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
