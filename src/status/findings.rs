//! What the last runs found wrong, row by row: for those who may know whom it is about.

use crate::model::{Email, Problem};
use crate::roster::SourceError;
use crate::run::{Completion, RunError, RunOutcome};
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
    pub blocked: Vec<String>,
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

/// Why a user of whom no problem is known may have one all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incompleteness {
    /// No run has read the roster since the start.
    NotRead,
    /// There are so many problems, and fewer are kept.
    NotKept(usize),
    /// So many problems are not known to be of anybody: a rejected file, an address that can't be read.
    Unnamed(usize),
}

impl Findings {
    /// What is known to be wrong with a user's rows.
    pub fn problems_of(&self, email: &Email) -> impl Iterator<Item = &Problem> {
        let kept = self.roster.iter().flat_map(|roster| &roster.problems);
        kept.filter(move |problem| problem.email.as_ref() == Some(email))
    }

    /// Why that may not be all.
    #[must_use]
    pub fn doubt(&self) -> Option<Incompleteness> {
        let Some(RosterFindings {
            problems, count, ..
        }) = &self.roster
        else {
            return Some(Incompleteness::NotRead);
        };
        if problems.len() < *count {
            return Some(Incompleteness::NotKept(*count));
        }
        let unnamed = problems.iter().filter(|one| one.email.is_none()).count();
        (unnamed > 0).then_some(Incompleteness::Unnamed(unnamed))
    }

    /// What is known once this run has ended too.
    pub(super) fn after(&self, run: &RunOutcome, now: DateTime<Utc>) -> Self {
        let mut new = self.clone();
        if let Some(roster) = run.roster() {
            let problems = roster.rejected.iter().chain(&roster.bad_rows);
            let count = roster.rejected.len() + roster.bad_rows.len();
            new.roster = Some(found(problems, count, Some(roster.rows), now));
            new.blocked = some(run.blocked());
            new.warnings = some(&run.warnings);
        }
        if let Completion::Failed(RunError::Source(error @ SourceError::Rejected(_))) =
            &run.completion
        {
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
