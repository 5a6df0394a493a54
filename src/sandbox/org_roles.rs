//! Connections, models and roles of the organisation, for tests. Changes bypass the rules.

use serde_json::{Value, json};

use super::org::Org;
use super::roles::{Connection, Holder, Model, Scope};
use super::user::Id;
use super::world::Change;

impl Org {
    /// Adds a connection and returns its id. Every user has the base role on its shared models.
    pub fn add_connection(&self, name: &str, base_role: &str) -> String {
        let roles = &mut self.lock().world.roles;
        let id = roles.next_id();
        roles.connections.push(Connection {
            id,
            name: name.to_owned(),
            base_role: base_role.to_owned(),
        });
        id.to_string()
    }

    /// Adds a model of a kind (`SHARED`, …) to a connection, and returns its id.
    ///
    /// # Panics
    /// If there is no such connection.
    #[track_caller]
    pub fn add_model(&self, connection: &str, name: &str, kind: &str) -> String {
        let roles = &mut self.lock().world.roles;
        let id = roles.next_id();
        let connection = Id::parse(connection).filter(|id| roles.connection(*id).is_some());
        roles.models.push(Model {
            id,
            name: name.to_owned(),
            kind: kind.to_owned(),
            connection: connection.expect("the sandbox has no such connection"),
        });
        id.to_string()
    }

    /// Adds a custom role that is based on another one.
    pub fn add_role(&self, name: &str, base: &str) {
        let custom = &mut self.lock().world.roles.custom;
        custom.insert(name.to_owned(), base.to_owned());
    }

    /// Assigns a role for a model or a whole connection (by id) to a user (by email) or a group (by name).
    ///
    /// # Panics
    /// If there is no such user, group, model or connection.
    #[track_caller]
    pub fn set_role(&self, holder: &str, subject: &str, role: &str) {
        let holder = self.holder(holder);
        let mut state = self.lock();
        let roles = &state.world.roles;
        let scope = Id::parse(subject).and_then(|id| match roles.model(id) {
            Some(model) => Some(Scope {
                connection: model.connection,
                model: Some(id),
            }),
            None => roles.connection(id).map(|_| Scope {
                connection: id,
                model: None,
            }),
        });
        let scope = scope.expect("the sandbox has no such model or connection");
        let role = role.to_owned();
        state.change(
            None,
            Change::AssignRole {
                holder,
                scope,
                role,
            },
        );
    }

    /// The direct roles of a user (by email) or a group (by name): the id of the model, or of the connection, and the
    /// role.
    ///
    /// # Panics
    /// If there is no such user or group.
    #[must_use]
    #[track_caller]
    pub fn roles(&self, holder: &str) -> Vec<(String, String)> {
        let holder = self.holder(holder);
        let state = self.lock();
        let direct = state.world.roles.direct(&holder);
        direct
            .into_iter()
            .map(|(scope, role)| {
                let subject = scope.model.unwrap_or(scope.connection);
                (subject.to_string(), role.to_owned())
            })
            .collect()
    }

    /// All direct roles, each with the email or the group name of its holder. The model of a role of a whole
    /// connection is null.
    #[must_use]
    pub fn all_roles(&self) -> Vec<Value> {
        let state = self.lock();
        let world = &state.world;
        let name = |holder: &Holder| match holder {
            Holder::User(id) => world.users.get(*id).map(|user| user.user_name.clone()),
            Holder::Group(id) => world.groups.get(id).map(|group| group.name.clone()),
        };
        let all = world.roles.all();
        all.map(|(holder, scope, role)| {
            json!({
                "holder": name(holder),
                "connectionId": scope.connection.to_string(),
                "modelId": scope.model.map(|id| id.to_string()),
                "roleName": role,
            })
        })
        .collect()
    }

    pub(super) fn has_connection(&self, id: &str) -> bool {
        let state = self.lock();
        Id::parse(id).is_some_and(|id| state.world.roles.connection(id).is_some())
    }

    pub(super) fn has_model(&self, id: &str) -> bool {
        let state = self.lock();
        Id::parse(id).is_some_and(|id| state.world.roles.model(id).is_some())
    }

    /// Whether there is a user with this email, or a group with this name.
    pub(super) fn has_holder(&self, name: &str) -> bool {
        match name.contains('@') {
            true => self.user(name).is_some(),
            false => self.lock().world.groups.named(name).is_some(),
        }
    }

    #[track_caller]
    fn holder(&self, name: &str) -> Holder {
        if name.contains('@') {
            return Holder::User(self.id_of(name));
        }
        let state = self.lock();
        let group = state.world.groups.named(name);
        let group = group.unwrap_or_else(|| panic!("the sandbox has no group {name}"));
        Holder::Group(group.id.clone())
    }
}
