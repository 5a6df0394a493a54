//! The desired state: what the roster states, and all of its problems.
//!
//! ```text
//! files (which files) → content (bytes, hashed) → decode (bytes → text) → records (csv crate, with the
//!   scanner's line numbers) → parse (header, row, cell, lints) → merge (rows of all files → Desired)
//! ```
//!
//! Rules (for the format see docs/roster.md):
//!
//! - All problems are reported, each with file, line, column and remedy.
//! - An invalid row freezes its user. An invalid file switches off removals. Nothing is guessed.
//! - [`Desired`] is unique by construction: it has one entry per user, and none for a frozen user.

mod address;
mod budget;
mod cell;
mod content;
mod decode;
mod entries;
mod error;
pub mod export;
mod export_roles;
mod file_lints;
mod files;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod groups_cell;
mod groups_file;
mod header;
mod leaving;
mod lint;
mod lints;
mod merge;
mod number_shape;
mod parse;
mod reader;
mod records;
mod repetition;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod role_fuzzing;
mod roles;
mod row;
mod scanner;
mod snippet;
mod stable;
mod table;
mod text;
mod text_lints;

pub use error::SourceError;
pub use export_roles::{RoleExportRow, export_roles};
pub use files::SourceStamp;
pub(crate) use groups_file::conflict as conflicting_membership;
pub use reader::read_stable;
pub(crate) use repetition::{Repetition, repetitions};
pub use roles::read_roles;
pub(crate) use roles::{merge_roles, skipped_role};
pub use snippet::{ProblemSnippet, snippets};
pub use stable::unless_stopped;
pub(crate) use stable::{ReadTime, Stability, StabilityDetector, blocking};
pub(crate) use text::{Issue, did_you_mean, quoted};

use crate::file_system;
use crate::model::{Desired, FileRead, Fingerprint, Location, Problem, Schema};
use crate::settings::SourceSettings;
use budget::Budget;
use content::{FileError, FileReading, Fingerprinter};
use files::{Candidate, Candidates};
use groups_file::GroupsFile;
use merge::ReadMeta;
use parse::ParsedFile;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// Reads the roster at `path`, each file once. Blocks as long as the file system does. The roster of `source.path`
/// includes the rows of `source.groups` and `source.roles`.
///
/// # Errors
/// Fails if there is no roster, or all of its files are rejected.
pub fn read(
    settings: &SourceSettings,
    path: &Path,
    is_source: bool,
    schema: &Schema,
) -> Result<Desired, SourceError> {
    let beside = FilesBeside::of(is_source);
    read_source(settings, path, is_source, beside, schema)?.outcome
}

/// Reads a roster of one file that is in memory. Its name is only for problems. Such a roster is not that of
/// `source.path`.
///
/// # Errors
/// Fails if the file is rejected.
pub fn read_memory(
    settings: &SourceSettings,
    name: &str,
    bytes: &[u8],
    schema: &Schema,
) -> Result<Desired, SourceError> {
    let name: Arc<str> = text::visible_name(name.as_ref()).into();
    let parsed = content::read_memory(bytes, settings.max_bytes, |bytes, size| {
        parse::parse(bytes, size, &name, settings, schema, Budget::WHOLE)
    });
    let parsed = parsed.map_err(|error| SourceError::Rejected(error.problems(&name)))?;
    let meta = ReadMeta {
        rejected: Vec::new(),
        files: Vec::new(),
        folder: Vec::new(),
        groups: GroupsFile::default(),
        roles: None,
        lints: Vec::new(),
        fingerprint: Fingerprint(*blake3::hash(bytes).as_bytes()),
        is_source: false,
    };
    merge::merge(vec![parsed], meta, schema).map_err(SourceError::Rejected)
}

/// The stamp of the roster of `source.path`, at `path`, with those of `source.groups` and `source.roles`. It needs no
/// reading. Blocks.
///
/// # Errors
/// Fails if there is no roster.
pub fn stamp(settings: &SourceSettings, path: &Path) -> Result<SourceStamp, SourceError> {
    let stamp = files::find(settings, path)?.stamp();
    let beside = FilesBeside::of(true);
    let files = [beside.groups(settings), beside.roles(settings)];
    let add = |stamp: SourceStamp, file| stamp.beside(table::stamp(settings, file));
    Ok(files.into_iter().flatten().fold(stamp, add))
}

/// The fingerprint of the roster of `source.path`, at `path`, as [`read`] would return it. Blocks.
///
/// # Errors
/// Fails if there is no roster.
pub fn fingerprint(settings: &SourceSettings, path: &Path) -> Result<Fingerprint, SourceError> {
    fingerprint_with(settings, path, FilesBeside::of(true))
}

/// The files that are read together with the roster of `source.path`, if the settings name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FilesBeside {
    with_groups: bool,
    with_roles: bool,
}

impl FilesBeside {
    /// They belong to the roster of `source.path` alone.
    fn of(is_source: bool) -> Self {
        Self {
            with_groups: is_source,
            with_roles: is_source,
        }
    }

