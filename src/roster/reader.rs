//! Reading a roster with the files that belong to it.

use super::stable::read_until_stable;
use super::{
    FilesBeside, SourceError, SourceReading, fingerprint_with, groups_file, read_source, roles,
};
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
/// system does not respond. A file of `source.groups` or `source.roles` of which the same is true is a
/// problem.
pub async fn read_stable(
    settings: &SourceSettings,
    path: &Path,
    is_source: bool,
    schema: &Schema,
    stable_fingerprint: Option<Fingerprint>,
) -> Result<Desired, SourceError> {
    let whole = RosterReader {
        settings: settings.clone(),
        path: path.to_owned(),
        is_source,
        beside: FilesBeside::of(is_source),
        schema: schema.clone(),
    };
    match whole.clone().read_stable(stable_fingerprint).await {
        Err(error) if is_unstable(&error) => whole.read_without_unstable(error).await,
        read => read,
    }
}

/// Whether one of the files may be what can't be read.
fn is_unstable(error: &SourceError) -> bool {
    matches!(
        error,
        SourceError::StillChanging { .. } | SourceError::Unresponsive { .. }
    )
}

/// Reads a roster, perhaps together with `source.groups` and `source.roles`.
#[derive(Clone)]
struct RosterReader {
    settings: SourceSettings,
    path: PathBuf,
    is_source: bool,
    beside: FilesBeside,
    schema: Schema,
}

impl RosterReader {
    /// Reads the roster without the files beside it that can't be read, which become problems.
    async fn read_without_unstable(self, error: SourceError) -> Result<Desired, SourceError> {
        let settings = &self.settings;
        let (groups, roles) = (self.beside.groups(settings), self.beside.roles(settings));
        let without = |groups: bool, roles: bool| FilesBeside {
            with_groups: self.beside.with_groups && !groups,
            with_roles: self.beside.with_roles && !roles,
        };
        let attempts = match (groups, roles) {
            (None, None) => vec![],
            (Some(_), None) => vec![without(true, false)],
            (None, Some(_)) => vec![without(false, true)],
            (Some(_), Some(_)) => vec![
                without(false, true),
                without(true, false),
                without(true, true),
            ],
        };
        for beside in attempts {
            let reader = Self {
                beside,
                ..self.clone()
            };
            let mut desired = match reader.read_stable(None).await {
                Err(error) if is_unstable(&error) => continue,
                read => read?,
            };
            if let Some(path) = groups.filter(|_| !beside.with_groups) {
                let problem = groups_file::unavailable(settings, path, &error);
                desired.memberships.unreadable = Some(problem);
            }
            if let Some(path) = roles.filter(|_| !beside.with_roles) {
                desired.roles = Some(roles::unavailable(settings, path, &error));
            }
            return Ok(desired);
        }
        Err(error)
    }

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
        let (path, beside) = (&self.path, self.beside);
        read_source(&self.settings, path, self.is_source, beside, &self.schema)
    }

    fn fingerprint(&self) -> Result<Fingerprint, SourceError> {
        fingerprint_with(&self.settings, &self.path, self.beside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Environment, load};

    /// No test can make a file system hang, so this one starts after reading the roster with these files has timed out.
    #[tokio::test]
    async fn a_hanging_file_is_a_problem() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let path = write("users.csv", "email\na@x.co\n");
        let none = Environment::from_iter([("OMNI_USER_SYNC_CONFIG", "/dev/null")]);
        let source = load(None, &none).expect("the defaults").source;
        let hanging = || SourceError::Unresponsive { path: path.clone() };
        let with = |groups: Option<PathBuf>, roles: Option<PathBuf>| RosterReader {
            settings: SourceSettings {
                groups,
                roles,
                settle: std::time::Duration::ZERO,
                ..source.clone()
            },
            path: path.clone(),
            is_source: true,
            beside: FilesBeside::of(true),
            schema: Schema::unknown(),
        };
        let groups = Some(write("groups.csv", "op,email,group_name\n+,a@x.co,Sales\n"));
        let roles = Some(write("roles.csv", "subject,connection,model,role\n"));
        let read = async |reader: RosterReader| {
            let read = reader.read_without_unstable(hanging()).await;
            let desired = read.expect("a roster");
            let mut problems = desired.problems().into_iter().map(ToString::to_string);
            (problems.next(), problems.next(), desired.users.len())
        };
        let problem = |file: &str| {
            let problem = "the file system does not respond; check the mount or the share";
            Some(format!("{file}: {problem}"))
        };
        let alone = read(with(groups.clone(), None)).await;
        assert_eq!(alone, (problem("groups.csv"), None, 1));
        // The cause is the first file without which the others can be read.
        let both = read(with(groups, roles)).await;
        assert_eq!(both, (problem("roles.csv"), None, 1));
        assert!(
            with(None, None)
                .read_without_unstable(hanging())
                .await
                .is_err()
        );
    }
}
