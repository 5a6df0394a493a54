//! What became of a run.

use crate::model::{
    ChangeOutcome, Counts, Email, Fingerprint, Operation, Problem, RunNumber, Trigger,
};
use crate::omni::{ClientError, OmniError};
use crate::roster::SourceError;
use crate::settings::{KeyError, SettingsError};
use crate::state::StateError;
use chrono::{DateTime, Utc};
use std::time::Duration;

/// A change and what became of it.
#[derive(Clone, Debug)]
pub struct AppliedChange {
    /// Whose.
    pub email: Email,
    /// What.
    pub kind: Operation,
    /// How it ended.
    pub outcome: ChangeOutcome,
    /// More, in plain words. May be empty.
    pub detail: String,
    /// Whether Omni itself said no, so that it will again.
    pub refused: bool,
}

/// What the guard held: all changes of one rule, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRule {
    /// The setting that holds them: `prune`, `max_removals`, `max_clears` or `max_updates`.
    pub rule: &'static str,
    /// How many.
    pub count: usize,
    /// Why, and what to do, in plain words.
    pub why: String,
}

/// What was read of the roster.
#[derive(Clone, Debug)]
pub struct Roster {
    /// Data rows.
    pub rows: u64,
    /// What was read.
    pub fingerprint: Fingerprint,
    /// Everything wrong in rows.
    pub bad_rows: Vec<Problem>,
    /// Files that could not be read, beside others that could.
    pub rejected: Vec<Problem>,
}

/// Why a run could not be done.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A setting that it needs is not there.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The API keys can't be read.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The roster can't be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Omni can't be read, or ended the run.
    #[error(transparent)]
    Omni(#[from] OmniError),
    /// What is remembered can't be read or written.
    #[error(transparent)]
    StateDb(#[from] StateError),
}

impl From<ClientError> for RunError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Settings(error) => error.into(),
            ClientError::Omni(error) => error.into(),
        }
    }
}

/// How a run ended.
#[derive(Debug)]
pub enum Completion {
    /// All that passed the guard was tried.
    Complete,
    /// It was only to be planned.
    PlanOnly,
    /// It was told to stop, between two changes.
    Stopped,
    /// It could not be done: the source, the keys, the network, Omni.
    Failed(RunError),
}

/// A run, told.
#[derive(Debug)]
pub struct RunOutcome {
    /// Its number in the journal, if it has one.
    pub number: Option<RunNumber>,
    /// What started it.
    pub trigger: Trigger,
    /// When.
    pub started: DateTime<Utc>,
    /// How long it took.
    pub took: Duration,
    /// Requests sent.
    pub requests: u64,
    /// What was read, if the roster could be.
    pub roster: Option<Roster>,
    /// Users in Omni, if they could be listed.
    pub users: Option<usize>,
    /// What was needed, if it came to a plan.
    pub drift: Option<Counts>,
    /// What the guard held.
    pub held: Vec<HeldRule>,
    /// Why what the roster asks for was not planned, where that is so.
    pub withheld: Vec<String>,
    /// Users whose change is not tried now, since it failed before.
    pub quarantined: usize,
    /// What was sent, or would have been had the run not ended before.
    pub applied: Vec<AppliedChange>,
    /// What a person should know though nothing is wrong.
    pub warnings: Vec<String>,
    /// How it ended.
    pub end: Completion,
}

impl RunOutcome {
    /// Every word of [`RunOutcome::as_str`].
    pub const WORDS: [&'static str; 6] = [
        "converged",
        "partial",
        "held",
        "planned",
        "stopped",
        "failed",
    ];

    /// The words of runs that did what they could.
    pub const SUCCESSES: [&'static str; 4] = ["converged", "partial", "held", "planned"];

    /// Whether the run did what it could: bad rows, failed users and held changes are no failure.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self.end, Completion::Complete | Completion::PlanOnly)
    }

    /// How many changes ended so.
    #[must_use]
    pub fn count(&self, outcome: ChangeOutcome) -> usize {
        self.applied
            .iter()
            .filter(|one| one.outcome == outcome)
            .count()
    }

    /// The word for logs and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        let bad_roster = self
            .roster
            .as_ref()
            .is_some_and(|roster| !roster.bad_rows.is_empty() || !roster.rejected.is_empty());
        match self.end {
            Completion::Failed(_) => "failed",
            Completion::Stopped => "stopped",
            Completion::PlanOnly => "planned",
            Completion::Complete if !self.held.is_empty() || !self.withheld.is_empty() => "held",
            Completion::Complete if bad_roster || self.quarantined > 0 => "partial",
            Completion::Complete
                if self
                    .applied
                    .iter()
                    .any(|one| one.outcome != ChangeOutcome::Done) =>
            {
                "partial"
            }
            Completion::Complete => "converged",
        }
    }
}
