//! Ownership: decides which users are managed. A user is managed if this program created it, or if a roster of
//! `source.path` has upserted it, until a read shows that it is gone: Omni may confirm a removal and not keep it. Only
//! this module decides; the state database stores the result.

use super::{Blocked, BlockedOperation, Verdict};
use crate::model::{
    AcceptedRoster, Change, ChangeIntent, ChangeOutcome, Desired, DesiredUser, Email, Entry, Field,
    GroupId, GroupName, GroupUpdate, GuardRule, ManagedGroup, MembershipSource, Memory, Observed,
    ObservedUser, Operation, OwnershipUpdate, Policy, Prune, RoleUpdate, RunTime, UserId,
    UserMatch,
};
use std::collections::HashSet;

/// Whether a user is managed. Once Omni confirmed the removal of a user, another one with the same email is not.
fn is_managed(email: &Email, id: Option<&UserId>, memory: &Memory) -> bool {
    let confirmed = memory.confirmed_removals.get(email);
    memory.managed.contains(email) || confirmed.is_some() && confirmed == id
}

/// Whether pruning concerns a user that the roster does not name.
pub(super) fn may_prune(user: &ObservedUser, memory: &Memory, policy: &Policy) -> bool {
    match policy.prune {
        Prune::Never => false,
        Prune::Managed => is_managed(&user.email, Some(&user.id), memory),
        Prune::All => true,
    }
}

/// Since when a managed user whose pruning is planned is missing from the roster.
pub(super) fn missing_since(change: &Change, memory: &Memory) -> Option<RunTime> {
    let email = change.email()?;
    let since = memory.missing_since.get(email).copied();
    since.filter(|_| is_managed(email, change.user_id(), memory))
}

/// The ownership changes that follow from a roster and an observation: users that the roster upserts become managed,
/// users that it no longer names are missing from now on, and users that were removed as it asks are no longer tracked.
#[must_use]
pub fn by_roster(desired: &Desired, observed: &Observed, memory: &Memory) -> OwnershipUpdate {
    let mut update = OwnershipUpdate::default();
    let active_again = memory
        .deactivated
        .iter()
        .filter(|(id, email)| !may_be_inactive(id, email, observed));
    update.not_deactivated = active_again.map(|(id, _)| id.clone()).collect();
    update.removed_by_others = inactive_leavers(desired, observed, memory);
    if !desired.is_source {
        return update;
    }
    let upserts = |entry: &Entry| matches!(entry.want, DesiredUser::Upsert(_));
    let mut not_removed = Vec::new();
    for (email, id) in &memory.confirmed_removals {
        match user_with(id, email, observed) {
            // The user is new to this program.
            _ if desired.users.get(email).is_some_and(upserts) => {}
            Found::Yes => not_removed.push(email.clone()),
            Found::No => update.forgotten.push(email.clone()),
            Found::Unknown => {}
        }
    }
    for email in memory.managed.iter().chain(&not_removed) {
        let was_missing = memory.missing_since.contains_key(email);
        let (list, applies) = match desired.users.get(email).map(|entry| &entry.want) {
            Some(DesiredUser::Delete(_) | DesiredUser::Deactivate(_))
                if is_gone(email, observed) =>
            {
                (&mut update.forgotten, true)
            }
            Some(_) => (&mut update.found, was_missing),
            // An invalid row names its user, whatever it asks for.
            None if desired.frozen.contains_key(email) => (&mut update.found, was_missing),
            // The part that was not read may name the user.
            None if desired.pruning_allowed().is_err() => continue,
            None if is_gone(email, observed) => (&mut update.forgotten, true),
            None => (&mut update.missing, !was_missing),
        };
        if applies {
            list.push(email.clone());
        }
    }
    update.not_removed = not_removed;
    let upserted = desired.users.iter().filter(|(_, entry)| upserts(entry));
    let new = upserted.filter(|(email, _)| !memory.managed.contains(*email));
    update.managed = new.map(|(email, _)| email.clone()).collect();
    update
}

/// Updates to the records of groups once the roster is accepted: a group is confirmed once no leave of its first
/// contact is held any more, or hidden because memberships could not be compared. Records that stay the same are left
/// out.
#[must_use]
pub(super) fn of_groups(
    mut update: GroupUpdate,
    verdict: &Verdict,
    blocked: &[Blocked],
    hidden: &HashSet<GroupId>,
    memory: &Memory,
) -> GroupUpdate {
    let held = verdict.held().iter();
    let held = held.filter(|held| held.rule == GuardRule::NewGroups);
    let held = held
        .flat_map(|held| &held.changes)
        .filter_map(Change::group);
    let held: HashSet<_> = held.filter_map(|group| group.id.as_ref()).collect();
    let hides_leaves = blocked
        .iter()
        .any(|one| one.operation == BlockedOperation::Leave);
    update.managed.retain_mut(|(id, group)| {
        let known = memory.groups.managed.get(id);
        // A renamed group keeps its former name until its leaves are approved.
        let is_known = known.is_some_and(|known| known.is_confirmed && known.name == group.name);
        let may_leave = held.contains(id) || hidden.contains(id) || hides_leaves;
        group.is_confirmed = is_known || !may_leave;
        known.is_none_or(|known| known != group && (group.is_confirmed || !known.is_confirmed))
    });
    update
}

/// The roster that later ones are compared with, if this roster qualifies: it comes from `source.path`, all its
/// files were read, and its pruning needs no approval (not `is_suspect`).
#[must_use]
pub fn accepted(desired: &Desired, is_suspect: bool) -> Option<AcceptedRoster> {
    let is_accepted = desired.is_source && desired.rejected.is_empty() && !is_suspect;
    is_accepted.then(|| AcceptedRoster {
        fingerprint: desired.fingerprint,
        rows: desired.rows,
        files: desired.files.clone(),
    })
}

