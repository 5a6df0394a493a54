//! What became of changes whose answer was lost with the program: a look at Omni says.

use crate::journal::{ChangeRecord, Field, Kind};
use crate::omni::{Observed, Sighting};
use crate::user::{ObservedUser, Schema, Value};

/// Whether a change was done, as far as can be seen; `None` where it can't.
#[must_use]
pub(super) fn was_done(
    change: &ChangeRecord,
    observed: &Observed,
    schema: &Schema,
) -> Option<bool> {
    let intent = &change.intent;
    let user = match observed.get(&intent.email) {
        Some(Sighting::Several(_)) => return None,
        Some(Sighting::One(user)) => Some(user),
        // Someone whom a doubtful listing does not show may be there all the same.
        None if observed.doubt().is_some() => return None,
        None => None,
    };
    let same = user.filter(|user| intent.user_id.as_ref().is_none_or(|id| *id == user.id));
    Some(match (intent.kind, same) {
        (Kind::Delete, same) => same.is_none(),
        (Kind::Deactivate, same) => same.is_none_or(|user| !user.active),
        (Kind::Update | Kind::Create, None) => false,
        (Kind::Update | Kind::Create, Some(user)) => shows(change, user, schema),
    })
}

/// Whether every field is as it was to be.
fn shows(change: &ChangeRecord, user: &ObservedUser, schema: &Schema) -> bool {
    change.intent.fields.iter().all(|one| match &one.field {
        Field::DisplayName => one.to == Value::one(&user.display_name),
        Field::Active => one.to == Value::one(if user.active { "true" } else { "false" }),
        Field::Attribute(name) => schema.converged(name, one.to.as_ref(), user.attribute(name)),
    })
}
