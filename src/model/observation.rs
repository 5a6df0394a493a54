//! What is known about Omni from one run to the next.

use super::{Email, ObservedSummary, ObservedUser, Schema, UserId};
use chrono::{DateTime, Utc};
use std::sync::Arc;

/// What is known about the users with an email.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KnownUser {
    /// No user has it.
    Absent,
    /// One user, and when it was last read by id.
    One(Arc<ObservedUser>, Option<DateTime<Utc>>),
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
}

/// An observation as kept in the state database. Users whose changes were sent since are uncertain.
#[derive(Clone, Debug)]
pub struct StoredObservation {
    /// About the organisation.
    pub header: ObservationHeader,
    /// The users.
    pub users: Vec<(Email, KnownUser)>,
}

/// What a run has found out since the observation was kept.
#[derive(Clone, Debug)]
pub struct ObservationUpdate {
    /// About the organisation.
    pub header: ObservationHeader,
    /// The users that were observed.
    pub users: Vec<(Email, KnownUser)>,
    /// Whether these are all users, so that others are forgotten.
    pub is_whole: bool,
}
