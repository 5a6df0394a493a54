//! How a user leaves, as a roster states it.

use super::{Email, UserSpec};
use chrono::NaiveDate;

/// What a row states about a removal, apart from the operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaving {
    /// The user who takes over schedules.
    pub successor: Option<Email>,
    /// When the user leaves; `None`: at once. On the heap, because rosters have many rows and few dates.
    pub on: Option<Box<LeaveOn>>,
}

/// The day on which a user leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveOn {
    /// The first day on which the user may be removed.
    pub date: NaiveDate,
    /// What the row states before that day: its cells that are not blank.
    pub until: UserSpec,
}
