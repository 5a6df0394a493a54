//! The names in `source.roles` that Omni does not have.

use super::groups::{Resolved, names, reference};
use super::name_index::{NameError, NameIndex};
use super::new_names::FormerNames;
use super::role_scopes::RoleCatalogue;
use crate::model::{
    Desired, DesiredRole, DesiredRoles, GroupMemory, GroupName, GroupRef, ObservedGroup,
    ObservedGroups, Policy, Problem, ProblemKind, RoleColumn, RoleScopeList,
};
use crate::roster::{Issue, did_you_mean};
use std::collections::HashSet;

/// The problems of connections, models and, if Omni shows its groups, groups that Omni does not have; each group at the
/// first row that has it.
#[must_use]
pub fn role_name_problems(
    desired: &Desired,
    scopes: &RoleScopeList,
    groups: &ObservedGroups,
    memory: &GroupMemory,
    policy: &Policy,
) -> Vec<Problem> {
    let Some(stated) = &desired.roles else {
        return Vec::new();
    };
    let catalogue = RoleCatalogue::new(scopes);
    let mut problems = catalogue.resolve(stated).problems;
    if !groups.is_known() {
        return problems;
    }
    let by_name = NameIndex::of_groups(groups);
    let in_roster = names(desired, groups, memory, policy);
    let former = FormerNames::new(memory, groups);
    let is_created = |name| matches!(in_roster.get(name), Some(Resolved::Group(_)));
    let mut seen = HashSet::new();
    for row in &stated.rows {
        let Some(name) = row.subject.group().filter(|name| seen.insert(*name)) else {
            continue;
        };
        let found = find_group(&by_name, name, &former).err();
        let issue = found.filter(|_| !is_created(name));
        problems.extend(issue.map(|issue| problem(stated, row, RoleColumn::Subject, issue)));
    }
    problems
}

/// The group of a row.
pub(super) fn find_group(
    groups: &NameIndex<&ObservedGroup>,
    name: &GroupName,
    former: &FormerNames,
) -> Result<GroupRef, Issue> {
    let (message, remedy) = match groups.find(name.as_str()) {
        Ok(group) => match reference(group) {
            Some(group) => return Ok(group),
            None => (
                format!("the name of the group '{name}' in Omni can't be written in a file"),
                "rename the group in Omni",
            ),
        },
        Err(NameError::Unknown { nearest }) => match former.get(name) {
            Some((why, remedy)) => {
                let message = format!("Omni has no group '{name}': {why}");
                return Err(Issue::new(message, remedy));
            }
            None => (
                format!("Omni has no group '{name}'{}", did_you_mean(nearest)),
                "correct the name, or remove the row",
            ),
        },
        Err(NameError::Ambiguous { .. }) => (
            format!("several groups in Omni have the name '{name}' in different letter case"),
            "write the name exactly as Omni shows it",
        ),
    };
    Err(Issue::new(message, remedy))
}

/// A problem of a cell, with the user of its row.
pub(super) fn problem(
    stated: &DesiredRoles,
    row: &DesiredRole,
    column: RoleColumn,
    issue: Issue,
) -> Problem {
    Problem {
        email: row.subject.email().cloned(),
        ..issue.kind(ProblemKind::Role).at(stated.cell(row, column))
    }
}
