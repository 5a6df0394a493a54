//! What is known about one user: rows, groups and roles.

use super::PresentRole;
use crate::model::{
    Desired, Email, Escaped, MembershipChange, NamedScope, RoleHolder, Text, UserMatch,
};
use crate::plan::RoleCatalogue;
use crate::run::Prepared;
use crate::util::text::plural;
use std::collections::BTreeSet;

/// The user's rows, with the day of leaving, problems and lints.
pub(super) fn roster(email: &Email, prepared: &Prepared) -> Vec<String> {
    let desired = &prepared.desired;
    let entry = desired.users.get(email);
    let problems = desired
        .bad_rows
        .iter()
        .chain(&prepared.assessment.problems)
        .chain(&desired.lints)
        .filter(|problem| problem.email.as_ref() == Some(email));
    let leaver = desired.leavers.get(email);
    let leaver = leaver.map(|leaver| format!("{}, {}", leaver.operation, leaver.detail()));
    entry
        .map(|entry| entry.location.to_string())
        .into_iter()
        .chain(leaver)
        .chain(problems.map(ToString::to_string))
        .collect()
}

/// The names of a user's groups, sorted.
pub(super) fn groups(email: &Email, prepared: &Prepared) -> Vec<Text> {
    let observed = &prepared.cache.observed;
    let Some(UserMatch::One(user)) = observed.get(email) else {
        return Vec::new();
    };
    let groups = observed.groups().of_user(&user.id);
    let mut names: Vec<_> = groups.map(|group| group.name.clone()).collect();
    names.sort();
    names
}

/// The rows of `source.groups` and `source.roles` about a user, or why these can't be read.
pub(super) fn stated(email: &Email, desired: &Desired) -> Vec<String> {
    let memberships = &desired.memberships;
    let rows = memberships.rows.iter().filter(|row| row.email == *email);
    let groups = rows.map(|row| {
        let sign = match row.change {
            MembershipChange::Join => "+",
            MembershipChange::Leave => "-",
        };
        format!("source.groups: {sign} {} ({})", row.group, row.location)
    });
    let roles = desired.roles.iter().flat_map(|roles| &roles.rows);
    let roles = roles.filter(|row| row.subject == *email).map(|row| {
        let model = row
            .model
            .as_deref()
            .map(|name| format!(" / {}", Escaped(name)));
        let (connection, model) = (Escaped(&row.connection), model.unwrap_or_default());
        let (role, location) = (&row.role, &row.location);
        format!("source.roles: {connection}{model}: {role} ({location})")
    });
    let frozen = memberships
        .frozen
        .iter()
        .filter(|key| key.subject == *email);
    let frozen = frozen.map(|key| match &key.group {
        Some(group) => format!(
            "source.groups: a row is invalid or contradicts another one, so the membership in {group} is not changed"
        ),
        None => "source.groups: a row is invalid, so no membership of the user is changed".to_owned(),
    });
    let frozen = frozen.collect::<BTreeSet<_>>();
    let unnamed = (memberships.unnamed > 0).then(|| {
        let rows = plural(memberships.unnamed, "invalid row");
        format!("source.groups: {rows} may be about any user, so no user leaves a group")
    });
    let unreadable = memberships.unreadable.iter();
    let unreadable_groups = unreadable.map(|problem| format!("source.groups: {problem}"));
    let unreadable = desired.unreadable_roles().into_iter();
    let unreadable_roles = unreadable.map(|problem| format!("source.roles: {problem}"));
    let groups = unreadable_groups.chain(groups).chain(frozen).chain(unnamed);
    groups.chain(unreadable_roles).chain(roles).collect()
}

/// The roles of a user, sorted.
pub(super) fn present_roles(email: &Email, prepared: &Prepared) -> Vec<PresentRole> {
    let observed = &prepared.cache.observed;
    let Some(UserMatch::One(user)) = observed.get(email) else {
        return Vec::new();
    };
    let roles = observed.roles();
    let Some(known) = roles.holders.get(&RoleHolder::User(user.id.clone())) else {
        return Vec::new();
    };
    let catalogue = roles.scopes.as_ref().map(RoleCatalogue::new);
    let catalogue = catalogue.unwrap_or_default();
    let mut present: Vec<_> = known
        .roles
        .iter()
        .map(|one| {
            let (connection, model) = catalogue.names(&one.scope);
            PresentRole {
                scope: NamedScope {
                    connection,
                    model,
                    ids: one.scope.clone(),
                },
                role: one.role.clone(),
                source: one.origin.source(),
            }
        })
        .collect();
    present.sort();
    present
}
