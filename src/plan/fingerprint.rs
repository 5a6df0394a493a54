//! Identifies a change by what the roster asks for and what Omni has.

use crate::model::{
    Action, Attributes, Change, GroupId, Membership, ModelId, RoleChange, RoleName, UserId,
};
use serde::Serialize;
use serde_json::json;

/// Identifies a change in the state database. The encoding is explicit, so that a renamed type or field does not end
/// quarantines. A removal is about the user whatever its fields are: if Omni does not keep the removal, it may show
/// other fields than before, or fields that were not known.
pub(super) fn fingerprint(change: &Change) -> [u8; 32] {
    let about = match &change.action {
        Action::Delete(user) | Action::Deactivate(user) => json!(user.id.as_str()),
        Action::Update(user, fields) => json!([
            user.id.as_str(),
            user.email.as_str(),
            user.display_name,
            user.active,
            // Not known yet is not another state.
            user.attributes.as_ref().map(pairs).unwrap_or_default(),
            fields,
        ]),
        Action::Create(spec) => json!([spec.display_name, pairs(&spec.attributes)]),
        Action::Membership(Membership { group, user, .. }) => {
            let user_id = user.as_ref().map(|user| user.id.as_str());
            let group_id = group.id.as_ref().map(GroupId::as_str);
            json!([user_id, group_id, group.name.as_str()])
        }
        Action::Transfer(transfer) => json!([
            transfer.owner.id.as_str(),
            transfer.schedule.id.as_str(),
            transfer.successor.id.as_str(),
        ]),
        Action::Role(_) => {
            let user_id = change.user_id().map(UserId::as_str);
            let group = change.group();
            let group_id = group
                .and_then(|group| group.id.as_ref())
                .map(GroupId::as_str);
            let group_name = group.map(|group| group.name.as_str());
            json!([user_id, group_id, group_name, change.role().map(role)])
        }
    };
    let encoded = json!([change.operation().as_str(), about]).to_string();
    *blake3::hash(encoded.as_bytes()).as_bytes()
}

/// The ids, and both roles.
fn role(role: &RoleChange) -> [Option<&str>; 4] {
    let RoleChange {
        scope,
        from,
        to,
        risk: _,
    } = role;
    [
        Some(scope.ids.connection.as_str()),
        scope.ids.model.as_ref().map(ModelId::as_str),
        from.as_ref().map(RoleName::as_str),
        Some(to.as_str()),
    ]
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
            owned: None,
        });
        let renamed = Arc::new(ObservedUser {
            display_name: "Ann Lee".into(),
            attributes: None,
            ..ObservedUser::clone(&user)
        });
        let field = Field::Attribute(AttributeName::new("region"));
        let update = vec![FieldChange::new(
            field,
            Value::one("north"),
            Value::one("south"),
        )];
        let removals = [user.clone(), renamed].map(Action::Delete);
        let actions = removals.into_iter().chain([Action::Update(user, update)]);
        let digests = actions.map(|action| {
            let change = Change {
                subject: Email::parse("ann@x.co").expect("an email").into(),
                action,
                location: None,
            };
            blake3::Hash::from_bytes(fingerprint(&change)).to_string()
        });
        let removal = "0e196c9d649ff2b1413461230e5d5308050fc2e7c92a5bea5f60d1ccba9f2696";
        assert_eq!(
            digests.collect::<Vec<_>>(),
            [
                removal,
                removal,
                "b1e680157648743596f778b07c1295289b809ab49b05594bbbb01237baab2e3a",
            ]
        );
    }
}
