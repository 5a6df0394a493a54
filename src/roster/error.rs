//! The reasons why there is no roster.

use crate::model::{Problem, RosterPlace, RunNumber};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The reason why there is no roster. `Display` names the path and the remedy, one line per file.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is no file or folder.
    #[error("{}: no such file or folder; put the roster there, or correct the path", .path.display())]
    NotFound {
        /// The path of the roster.
        path: PathBuf,
    },
    /// The file or folder can't be accessed.
    #[error("{}: can't be read; give the service user read permission", .path.display())]
    Unreadable {
        /// The path of the roster.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The folder has no CSV file.
    #[error(
        "{}: this folder contains no *.csv; put the roster there, saved as 'CSV UTF-8' (workbooks such as .xlsx are not read)",
        .path.display()
    )]
    NoFiles {
        /// The folder.
        path: PathBuf,
    },
    /// The folder is named like a CSV file and is empty.
    #[error(
        "{}: this is an empty folder, not a CSV file; container runtimes create one if the file to mount is missing: create the file and mount it again",
        .path.display()
    )]
    FolderForFile {
        /// The folder.
        path: PathBuf,
    },
    /// Every file was rejected.
    #[error("{}", ProblemLines(.0))]
    Rejected(Vec<Problem>),
    /// The roster did not become stable.
    #[error("{}: the file keeps changing; try again when it is completely written", .path.display())]
    StillChanging {
        /// The path of the roster.
        path: PathBuf,
    },
    /// The file system does not respond.
    #[error("{}: the file system does not respond; check the mount or the share", .path.display())]
    Unresponsive {
        /// The path of the roster.
        path: PathBuf,
    },
    /// The newest file of the folder is older than the one last accepted.
    #[error(
        "{newest}: older than {accepted}, the last accepted roster, which is gone; put a newer file there, or `touch` this one to accept it"
    )]
    Older {
        /// The newest file of the folder.
        newest: std::sync::Arc<str>,
        /// The file that was last accepted.
        accepted: std::sync::Arc<str>,
    },
    /// The roster lies on another file system than the last accepted one, probably below the mount point.
    #[error(
        "source_moved: {}: is now on {now} and was on {before}, so it may be an old copy; mount the former file system{}",
        .path.display(), accept_with(*.run)
    )]
    Moved {
        /// The path of the roster.
        path: PathBuf,
        /// Where it was.
        before: Box<RosterPlace>,
        /// Where it is.
        now: Box<RosterPlace>,
        /// The run that found it, which can be approved.
        run: Option<RunNumber>,
    },
    /// The program is stopping.
    #[error("the program stopped before the roster was read")]
    Stopped,
}

impl SourceError {
    /// The problems of the rejected files, if that is the reason.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Rejected(problems) => problems,
            _ => &[],
        }
    }

    /// Whether there is nothing to read, for example because a share is not mounted.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(
            self,
            Self::NotFound { .. }
                | Self::Unreadable { .. }
                | Self::NoFiles { .. }
                | Self::FolderForFile { .. }
                | Self::Unresponsive { .. }
        )
    }

    pub(super) fn new(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path },
            _ => Self::Unreadable { path, source },
        }
    }
}

fn accept_with(run: Option<RunNumber>) -> String {
    let accept = |run| format!(", or accept this place with `omni-user-sync approve {run}`");
    run.map_or_else(String::new, accept)
}

/// Problems, one per line.
struct ProblemLines<'a>(&'a [Problem]);

impl fmt::Display for ProblemLines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { "\n" })?;
            problem.fmt(f)?;
        }
        Ok(())
    }
}
