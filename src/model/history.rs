//! History: runs, their changes, and what they held.

use super::{
    ChangeOutcome, Counts, Email, FieldRecord, Fingerprint, Operation, RunNumber, Trigger, UserId,
};
use chrono::{DateTime, Utc};
use std::fmt;

/// How a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunStart {
    /// What started it.
    pub trigger: Trigger,
    /// When.
    pub started: DateTime<Utc>,
    /// Whether it is about the roster of `source.path`: another one makes nobody managed.
    pub is_source: bool,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEnd {
    /// When.
    pub ended: DateTime<Utc>,
    /// The word of [`RunOutcome`](crate::run::RunOutcome).
    pub outcome: String,
    /// What was read, if the roster could be.
    pub fingerprint: Option<Fingerprint>,
    /// Data rows, if the roster could be read.
    pub rows: Option<u64>,
    /// Users in Omni, if they could be listed.
    pub users: Option<u64>,
    /// What was needed, if it came to a plan.
    pub needed: Option<Counts>,
    /// Changes done.
    pub done: u64,
    /// Changes that failed.
    pub failed: u64,
    /// Changes held.
    pub held: u64,
    /// Problems in rows.
    pub bad_rows: u64,
    /// Requests sent.
    pub requests: u64,
    /// Why it could not be done, in plain words; may be empty.
    pub detail: String,
}

/// What is known of a run's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunState {
    /// It is under way, or was killed and nothing has run since.
    Open,
    /// It was killed: another process has taken its place, or another run has begun.
    Interrupted,
    /// It came to an end.
    Ended(Box<RunEnd>),
}

/// A run, as the journal knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRecord {
    /// Its number.
    pub number: RunNumber,
    /// How it began.
    pub start: RunStart,
    /// How it ended.
    pub state: RunState,
}

/// The number of a change: ascending, and never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeId(pub u64);

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A change that is about to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeIntent {
    /// When.
    pub intended: DateTime<Utc>,
    /// Whose.
    pub email: Email,
    /// Omni's id of the user; `None` for one to be made.
    pub user_id: Option<UserId>,
    /// What.
    pub kind: Operation,
    /// The fields that change, or that a user to be made begins with.
    pub fields: Vec<FieldRecord>,
    /// Whether a person approved it: approved removals don't count for the guard.
    pub approved: bool,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// When that was known.
    pub at: DateTime<Utc>,
    /// What.
    pub outcome: ChangeOutcome,
    /// More, in plain words; may be empty.
    pub detail: String,
}

/// A change, as the journal knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRecord {
    /// Its number.
    pub id: ChangeId,
    /// The run that sent it.
    pub run: RunNumber,
    /// What was about to be sent.
    pub intent: ChangeIntent,
    /// What became of it; `None` where that is not known: it is under way, or the program was killed,
    /// or the answer was lost.
    pub settled: Option<Settled>,
}

/// A change that is held.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldUser {
    /// Whose, by id: it is they who are approved, and nobody who comes after them.
    pub user_id: UserId,
    /// What.
    pub kind: Operation,
    /// Their address, for people.
    pub email: Email,
}

/// What one rule of the guard held in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRecord {
    /// The setting that holds them.
    pub rule: String,
    /// Why, in plain words.
    pub why: String,
    /// The changes, by user and kind.
    pub users: Vec<HeldUser>,
}

impl HeldRecord {
    /// Why one of its changes is held, as a clause for a person.
    #[must_use]
    pub fn text(&self, run: RunNumber) -> String {
        format!("run {run} held it by policy.{} ({})", self.rule, self.why)
    }
}
