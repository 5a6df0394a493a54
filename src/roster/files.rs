//! The files of the roster, and whether they are complete.
//!
//! A file that is not a regular file, or is too large, is rejected before it is opened: opening a FIFO
//! hangs, and reading a device never ends. A file that is rejected, vanishes or changes while
//! it is read is reported as a problem and never skipped, so that its users do not count as missing.

use super::text::{Issue, visible_name};
use super::{SourceError, file_lints};
use crate::model::{FileRead, Problem};
use crate::settings::{Select, SourceSettings};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A digest of the roster's file names, sizes, times and inodes. It changes with the files and needs
/// no reading, so that polling is cheap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceStamp {
    files: [u8; 32],
    /// The files that are not read because the newest one is dated in the future.
    hidden: Option<[u8; 32]>,
}

impl SourceStamp {
    /// The stamp of a source that is described by these bytes.
    #[must_use]
    pub fn of(description: &[u8]) -> Self {
        Self {
            files: digest(description),
            hidden: None,
        }
    }

    /// The stamp with these files behind one that is dated in the future.
    #[must_use]
    pub fn hiding(self, description: &[u8]) -> Self {
        Self {
            hidden: Some(digest(description)),
            ..self
        }
    }

    /// The stamp together with that of a file beside the roster; `None` if that file can't be found.
    #[must_use]
    pub(super) fn beside(self, other: Option<Self>) -> Self {
        let other = other.map_or([0; 32], |other| other.files);
        Self {
            files: digest(&[self.files, other].concat()),
            ..self
        }
    }

    /// Whether the same files lie behind one that is dated in the future.
    #[must_use]
    pub fn hides_as(&self, other: &Self) -> bool {
        self.hidden == other.hidden
    }
}

fn digest(description: &[u8]) -> [u8; 32] {
    *blake3::hash(description).as_bytes()
}

/// The identity and state of a file, as the file system reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileStat {
    len: u64,
    modified: UnixTime,
    changed: UnixTime,
    inode: (u64, u64),
}

/// Seconds and nanoseconds since 1970.
type UnixTime = (i64, i64);

impl FileStat {
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

    /// The time of the last change. A rename, or a copied modification time, changes only `ctime`.
    fn touched(&self) -> SystemTime {
        system_time(self.modified.max(self.changed))
    }
}

fn system_time((seconds, nanoseconds): UnixTime) -> SystemTime {
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
    /// `None` if the file system reports an error.
    stat: Option<FileStat>,
    rejected: Option<Issue>,
}

/// The files of the roster, by name.
pub(super) struct Candidates {
    pub(super) files: Vec<Candidate>,
    /// All CSV files of a folder of which only the newest is read.
    pub(super) folder: Vec<FileRead>,
    /// Lints on these files and on others in the folder.
    pub(super) lints: Vec<Problem>,
    /// The time of the last change of the folder.
    folder_touched: Option<SystemTime>,
}

impl Candidates {
    fn one(path: &Path, metadata: &Metadata, max_bytes: u64) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str());
        let file = Candidate::new(name, path.to_owned(), metadata, max_bytes);
        let replaced = file_lints::replaced(&file.name, path, metadata);
        let future = file
            .dated()
            .and_then(|file| file_lints::future(&file, SystemTime::now()));
        Self {
            lints: replaced.into_iter().chain(future).collect(),
            files: vec![file],
            folder: Vec::new(),
            folder_touched: None,
        }
    }

    /// The time of the last change of any file or of the folder.
    pub(super) fn touched(&self) -> Option<SystemTime> {
        let files = self.files.iter().filter_map(|file| file.stat);
        files
            .map(|stat| stat.touched())
            .chain(self.folder_touched)
            .max()
    }

    pub(super) fn stamp(&self) -> SourceStamp {
        let files = self.files.iter().map(|file| (&file.file_name, file.stat));
        let stamp = SourceStamp::of(format!("{:?}", files.collect::<Vec<_>>()).as_bytes());
        let mut files = self.files.iter().filter_map(Candidate::dated);
        match files.any(|file| file.is_in_future(SystemTime::now())) && !self.folder.is_empty() {
            true => stamp.hiding(format!("{:?}", self.folder).as_bytes()),
            false => stamp,
        }
    }
}

