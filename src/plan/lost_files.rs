//! Files of the last accepted roster that are gone.

use crate::model::{Desired, Memory};
use crate::util::text::agree;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// Files of the last accepted roster that are gone, if fewer have replaced them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LostFiles {
    /// The names.
    pub names: Vec<Arc<str>>,
    /// Whether no run has read the roster without them before.
    pub is_new: bool,
}

impl LostFiles {
    /// The files of the last accepted roster that are gone, unless as many others have appeared: people rename files
    /// and replace the last one with a new one.
    pub(super) fn new(desired: &Desired, memory: &Memory) -> Self {
        if !desired.is_source {
            return Self::default();
        }
        let read = desired.files.iter().map(|file| &file.name);
        let rejected = desired
            .rejected
            .iter()
            .map(|problem| &problem.location.file);
        let present: HashSet<_> = read.chain(rejected).collect();
        let before = memory.last_files();
        if present.len() >= before.len() {
            return Self::default();
        }
        let before = before.iter().map(|file| &file.name);
        let gone = before.filter(|name| !present.contains(name));
        Self {
            names: gone.cloned().collect(),
            is_new: memory.last_read != Some(desired.fingerprint),
        }
    }

    /// Whether no file is lost.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The loss as a clause, if this is the first run that finds it. The next run over the same roster knows about the
    /// loss, so it may remove users, and let them leave groups.
    pub(super) fn news(&self) -> Option<String> {
        (self.is_new && !self.is_empty()).then(|| self.to_string())
    }
}

/// A clause with the names.
impl fmt::Display for LostFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.names.len();
        let (are, they_were) = (
            agree(count, "is", "are"),
            agree(count, "it was", "they were"),
        );
        let names = self.names.join(", ");
        write!(
            f,
            "{names} {are} missing ({they_were} part of the last accepted roster)"
        )
    }
}
