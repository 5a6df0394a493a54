//! The groups of the organisation, for tests. Changes bypass the rules.

use serde_json::Value;

use super::group::Group;
use super::org::Org;
use super::user::Id;
use super::world::Change;

impl Org {
    /// All groups with their members, in order of creation.
    #[must_use]
    pub fn groups(&self) -> Vec<Value> {
        let state = self.lock();
        let groups = state.world.groups.all().iter();
        groups.map(|group| state.world.show_group(group)).collect()
    }

    /// The emails of the members of a group, sorted; an embed user is its id. `None` if there is no such group.
    #[must_use]
    pub fn members(&self, group: &str) -> Option<Vec<String>> {
        let state = self.lock();
        let world = &state.world;
        let members = world.groups.named(group)?.members.iter();
        let mut emails: Vec<String> = members.map(|id| world.email(*id)).collect();
        emails.sort();
        Some(emails)
    }

    /// Creates a group and returns its id.
    ///
    /// # Panics
    /// If a member does not exist.
    #[track_caller]
    pub fn add_group(&self, name: &str, members: &[&str]) -> String {
        let members = members.iter().map(|email| self.id_of(email)).collect();
        let mut state = self.lock();
        let id = state.world.groups.next_id();
        let group = Group {
            id: id.clone(),
            name: name.to_owned(),
            members,
        };
        state.change(None, Change::SetGroup(Box::new(group)));
        id
    }

    /// Adds a user to a group.
    ///
    /// # Panics
    /// If there is no such group or user.
    #[track_caller]
    pub fn join(&self, group: &str, email: &str) {
        let user = self.id_of(email);
        self.edit_group(group, |group| {
            group.members.insert(user);
        });
    }

    /// Adds an embed user to a group. Lists of users omit embed users.
    ///
    /// # Panics
    /// If there is no such group, or the id is not a UUID.
    #[track_caller]
    pub fn join_embed_user(&self, group: &str, id: &str) {
        let user = Id::parse(id).expect("the id of an embed user is a UUID");
        self.edit_group(group, |group| {
            group.members.insert(user);
        });
    }

    /// Takes a user out of a group.
    ///
    /// # Panics
    /// If there is no such group or user.
    #[track_caller]
    pub fn leave(&self, group: &str, email: &str) {
        let user = self.id_of(email);
        self.edit_group(group, |group| {
            group.members.remove(&user);
        });
    }

    /// Renames a group.
    ///
    /// # Panics
    /// If there is no such group.
    #[track_caller]
    pub fn rename_group(&self, group: &str, name: &str) {
        self.edit_group(group, |group| name.clone_into(&mut group.name));
    }

    /// Removes a group.
    ///
    /// # Panics
    /// If there is no such group.
    #[track_caller]
    pub fn remove_group(&self, group: &str) {
        let mut state = self.lock();
        let found = state.world.groups.named(group);
        let id = found.map(|found| found.id.clone());
        let id = id.unwrap_or_else(|| panic!("the sandbox has no group {group}"));
        state.change(None, Change::RemoveGroup(id));
    }

    #[track_caller]
    fn edit_group(&self, group: &str, edit: impl FnOnce(&mut Group)) {
        let mut state = self.lock();
        let found = state.world.groups.named(group).cloned();
        let mut found = found.unwrap_or_else(|| panic!("the sandbox has no group {group}"));
        edit(&mut found);
        state.change(None, Change::SetGroup(Box::new(found)));
    }

    #[track_caller]
    pub(super) fn id_of(&self, email: &str) -> Id {
        let state = self.lock();
        let user = state.world.users.named(email).next();
        user.map(|user| user.id)
            .unwrap_or_else(|| panic!("the sandbox has no user {email}"))
    }
}
