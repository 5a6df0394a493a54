//! How much memory a roster may take. A row of few bytes takes hundreds in memory, and so does a
//! blank cell or an item of a list: a file within `source.max_bytes` could fill the machine.

use super::words::Issue;
use crate::model::{DesiredUser, ProblemKind};

/// The most columns with a name that a file may have.
pub(super) const MAX_COLUMNS: usize = 1_000;
/// A roster with more problems is no roster with mistakes, it is something else.
pub(super) const MAX_PROBLEMS: usize = 100_000;
/// So many notes are told one by one; the rest is counted.
pub(super) const MAX_NOTES: usize = 1_000;

const MAX_ROWS: usize = 5_000_000;
const MAX_VALUES: usize = 20_000_000;

/// What the files of a roster may have together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) rows: usize,
    /// Attributes of all rows; each item of a list counts.
    pub(super) values: usize,
    pub(super) problems: usize,
}

impl Budget {
    pub(super) const WHOLE: Self = Self {
        rows: MAX_ROWS,
        values: MAX_VALUES,
        problems: MAX_PROBLEMS,
    };

    /// Takes a row, be it good or bad.
    pub(super) fn row(&mut self) -> Result<(), Issue> {
        take(&mut self.rows, 1).ok_or_else(|| too_many(MAX_ROWS, "rows"))
    }

    /// Takes what a row wants.
    pub(super) fn want(&mut self, want: &DesiredUser) -> Result<(), Issue> {
        take(&mut self.values, values(want)).ok_or_else(|| too_many(MAX_VALUES, "attribute values"))
    }

    /// Takes problems; `None` when there are too many.
    pub(super) fn problems(&mut self, count: usize) -> Option<()> {
        take(&mut self.problems, count)
    }
}

fn take(left: &mut usize, count: usize) -> Option<()> {
    *left = left.checked_sub(count)?;
    Some(())
}

fn values(want: &DesiredUser) -> usize {
    match want {
        DesiredUser::Upsert(spec) => {
            let values = spec.attributes.iter().map(|(_, value)| value.as_ref());
            values
                .map(|value| value.map_or(1, |value| value.items().len()))
                .sum()
        }
        DesiredUser::Delete | DesiredUser::Deactivate => 0,
    }
}

fn too_many(most: usize, what: &str) -> Issue {
    Issue::new(
        format!("up to here the roster has more than {most} {what}"),
        "check that this is the roster and how it was exported",
    )
    .kind(ProblemKind::TooMuch)
}
