//! Which files are the roster, and whether they are whole.
//!
//! A file that is not a plain file of bearable size is refused before it is opened, since opening a
//! FIFO hangs and reading a device never ends. What is refused, vanishes or changes while it is read
//! is reported as that file's problem and never skipped: its users are not gone.

use super::SourceError;
use super::csv::unreadable;
use super::words::{Issue, shown_name};
use crate::settings::{Select, SourceSettings};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the file system says of the roster without its being read: a cheap hint that something
/// changed, for pollers. Names, sizes, times and inodes of all its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp(Vec<(OsString, Option<Stat>)>);

/// The identity and state of a file, as far as the file system tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    len: u64,
    modified: Time,
    changed: Time,
    inode: (u64, u64),
}

/// Seconds and nanoseconds since 1970; ordered as time is.
type Time = (i64, i64);

impl Stat {
    fn of(metadata: &Metadata) -> Self {
        Self {
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            inode: (metadata.dev(), metadata.ino()),
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.len
    }

    pub(super) fn modified(&self) -> SystemTime {
        system_time(self.modified)
    }

    /// The last time that anything was done to it: a rename or a copied time changes only `ctime`.
    fn touched(&self) -> SystemTime {
        system_time(self.modified.max(self.changed))
    }
}

fn system_time((seconds, nanoseconds): Time) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 {
        UNIX_EPOCH.checked_sub(whole)
    } else {
        UNIX_EPOCH.checked_add(whole)
    };
    let fraction = Duration::from_nanos(nanoseconds.unsigned_abs());
    time.and_then(|time| time.checked_add(fraction))
        .unwrap_or(UNIX_EPOCH)
}

/// One file of the roster, before it is opened.
pub(super) struct Candidate {
    pub(super) name: Arc<str>,
    pub(super) file_name: OsString,
    path: PathBuf,
    /// `None` where the file system says nothing.
    stat: Option<Stat>,
    refused: Option<Issue>,
}

/// The files of the roster, by name.
pub(super) struct Candidates {
    pub(super) files: Vec<Candidate>,
    /// When the folder's list of names last changed.
    folder: Option<SystemTime>,
}

impl Candidates {
    /// The last time that anything was done to any of them.
    pub(super) fn touched(&self) -> Option<SystemTime> {
        let files = self.files.iter().filter_map(|file| file.stat);
        files.map(|stat| stat.touched()).chain(self.folder).max()
    }

    pub(super) fn stamp(self) -> Stamp {
        let stamps = self
            .files
            .into_iter()
            .map(|file| (file.file_name, file.stat));
        Stamp(stamps.collect())
    }
}

/// Finds the files of the roster.
pub(super) fn find(settings: &SourceSettings, path: &Path) -> Result<Candidates, SourceError> {
    let metadata = fs::metadata(path).map_err(|error| SourceError::new(path, error))?;
    if !metadata.is_dir() {
        let name = path.file_name().unwrap_or(path.as_os_str());
        return Ok(Candidates {
            files: vec![Candidate::new(
                name,
                path.to_owned(),
                &metadata,
                settings.max_bytes,
            )],
            folder: None,
        });
    }
    let mut files =
        list(path, settings.max_bytes).map_err(|error| SourceError::new(path, error))?;
    if files.is_empty() {
        return Err(no_files(path));
    }
    files.sort_by(|a, b| a.file_name.cmp(&b.file_name));
    if settings.select == Select::Newest {
        files = newest(files);
    }
    Ok(Candidates {
        files,
        folder: Some(Stat::of(&metadata).touched()),
    })
}

fn no_files(path: &Path) -> SourceError {
    let path = path.to_owned();
    if path.file_name().is_some_and(is_csv) {
        SourceError::FolderForFile { path }
    } else {
        SourceError::NoFiles { path }
    }
}

/// The newest by time, then name. One whose time is unknown may be the newest: better to refuse it
/// than to go back to an older roster without a word.
fn newest(files: Vec<Candidate>) -> Vec<Candidate> {
    let time = |file: &Candidate| file.stat.map(|stat| stat.modified);
    let age = |file: &Candidate| (time(file).is_none(), time(file), file.file_name.clone());
    files.into_iter().max_by_key(age).into_iter().collect()
}

fn list(folder: &Path, max_bytes: u64) -> io::Result<Vec<Candidate>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if let Some(why) = ignored(&name) {
            tracing::debug!(file = %shown_name(&name), "not part of the roster: {why}");
            continue;
        }
        files.push(Candidate::in_folder(folder, &name, max_bytes));
    }
    Ok(files)
}

