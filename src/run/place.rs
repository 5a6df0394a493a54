//! Where the roster lies. A share that is not mounted shows what lies below its mount point, which may be an old roster.

use super::{Reconciler, Run, RunError};
use crate::file_system;
use crate::model::{Mode, RosterPlace, RunNumber};
use crate::roster::{self, SourceError};
use crate::state::StateDb;
use std::path::Path;

/// Checks that the roster of `source.path` lies where it did. Returns its place if that is not remembered yet.
///
/// # Errors
/// Fails if the roster may be an old copy, or the state database or the file system can't be read.
pub async fn check_place(
    state: &StateDb,
    path: &Path,
    run: Option<RunNumber>,
) -> Result<Option<RosterPlace>, RunError> {
    let real = path.to_owned();
    let place = move || Ok::<_, SourceError>(file_system::place(&real));
    let Some(now) = roster::blocking(path, place).await? else {
        return Ok(None);
    };
    match state.place(path).await? {
        Some(before) if now.is_suspect_after(&before) => Err(SourceError::Moved {
            path: path.to_owned(),
            before: before.into(),
            now: now.into(),
            run,
        }
        .into()),
        before => Ok((before.as_ref() != Some(&now)).then_some(now)),
    }
}

impl Reconciler {
    /// Refuses a roster that may be an old copy, and remembers a new place. A dry run remembers none.
    pub(super) async fn check_place(&self, run: &Run) -> Result<(), RunError> {
        if !run.target.is_source {
            return Ok(());
        }
        let path = &run.target.path;
        match check_place(self.state(), path, Some(run.number)).await {
            Ok(Some(place)) if self.settings().policy.mode == Mode::Apply => {
                tracing::info!(path = %path.display(), %place, "the roster's file system is remembered");
                Ok(self.state().remember_place(path, &place).await?)
            }
            Ok(_) => Ok(()),
            Err(error) => {
                if let RunError::Source(SourceError::Moved { now, .. }) = &error {
                    self.state().refuse_place(run.number, path, now).await?;
                }
                Err(error)
            }
        }
    }
}
