//! Why the journal can't be used.

use rusqlite::ErrorCode;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the journal can't be used. `Display` says where and what to do. Cheap to clone: one commit
/// that fails is the failure of all who wrote in it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StateError {
    /// It belongs to another organisation.
    #[error(
        "{}: this journal belongs to {bound}, and omni.base_url is {asked}; correct omni.base_url, or give each organisation a state.dir of its own",
        .path.display()
    )]
    OtherOrganisation {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        bound: String,
        /// What the settings say.
        asked: String,
    },
    /// A newer program wrote it.
    #[error(
        "{}: this journal is of version {version}, and this program knows versions up to {known}; use the newer program that wrote it, or put back the copy from before",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i64,
        /// The newest that we know.
        known: i64,
    },
    /// An older program wrote it, and only `run` and `apply` may change that.
    #[error(
        "{}: this journal is of version {version} and has to be brought up to {known} first; `run` and `apply` do so when they start",
        .path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i64,
        /// The newest that we know.
        known: i64,
    },
    /// It is damaged.
    #[error(
        "{}: this journal is damaged ({problem}); put back a copy of it, or move the files journal.db* away to begin anew: who is managed and what was removed lately is then forgotten, so look at `plan` before anything else",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// It is on a file system that is shared with other machines.
    #[error(
        "{}: this is on {file_system}, where locks can't be relied on and journals get damaged; give state.dir a folder on a local disk or volume",
        .path.display()
    )]
    Shared {
        /// The file.
        path: PathBuf,
        /// The file system.
        file_system: &'static str,
    },
    /// The file system says no.
    #[error("{}: the journal can't be opened; see to it that this program's user can read and write it", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// SQLite says no.
    #[error("{}: the journal can't be used; {remedy}", .path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What to do.
        remedy: &'static str,
        /// What SQLite says.
        source: Arc<rusqlite::Error>,
    },
    /// Its thread is gone.
    #[error("{}: the journal has stopped; the log says why, and a restart helps", .path.display())]
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
            Some(ErrorCode::DiskFull) => "its disk is full: make room",
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                "another program keeps it locked: see which one, and try again"
            }
            Some(
                ErrorCode::ReadOnly
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::AuthorizationForStatementDenied,
            ) => "see to it that this program's user can write to it and its folder",
            Some(ErrorCode::SystemIoFailure) => {
                "see to its disk: the system log says what is wrong"
            }
            _ => "this is a fault of the program: tell its makers",
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

/// Whether the file is not as we wrote it: its pages, or what stands in a column.
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