/// Finds the files of the roster.
pub(super) fn find(settings: &SourceSettings, path: &Path) -> Result<Candidates, SourceError> {
    let metadata = fs::metadata(path).map_err(|error| SourceError::new(path, error))?;
    if !metadata.is_dir() {
        return Ok(Candidates::one(path, &metadata, settings.max_bytes));
    }
    let (mut files, mut lints) =
        list(path, settings).map_err(|error| SourceError::new(path, error))?;
    if files.is_empty() {
        return Err(no_files(path));
    }
    files.sort_by(|a, b| a.file_name.cmp(&b.file_name));
    let dated: Vec<_> = files.iter().filter_map(Candidate::dated).collect();
    let now = SystemTime::now();
    lints.extend(
        dated
            .iter()
            .filter_map(|file| file_lints::future(file, now)),
    );
    let mut folder = Vec::new();
    if settings.select == Select::Newest {
        files = newest(files);
        folder = dated;
    }
    Ok(Candidates {
        files,
        folder,
        lints,
        folder_touched: Some(FileStat::of(&metadata).touched()),
    })
}

/// Finds a file beside the roster. A folder in its place is rejected.
pub(super) fn find_one(settings: &SourceSettings, path: &Path) -> Result<Candidates, SourceError> {
    let metadata = fs::metadata(path).map_err(|error| SourceError::new(path, error))?;
    let mut found = Candidates::one(path, &metadata, settings.max_bytes);
    let name = name_beside(settings, path);
    let lints = found.lints.iter_mut().map(|lint| &mut lint.location.file);
    let files = found.files.iter_mut().map(|file| &mut file.name);
    files.chain(lints).for_each(|one| one.clone_from(&name));
    Ok(found)
}

/// The name of a file beside the roster in problems: its whole path if the roster has the same file name.
pub(super) fn name_beside(settings: &SourceSettings, path: &Path) -> Arc<str> {
    let roster = settings.path.as_deref().and_then(Path::file_name);
    let name = path.file_name().filter(|name| Some(*name) != roster);
    visible_name(name.unwrap_or(path.as_os_str())).into()
}

fn no_files(path: &Path) -> SourceError {
    let path = path.to_owned();
    if path.file_name().is_some_and(is_csv) {
        SourceError::FolderForFile { path }
    } else {
        SourceError::NoFiles { path }
    }
}

/// The newest file by time, then name. A file whose time is unknown may be the newest, so it is
/// chosen: its problem is reported, while an older roster would be used silently.
fn newest(files: Vec<Candidate>) -> Vec<Candidate> {
    let time = |file: &Candidate| file.stat.map(|stat| stat.modified);
    let age = |file: &Candidate| (time(file).is_none(), time(file), file.file_name.clone());
    files.into_iter().max_by_key(age).into_iter().collect()
}

/// The CSV files of a folder, and lints on the other files.
fn list(folder: &Path, settings: &SourceSettings) -> io::Result<(Vec<Candidate>, Vec<Problem>)> {
    let (mut files, mut lints) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let beside = || is_beside(folder, &name, settings).then_some("named by another setting");
        if let Some(reason) = ignored(&name).or_else(beside) {
            tracing::debug!(file = %visible_name(&name), reason, "file is not part of the roster");
            lints.extend(file_lints::workbook(&name));
            continue;
        }
        files.push(Candidate::in_folder(folder, &name, settings.max_bytes));
    }
    Ok((files, lints))
}

fn ignored(name: &OsStr) -> Option<&'static str> {
    let bytes = name.as_encoded_bytes();
    if bytes.starts_with(b".") {
        Some("hidden file")
    } else if bytes.starts_with(b"~$") {
        Some("lock file of a spreadsheet program")
    } else if !is_csv(name) {
        Some("not a .csv file")
    } else {
        None
    }
}

/// Whether a file of the roster's folder is one with other rows, such as `source.groups`.
fn is_beside(folder: &Path, name: &OsStr, settings: &SourceSettings) -> bool {
    let folder_of = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.canonicalize(),
        _ => Path::new(".").canonicalize(),
    };
    let is_same_folder = |path: &Path| match (folder_of(path), folder.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    };
    let others = settings.groups.iter().chain(&settings.roles);
    let mut named = others.filter(|path| path.file_name() == Some(name));
    named.any(|path| is_same_folder(path))
}

