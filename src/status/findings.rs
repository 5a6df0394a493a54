//! Problems and warnings of the last runs. They contain personal data, unlike the rest of the status.

use crate::model::{Email, Leaver, Problem};
use crate::roster::SourceError;
use crate::run::{Completion, RunError, RunOutcome};
use chrono::{DateTime, Utc};

/// Problems that are kept, and warnings; the others are only counted. The row report has all of them.
const MAX_KEPT: usize = 1000;

/// The findings of the last runs. Where a run has no finding because it failed early, the finding of
/// an earlier run stays. Empty after a restart, until the next run.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The roster, as last read.
    pub roster: Option<RosterFindings>,
    /// Why removals and leaves are blocked.
    pub blocked: Vec<String>,
    /// Warnings.
    pub warnings: Vec<String>,
    /// The first of the users who leave within two weeks, by day.
    pub leaving: Vec<Leaver>,
    /// The number of all of them.
    pub leaving_count: usize,
}

/// The problems of a roster.
#[derive(Clone, Debug)]
pub struct RosterFindings {
    /// When the roster was read.
    pub at: DateTime<Utc>,
    /// The number of data rows; `None` if all files were rejected.
    pub rows: Option<u64>,
    /// The first problems: rejected files, then invalid rows.
    pub problems: Vec<Problem>,
    /// The total number of problems.
    pub count: usize,
}

/// Why the known problems of a user may be incomplete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incompleteness {
    /// No run has read the roster since the daemon started.
    NotRead,
    /// The roster has this number of problems, which is more than are kept.
    NotKept(usize),
    /// This number of problems can't be attributed to a user: rejected files, unreadable addresses.
    Unnamed(usize),
}

impl Findings {
    /// The known problems in the rows of a user.
    pub fn problems_of(&self, email: &Email) -> impl Iterator<Item = &Problem> {
        let kept = self.roster.iter().flat_map(|roster| &roster.problems);
        kept.filter(move |problem| problem.email.as_ref() == Some(email))
    }

    /// Why [`problems_of`](Self::problems_of) may be incomplete.
    #[must_use]
    pub fn incompleteness(&self) -> Option<Incompleteness> {
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

    /// The findings after another run.
    pub(super) fn after(&self, run: &RunOutcome, now: DateTime<Utc>) -> Self {
        let mut new = self.clone();
        if let Some(roster) = run.roster() {
            let problems = roster.unreadable().chain(&roster.bad_rows);
            let count = problems.clone().count();
            new.roster = Some(roster_findings(problems, count, Some(roster.rows), now));
            new.blocked = first_and_last(run.blocked());
            new.warnings = first_and_last(&run.warnings);
            let leaving = run.plan.iter().flat_map(|plan| &plan.leaving);
            new.leaving_count = leaving.clone().count();
            new.leaving = leaving.take(MAX_KEPT).cloned().collect();
        }
        if let Completion::Failed(RunError::Source(error @ SourceError::Rejected(_))) =
            &run.completion
        {
            let problems = error.problems();
            let findings = roster_findings(problems.iter(), problems.len(), None, now);
            new.roster = Some(findings);
        }
        new
    }
}

fn roster_findings<'a>(
    problems: impl Iterator<Item = &'a Problem>,
    count: usize,
    rows: Option<u64>,
    at: DateTime<Utc>,
) -> RosterFindings {
    RosterFindings {
        at,
        rows,
        problems: problems.take(MAX_KEPT).cloned().collect(),
        count,
    }
}

/// Keeps the first and the last texts, like the log: warnings about the whole run come before and
/// after those about single rows.
fn first_and_last(texts: &[String]) -> Vec<String> {
    let half = MAX_KEPT / 2;
    let omitted = half..texts.len().saturating_sub(half).max(half);
    let texts = texts.iter().enumerate();
    texts
        .filter(|(at, _)| !omitted.contains(at))
        .map(|(_, text)| text.clone())
        .collect()
}
