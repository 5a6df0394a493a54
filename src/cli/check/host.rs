//! What the machine has to offer: the state folder, the reports' folder, and who may read secrets.

use crate::file_system;
use crate::settings::admin_token_warnings;
use crate::settings::{AMBIGUOUS_KEY, Settings};
use rustix::fs::{Access, access};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What was found. A problem keeps runs from being done, a warning does not.
#[derive(Debug, Default, Serialize)]
pub(super) struct Host {
    pub(super) problems: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// Looks, and changes nothing.
pub(super) fn look(settings: &Settings) -> Host {
    let mut host = Host::default();
    let state = &settings.state.dir;
    if let Err(why) = can_be_written(state) {
        let text = format!(
            "state.dir {}: {why}; `run` and `apply` need it: check as the user whom they run as",
            state.display()
        );
        host.problems.push(text);
    }
    if let Some(shared) = file_system::shared(state) {
        let text = format!(
            "state.dir {}: this is on {shared}, where locks can't be relied on; give it a local disk",
            state.display()
        );
        host.problems.push(text);
    }
    if let Some(folder) = reports(settings)
        && let Err(why) = can_be_written(&folder)
    {
        let text = format!(
            "source.reports {}: {why}; runs go on without row reports (\"\" for none)",
            folder.display()
        );
        host.warnings.push(text);
    }
    secrets(settings, &mut host);
    host
}

fn secrets(settings: &Settings, host: &mut Host) {
    let all_may_read = |setting: &str| {
        format!("{setting}: every user of this machine may read the file; `chmod 600` it")
    };
    if settings.omni.keys.is_ambiguous() {
        host.warnings.push(AMBIGUOUS_KEY.into());
    }
    if settings.omni.keys.is_world_readable() {
        host.warnings.push(all_may_read("omni.api_key_file"));
    }
    if let Some(token) = &settings.serve.admin_token {
        host.warnings.extend(admin_token_warnings(token));
    }
    if let Some(webhook) = &settings.webhook {
        if let Err(error) = webhook.read() {
            host.problems.push(error.to_string());
        }
        if webhook.secret().is_world_readable() {
            host.warnings.push(all_may_read("notify.webhook_url_file"));
        }
    }
}

/// The folder for row reports, beside the roster.
fn reports(settings: &Settings) -> Option<PathBuf> {
    let (source, folder) = (&settings.source.path, &settings.source.reports);
    let (source, folder) = (source.as_ref()?, folder.as_ref()?);
    let beside = match source.is_dir() {
        true => source.as_path(),
        false => source.parent()?,
    };
    Some(beside.join(folder))
}

/// Whether a folder can be written to, or made where it is missing.
fn can_be_written(folder: &Path) -> Result<(), &'static str> {
    let there = folder
        .ancestors()
        .find(|it| it.as_os_str().is_empty() || it.exists());
    let there = there.filter(|it| !it.as_os_str().is_empty());
    let there = there.unwrap_or(Path::new("."));
    if !there.is_dir() {
        return Err("it is no folder");
    }
    match access(there, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Ok(()),
        Err(_) if there == folder => Err("this user can't write there"),
        Err(_) => Err("it is missing, and this user can't make it"),
    }
}
