//! The data of the organisation and its configured behaviour.

use chrono::Utc;
use serde_json::{Value, json};
use std::collections::HashMap;

use super::attributes::{ATTRIBUTES, Definitions};
use super::group::{Group, Groups};
use super::options::{
    ClearBy, ClearMode, Endpoint, Filter, Inactive, LargerCount, LastModified, ListedGroups, Lists,
    Options, Origins, OtherIds, PatchAnswer, PatchForms, PutMode, Repeated, ScheduleOwners,
};
use super::owned::{Owned, Schedule};
use super::roles::{Holder, Roles, Scope};
use super::seed;
use super::store::Store;
use super::user::{Id, User};

#[derive(Debug)]
pub(super) struct World {
    pub(super) users: Store,
    pub(super) groups: Groups,
    pub(super) roles: Roles,
    pub(super) owned: Owned,
    pub(super) schedules: Endpoint,
    pub(super) owners: ScheduleOwners,
    pub(super) personal_tokens: Endpoint,
    pub(super) definitions: Definitions,
    pub(super) definitions_open: bool,
    pub(super) whoami: bool,
    pub(super) max_page: usize,
    pub(super) larger_count: LargerCount,
    pub(super) lists: Lists,
    pub(super) listed_groups: ListedGroups,
    pub(super) repeated: Repeated,
    pub(super) max_members: usize,
    pub(super) group_filter: Filter,
    pub(super) other_ids: OtherIds,
    pub(super) origins: Origins,
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
    /// Creates or replaces a group.
    SetGroup(Box<Group>),
    RemoveGroup(String),
    AssignRole {
        holder: Holder,
        scope: Scope,
        role: String,
    },
    AddSchedule(Box<Schedule>),
    RemoveSchedule(Id),
    /// Changes the owner of a schedule.
    TransferSchedule {
        id: Id,
        to: Id,
    },
}

/// What a change concerns.
#[derive(Debug)]
pub(super) enum Concern {
    User(Id),
    Group(String),
    RolesOf(Holder),
    Schedule(Id),
}

impl Change {
    pub(super) fn concern(&self) -> Concern {
        match self {
            Self::Insert(user) | Self::Replace(user) => Concern::User(user.id),
            Self::Remove(id) => Concern::User(*id),
            Self::SetGroup(group) => Concern::Group(group.id.clone()),
            Self::RemoveGroup(id) => Concern::Group(id.clone()),
            Self::AssignRole { holder, .. } => Concern::RolesOf(holder.clone()),
            Self::AddSchedule(schedule) => Concern::Schedule(schedule.id),
            Self::RemoveSchedule(id) | Self::TransferSchedule { id, .. } => Concern::Schedule(*id),
        }
    }
}

impl World {
    pub(super) fn new(options: &Options) -> Self {
        let mut users = Store::new(options.ids);
        seed::fill(&mut users, options.users);
        Self {
            owned: seed::schedules(&users, options.sample_schedules),
            schedules: options.schedules,
            owners: options.schedule_owners,
            personal_tokens: options.personal_tokens,
            users,
            groups: Groups::default(),
            roles: Roles::default(),
            definitions: Definitions::example(),
            definitions_open: options.definitions,
            whoami: options.whoami,
            max_page: options.max_page,
            larger_count: options.larger_count,
            lists: options.lists,
            listed_groups: options.listed_groups,
            repeated: options.repeated,
            max_members: options.max_members,
            group_filter: options.group_filter,
            other_ids: options.other_ids,
            origins: options.origins,
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

    /// The email of a user; the id of an embed user, or of a user who is gone.
    pub(super) fn email(&self, id: Id) -> String {
        let user = self.users.get(id);
        user.map_or_else(|| id.to_string(), |user| user.user_name.clone())
    }

    pub(super) fn show(&self, user: &User) -> Value {
        let groups = self.groups.entries_of(user.id);
        user.to_json(&self.definitions, self.clear, groups)
    }

    pub(super) fn show_group(&self, group: &Group) -> Value {
        group.to_json(&self.users, true)
    }

    /// The user or group that a change replaces.
    pub(super) fn show_before(&self, change: &Change) -> Option<Value> {
        match change {
            Change::Replace(_) | Change::SetGroup(_) => self.show_concern(&change.concern()),
            Change::Insert(_)
            | Change::Remove(_)
            | Change::RemoveGroup(_)
            | Change::AssignRole { .. }
            | Change::AddSchedule(_)
            | Change::RemoveSchedule(_)
            | Change::TransferSchedule { .. } => None,
        }
    }

    pub(super) fn show_concern(&self, concern: &Concern) -> Option<Value> {
        match concern {
            Concern::User(id) => self.users.get(*id).map(|user| self.show(user)),
            Concern::Group(id) => self.groups.get(id).map(|group| self.show_group(group)),
            Concern::RolesOf(holder) => Some(self.show_roles(holder)),
            Concern::Schedule(id) => {
                let schedule = self.owned.schedule(*id);
                schedule.map(|schedule| schedule.to_json(&self.users))
            }
        }
    }

    /// The direct roles of a user or group, for the history.
    fn show_roles(&self, holder: &Holder) -> Value {
        let role = |(scope, role): (Scope, &str)| {
            json!({
                "connectionId": scope.connection.to_string(),
                "modelId": scope.model.map(|id| id.to_string()),
                "roleName": role,
            })
        };
        let roles: Value = self.roles.direct(holder).into_iter().map(role).collect();
        match holder {
            Holder::User(id) => json!({ "membershipId": id.to_string(), "roles": roles }),
            Holder::Group(id) => json!({ "userGroupId": id, "roles": roles }),
        }
    }

    /// A user in a list.
    pub(super) fn show_listed(&self, user: &User) -> Value {
        let mut shown = self.show(user);
        if let Value::Object(fields) = &mut shown {
            if self.lists == Lists::OmitAttributes {
                fields.remove(ATTRIBUTES);
            }
            if self.listed_groups == ListedGroups::Omitted {
                fields.remove("groups");
            }
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
            Change::Remove(id) => {
                self.owned.forget(id, &self.email(id));
                self.users.remove(id);
                self.groups.forget(id);
                self.roles.forget(&Holder::User(id));
            }
            Change::SetGroup(group) => self.groups.set(*group),
            Change::RemoveGroup(id) => {
                self.groups.remove(&id);
                self.roles.forget(&Holder::Group(id));
            }
            Change::AssignRole {
                holder,
                scope,
                role,
            } => self.roles.assign(holder, scope, role),
            Change::AddSchedule(schedule) => self.owned.schedules.push(*schedule),
            Change::RemoveSchedule(id) => self.owned.schedules.retain(|one| one.id != id),
            Change::TransferSchedule { id, to } => {
                let owner = self.owned.schedule(id).map(|schedule| schedule.owner);
                let from = owner.map_or_else(String::new, |owner| self.email(owner));
                self.owned.transfer(id, from, to);
            }
        }
    }

    /// Skips a change although the client gets a successful answer. The id of a creation is used up.
    pub(super) fn ignore(&mut self, change: &Change) {
        match change {
            Change::Insert(_) => self.users.skip_id(),
            Change::SetGroup(group) if self.groups.get(&group.id).is_none() => {
                self.groups.skip_id();
            }
            _ => {}
        }
    }
}