    fn groups(self, settings: &SourceSettings) -> Option<&Path> {
        settings.groups.as_deref().filter(|_| self.with_groups)
    }

    fn roles(self, settings: &SourceSettings) -> Option<&Path> {
        settings.roles.as_deref().filter(|_| self.with_roles)
    }
}

fn fingerprint_with(
    settings: &SourceSettings,
    path: &Path,
    beside: FilesBeside,
) -> Result<Fingerprint, SourceError> {
    let fingerprint = fingerprint_of(settings, &files::find(settings, path)?);
    let files = [beside.groups(settings), beside.roles(settings)];
    let add = |fingerprint, file| content::both(fingerprint, table::fingerprint(settings, file));
    Ok(files.into_iter().flatten().fold(fingerprint, add))
}

fn fingerprint_of(settings: &SourceSettings, found: &Candidates) -> Fingerprint {
    let mut fingerprint = Fingerprinter::default();
    for file in &found.files {
        let reading = content::read_file(file, settings.max_bytes, |_, _| Ok(()));
        fingerprint.add(file, reading.digest);
    }
    fingerprint.finish()
}

/// The result of reading a source once.
struct SourceReading<T> {
    fingerprint: Fingerprint,
    /// Whether no file changed while it was read.
    is_unchanged: bool,
    /// The time of the last change of the files. Unknown on a share, where times are another
    /// machine's.
    touched: Option<SystemTime>,
    outcome: T,
}

/// The reading of a file beside the roster, apart from its rows.
struct BesideReading {
    /// `None` if there is no file.
    fingerprint: Option<Fingerprint>,
    is_unchanged: bool,
    /// As in [`SourceReading`].
    touched: Option<SystemTime>,
}

impl<T> From<&SourceReading<T>> for BesideReading {
    fn from(reading: &SourceReading<T>) -> Self {
        Self {
            fingerprint: Some(reading.fingerprint),
            is_unchanged: reading.is_unchanged,
            touched: reading.touched,
        }
    }
}

impl BesideReading {
    /// The file can't be read.
    const NONE: Self = Self {
        fingerprint: None,
        is_unchanged: true,
        touched: None,
    };
}

fn read_source(
    settings: &SourceSettings,
    path: &Path,
    is_source: bool,
    beside: FilesBeside,
    schema: &Schema,
) -> Result<SourceReading<Result<Desired, SourceError>>, SourceError> {
    let found = files::find(settings, path)?;
    let mut touched = touched(&found, path);
    let mut fingerprint = Fingerprinter::default();
    let (mut parsed, mut files, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
    let (mut is_unchanged, mut budget) = (true, Budget::WHOLE);
    for file in &found.files {
        let reading = read_file(file, settings, schema, budget);
        fingerprint.add(file, reading.digest);
        is_unchanged &= reading.is_unchanged;
        match reading.content {
            Ok(content) => {
                budget = content.budget;
                parsed.push(content);
                files.push(FileRead {
                    name: file.name.clone(),
                    modified: reading.modified,
                });
            }
            Err(error) => rejected.extend(error.problems(&file.name)),
        }
    }
    let mut fingerprint = fingerprint.finish();
    let mut add = |beside: &BesideReading| {
        fingerprint = content::both(fingerprint, beside.fingerprint);
        is_unchanged &= beside.is_unchanged;
        touched = touched
            .zip(beside.touched)
            .map(|(one, other)| one.max(other));
    };
    let groups = beside.groups(settings);
    let groups = groups.map(|path| groups_file::read(settings, path));
    let roles = beside.roles(settings);
    let roles = roles.map(|path| roles::read(settings, path));
    groups.iter().for_each(|(_, reading)| add(reading));
    roles.iter().for_each(|(_, reading)| add(reading));
    let meta = ReadMeta {
        rejected,
        files,
        folder: found.folder,
        groups: groups.map(|(groups, _)| groups).unwrap_or_default(),
        roles: roles.map(|(roles, _)| roles),
        lints: found.lints,
        fingerprint,
        is_source,
    };
    let outcome = if parsed.is_empty() {
        Err(SourceError::Rejected(meta.rejected))
    } else {
        merge::merge(parsed, meta, schema).map_err(SourceError::Rejected)
    };
    Ok(SourceReading {
        fingerprint,
        is_unchanged,
        touched,
        outcome,
    })
}

fn touched(found: &Candidates, path: &Path) -> Option<SystemTime> {
    let is_local = file_system::shared(path).is_none();
    found.touched().filter(|_| is_local)
}

fn read_file(
    file: &Candidate,
    settings: &SourceSettings,
    schema: &Schema,
    budget: Budget,
) -> FileReading<ParsedFile> {
    content::read_file(file, settings.max_bytes, |bytes, size| {
        parse::parse(bytes, size, &file.name, settings, schema, budget)
    })
}

impl FileError {
    fn problems(self, file: &Arc<str>) -> Vec<Problem> {
        match self {
            Self::Content(problems) => problems,
            Self::File(issue) => vec![issue.at(Location::line(file, 0))],
        }
    }
}
