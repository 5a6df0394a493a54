//! The contents of a report.

use crate::model::RowOutcome;
use std::sync::Arc;

/// The overall status of a report, which is part of its file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReportStatus {
    /// No row needs attention.
    Ok,
    /// Rows are invalid, or changes failed.
    Problems,
    /// Changes are held.
    Held,
    /// The roster, or a file of it, was rejected.
    Rejected,
    /// The run was a dry run.
    Planned,
}

impl ReportStatus {
    /// All of them.
    pub(super) const ALL: [Self; 5] = [
        Self::Ok,
        Self::Problems,
        Self::Held,
        Self::Rejected,
        Self::Planned,
    ];

    /// The word in the file name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Problems => "problems",
            Self::Held => "held",
            Self::Rejected => "rejected",
            Self::Planned => "planned",
        }
    }

    fn of(row: &ReportRow) -> Self {
        match row.outcome {
            RowOutcome::Held => Self::Held,
            RowOutcome::Failed
            | RowOutcome::Frozen
            | RowOutcome::Quarantined
            | RowOutcome::Rejected => Self::Problems,
            RowOutcome::Created
            | RowOutcome::Updated
            | RowOutcome::Removed
            | RowOutcome::Deactivated
            | RowOutcome::Planned
            | RowOutcome::Unchanged
            | RowOutcome::NotFound
            | RowOutcome::Protected => Self::Ok,
        }
    }
}

/// A row with its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRow {
    /// The file; empty for users who are not in the roster.
    pub file: Arc<str>,
    /// The line; 0 for none.
    pub line: u64,
    /// The user's email, if it could be read.
    pub email: String,
    /// The `op` of the row.
    pub op: &'static str,
    /// The outcome.
    pub outcome: RowOutcome,
    /// Details, or an empty text.
    pub detail: String,
}

/// A row report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowReport {
    /// The rows, in the order of the roster; users who are not in the roster come last.
    pub rows: Vec<ReportRow>,
    /// The overall status.
    pub status: ReportStatus,
}

impl RowReport {
    /// A report with these rows.
    #[must_use]
    pub fn new(rows: Vec<ReportRow>) -> Self {
        let status = rows.iter().map(ReportStatus::of).max();
        let status = status.unwrap_or(ReportStatus::Ok);
        Self { rows, status }
    }

    /// Marks a report as one with problems, such as one on a run in progress.
    #[must_use]
    pub fn with_problems(self) -> Self {
        Self {
            status: self.status.max(ReportStatus::Problems),
            ..self
        }
    }

    /// Marks a report as one on a dry run.
    #[must_use]
    pub fn planned(self) -> Self {
        Self {
            status: ReportStatus::Planned,
            ..self
        }
    }

    /// Marks a report as one on a roster of which all or some files were rejected.
    #[must_use]
    pub fn rejected(self) -> Self {
        Self {
            status: ReportStatus::Rejected,
            ..self
        }
    }
}
