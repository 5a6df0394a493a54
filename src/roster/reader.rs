//! Reading a roster with the files that belong to it.

use super::stable::read_until_stable;
use super::{SourceError, SourceReading, fingerprint_with, groups_file, groups_path, read_source};
use crate::model::{Desired, Fingerprint, Schema};
use crate::settings::SourceSettings;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Reads the roster once it is stable: its fingerprint does not change for `source.settle`.
///
/// There is no wait if the fingerprint is `stable_fingerprint`, which the caller knows to be stable.
/// Without one, there is no wait if the files have not been changed for `source.settle`, except on a
/// share, where times are another machine's.
///
/// # Errors
/// Fails if there is no readable roster, it does not become stable within a few minutes, or the file
/// system does not respond. A file of `source.groups` of which the same is true is a problem.
pub async fn read_stable(
    settings: &SourceSettings,
    path: &Path,
    is_source: bool,
    schema: &Schema,
    stable_fingerprint: Option<Fingerprint>,
) -> Result<Desired, SourceError> {
    let groups = groups_path(settings, is_source);
    let whole = RosterReader {
        settings: settings.clone(),
        path: path.to_owned(),
        is_source,
        groups: groups.map(Path::to_owned),
        schema: schema.clone(),
    };
    let read = whole.clone().read_stable(stable_fingerprint).await;
    match (read, groups) {
        (
            Err(error @ (SourceError::StillChanging { .. } | SourceError::Unresponsive { .. })),
            Some(groups),
        ) => {
            // If the roster alone can be read, `source.groups` is what can't.
            let roster = RosterReader {
                groups: None,
                ..whole
            };
            let mut desired = roster.read_stable(None).await?;
            desired.memberships.unreadable =
                Some(groups_file::unavailable(settings, groups, error));
            Ok(desired)
        }
        (read, _) => read,
    }
}

/// Reads a roster, perhaps together with `source.groups`.
#[derive(Clone)]
struct RosterReader {
    settings: SourceSettings,
    path: PathBuf,
    is_source: bool,
    groups: Option<PathBuf>,
    schema: Schema,
}

impl RosterReader {
    async fn read_stable(
        self,
        stable_fingerprint: Option<Fingerprint>,
    ) -> Result<Desired, SourceError> {
        let (path, settle) = (self.path.clone(), self.settings.settle);
        let source = Arc::new(self);
        let again = source.clone();
        let read = move || source.read();
        let fingerprint = move || again.fingerprint();
        read_until_stable(&path, settle, stable_fingerprint, read, fingerprint).await?
    }

    fn read(&self) -> Result<SourceReading<Result<Desired, SourceError>>, SourceError> {
        let (path, groups) = (&self.path, self.groups.as_deref());
        read_source(&self.settings, path, self.is_source, groups, &self.schema)
    }

    fn fingerprint(&self) -> Result<Fingerprint, SourceError> {
        fingerprint_with(&self.settings, &self.path, self.groups.as_deref())
    }
}
