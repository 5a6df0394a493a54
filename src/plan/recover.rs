//! Recovery: determines from an observation whether a change was applied if its response was lost when the program
//! ended.

use super::name_index::NameIndex;
use crate::model::{
    ChangeIntent, ChangeRecord, Field, GroupRef, NewIds, Observed, ObservedGroup, ObservedUser,
    Operation, Schema, UserId, UserMatch, Value, same_text, trim,
};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::{HashMap, HashSet};

/// The present users that these changes are about, by id.
pub(crate) fn by_id<'a>(
    observed: &'a Observed,
    changes: &'a [ChangeRecord],
) -> HashMap<&'a UserId, &'a ObservedUser> {
    let ids: HashSet<_> = changes
        .iter()
        .filter_map(|one| one.intent.user_id.as_ref())
        .collect();
    if ids.is_empty() {
        return HashMap::new();
    }
    let users = observed.users().filter(|user| ids.contains(&user.id));
    users.map(|user| (&user.id, user.as_ref())).collect()
}

/// A list that lacks a user who was created less than this long ago may lag behind the creation.
const MAX_LIST_LAG: TimeDelta = TimeDelta::minutes(5);

/// Whether a change was applied; `None` if the observation can't show it.
pub(crate) fn was_applied(
    change: &ChangeRecord,
    now: DateTime<Utc>,
    by_id: &HashMap<&UserId, &ObservedUser>,
    observed: &Observed,
    schema: &Schema,
) -> Option<bool> {
    let intent = &change.intent;
    let found = observed.get(intent.subject.email()?);
    let user = match &intent.user_id {
        Some(id) => by_id.get(id).copied(),
        None => match found {
            Some(UserMatch::Several(_)) => return None,
            Some(UserMatch::One(user)) => Some(user.as_ref()),
            None => None,
        },
    };
    // A user that was not looked up, or that shares an email, may still exist.
    let may_be_hidden =
        || !observed.shows_everybody() || matches!(found, Some(UserMatch::Several(_)));
    if user.is_none() && (may_be_hidden() || may_be_too_new(intent, now)) {
        return None;
    }
    if intent.operation != Operation::Delete && user.is_some_and(|user| !user.is_read()) {
        return None;
    }
    Some(match (intent.operation, user) {
        // See `membership_was_applied`, `role_was_applied` and `transfer_was_applied`.
        (Operation::Leave | Operation::Join | Operation::Assign | Operation::Transfer, _) => {
            return None;
        }
        (Operation::Delete, user) => user.is_none(),
        (Operation::Deactivate, user) => user.is_none_or(ObservedUser::is_inactive),
        (Operation::Update | Operation::Create, None) => false,
        (Operation::Update | Operation::Create, Some(user)) => {
            let fields = &intent.fields;
            fields
                .iter()
                .all(|one| user.shows(&one.field, one.to.as_ref(), schema))
        }
    })
}

/// Whether a change of a membership was applied; `None` if the observation can't show it.
pub(crate) fn membership_was_applied(
    intent: &ChangeIntent,
    now: DateTime<Utc>,
    observed: &Observed,
) -> Option<bool> {
    let user = intent.user_id.as_ref()?;
    let is_member = match group_of(intent, observed)? {
        Some(group) => group.members.as_ref()?.contains(user),
        None if may_be_too_new(intent, now) => return None,
        None => false,
    };
    Some(is_member == (intent.operation == Operation::Join))
}

/// Whether a role was assigned; `None` if the observation can't show it.
pub(crate) fn role_was_applied(intent: &ChangeIntent, observed: &Observed) -> Option<bool> {
    let (holder, role) = (intent.holder()?, intent.role.as_ref()?);
    let roles = observed.roles();
    let known = roles.holders.get(&holder)?;
    let scope = &role.scope.ids;
    let is_shown = match &roles.scopes {
        Ok(scopes) => scopes.shows(&holder, scope),
        Err(_) => scope.model.is_some(),
    };
    if !is_shown || known.read? < intent.intended {
        return None;
    }
    Some(known.direct(&holder, scope)? == Some(&role.to))
}

/// The group of a membership, `Some(None)` if there is none; `None` if that is not known.
fn group_of<'a>(
    intent: &ChangeIntent,
    observed: &'a Observed,
) -> Option<Option<&'a ObservedGroup>> {
    let GroupRef { id, name } = intent.group.as_ref()?;
    let groups = observed.groups();
    match id {
        Some(id) => match groups.get(id) {
            None if !groups.is_known() => None,
            found => Some(found),
        },
        // The group was to be created, which an earlier list does not show.
        None => match NameIndex::of_groups(groups).get(name.as_str()) {
            Ok(group) => Some(Some(*group)),
            Err(0) if groups.is_known() && !observed.is_cached() => Some(None),
            Err(_) => None,
        },
    }
}

/// The id of the group of a membership, if it was not known when the change was recorded.
pub(crate) fn new_ids(intent: &ChangeIntent, observed: &Observed) -> NewIds {
    let group = group_of(intent, observed).flatten();
    NewIds {
        user: None,
        group: group.map(|group| group.id.clone()),
    }
}

/// Whether a user or a group may have been created so lately that a list does not show it yet.
fn may_be_too_new(intent: &ChangeIntent, now: DateTime<Utc>) -> bool {
    let age = now - intent.intended;
    let is_of_new_group = intent
        .group
        .as_ref()
        .is_some_and(|group| group.id.is_none());
    let creates = intent.operation == Operation::Create || is_of_new_group;
    // A clock that was set back says nothing.
    creates && TimeDelta::zero() <= age && age < MAX_LIST_LAG
}

impl ObservedUser {
    /// Whether a field of this user is known to have this value.
    pub(crate) fn shows(&self, field: &Field, value: Option<&Value>, schema: &Schema) -> bool {
        match field {
            Field::DisplayName => {
                let name = value.map_or("", |value| value.first());
                same_text(name, trim(&self.display_name))
            }
            Field::Schedule(_) | Field::Group(_) | Field::Role(_) => false,
            Field::Active => self.active.is_some() && value.map(Value::is_true) == self.active,
            Field::Attribute(name) => {
                self.attributes.is_some() && schema.converged(name, value, self.value(name))
            }
        }
    }
}
