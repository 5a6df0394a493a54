//! Where the roster lies. A share that is not mounted shows what lies below its mount point, which may be an old
//! roster.

use super::{Reconciler, Run, RunError};
use crate::file_system;
use crate::model::{Mode, RosterPlace, RunNumber};
use crate::roster::{self, SourceError};
use crate::state::StateDb;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// Checks that the roster of `source.path` lies where it did. Returns its place if that is not stored yet. A hung
/// file system does not delay a stop.
///
/// # Errors
/// Fails if the roster may be an old copy, or the state database or the file system can't be read.
pub async fn check_place(
    state: &StateDb,
    path: &Path,
    run: Option<RunNumber>,
    stop: &CancellationToken,
) -> Result<Option<RosterPlace>, RunError> {
    let real = path.to_owned();
    let place = move || Ok::<_, SourceError>(file_system::place(&real));
    let now = roster::unless_stopped(stop, roster::blocking(path, place)).await?;
    let Some(now) = now else {
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
    /// Refuses a roster that may be an old copy, and stores a new place. A dry run stores none.
    pub(super) async fn check_place(
        &self,
        run: &Run,
        stop: &CancellationToken,
    ) -> Result<(), RunError> {
        let (target, number) = (&run.target, Some(run.number));
        match self.observer.check_place(target, number, stop).await {
            Ok(Some(place)) if self.settings().policy.mode == Mode::Apply => {
                let path = &target.path;
                tracing::info!(path = %path.display(), %place, "the roster's file system is remembered");
                Ok(self.state().remember_place(path, &place).await?)
            }
            Ok(_) => Ok(()),
            Err(error) => {
                if let RunError::Source(SourceError::Moved { path, now, .. }) = &error {
                    self.state().refuse_place(run.number, path, now).await?;
                }
                Err(error)
            }
        }
    }
}
