//! Notices that the state folder was removed, replaced or mounted again under the process.

use super::StateError;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The files at some paths, by device and inode. Another process may be writing to files that have taken their place,
/// with a lock of its own, so nothing may be written once any of them has been replaced.
#[derive(Debug, Default)]
pub(super) struct OpenedFiles(Vec<(PathBuf, (u64, u64))>);

impl OpenedFiles {
    /// The folder, the lock and the database as they are now.
    pub(super) fn of(database: &Path, others: &[&Path]) -> Result<Self, StateError> {
        let paths = [database].into_iter().chain(others.iter().copied());
        let known = paths.map(|path| Ok((path.to_owned(), identity(path)?)));
        let known: io::Result<_> = known.collect();
        known
            .map(Self)
            .map_err(|error| StateError::unusable(database, error))
    }

    /// Checks that all of them are still the same.
    pub(super) fn check(&self, database: &Path) -> Result<(), StateError> {
        let is_same = |(path, known): &(PathBuf, _)| identity(path).is_ok_and(|now| now == *known);
        match self.0.iter().all(is_same) {
            true => Ok(()),
            false => Err(StateError::Replaced {
                path: database.to_owned(),
            }),
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let about = fs::metadata(path)?;
    Ok((about.dev(), about.ino()))
}
