//! How a user leaves, as a roster states it.

use super::{Email, Location, Operation, RunTime, UserSpec};
use chrono::NaiveDate;
use serde::Serialize;

/// What a row states about a removal, apart from the operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaving {
    /// The user who gets the schedules. On the heap, because few rows name one.
    pub successor: Option<Box<SuccessorCell>>,
    /// When the user leaves; `None`: at once. On the heap, because rosters have many rows and few dates.
    pub on: Option<Box<LeaveOn>>,
}

/// The cell that names the user who takes over schedules.
#[derive(Clone, Debug)]
pub struct SuccessorCell {
    /// The user.
    pub email: Email,
    /// The cell.
    pub location: Location,
}

/// Cells that name the same user are equal.
impl PartialEq for SuccessorCell {
    fn eq(&self, other: &Self) -> bool {
        self.email == other.email
    }
}

impl Eq for SuccessorCell {}

/// The day on which a user leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveOn {
    /// The first day on which the user may be removed.
    pub date: NaiveDate,
    /// What the row states before that day: its cells that are not blank.
    pub until: UserSpec,
}

/// A user whose row has a day of leaving.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leaver {
    /// The user.
    pub email: Email,
    /// The day.
    pub date: NaiveDate,
    /// The removal that the row asks for.
    pub operation: Operation,
    /// What the row states today.
    pub state: LeaveState,
}

/// What a row with a day of leaving states today.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveState {
    /// The day has not come. The row upserts its user.
    Upcoming,
    /// The day has come, and a second run has to agree. The row changes nothing.
    Waiting,
    /// The row removes its user.
    Due,
}

impl Leaver {
    /// What the row states today, as a clause.
    #[must_use]
    pub fn detail(&self) -> String {
        let date = self.date;
        match self.state {
            LeaveState::Upcoming => format!("leaves on {date}"),
            LeaveState::Waiting => {
                format!("due since {date}, waits for a second run at least 1 h later")
            }
            LeaveState::Due => format!("due since {date}"),
        }
    }
}

/// A user whose day of leaving has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueLeaver {
    /// The day.
    pub date: NaiveDate,
    /// The start of the run that first recorded that the day has come.
    pub since: RunTime,
}

/// What an accepted roster does to the records of users whose day of leaving has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DueUpdate {
    /// Users whose day has come, in place of any earlier record.
    pub found: Vec<(Email, NaiveDate)>,
    /// Users whose row has no such day any more.
    pub over: Vec<Email>,
}
