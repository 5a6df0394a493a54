//! The names of groups, connections and models in the settings, the roster and the files beside it.

use crate::cli::organisation;
use crate::model::{Desired, GroupMemory, ObservedGroups};
use crate::omni::Available;
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
        true => reader.group_names().await?,
        false => Available::Known(Vec::new()),
    };
    let groups = match groups {
        Available::Known(groups) => ObservedGroups::new(groups),
        Available::Rejected(status) => {
            let effect = "change no membership and no role of a group";
            warnings.push(unreadable("groups", status, effect));
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
        match reader.role_scopes().await? {
            Available::Known(scopes) => {
                let problems = role_name_problems(desired, &scopes, &groups, &memory, policy);
                desired.bad_rows.extend(problems);
            }
            Available::Rejected(status) => {
                let warning = unreadable("connections and models", status, "assign no role");
                warnings.push(warning);
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

fn unreadable(what: &str, status: StatusCode, effect: &str) -> String {
    format!(
        "this key can't read {what} (Omni responded with {status}), so their names were not checked, and runs {effect}"
    )
}
