//! What became of changes whose answer was lost with the program: a look at Omni says.

use crate::model::{
    ChangeRecord, Field, Observed, ObservedUser, Operation, Schema, UserId, UserMatch, Value,
};
use std::collections::{HashMap, HashSet};

/// The users whom these changes are of, as they are now, by id.
pub(crate) fn by_id<'a>(
    observed: &'a Observed,
    changes: &'a [ChangeRecord],
) -> HashMap<&'a UserId, &'a ObservedUser> {
    let wanted: HashSet<_> = changes
        .iter()
        .filter_map(|one| one.intent.user_id.as_ref())
        .collect();
    if wanted.is_empty() {
        return HashMap::new();
    }
    let users = observed.users().filter(|user| wanted.contains(&user.id));
    users.map(|user| (&user.id, user.as_ref())).collect()
}

/// Whether a change was done, as far as can be seen; `None` where it can't.
pub(crate) fn was_done(
    change: &ChangeRecord,
    by_id: &HashMap<&UserId, &ObservedUser>,
    observed: &Observed,
    schema: &Schema,
) -> Option<bool> {
    let intent = &change.intent;
    let user = match &intent.user_id {
        Some(id) => by_id.get(id).copied(),
        None => match observed.get(&intent.email) {
            Some(UserMatch::Several(_)) => return None,
            Some(UserMatch::One(user)) => Some(user.as_ref()),
            None => None,
        },
    };
    let is_hidden = || {
        // Who was not looked for, or shares their email, may be there all the same.
        !observed.shows_everybody()
            || matches!(observed.get(&intent.email), Some(UserMatch::Several(_)))
    };
    if user.is_none() && is_hidden() {
        return None;
    }
    Some(match (intent.kind, user) {
        (Operation::Delete, user) => user.is_none(),
        (Operation::Deactivate, user) => user.is_none_or(|user| !user.active),
        (Operation::Update | Operation::Create, None) => false,
        (Operation::Update | Operation::Create, Some(user)) => shows(change, user, schema),
    })
}

/// Whether every field is as it was to be.
fn shows(change: &ChangeRecord, user: &ObservedUser, schema: &Schema) -> bool {
    change.intent.fields.iter().all(|one| match &one.field {
        Field::DisplayName => one.to == Value::one(&user.display_name),
        Field::Active => one.to == Value::one(if user.active { "true" } else { "false" }),
        Field::Attribute(name) => {
            schema.converged(name, one.to.as_ref(), user.attributes.get(name))
        }
    })
}