/// What a change does once its outcome is known. `intent` has all ids that are known by then. A deactivation that was
/// sent counts whatever Omni answered, because an answer may show the state from before: if a later read shows the user
/// active, [`by_roster`] takes it back.
#[must_use]
pub fn by_change(
    intent: &ChangeIntent,
    outcome: ChangeOutcome,
    is_source: bool,
) -> OwnershipUpdate {
    let mut update = OwnershipUpdate::default();
    if intent.operation == Operation::Assign {
        update.roles = roles_by_change(intent, outcome);
        return update;
    }
    let Some(email) = intent.subject.email() else {
        return update;
    };
    let (email, user_id) = (|| email.clone(), intent.user_id.as_ref());
    if outcome != ChangeOutcome::Applied {
        let was_sent = outcome != ChangeOutcome::Skipped;
        if let (Operation::Deactivate, true, Some(id)) = (intent.operation, was_sent, user_id) {
            update.deactivated.push((id.clone(), email()));
        }
        return update;
    }
    let membership = || {
        let id = intent.group.as_ref()?.id.clone()?;
        Some((id, email()))
    };
    match intent.operation {
        Operation::Join if is_source => update.groups.stated.extend(membership()),
        Operation::Leave => update.groups.not_stated.extend(membership()),
        Operation::Create if is_source => update.managed.push(email()),
        Operation::Create
        | Operation::Delete
        | Operation::Deactivate
        | Operation::Update
        | Operation::Join
        | Operation::Assign
        | Operation::Transfer => {}
    }
    let Some(id) = user_id.cloned() else {
        return update;
    };
    let sets_active = || intent.fields.iter().any(|one| one.field == Field::Active);
    match intent.operation {
        Operation::Deactivate => update.deactivated.push((id, email())),
        Operation::Update if !sets_active() => {}
        Operation::Leave | Operation::Join | Operation::Assign | Operation::Transfer => {}
        Operation::Update | Operation::Create => update.not_deactivated.push(id),
        Operation::Delete => {
            update.not_deactivated.push(id.clone());
            update.removed.push((id, email()));
        }
    }
    update
}

/// What an assignment does to what is known about roles.
fn roles_by_change(intent: &ChangeIntent, outcome: ChangeOutcome) -> RoleUpdate {
    let mut update = RoleUpdate::default();
    let (Some(holder), Some(role)) = (intent.holder(), &intent.role) else {
        return update;
    };
    match outcome {
        ChangeOutcome::Applied => {
            let assigned = (holder, role.scope.ids.clone(), role.to.clone());
            update.assigned.push(assigned);
        }
        ChangeOutcome::NotKept | ChangeOutcome::Failed => update.uncertain.push(holder),
        ChangeOutcome::Skipped => {}
    }
    update
}

/// The update for a group that these changes need and that is in Omni now. If the roster is the one of `source.path`,
/// the group becomes managed if a cell states one of the memberships, also if the next roster no longer names it.
/// Members of a group that this program created may leave within the limits.
#[must_use]
pub(crate) fn by_new_group(
    id: &GroupId,
    name: &GroupName,
    changes: &[&Change],
    is_created: bool,
    is_source: bool,
) -> OwnershipUpdate {
    let mut update = OwnershipUpdate::default();
    if is_created {
        update.groups.created.push((id.clone(), name.clone()));
    }
    let mut memberships = changes.iter().filter_map(|change| change.membership());
    if is_source && memberships.any(|one| one.source == MembershipSource::Cell) {
        let group = ManagedGroup {
            name: name.clone(),
            is_confirmed: is_created,
        };
        update.groups.managed.push((id.clone(), group));
    }
    update
}

/// The users to be removed that Omni shows as inactive. By Omni's newer documents they are gone later.
fn inactive_leavers(desired: &Desired, observed: &Observed, memory: &Memory) -> Vec<Email> {
    let leaves = |want: &DesiredUser| !matches!(want, DesiredUser::Upsert(_));
    let is_inactive = |email: &Email| match observed.get(email) {
        Some(UserMatch::One(user)) => user.is_inactive(),
        Some(UserMatch::Several(_)) | None => false,
    };
    let leavers = desired.users.iter();
    let leavers = leavers.filter(|(email, entry)| leaves(&entry.want) && is_inactive(email));
    let new = leavers.filter(|(email, _)| !memory.removed.contains(&email.digest()));
    new.map(|(email, _)| email.clone()).collect()
}

/// Whether Omni has the user with an id, as far as an observation shows.
enum Found {
    Yes,
    No,
    Unknown,
}

/// Whether a user whose removal Omni confirmed is still there. A cached observation lacks it because Omni said so.
fn user_with(id: &UserId, email: &Email, observed: &Observed) -> Found {
    match observed.get(email) {
        Some(UserMatch::One(user)) if user.id == *id => Found::Yes,
        Some(UserMatch::One(_)) => Found::No,
        Some(UserMatch::Several(_)) => Found::Unknown,
        None if observed.is_whole_listing() => Found::No,
        None => Found::Unknown,
    }
}

fn is_gone(email: &Email, observed: &Observed) -> bool {
    observed.shows_everybody() && observed.get(email).is_none()
}

/// Whether a user that we deactivated may still be inactive.
fn may_be_inactive(id: &UserId, email: &Email, observed: &Observed) -> bool {
    match observed.get(email) {
        Some(UserMatch::One(user)) => user.id == *id && user.active != Some(true),
        Some(UserMatch::Several(_)) => true,
        None => !observed.shows_everybody(),
    }
}
