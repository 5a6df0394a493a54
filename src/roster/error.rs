//! Why there is no roster.

use crate::model::Problem;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why there is no roster. `Display` says where and what to do, for each file on a line.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nothing is there.
    #[error("{}: there is no such file or folder; put the roster there, or correct source.path", .path.display())]
    NotFound {
        /// What was looked for.
        path: PathBuf,
    },
    /// The file or folder can't be looked at.
    #[error("{}: it can't be looked at; see to it that it can be read by this program's user", .path.display())]
    Unreadable {
        /// What was looked at.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A folder without a CSV file.
    #[error(
        "{}: there is no *.csv in this folder; put the roster there, saved as 'CSV UTF-8' (a workbook such as .xlsx is not read)",
        .path.display()
    )]
    NoFiles {
        /// The folder.
        path: PathBuf,
    },
    /// A folder that is named like a CSV file, without one in it.
    #[error(
        "{}: this is an empty folder, not a CSV file; container runtimes make one where the file to be mounted was missing: put the file there and mount it again",
        .path.display()
    )]
    FolderForFile {
        /// The folder.
        path: PathBuf,
    },
    /// Every file was rejected.
    #[error("{}", Listed(.0))]
    Rejected(Vec<Problem>),
    /// The roster did not come to rest.
    #[error("{}: it keeps changing; try again when whatever writes it has finished", .path.display())]
    StillChanging {
        /// The roster.
        path: PathBuf,
    },
    /// The file system does not answer.
    #[error("{}: its file system does not answer; look at the mount or the share that it is on", .path.display())]
    Silent {
        /// The roster.
        path: PathBuf,
    },
    /// The newest file of the folder is older than the one last accepted.
    #[error(
        "{newest}: it is older than {accepted}, which was the roster until now and is gone; put a newer file there, or `touch` this one if it is meant"
    )]
    Older {
        /// The newest that is there.
        newest: std::sync::Arc<str>,
        /// The one last accepted.
        accepted: std::sync::Arc<str>,
    },
    /// The program is ending.
    #[error("the program ended before the roster was read")]
    Stopped,
}

impl SourceError {
    /// The files' problems, where that is what it is.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Rejected(problems) => problems,
            _ => &[],
        }
    }

    /// Whether there is nothing to be read, as when a share is not mounted.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(
            self,
            Self::NotFound { .. }
                | Self::Unreadable { .. }
                | Self::NoFiles { .. }
                | Self::FolderForFile { .. }
                | Self::Silent { .. }
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

struct Listed<'a>(&'a [Problem]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { "\n" })?;
            problem.fmt(f)?;
        }
        Ok(())
    }
}
