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
mod lines;
mod merge;
mod row;
mod settle;
mod source;
mod words;

pub use error::SourceError;
pub use excerpt::{Excerpt, excerpts};
pub(crate) use settle::blocking;
pub use settle::{read_settled, unless_stopped};
pub use source::Stamp;

use crate::file_system;
use crate::model::{Desired, FileRead, Fingerprint, Location, Problem, Schema};
use crate::settings::SourceSettings;
use budget::Budget;
use content::{FileReading, Fingerprinter, Issues};
use source::Candidate;
use std::path::Path;
use std::time::SystemTime;

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
) -> FileReading<csv::ParsedFile> {
    content::read_file(file, settings.max_bytes, |bytes, size| {
        let text = decode::Decoder::new(bytes, settings.encoding);
        csv::parse(text, size, &file.name, settings, schema, budget)
    })
}

impl Issues {
    fn of(self, file: &Candidate) -> Vec<Problem> {
        match self {
            Self::Content(problems) => problems,
            Self::File(flaw) => {
                let place = Location {
                    file: file.name.clone(),
                    line: 0,
                    column: None,
                };
                vec![flaw.at(place)]
            }
        }
    }
}
