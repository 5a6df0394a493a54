//! The desired state, as a roster states it.

use super::{ByEmail, Email, Location, Problem, UserSpec};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// What a row wants of its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DesiredUser {
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
    pub want: DesiredUser,
    /// The row that says so.
    pub place: Location,
}

/// The roster, read.
#[derive(Clone, Debug)]
pub struct Desired {
    /// What is wanted, by user. None of them is frozen.
    pub users: ByEmail<Entry>,
    /// Users that no write may touch in this run, and where the roster says why: their row is bad,
    /// or two rows differ.
    pub frozen: ByEmail<Location>,
    /// Everything wrong in rows: one row may have several, and each froze its user.
    pub bad_rows: Vec<Problem>,
    /// How many bad rows have an email that can't be read: they may be anybody's, so pruning is off.
    pub unnamed: u64,
    /// Files that were rejected, vanished or could not be read, where others could: no removals.
    /// None of these tells an attribute value, so that they can be logged.
    pub rejected: Vec<Problem>,
    /// What a person should know though nothing is wrong, such as a row that stands twice.
    pub notes: Vec<Problem>,
    /// Data rows read, bad ones included, all-blank ones not.
    pub rows: u64,
    /// The files that were read and accepted, by name.
    pub files: Vec<FileRead>,
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
        all.sort_by(|a, b| a.in_order(b));
        all
    }

    /// The same with no rows but those of one user, and one more that upserts: whether there is such a row tells
    /// what the roster's silence means.
    #[must_use]
    pub(crate) fn about(mut self, email: &Email) -> Self {
        let mut upserts = 0;
        self.users.retain(|of, entry| {
            let is_upsert = matches!(entry.want, DesiredUser::Upsert(_));
            upserts += usize::from(is_upsert);
            of == email || (is_upsert && upserts == 1)
        });
        self
    }

    /// Whether this roster may remove anybody, by `op` or by pruning.
    ///
    /// # Errors
    /// A sentence why not.
    pub fn removals_allowed(&self) -> Result<(), String> {
        let Some(first) = self.rejected.first() else {
            return Ok(());
        };
        let more = match self.rejected.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Err(format!(
            "A file of the roster was not read ({}{more}), so nobody is removed.",
            first.place
        ))
    }

    /// Whether users that this roster does not name may be removed.
    ///
    /// # Errors
    /// A sentence why not.
    pub fn pruning_allowed(&self) -> Result<(), String> {
        self.removals_allowed()?;
        let upserts = || {
            self.users
                .values()
                .any(|entry| matches!(entry.want, DesiredUser::Upsert(_)))
        };
        if !self.is_source {
            Err("This is not the roster of source.path, so nobody is pruned.".into())
        } else if self.unnamed > 0 {
            let (rows, have) = if self.unnamed == 1 {
                ("row", "has")
            } else {
                ("rows", "have")
            };
            Err(format!(
                "{} {rows} of the roster {have} no email that can be read and may be anybody's, so nobody is pruned.",
                self.unnamed
            ))
        } else if !upserts() {
            Err("The roster has no row that upserts a user, so nobody is pruned.".into())
        } else {
            Ok(())
        }
    }
}

/// A file that was read, for with_observer a newer roster from an older one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRead {
    /// Its name, as in [`Location::file`](crate::model::Location::file).
    pub name: Arc<str>,
    /// When it was last written to, as the file system says.
    pub modified: SystemTime,
}

impl FileRead {
    /// Whether another one goes before it in the order in which the newest is chosen: by time, then name.
    #[must_use]
    pub fn is_older_than(&self, other: &Self) -> bool {
        (self.modified, &self.name) < (other.modified, &other.name)
    }
}

/// What the roster's bytes are: equal for equal content under equal names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
