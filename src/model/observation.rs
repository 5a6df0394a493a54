//! What is known about Omni from one run to the next.

use super::{Email, GroupId, ObservedGroup, ObservedSummary, ObservedUser, Schema, UserId};
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
    /// The last list of groups; `None` if there is none, or if it could not be read.
    pub groups: Option<GroupListing>,
}

/// A list of groups that Omni gave or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// When it was read.
    pub read: DateTime<Utc>,
    /// The status with which Omni refused it.
    pub refused: Option<u16>,
    /// Whether lists of users show their groups.
    pub users_show_groups: bool,
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

/// An observation as stored in the state database. Users whose changes were sent since are uncertain, and so are the
/// members of groups.
#[derive(Clone, Debug)]
pub struct StoredObservation {
    /// About the organisation.
    pub header: ObservationHeader,
    /// The users.
    pub users: Vec<(Email, KnownUser)>,
    /// The groups.
    pub groups: Vec<ObservedGroup>,
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
    /// The groups.
    pub groups: ObservedGroupsUpdate,
}

/// What a run has found out about groups since they were stored. The default changes nothing.
#[derive(Clone, Debug, Default)]
pub struct ObservedGroupsUpdate {
    /// The groups that were observed.
    pub groups: Vec<Arc<ObservedGroup>>,
    /// Groups about which nothing is known any more.
    pub forgotten: Vec<GroupId>,
    /// Whether these are all groups, so that others are forgotten.
    pub is_whole: bool,
}
