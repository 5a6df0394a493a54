//! The desired state: what the roster says, and every problem in it.
//!
//! ```text
//! source (which files, are they whole) → decode (bytes → text) → csv (text → rows, against the
//! schema) → Desired
//! ```
//!
//! The rules of the room (contract: the roster):
//!
//! - Every problem is kept, with file, line, column and remedy; none stops at the first.
//! - A bad row freezes its user; a bad file switches off removals; nothing is guessed.
//! - [`Desired`] is unique by construction: one entry per user, and none for a frozen one.

use crate::user::{Email, UserSpec};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Where something stands in the roster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The file's name as a person would say it.
    pub file: Arc<str>,
    /// The line, from 1; 0 for the file as a whole.
    pub line: u64,
    /// The cell's number in its row, from 1, and its column's header, where one cell is meant.
    pub column: Option<(usize, Arc<str>)>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
            if let Some((number, name)) = &self.column {
                write!(f, ":{number} ({name})")?;
            }
        }
        Ok(())
    }
}

/// Something in the roster that is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// What is wrong, as a clause for a person.
    pub what: String,
    /// What to do, as a clause for a person.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.what, self.remedy)
    }
}

/// What a row wants of its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// There, with these values.
    Upsert(UserSpec),
    /// Gone, by what `policy.removal` says.
    Delete,
    /// Inactive, whatever `policy.removal` says.
    Deactivate,
}

/// A user that the roster names, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What is wanted.
    pub want: Want,
    /// The row that says so.
    pub place: Place,
}

/// What the roster's bytes are: equal for equal content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The roster, read.
#[derive(Clone, Debug)]
pub struct Desired {
    /// What is wanted, by user. None of them is frozen.
    pub users: HashMap<Email, Entry>,
    /// Users that no write may touch in this run, and where the roster says why: their row is bad,
    /// or two rows differ.
    pub frozen: HashMap<Email, Place>,
    /// Everything wrong in rows: one row may have several, and each froze its user.
    pub bad_rows: Vec<Problem>,
    /// How many bad rows have an email that can't be read: they may be anybody's, so pruning is off.
    pub unnamed: u64,
    /// Files that were rejected, vanished or could not be read, where others could: no removals.
    pub rejected: Vec<Problem>,
    /// What a person should know though nothing is wrong, such as a row that stands twice.
    pub notes: Vec<Problem>,
    /// Data rows read, bad ones included, all-blank ones not.
    pub rows: u64,
    /// What was read.
    pub fingerprint: Fingerprint,
    /// Whether this is the roster of `source.path`; another one never prunes.
    pub is_source: bool,
}

impl Desired {
    /// All bad rows and files, in the order of the roster.
    #[must_use]
    pub fn problems(&self) -> Vec<&Problem> {
        let mut all: Vec<_> = self.rejected.iter().chain(&self.bad_rows).collect();
        all.sort_by(|a, b| {
            let key = |p: &Problem| {
                (
                    p.place.file.clone(),
                    p.place.line,
                    p.place.column.as_ref().map(|c| c.0),
                )
            };
            key(a).cmp(&key(b))
        });
        all
    }
}
