//! Limits of the memory that a roster may take.
//!
//! A row of a few bytes takes hundreds of bytes in memory, and so does a blank cell or an item of a
//! list: a file within `source.max_bytes` could exhaust the machine.

use super::text::Issue;
use crate::model::{DesiredUser, Location, Problem, ProblemKind};

/// The maximum number of named columns of a file.
pub(super) const MAX_COLUMNS: usize = 1_000;
/// A file with more problems is probably not a roster.
pub(super) const MAX_PROBLEMS: usize = 100_000;
/// The maximum number of lints that are listed. The others are counted.
pub(super) const MAX_LISTED_LINTS: usize = 1_000;

const MAX_ROWS: usize = 5_000_000;
const MAX_VALUES: usize = 20_000_000;

/// Keeps the first lints, and adds one about the others. `dropped` others were left out before.
pub(super) fn limit_lints(
    lints: &mut Vec<Problem>,
    dropped: usize,
    more: impl FnOnce(usize) -> Issue,
) {
    lints.sort_by(Problem::in_order);
    let others = dropped + lints.len().saturating_sub(MAX_LISTED_LINTS);
    lints.truncate(MAX_LISTED_LINTS);
    if let (1.., Some(last)) = (others, lints.last()) {
        let location = Location::line(&last.location.file, 0);
        let issue = more(others).kind(ProblemKind::DuplicateRow);
        lints.push(issue.at(location));
    }
}

/// What is left of the limits, which apply to all files of a roster together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) rows: usize,
    /// Attributes and groups of all rows. Each item of a list counts.
    pub(super) values: usize,
    pub(super) problems: usize,
}

impl Budget {
    pub(super) const WHOLE: Self = Self {
        rows: MAX_ROWS,
        values: MAX_VALUES,
        problems: MAX_PROBLEMS,
    };

    /// Takes one row, valid or bad.
    pub(super) fn take_row(&mut self) -> Result<(), Issue> {
        take(&mut self.rows, 1).ok_or_else(|| exceeded(MAX_ROWS, "rows"))
    }

    /// Takes the values of a row, and the groups that it names.
    pub(super) fn take_values(&mut self, want: &DesiredUser, groups: usize) -> Result<(), Issue> {
        let count = values(want) + groups;
        take(&mut self.values, count).ok_or_else(|| exceeded(MAX_VALUES, "attribute values"))
    }

    /// Takes problems; `None` if there are too many.
    pub(super) fn take_problems(&mut self, count: usize) -> Option<()> {
        take(&mut self.problems, count)
    }
}

fn take(left: &mut usize, count: usize) -> Option<()> {
    *left = left.checked_sub(count)?;
    Some(())
}

fn values(want: &DesiredUser) -> usize {
    let attributes = want.spec().map(|spec| &spec.attributes);
    let values = attributes.into_iter().flatten();
    values
        .map(|(_, value)| value.as_ref().map_or(1, |value| value.items().len()))
        .sum()
}

fn exceeded(limit: usize, of: &str) -> Issue {
    Issue::new(
        format!("the roster exceeds the limit of {limit} {of} here"),
        "check that this file is the roster and how it was exported",
    )
    .kind(ProblemKind::LimitExceeded)
}
