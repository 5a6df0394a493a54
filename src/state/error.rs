//! Why the state database can't be used.

use rusqlite::ErrorCode;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Too many open files, which has no kind of its own.
const EMFILE: i32 = rustix::io::Errno::MFILE.raw_os_error();

/// Why the state database can't be used. `Display` says where and what to do. Cheap to clone, because all writers of a
/// failed commit get the error.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StateError {
    /// The database belongs to another organisation.
    #[error(
        "{}: this state database belongs to {bound}, but omni.base_url is {asked}; correct omni.base_url, or give each organisation its own state.dir",
        .path.display()
    )]
    OtherOrganisation {
        /// The file.
        path: PathBuf,
        /// The organisation of the database.
        bound: String,
        /// The organisation in the settings.
        asked: String,
    },
    /// A newer version of the program wrote the database.
    #[error(
        "{}: this state database has version {version}, but this program supports versions up to {known}; use the newer program that wrote it, or restore an older copy",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of the database.
        version: i64,
        /// The newest supported version.
        known: i64,
    },
    /// An older version of the program wrote the database. Only `run` and `apply` migrate it.
    #[error(
        "{}: this state database has version {version} and must be migrated to {known} first; `run` and `apply` do this when they start",
        .path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// The version of the database.
        version: i64,
        /// The newest supported version.
        known: i64,
    },
    /// The database is damaged.
    #[error(
        "{}: this state database is damaged ({problem}); restore a copy, or move the files state.db* away to start over; this discards the record of managed users and recent removals, so check `plan` first",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The damage.
        problem: String,
    },
    /// The files are no longer those that were opened.
    #[error(
        "{}: the state folder was removed, replaced or mounted again while this program runs, so nothing more is written or sent; put it back, or restart the program to use what is there now",
        .path.display()
    )]
    Replaced {
        /// The file.
        path: PathBuf,
    },
    /// The database is on a file system that is shared with other machines.
    #[error(
        "{}: the state database is on {file_system}, where locks are unreliable and databases get damaged; set state.dir to a folder on a local disk or volume",
        .path.display()
    )]
    Shared {
        /// The file.
        path: PathBuf,
        /// The file system.
        file_system: &'static str,
    },
    /// The file can't be opened.
    #[error("{}: the state database can't be opened; {}", .path.display(), remedy(.source))]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// SQLite reports an error.
    #[error("{}: the state database can't be used; {remedy}", .path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What to do.
        remedy: &'static str,
        /// SQLite's error.
        source: Arc<rusqlite::Error>,
    },
    /// The database thread has ended.
    #[error("{}: the state database thread has stopped; see the log and restart the program", .path.display())]
    Stopped {
        /// The file.
        path: PathBuf,
    },
}

impl StateError {
    pub(super) fn new(path: &Path, error: rusqlite::Error) -> Self {
        if is_damage(&error) {
            return Self::damaged(path, error.to_string());
        }
        let path = path.to_owned();
        let remedy = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => "the disk is full: free some space",
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                "another program has locked it: find out which, and try again"
            }
            Some(
                ErrorCode::ReadOnly
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::AuthorizationForStatementDenied,
            ) => {
                "give the service user write permission for the file and its folder, and check that the disk has free inodes"
            }
            Some(ErrorCode::SystemIoFailure) => "check the disk: the system log has the details",
            _ => "this is a bug; please report it",
        };
        Self::Failed {
            path,
            remedy,
            source: Arc::new(error),
        }
    }

    pub(super) fn unusable(path: &Path, source: io::Error) -> Self {
        Self::Unusable {
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }

    pub(super) fn damaged(path: &Path, problem: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }
}

/// What to do about an error of the system.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full or has no inodes left: free some space"
        }
        _ if error.raw_os_error() == Some(EMFILE) => {
            "too many files are open: raise the limit (ulimit -n)"
        }
        _ => "give the service user read and write permission",
    }
}

/// Whether the file was altered: its pages, or the content of a column.
fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{
        FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, QueryReturnedNoRows,
    };
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    ) || matches!(
        error,
        FromSqlConversionFailure(..)
            | IntegralValueOutOfRange(..)
            | InvalidColumnType(..)
            | QueryReturnedNoRows
    )
}
