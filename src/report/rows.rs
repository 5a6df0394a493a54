//! What a report says.

use crate::model::RowOutcome;
use std::sync::Arc;

/// What a whole report says, for its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Every row is as it should be.
    Ok,
    /// Some rows are bad, or users failed.
    Problems,
    /// Something is held.
    Held,
    /// The roster, or a file of it, was rejected.
    Rejected,
}

impl Status {
    /// The word in a report's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Problems => "problems",
            Self::Held => "held",
            Self::Rejected => "rejected",
        }
    }
}

/// What became of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The file that it stands in; empty for users whom the roster does not name.
    pub file: Arc<str>,
    /// Its line; 0 for none.
    pub line: u64,
    /// Whose it is, if that could be read.
    pub email: String,
    /// What it asks for.
    pub op: &'static str,
    /// What became of it, in one word.
    pub outcome: RowOutcome,
    /// More, in plain words.
    pub detail: String,
}

/// What became of every row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The lines, in the order of the roster; users whom it does not name come last.
    pub rows: Vec<Row>,
    /// What they say together.
    pub status: Status,
}

impl Report {
    /// A report of these lines.
    #[must_use]
    pub fn new(rows: Vec<Row>) -> Self {
        let status = rows.iter().map(status).max().unwrap_or(Status::Ok);
        Self { rows, status }
    }

    /// The same, of a run under way.
    #[must_use]
    pub fn unfinished(self) -> Self {
        Self {
            status: self.status.max(Status::Problems),
            ..self
        }
    }

    /// The same, of a roster that was rejected, or a file of which was.
    #[must_use]
    pub fn rejected(self) -> Self {
        Self {
            status: Status::Rejected,
            ..self
        }
    }
}

fn status(row: &Row) -> Status {
    match row.outcome {
        RowOutcome::Held => Status::Held,
        RowOutcome::Failed
        | RowOutcome::Frozen
        | RowOutcome::Quarantined
        | RowOutcome::Rejected => Status::Problems,
        RowOutcome::Created
        | RowOutcome::Updated
        | RowOutcome::Removed
        | RowOutcome::Deactivated
        | RowOutcome::Unchanged
        | RowOutcome::Protected => Status::Ok,
    }
}