fn ignored(name: &OsStr) -> Option<&'static str> {
    let bytes = name.as_encoded_bytes();
    if bytes.starts_with(b".") {
        Some("a hidden file")
    } else if bytes.starts_with(b"~$") {
        Some("a spreadsheet's lock file")
    } else if !is_csv(name) {
        Some("its name does not end in .csv")
    } else {
        None
    }
}

fn is_csv(name: &OsStr) -> bool {
    let extension = Path::new(name).extension();
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case("csv"))
}

impl Candidate {
    fn new(name: &OsStr, path: PathBuf, metadata: &Metadata, max_bytes: u64) -> Self {
        Self {
            name: shown_name(name).into(),
            file_name: name.to_owned(),
            path,
            stat: Some(Stat::of(metadata)),
            refused: refusal(metadata, max_bytes),
        }
    }

    /// One look at the file, and more only at a link: on a share each may take a round trip.
    fn in_folder(folder: &Path, name: &OsStr, max_bytes: u64) -> Self {
        let path = folder.join(name);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_symlink() => {
                Self::behind_link(folder, path, name, max_bytes)
            }
            Ok(metadata) => Self::new(name, path, &metadata, max_bytes),
            Err(error) => Self::missing(name, path, &error),
        }
    }

    /// Follows a link, as a ConfigMap's files are, but not out of the folder.
    fn behind_link(folder: &Path, path: PathBuf, name: &OsStr, max_bytes: u64) -> Self {
        let looked = path
            .canonicalize()
            .and_then(|real| Ok((folder.canonicalize()?, fs::metadata(&real)?, real)));
        match looked {
            Ok((home, metadata, real)) if real.starts_with(&home) => {
                Self::new(name, real, &metadata, max_bytes)
            }
            Ok((_, metadata, _)) => Self {
                refused: Some(leads_out()),
                ..Self::new(name, path, &metadata, max_bytes)
            },
            Err(error) => Self::missing(name, path, &error),
        }
    }

    fn missing(name: &OsStr, path: PathBuf, error: &io::Error) -> Self {
        Self {
            name: shown_name(name).into(),
            file_name: name.to_owned(),
            path,
            stat: None,
            refused: Some(gone_or_unreadable(error)),
        }
    }

    pub(super) fn open(&self, max_bytes: u64) -> Result<(File, Stat), Issue> {
        if let Some(flaw) = &self.refused {
            return Err(flaw.clone());
        }
        // What was looked at may have been replaced since; without this flag a FIFO would hang.
        let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
        let opened = File::options()
            .read(true)
            .custom_flags(flags)
            .open(&self.path);
        let file = opened.map_err(|error| gone_or_unreadable(&error))?;
        let metadata = file.metadata().map_err(|error| unreadable(&error))?;
        refusal(&metadata, max_bytes).map_or(Ok((file, Stat::of(&metadata))), Err)
    }

    /// Whether the path still leads to the file that was read, unchanged.
    pub(super) fn check_unchanged(&self, before: Stat) -> Result<(), Issue> {
        let now = fs::metadata(&self.path).map_err(|error| gone_or_unreadable(&error))?;
        if Stat::of(&now) == before {
            return Ok(());
        }
        Err(Issue::new(
            "it was changed while it was read",
            "write it under another name and rename it when it is whole",
        ))
    }
}

fn refusal(metadata: &Metadata, max_bytes: u64) -> Option<Issue> {
    if metadata.is_dir() {
        return Some(Issue::new(
            "this is a folder",
            "put the CSV file itself there",
        ));
    }
    if !metadata.is_file() {
        return Some(Issue::new(
            "this is a pipe or a device, not a file",
            "save the roster to a file first",
        ));
    }
    (metadata.len() > max_bytes).then(|| too_large(max_bytes))
}

pub(super) fn too_large(max_bytes: u64) -> Issue {
    Issue::new(
        format!("it is larger than {}", bytesize::ByteSize(max_bytes)),
        "check that this is the roster, or raise source.max_bytes",
    )
}

fn leads_out() -> Issue {
    Issue::new(
        "this link leads out of the folder",
        "put the file itself there, or set source.path to where it is",
    )
}

fn gone_or_unreadable(error: &io::Error) -> Issue {
    if error.kind() == io::ErrorKind::NotFound {
        Issue::new(
            "it has vanished, or is a link that leads nowhere",
            "put it back, or remove the link",
        )
    } else {
        unreadable(error)
    }
}
