//! The names of groups, connections and models in the settings, the roster and the files beside it.

use crate::cli::organisation;
use crate::model::{Desired, GroupMemory, ObservedGroups};
use crate::omni::{Available, OmniError};
use crate::plan::{
    group_contradictions, group_name_problems, managed_groups_warning, role_name_problems,
};
use crate::run::RunError;
use crate::settings::Settings;
use chrono::Utc;
use reqwest::StatusCode;

/// Adds the problems of names that Omni does not have, and of rows that contradict a cell. Returns a warning for each
/// list that Omni does not show, and for patterns that match no group.
pub(super) async fn check(
    settings: &Settings,
    desired: &mut Desired,
) -> Result<Vec<String>, RunError> {
    let policy = &settings.policy;
    let has_memberships = !desired.memberships.is_empty();
    let roles = desired.roles.as_ref();
    let has_roles = roles.is_some_and(|roles| !roles.rows.is_empty());
    let names_groups = has_memberships
        || desired.role_groups().next().is_some()
        || !policy.managed_groups.is_empty();
    let mut warnings = Vec::new();
    if !names_groups && !has_roles {
        return Ok(warnings);
    }
    let memory = known_groups(settings).await;
    let reader = organisation::reader(settings)?;
    let groups = match names_groups {
        true => readable(reader.group_names().await)?,
        false => Ok(Vec::new()),
    };
    let groups = match groups {
        Ok(groups) => ObservedGroups::new(groups),
        Err(cause) => {
            let effect = "change no membership and no role of a group";
            warnings.push(cause.warning("groups", effect));
            ObservedGroups::default()
        }
    };
    if groups.is_known() {
        let problems = group_name_problems(desired, &groups, &memory, policy);
        desired.bad_rows.extend(problems);
        warnings.extend(managed_groups_warning(&groups, policy));
    }
    let problems = group_contradictions(desired, &groups, &memory, policy);
    desired.bad_rows.extend(problems);
    if has_roles {
        match readable(reader.role_scopes().await)? {
            Ok(scopes) => {
                let problems = role_name_problems(desired, &scopes, &groups, &memory, policy);
                desired.bad_rows.extend(problems);
            }
            Err(cause) => {
                warnings.push(cause.warning("connections and models", "assign no role"));
            }
        }
    }
    Ok(warnings)
}

/// The managed groups, as far as the state database knows.
async fn known_groups(settings: &Settings) -> GroupMemory {
    let Some(state) = super::open_state(settings) else {
        return GroupMemory::default();
    };
    let memory = state.memory(Utc::now()).await;
    memory.map(|memory| memory.groups).unwrap_or_default()
}

/// Adds the problems of rows of `source.groups` that contradict a cell, by names alone.
pub(super) fn check_offline(settings: &Settings, desired: &mut Desired) {
    let (groups, memory) = (ObservedGroups::default(), GroupMemory::default());
    let problems = group_contradictions(desired, &groups, &memory, &settings.policy);
    desired.bad_rows.extend(problems);
}

/// Why a list can't be read, while others can.
enum Unreadable {
    /// The key has no permission.
    Rejected(StatusCode),
    /// A list that is unreliable, or a failure.
    Failed(OmniError),
}

impl Unreadable {
    fn warning(&self, what: &str, effect: &str) -> String {
        let cause = match self {
            Self::Rejected(status) => {
                format!("this key can't read {what} (Omni responded with {status})")
            }
            Self::Failed(error) => format!("the {what} can't be read ({error})"),
        };
        format!("{cause}, so their names were not checked, and runs {effect}")
    }
}

/// The content of a list, or why it can't be read.
///
/// # Errors
/// Errors that end a run.
fn readable<T>(
    answer: Result<Available<T>, OmniError>,
) -> Result<Result<T, Unreadable>, OmniError> {
    match answer {
        Ok(Available::Known(list)) => Ok(Ok(list)),
        Ok(Available::Rejected(status)) => Ok(Err(Unreadable::Rejected(status))),
        Err(error) if error.ends_run() => Err(error),
        Err(error) => Ok(Err(Unreadable::Failed(error))),
    }
}
