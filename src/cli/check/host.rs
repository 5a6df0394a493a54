//! Checks the host: the state folder, the reports folder, and the permissions of secret files.

use crate::file_system;
use crate::settings::admin_token_warnings;
use crate::settings::{AMBIGUOUS_KEY, EMPTY_PROTECT, Settings};
use crate::shutdown::too_few_open_files;
use rustix::fs::{Access, access, statvfs};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Below this, the state database can't grow by a run.
const MIN_FREE_BYTES: u64 = 1 << 20;
/// The state database, its log and index, and slot files.
const MIN_FREE_INODES: u64 = 8;
/// The connections of the server, the state database, and requests.
const MIN_OPEN_FILES: u64 = 256;

/// The results. A problem prevents runs, a warning does not.
#[derive(Debug, Default, Serialize)]
pub(super) struct Host {
    pub(super) problems: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// Checks the host without changing it.
pub(super) fn check(settings: &Settings) -> Host {
    let mut host = Host::default();
    let state = &settings.state.dir;
    if let Err(reason) = is_writable(state) {
        let text = format!(
            "state.dir {}: {reason}; `run` and `apply` need it; run `check` as the user they run as",
            state.display()
        );
        host.problems.push(text);
    }
    if let Some(shared) = file_system::shared(state) {
        let text = format!(
            "state.dir {}: on {shared}, which has no reliable locks; use a local disk",
            state.display()
        );
        host.problems.push(text);
    }
    host.problems.extend(no_space(state));
    host.problems.extend(too_few_open_files(MIN_OPEN_FILES));
    if let Some(folder) = reports(settings)
        && let Err(reason) = is_writable(&folder)
    {
        let text = format!(
            "source.reports {}: {reason}; runs write no row reports (set \"\" to disable them)",
            folder.display()
        );
        host.warnings.push(text);
    }
    secrets(settings, &mut host);
    if settings.policy.protect.is_empty() {
        host.warnings.push(EMPTY_PROTECT.into());
    }
    host
}

fn secrets(settings: &Settings, host: &mut Host) {
    let readable_by_all = |setting: &str| {
        format!("{setting}: every user of this host can read the file; run `chmod 600` on it")
    };
    if settings.omni.keys.is_ambiguous() {
        host.warnings.push(AMBIGUOUS_KEY.into());
    }
    if settings.omni.keys.is_world_readable() {
        host.warnings.push(readable_by_all("omni.api_key_file"));
    }
    if let Some(token) = &settings.serve.admin_token {
        host.warnings.extend(admin_token_warnings(token));
    }
    if let Some(webhook) = &settings.webhook {
        if let Err(error) = webhook.read() {
            host.problems.push(error.to_string());
        }
        if webhook.secret().is_world_readable() {
            host.warnings
                .push(readable_by_all("notify.webhook_url_file"));
        }
    }
}

/// Why the state folder can't grow.
fn no_space(dir: &Path) -> Option<String> {
    let stat = dir.ancestors().find_map(|dir| statvfs(dir).ok())?;
    let bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    // Some file systems count no inodes.
    let inodes = (stat.f_files > 0).then_some(stat.f_favail);
    let problem = exhausted(bytes, inodes)?;
    Some(format!("state.dir {}: {problem}", dir.display()))
}

/// What a disk with this much free lacks.
fn exhausted(bytes: u64, inodes: Option<u64>) -> Option<&'static str> {
    if bytes < MIN_FREE_BYTES {
        Some("the disk is full; free some space")
    } else if inodes.is_some_and(|inodes| inodes < MIN_FREE_INODES) {
        Some("the disk has no inodes left; remove files")
    } else {
        None
    }
}

/// The folder for row reports, next to the roster.
fn reports(settings: &Settings) -> Option<PathBuf> {
    let (source, folder) = (&settings.source.path, &settings.source.reports);
    let (source, folder) = (source.as_ref()?, folder.as_ref()?);
    let beside = match source.is_dir() {
        true => source.as_path(),
        false => source.parent()?,
    };
    Some(beside.join(folder))
}

/// Checks that a folder can be written to, or created if it is missing.
fn is_writable(folder: &Path) -> Result<(), &'static str> {
    let existing = folder
        .ancestors()
        .find(|it| it.as_os_str().is_empty() || it.exists());
    let existing = existing.filter(|it| !it.as_os_str().is_empty());
    let existing = existing.unwrap_or(Path::new("."));
    if !existing.is_dir() {
        return Err("not a folder");
    }
    match access(existing, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Ok(()),
        Err(_) if existing == folder => Err("this user can't write to it"),
        Err(_) => Err("missing, and this user can't create it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_a_problem() {
        let says = |bytes, inodes| exhausted(bytes, inodes).unwrap_or_default();
        assert!(says(0, Some(1000)).contains("the disk is full"));
        assert!(says(1 << 30, Some(0)).contains("no inodes"));
        assert_eq!(says(1 << 30, Some(1000)), "");
        assert_eq!(says(1 << 30, None), "");
    }
}
