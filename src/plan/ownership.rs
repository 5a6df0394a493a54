//! Ownership: decides which users are managed. A user is managed if this program created it, or if a roster of
//! `source.path` has upserted it. Only this module decides; the state database stores the result.

use super::fingerprint::{Origin, fingerprint};
use super::{Blocked, BlockedOperation, Verdict};
use crate::model::{
    AcceptedRoster, Change, ChangeIntent, ChangeOutcome, Desired, DesiredUser, Email, Field,
    GroupUpdate, GuardRule, Memory, Observed, Operation, OwnershipUpdate, UserId, UserMatch,
};
use std::collections::HashSet;

/// Whether a user whose pruning is planned is managed. A user is no longer recorded as managed once Omni confirmed
/// the removal; if the user is still there, the fingerprint of that removal shows it.
#[must_use]
pub(crate) fn is_managed(change: &Change, memory: &Memory) -> bool {
    memory.managed.contains(&change.email) || removal_was_not_kept(change, memory)
}

/// Whether Omni confirmed the pruning of a managed user who is still there.
pub(super) fn removal_was_not_kept(change: &Change, memory: &Memory) -> bool {
    let known = memory.quarantine_of(change);
    !memory.managed.contains(&change.email)
        && known
            .is_some_and(|known| known.fingerprint == fingerprint(change, Origin::MissingManaged))
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
    for email in &memory.managed {
        let was_missing = memory.missing_since.contains_key(email);
        let (list, applies) = match desired.users.get(email).map(|entry| &entry.want) {
            Some(DesiredUser::Delete | DesiredUser::Deactivate) if is_gone(email, observed) => {
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
    let new = desired.users.iter().filter(|(email, entry)| {
        matches!(entry.want, DesiredUser::Upsert(_)) && !memory.managed.contains(*email)
    });
    update.managed = new.map(|(email, _)| email.clone()).collect();
    update
}

/// What becomes of the records of groups once the roster is accepted: a group is confirmed once no leave of its first
/// contact is held any more. Records that stay the same are left out.
#[must_use]
pub(super) fn of_groups(
    mut update: GroupUpdate,
    verdict: &Verdict,
    blocked: &[Blocked],
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
        group.is_confirmed = is_known || (!held.contains(id) && !hides_leaves);
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

/// What a change does once its outcome is known. `user_id` is the user's id, also that of a created user. A
/// deactivation that was sent counts whatever Omni answered, because an answer may show the state from before: if a
/// later read shows the user active, [`by_roster`] takes it back.
#[must_use]
pub fn by_change(
    intent: &ChangeIntent,
    user_id: Option<&UserId>,
    outcome: ChangeOutcome,
    is_source: bool,
) -> OwnershipUpdate {
    let mut update = OwnershipUpdate::default();
    let email = || intent.email.clone();
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
        Operation::Delete => update.forgotten.push(email()),
        Operation::Create | Operation::Deactivate | Operation::Update | Operation::Join => {}
    }
    let Some(id) = user_id.cloned() else {
        return update;
    };
    let sets_active = || intent.fields.iter().any(|one| one.field == Field::Active);
    match intent.operation {
        Operation::Deactivate => update.deactivated.push((id, email())),
        Operation::Update if !sets_active() => {}
        Operation::Leave | Operation::Join => {}
        Operation::Delete | Operation::Update | Operation::Create => {
            update.not_deactivated.push(id);
        }
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
