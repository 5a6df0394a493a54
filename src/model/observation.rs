//! What is known about Omni from one run to the next.

use super::{Email, ObservedSummary, ObservedUser, Schema, UserId};
use chrono::{DateTime, Utc};
use std::sync::Arc;

/// What is known about the users with an email.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KnownUser {
    /// No user has it.
    Absent,
    /// One user.
    One {
        /// The user.
        user: Arc<ObservedUser>,
        /// When it was last seen, if that was after the observation as a whole.
        seen: Option<DateTime<Utc>>,
        /// When it was last read by id.
        verified: Option<DateTime<Utc>>,
    },
    /// Several users.
    Several(usize),
    /// The user must be looked up. The last known id.
    Uncertain(Option<UserId>),
}

/// What an observation says about the organisation as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservationHeader {
    /// When the oldest part was observed.
    pub observed: DateTime<Utc>,
    /// The attribute definitions, or that Omni does not show them.
    pub schema: Schema,
    /// When the definitions were read.
    pub schema_read: DateTime<Utc>,
    /// How much of Omni the users show.
    pub summary: ObservedSummary,
    /// The listing that goes on in later runs.
    pub listing: Option<PartialListing>,
}

/// A listing that takes several runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialListing {
    /// When it began.
    pub started: DateTime<Utc>,
    /// The user with which it goes on, counted from 1.
    pub next: u64,
}

impl PartialListing {
    /// Where the next part begins: one page before the end of this one, since users that were removed move the others.
    #[must_use]
    pub fn with_overlap(self, end: u64, page: u64) -> u64 {
        let earlier = end.saturating_sub(page);
        if earlier > self.next { earlier } else { end }
    }
}

/// An observation as stored in the state database. Users whose changes were sent since are uncertain.
#[derive(Clone, Debug)]
pub struct StoredObservation {
    /// About the organisation.
    pub header: ObservationHeader,
    /// The users.
    pub users: Vec<(Email, KnownUser)>,
}

/// What a run has found out since the observation was stored.
#[derive(Clone, Debug)]
pub struct ObservationUpdate {
    /// About the organisation.
    pub header: ObservationHeader,
    /// The users that were observed.
    pub users: Vec<(Email, KnownUser)>,
    /// Emails about which nothing is known any more.
    pub forgotten: Vec<Email>,
    /// Whether these are all users, so that others are forgotten.
    pub is_whole: bool,
}
