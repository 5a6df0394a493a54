//! A lint, and where it was found.

use crate::model::ProblemKind;

/// A lint on a cell and others in its column.
pub(super) struct Lint {
    pub(super) kind: ProblemKind,
    pub(super) message: &'static str,
    pub(super) remedy: &'static str,
}

/// The cells of one column with the same lint.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Occurrences {
    pub(super) count: u64,
    /// The line of the first one.
    pub(super) line: u64,
}

impl Occurrences {
    pub(super) fn add(&mut self, line: u64) {
        if self.count == 0 {
            self.line = line;
        }
        self.count += 1;
    }
}
