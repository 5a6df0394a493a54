//! Identifies a change by what the roster asks for and what Omni has.

use crate::model::{Action, Attributes, Change, GroupId, Membership, ObservedUser};
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;

/// What asks for a change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A row.
    Row,
    /// The roster does not name a managed user.
    MissingManaged,
    /// The roster does not name a user that is not managed.
    Missing,
}

/// Identifies a change in the state database. The encoding is explicit, so that a renamed type or field does not end
/// quarantines.
pub(super) fn fingerprint(change: &Change, origin: Origin) -> [u8; 32] {
    let origin = match origin {
        Origin::Row => "row",
        Origin::MissingManaged => "missing, managed",
        Origin::Missing => "missing",
    };
    let (user, wanted) = match &change.action {
        Action::Delete(user) | Action::Deactivate(user) => (Some(user), json!(null)),
        Action::Update(user, fields) => (Some(user), json!(fields)),
        Action::Create(spec) => {
            let attributes = pairs(&spec.attributes);
            (None, json!([spec.display_name, attributes]))
        }
        Action::Membership(Membership { group, user, .. }) => {
            let id = |user: &Arc<ObservedUser>| user.id.as_str().to_owned();
            let group_id = group.id.as_ref().map(GroupId::as_str);
            (
                None,
                json!([user.as_ref().map(id), group_id, group.name.as_str()]),
            )
        }
    };
    let user = user.map(|user| {
        let (id, email, name) = (user.id.as_str(), user.email.as_str(), &user.display_name);
        json!([
            id,
            email,
            name,
            user.active,
            // Not known yet is not another state.
            user.attributes.as_ref().map(pairs).unwrap_or_default()
        ])
    });
    let encoded = json!([origin, change.operation().as_str(), user, wanted]).to_string();
    *blake3::hash(encoded.as_bytes()).as_bytes()
}

fn pairs<T: Serialize>(attributes: &Attributes<T>) -> Vec<(&str, &T)> {
    let pairs = attributes.iter();
    pairs.map(|(name, value)| (name.as_str(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AttributeName, Email, Field, FieldChange, ObservedUser, UserId, Value};
    use std::sync::Arc;

    /// State databases hold these, so they must not change.
    #[test]
    fn fingerprints_stay_the_same() {
        let user = Arc::new(ObservedUser {
            id: UserId::parse("id-1").expect("an id"),
            email: Email::parse("Ann@x.co").expect("an email"),
            display_name: "Ann".into(),
            active: Some(true),
            attributes: Value::one("north")
                .map(|north| (AttributeName::new("region"), north))
                .map(|one| [one].into_iter().collect()),
            modified: None,
        });
        let field = Field::Attribute(AttributeName::new("region"));
        let update = vec![FieldChange::new(
            field,
            Value::one("north"),
            Value::one("south"),
        )];
        let digests = [Action::Delete(user.clone()), Action::Update(user, update)].map(|action| {
            let change = Change {
                email: Email::parse("ann@x.co").expect("an email"),
                action,
                location: None,
            };
            blake3::Hash::from_bytes(fingerprint(&change, Origin::Row)).to_string()
        });
        assert_eq!(
            digests,
            [
                "2b2662fd2c319099573b521e7652d8248229053059a28bef83aece6e6b32749e",
                "11cc4254e0b4b05695442903661b06ae4196f699a7750add3dc13960fb540bb1",
            ]
        );
    }
}
