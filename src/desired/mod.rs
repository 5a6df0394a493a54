//! The desired state: what the roster says, and every problem in it.
//!
//! ```text
//! source (which files) → content (whole, hashed) → decode (bytes → text) → lines (quotes, line
//!   numbers) → csv (text → rows: header, row, cell) → merge (rows of all files → Desired)
//! ```
//!
//! The rules of the room (what a roster may say: the README's "The roster"):
//!
//! - Every problem is kept, with file, line, column and remedy; none stops at the first.
//! - A bad row freezes its user; a bad file switches off removals; nothing is guessed.
//! - [`Desired`] is unique by construction: one entry per user, and none for a frozen one.

mod budget;
mod cell;
mod content;
mod csv;
mod decode;
mod doubts;
mod error;
mod excerpt;
pub mod export;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod header;
mod kind;
mod lines;
mod merge;
mod row;
mod settle;
mod source;
mod words;

pub use content::Fingerprint;
pub use error::SourceError;
pub use excerpt::{Excerpt, excerpts};
pub use kind::ProblemKind;
pub(crate) use settle::blocking;
pub use settle::{read_settled, unless_stopped};
pub use source::{FileRead, Stamp};

use crate::file_system;
use crate::settings::SourceSettings;
use crate::user::{ByEmail, Email, Schema, UserSpec};
use budget::Budget;
use content::{FileReading, Fingerprinter, Flaws};
use source::Candidate;
use std::cmp::Ordering;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

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
    /// What kind of thing it is.
    pub kind: ProblemKind,
    /// Where it stands.
    pub place: Place,
    /// What is wrong, as a clause for a person.
    pub what: String,
    /// What to do, as a clause for a person.
    pub remedy: String,
    /// Whose row it is, where that could be read.
    pub email: Option<Email>,
}

impl Problem {
    /// The same, said of a user's row.
    pub(crate) fn of(self, email: &Email) -> Self {
        Self {
            email: Some(email.clone()),
            ..self
        }
    }

    /// The order of the roster.
    fn in_order(&self, other: &Self) -> Ordering {
        fn key(place: &Place) -> (&str, u64, Option<usize>) {
            (
                &place.file,
                place.line,
                place.column.as_ref().map(|column| column.0),
            )
        }
        key(&self.place).cmp(&key(&other.place))
    }
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

/// The roster, read.
#[derive(Clone, Debug)]
pub struct Desired {
    /// What is wanted, by user. None of them is frozen.
    pub users: ByEmail<Entry>,
    /// Users that no write may touch in this run, and where the roster says why: their row is bad,
    /// or two rows differ.
    pub frozen: ByEmail<Place>,
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
            let is_upsert = matches!(entry.want, Want::Upsert(_));
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
                .any(|entry| matches!(entry.want, Want::Upsert(_)))
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

/// Reads the roster at `path`, each file once. Blocks, for as long as the file system does.
///
/// # Errors
/// When there is no roster, or all of its files are rejected.
pub fn read(
    settings: &SourceSettings,
    path: &Path,
    is_source: bool,
    schema: &Schema,
) -> Result<Desired, SourceError> {
    reading(settings, path, is_source, schema)?.outcome
}

/// What the file system says of the roster at `path`, without reading it. Blocks.
///
/// # Errors
/// When there is no roster.
pub fn stamp(settings: &SourceSettings, path: &Path) -> Result<Stamp, SourceError> {
    Ok(source::find(settings, path)?.stamp())
}

/// What the bytes of the roster at `path` are: what [`read`] would give. Blocks.
///
/// # Errors
/// When there is no roster.
pub fn fingerprint(settings: &SourceSettings, path: &Path) -> Result<Fingerprint, SourceError> {
    let mut fingerprint = Fingerprinter::default();
    for file in source::find(settings, path)?.files {
        let look = content::read_file(&file, settings.max_bytes, |_, _| Ok(()));
        fingerprint.add(&file, look.digest);
    }
    Ok(fingerprint.finish())
}

/// One look at the roster, and whether it can be relied on.
struct Reading {
    fingerprint: Fingerprint,
    /// No file changed while it was read.
    still: bool,
    /// The last time that anything was done to the files; of a share it is not known, since it goes by the other
    /// machine's clock.
    touched: Option<SystemTime>,
    outcome: Result<Desired, SourceError>,
}

fn reading(
    settings: &SourceSettings,
    path: &Path,
    is_source: bool,
    schema: &Schema,
) -> Result<Reading, SourceError> {
    let found = source::find(settings, path)?;
    let touched = match file_system::shared(path) {
        None => found.touched(),
        Some(_) => None,
    };
    let mut fingerprint = Fingerprinter::default();
    let (mut sheets, mut files, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
    let (mut still, mut budget) = (true, Budget::WHOLE);
    for file in &found.files {
        let look = read_file(file, settings, schema, budget);
        fingerprint.add(file, look.digest);
        still &= look.still;
        match look.content {
            Ok(sheet) => {
                budget = sheet.budget;
                sheets.push(sheet);
                files.push(FileRead {
                    name: file.name.clone(),
                    modified: look.modified,
                });
            }
            Err(flaws) => rejected.extend(flaws.of(file)),
        }
    }
    let fingerprint = fingerprint.finish();
    let about = merge::About {
        rejected,
        files,
        fingerprint,
        is_source,
    };
    let outcome = if sheets.is_empty() {
        Err(SourceError::Rejected(about.rejected))
    } else {
        merge::merge(sheets, about, schema).map_err(SourceError::Rejected)
    };
    Ok(Reading {
        fingerprint,
        still,
        touched,
        outcome,
    })
}

fn read_file(
    file: &Candidate,
    settings: &SourceSettings,
    schema: &Schema,
    budget: Budget,
) -> FileReading<csv::Sheet> {
    content::read_file(file, settings.max_bytes, |bytes, size| {
        let text = decode::Decoder::new(bytes, settings.encoding);
        csv::parse(text, size, &file.name, settings, schema, budget)
    })
}

impl Flaws {
    fn of(self, file: &Candidate) -> Vec<Problem> {
        match self {
            Self::Content(problems) => problems,
            Self::File(flaw) => {
                let place = Place {
                    file: file.name.clone(),
                    line: 0,
                    column: None,
                };
                vec![flaw.at(place)]
            }
        }
    }
}