fn is_csv(name: &OsStr) -> bool {
    let extension = Path::new(name).extension();
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case("csv"))
}

impl Candidate {
    /// The file with its time, if that is known.
    fn dated(&self) -> Option<FileRead> {
        Some(FileRead {
            name: self.name.clone(),
            modified: self.stat?.modified(),
        })
    }

    fn new(name: &OsStr, path: PathBuf, metadata: &Metadata, max_bytes: u64) -> Self {
        Self {
            name: visible_name(name).into(),
            file_name: name.to_owned(),
            path,
            stat: Some(FileStat::of(metadata)),
            rejected: rejection(metadata, max_bytes),
        }
    }

    /// Makes one system call per file, and more only for links: on a share each may be a round trip.
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

    /// Follows a link inside the folder, such as the files of a ConfigMap, but not out of it.
    fn behind_link(folder: &Path, path: PathBuf, name: &OsStr, max_bytes: u64) -> Self {
        let target = path
            .canonicalize()
            .and_then(|real| Ok((folder.canonicalize()?, fs::metadata(&real)?, real)));
        match target {
            Ok((home, metadata, real)) if real.starts_with(&home) => {
                Self::new(name, real, &metadata, max_bytes)
            }
            Ok((_, metadata, _)) => Self {
                rejected: Some(outside_folder()),
                ..Self::new(name, path, &metadata, max_bytes)
            },
            Err(error) => Self::missing(name, path, &error),
        }
    }

    fn missing(name: &OsStr, path: PathBuf, error: &io::Error) -> Self {
        Self {
            name: visible_name(name).into(),
            file_name: name.to_owned(),
            path,
            stat: None,
            rejected: Some(gone_or_unreadable(error)),
        }
    }

    pub(super) fn open(&self, max_bytes: u64) -> Result<(File, FileStat), Issue> {
        if let Some(issue) = &self.rejected {
            return Err(issue.clone());
        }
        // The file may have been replaced since. Without this flag, opening a FIFO would hang.
        let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
        let opened = File::options()
            .read(true)
            .custom_flags(flags)
            .open(&self.path);
        let file = opened.map_err(|error| gone_or_unreadable(&error))?;
        let metadata = file.metadata().map_err(|error| unreadable(&error))?;
        rejection(&metadata, max_bytes).map_or(Ok((file, FileStat::of(&metadata))), Err)
    }

    /// Checks that the path still leads to the file that was read, and that it is unchanged.
    pub(super) fn check_unchanged(&self, before: FileStat) -> Result<(), Issue> {
        let now = fs::metadata(&self.path).map_err(|error| gone_or_unreadable(&error))?;
        if FileStat::of(&now) == before {
            return Ok(());
        }
        Err(Issue::new(
            "changed while it was read",
            "write it under another name and rename it when it is complete",
        ))
    }
}

fn rejection(metadata: &Metadata, max_bytes: u64) -> Option<Issue> {
    if metadata.is_dir() {
        return Some(Issue::new(
            "this is a folder",
            "put the CSV file itself here",
        ));
    }
    if !metadata.is_file() {
        return Some(Issue::new(
            "this is a pipe or a device, not a file",
            "save the rows to a file",
        ));
    }
    (metadata.len() > max_bytes).then(|| too_large(max_bytes))
}

pub(super) fn too_large(max_bytes: u64) -> Issue {
    Issue::new(
        format!("larger than {}", bytesize::ByteSize(max_bytes)),
        "check that this is the intended file, or raise source.max_bytes",
    )
}

fn outside_folder() -> Issue {
    Issue::new(
        "this link points outside the folder",
        "put the file itself in the folder, or set source.path to its location",
    )
}

/// An error of the operating system.
pub(super) fn unreadable(error: &io::Error) -> Issue {
    Issue::new(
        format!("can't be read: {error}"),
        "give the service user read permission",
    )
}

fn gone_or_unreadable(error: &io::Error) -> Issue {
    if error.kind() == io::ErrorKind::NotFound {
        Issue::new(
            "the file has vanished, or is a broken link",
            "restore the file, or remove the link",
        )
    } else {
        unreadable(error)
    }
}
