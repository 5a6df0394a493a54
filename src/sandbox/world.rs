//! The data of the organisation and its configured behaviour.

use chrono::Utc;
use serde_json::Value;
use std::collections::HashMap;

use super::attributes::{ATTRIBUTES, Definitions};
use super::options::{
    ClearBy, ClearMode, Filter, Inactive, LargerCount, LastModified, Lists, Options, PatchAnswer,
    PatchForms, PutMode,
};
use super::seed;
use super::store::Store;
use super::user::{Id, User};

#[derive(Debug)]
pub(super) struct World {
    pub(super) users: Store,
    pub(super) definitions: Definitions,
    pub(super) definitions_open: bool,
    pub(super) whoami: bool,
    pub(super) max_page: usize,
    pub(super) larger_count: LargerCount,
    pub(super) lists: Lists,
    pub(super) patch_answer: PatchAnswer,
    pub(super) put: PutMode,
    pub(super) filter: Filter,
    pub(super) patch_forms: PatchForms,
    pub(super) clears_by: Vec<ClearBy>,
    inactive: Inactive,
    last_modified: LastModified,
    clear: ClearMode,
    /// The number of the request that is executed.
    pub(super) request: u64,
    list_lag: u64,
    /// Users that lists lack until a request.
    unlisted: HashMap<Id, u64>,
}

/// The change of a request.
#[derive(Debug)]
pub(super) enum Change {
    Insert(Box<User>),
    Replace(Box<User>),
    Remove(Id),
}

impl World {
    pub(super) fn new(options: &Options) -> Self {
        let mut users = Store::default();
        seed::fill(&mut users, options.users);
        Self {
            users,
            definitions: Definitions::example(),
            definitions_open: options.definitions,
            whoami: options.whoami,
            max_page: options.max_page,
            larger_count: options.larger_count,
            lists: options.lists,
            patch_answer: options.patch_answer,
            put: options.put,
            filter: options.filter,
            patch_forms: options.patch_forms,
            clears_by: options.clears_by.clone(),
            inactive: options.inactive,
            last_modified: options.last_modified,
            clear: options.clear,
            request: 0,
            list_lag: options.list_lag,
            unlisted: HashMap::new(),
        }
    }

    /// Hides a created user from lists for some requests.
    pub(super) fn delay_listing(&mut self, change: Option<&Change>) {
        if let (Some(Change::Insert(user)), 1..) = (change, self.list_lag) {
            self.unlisted.insert(user.id, self.request + self.list_lag);
        }
    }

    /// Whether lists and filters show a user.
    pub(super) fn is_listed(&self, user: &User) -> bool {
        let until = self.unlisted.get(&user.id);
        until.is_none_or(|until| *until < self.request)
    }

    /// The number of users that lists show.
    pub(super) fn listed(&self) -> usize {
        let unlisted = self.unlisted.keys().filter_map(|id| self.users.get(*id));
        self.users.len() - unlisted.filter(|user| !self.is_listed(user)).count()
    }

    pub(super) fn show(&self, user: &User) -> Value {
        user.to_json(&self.definitions, self.clear)
    }

    /// The user that a change replaces.
    pub(super) fn show_before(&self, change: &Change) -> Option<Value> {
        match change {
            Change::Replace(user) => self.users.get(user.id).map(|before| self.show(before)),
            Change::Insert(_) | Change::Remove(_) => None,
        }
    }

    /// A user in a list.
    pub(super) fn show_listed(&self, user: &User) -> Value {
        let mut shown = self.show(user);
        if let (Lists::OmitAttributes, Value::Object(fields)) = (self.lists, &mut shown) {
            fields.remove(ATTRIBUTES);
        }
        shown
    }

    /// The change of a user by a request.
    pub(super) fn changed(&self, before: &User, after: User) -> Change {
        let is_revoked = self.inactive == Inactive::Revoke && before.active && !after.active;
        if is_revoked {
            Change::Remove(after.id)
        } else {
            Change::Replace(Box::new(after))
        }
    }

    /// Sets the time of a change.
    pub(super) fn touch(&self, before: &User, after: &mut User) {
        let rest = |user: &User| {
            let (name, extra) = (user.display_name.clone(), user.extra.clone());
            (user.user_name.clone(), name, user.active, extra)
        };
        if self.last_modified == LastModified::Moves || rest(before) != rest(after) {
            after.modified = Utc::now();
        }
    }

    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Insert(user) => self.users.insert(*user),
            Change::Replace(user) => self.users.replace(*user),
            Change::Remove(id) => self.users.remove(id),
        }
    }

    /// Skips a change although the client gets a successful answer. The id of a creation is used up.
    pub(super) fn ignore(&mut self, change: &Change) {
        if let Change::Insert(_) = change {
            self.users.skip_id();
        }
    }
}
