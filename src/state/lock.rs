//! One writing process per state folder.

use chrono::{DateTime, SecondsFormat, Utc};
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const FILE: &str = "lock";

/// How often a lock is tried that another process holds: [`StateLock::holder`] holds it for a moment.
const TRIES: usize = 3;

/// The pause before a lock is tried again.
const PAUSE: Duration = Duration::from_millis(10);

/// The size up to which the note about the holder is read.
const MAX_NOTE: u64 = 256;

/// The right to write to a state folder. It ends when this is dropped, and with the process, because the kernel
/// releases the lock. The file stays: removing it would let two processes lock two files of the same name.
#[derive(Debug)]
pub struct StateLock {
    /// Holds the lock while it is open.
    file: File,
    dir: PathBuf,
}

/// Why the state folder can't be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds the lock.
    #[error("the state folder {} is in use by {holder}; wait for a command to end, or stop the daemon (to start a run at once, use `Run now` or SIGHUP)", .dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
        /// The holder.
        holder: Holder,
    },
    /// The folder can't be created or used.
    #[error(
        "the state folder {} can't be used; set state.dir to a folder on a local disk that the service user can write to",
        .dir.display()
    )]
    Unusable {
        /// The folder.
        dir: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// The holder of a state folder, as far as it is known: a process that has just locked it may not have written its note
/// yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder(Option<(String, u32, DateTime<Utc>)>);

impl Holder {
    /// The command, its process id and its start, if they are known.
    #[must_use]
    pub fn details(&self) -> Option<(&str, u32, DateTime<Utc>)> {
        let (what, pid, since) = self.0.as_ref()?;
        Some((what, *pid, *since))
    }

    /// Whether the holder is the daemon.
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        self.details().is_some_and(|(what, _, _)| what == "run")
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("another process"),
            Some((what, pid, since)) => {
                let since = since.to_rfc3339_opts(SecondsFormat::Secs, true);
                write!(f, "`{what}` (pid {pid}, since {since})")
            }
        }
    }
}

impl StateLock {
    /// Locks a state folder for a command (`run`, `apply`), and creates the folder if it is missing. Does not wait for
    /// the holder.
    pub fn acquire(dir: &Path, what: &str) -> Result<Self, LockError> {
        let unusable = |source| LockError::Unusable {
            dir: dir.to_owned(),
            source,
        };
        let mut file = open(dir).map_err(unusable)?;
        match try_lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::InUse {
                    dir: dir.to_owned(),
                    holder: read_holder(&mut file),
                });
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        write_holder(&mut file, what).map_err(unusable)?;
        Ok(Self {
            file,
            dir: dir.to_owned(),
        })
    }

    /// The process that holds the lock of a state folder; `None` if none does. Creates nothing.
    ///
    /// # Errors
    /// If the lock can't be read.
    pub fn holder(dir: &Path) -> io::Result<Option<Holder>> {
        let mut file = match File::open(dir.join(FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // Shared, and for a moment only: it fails if another process holds the lock.
        match file.try_lock_shared() {
            Ok(()) => file.unlock().map(|()| None),
            Err(TryLockError::WouldBlock) => Ok(Some(read_holder(&mut file))),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file that is locked.
    pub(super) fn path(&self) -> PathBuf {
        self.dir.join(FILE)
    }
}

/// Unlocks at once: closing the file is not enough while a child that is just being started has it too.
impl Drop for StateLock {
    fn drop(&mut self) {
        // Where it fails, closing the file unlocks.
        let _ = self.file.unlock();
    }
}

fn try_lock(file: &File) -> Result<(), TryLockError> {
    for _ in 1..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
    file.try_lock()
}

fn open(dir: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.mode(0o600).open(dir.join(FILE))?;
    // The umask may have reduced the mode, and an older file may have another mode.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

fn write_holder(file: &mut File, what: &str) -> io::Result<()> {
    let since = Utc::now().to_rfc3339();
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(format!("{what}\n{}\n{since}\n", std::process::id()).as_bytes())
}

fn read_holder(file: &mut File) -> Holder {
    let mut note = String::new();
    // The holder only appears in a message, so a note that can't be read is ignored.
    let _ = file.take(MAX_NOTE).read_to_string(&mut note);
    Holder(parse_holder(&note))
}

fn parse_holder(note: &str) -> Option<(String, u32, DateTime<Utc>)> {
    let mut lines = note.lines();
    let (what, pid, since) = (lines.next()?, lines.next()?, lines.next()?);
    Some((what.to_owned(), pid.parse().ok()?, since.parse().ok()?))
}
