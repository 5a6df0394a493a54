//! A group as stored and returned by Omni, and all groups.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::store::Store;
use super::user::{Id, fold};

const GROUP_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
/// The alphabet of group ids, which may contain `-` and `_`.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const ID_CHARS: u32 = 8;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    pub(super) id: String,
    pub(super) name: String,
    /// Users, and embed users, which no list of users shows.
    pub(super) members: BTreeSet<Id>,
}

impl Group {
    pub(super) fn is_called(&self, name: &str) -> bool {
        fold(&self.name) == fold(name)
    }

    /// The group with its members, or without them.
    pub(super) fn to_json(&self, users: &Store, with_members: bool) -> Value {
        let mut group = json!({
            "schemas": [GROUP_SCHEMA],
            "id": self.id,
            "displayName": self.name,
        });
        if with_members {
            let member = |id: &Id| json!({"value": id.to_string(), "display": display(users, *id)});
            group["members"] = self.members.iter().map(member).collect();
        }
        group
    }

    /// The group as the entry of a member.
    fn to_entry(&self) -> Value {
        json!({"display": self.name, "value": self.id})
    }
}

fn display(users: &Store, id: Id) -> &str {
    users
        .get(id)
        .map_or("Embed user", |user| &user.display_name)
}

/// The groups in order of creation.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: Vec<Group>,
    made: u64,
}

impl Groups {
    /// The id of the next group.
    pub(super) fn next_id(&self) -> String {
        nth_id(self.made + 1)
    }

    /// Skips an id.
    pub(super) fn skip_id(&mut self) {
        self.made += 1;
    }

    pub(super) fn get(&self, id: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.id == id)
    }

    /// The group with this name, ignoring case.
    pub(super) fn named(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.is_called(name))
    }

    pub(super) fn all(&self) -> &[Group] {
        &self.groups
    }

    /// Replaces the group with the same id, or adds one.
    pub(super) fn set(&mut self, group: Group) {
        match self.groups.iter_mut().find(|other| other.id == group.id) {
            Some(present) => *present = group,
            None => {
                self.made += 1;
                self.groups.push(group);
            }
        }
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.groups.retain(|group| group.id != id);
    }

    /// Removes a user from all groups.
    pub(super) fn forget(&mut self, user: Id) {
        for group in &mut self.groups {
            group.members.remove(&user);
        }
    }

    /// The groups of a user.
    pub(super) fn of(&self, user: Id) -> impl Iterator<Item = &Group> {
        let groups = self.groups.iter();
        groups.filter(move |group| group.members.contains(&user))
    }

    /// The memberships of a user, as the user shows them.
    pub(super) fn entries_of(&self, user: Id) -> Value {
        self.of(user).map(Group::to_entry).collect()
    }
}

/// The id of the nth group. Ids are unique and, like real ones, not sorted by creation.
fn nth_id(n: u64) -> String {
    let bits = 6 * ID_CHARS;
    let scattered = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) & ((1 << bits) - 1);
    let char_at = |place: u32| char::from(ALPHABET[(scattered >> (6 * place) & 63) as usize]);
    (0..ID_CHARS).map(char_at).collect()
}

#[cfg(test)]
mod tests {
    use super::nth_id;
    use std::collections::HashSet;

    #[test]
    fn group_ids_are_short_and_unique() {
        let ids: HashSet<String> = (1..=10_000).map(nth_id).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() == 8), "8 characters");
        assert!(
            ids.iter().any(|id| id.contains('-')),
            "of the whole alphabet"
        );
    }
}
