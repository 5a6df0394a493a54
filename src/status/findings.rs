//! What the last runs found wrong, row by row: for those who may know whom it is about.

use crate::desired::{Problem, SourceError};
use crate::reconcile::{End, RunError, RunOutcome};
use chrono::{DateTime, Utc};

/// The most problems that are kept, and the most warnings; the rest is counted. The row report has all.
const MOST: usize = 1000;

/// What the last runs found. What a run did not get to see stays as the run before found it; after a
/// restart nothing is known until the next run.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The roster as it was last looked at.
    pub roster: Option<RosterFindings>,
    /// Why what the roster asks for was not planned.
    pub withheld: Vec<String>,
    /// What a person should know though nothing is wrong.
    pub warnings: Vec<String>,
}

/// What is wrong with the roster.
#[derive(Clone, Debug)]
pub struct RosterFindings {
    /// When it was looked at.
    pub at: DateTime<Utc>,
    /// Data rows; `None` where every file was rejected.
    pub rows: Option<u64>,
    /// Rejected files first, then bad rows: the first of them.
    pub problems: Vec<Problem>,
    /// How many problems there are in all.
    pub count: usize,
}

impl Findings {
    /// What is known once this run has ended too.
    pub(super) fn after(&self, run: &RunOutcome, now: DateTime<Utc>) -> Self {
        let mut new = self.clone();
        if let Some(roster) = &run.roster {
            let problems = roster.rejected.iter().chain(&roster.bad_rows);
            let count = roster.rejected.len() + roster.bad_rows.len();
            new.roster = Some(found(problems, count, Some(roster.rows), now));
            new.withheld = some(&run.withheld);
            new.warnings = some(&run.warnings);
        }
        if let End::Failed(RunError::Source(error @ SourceError::Rejected(_))) = &run.end {
            let problems = error.problems();
            new.roster = Some(found(problems.iter(), problems.len(), None, now));
        }
        new
    }
}

fn found<'a>(
    problems: impl Iterator<Item = &'a Problem>,
    count: usize,
    rows: Option<u64>,
    at: DateTime<Utc>,
) -> RosterFindings {
    RosterFindings {
        at,
        rows,
        problems: problems.take(MOST).cloned().collect(),
        count,
    }
}

/// From both ends, as the log does it: what concerns the whole run stands before and after what
/// concerns single rows.
fn some(texts: &[String]) -> Vec<String> {
    let half = MOST / 2;
    let left_out = half..texts.len().saturating_sub(half).max(half);
    let kept = texts.iter().enumerate();
    kept.filter(|(at, _)| !left_out.contains(at))
        .map(|(_, text)| text.clone())
        .collect()
}
