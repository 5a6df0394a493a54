//! Connections, models, and the roles of users and groups on them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::options::Origins;
use super::user::Id;

/// The roles that every organisation has, from the least to the most permissive.
const ROLES: [&str; 6] = [
    "NO_ACCESS",
    "VIEWER",
    "QUERY_TOPICS",
    "QUERIER",
    "MODELER",
    CONNECTION_ADMIN,
];
/// The only role of a whole connection.
pub(super) const CONNECTION_ADMIN: &str = "CONNECTION_ADMIN";

/// The kinds of models that roles can be assigned for.
const SHARED: [&str; 2] = ["SHARED", "SHARED_EXTENSION"];

#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) id: Id,
    pub(super) name: String,
    /// The role of every user of the organisation.
    pub(super) base_role: String,
}

#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) id: Id,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) connection: Id,
}

impl Model {
    pub(super) fn is_shared(&self) -> bool {
        SHARED.contains(&self.kind.as_str())
    }
}

/// The holder of a role: a user or a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    User(Id),
    /// A group, by its id.
    Group(String),
}

/// What a role is for: a model, or a whole connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Scope {
    pub(super) connection: Id,
    pub(super) model: Option<Id>,
}

/// The roles of an organisation.
#[derive(Debug, Default)]
pub(super) struct Roles {
    pub(super) connections: Vec<Connection>,
    pub(super) models: Vec<Model>,
    /// Names of custom roles, each with the role that it is based on.
    pub(super) custom: BTreeMap<String, String>,
    assigned: BTreeMap<(Holder, Scope), String>,
}

impl Roles {
    pub(super) fn connection(&self, id: Id) -> Option<&Connection> {
        self.connections
            .iter()
            .find(|connection| connection.id == id)
    }

    pub(super) fn model(&self, id: Id) -> Option<&Model> {
        self.models.iter().find(|model| model.id == id)
    }

    /// The id of the next connection or model.
    pub(super) fn next_id(&self) -> Id {
        const AFTER_USERS: u64 = 1 << 40;
        let made = self.connections.len() + self.models.len();
        Id::nth(AFTER_USERS + made as u64)
    }

    /// Whether a role exists.
    pub(super) fn has(&self, role: &str) -> bool {
        ROLES.contains(&role) || self.custom.contains_key(role)
    }

    /// Assigns a role, in place of the present one.
    pub(super) fn assign(&mut self, holder: Holder, scope: Scope, role: String) {
        self.assigned.insert((holder, scope), role);
    }

    /// All direct roles.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Holder, Scope, &str)> {
        let assigned = self.assigned.iter();
        assigned.map(|((holder, scope), role)| (holder, *scope, role.as_str()))
    }

    /// Removes all roles of a user or group.
    pub(super) fn forget(&mut self, holder: &Holder) {
        self.assigned.retain(|(other, _), _| other != holder);
    }

    /// The direct roles of a user or group.
    pub(super) fn direct<'r>(&'r self, holder: &Holder) -> Vec<(Scope, &'r str)> {
        let assigned = self.assigned.iter();
        assigned
            .filter(|((other, _), _)| other == holder)
            .map(|((_, scope), role)| (*scope, role.as_str()))
            .collect()
    }

    /// The models that a scope covers. Roles count for shared models only.
    fn covered(&self, scope: Scope) -> impl Iterator<Item = &Model> {
        let models = self.models.iter().filter(|model| model.is_shared());
        models.filter(move |model| match scope.model {
            Some(id) => model.id == id,
            None => model.connection == scope.connection,
        })
    }

    fn base_of<'r>(&'r self, role: &'r str) -> &'r str {
        self.custom.get(role).map_or(role, String::as_str)
    }

    /// Higher is more permissive.
    fn priority(&self, role: &str) -> usize {
        let base = self.base_of(role);
        let place = ROLES.iter().position(|role| *role == base);
        place.unwrap_or_default()
    }
}

/// The source of a role that a user or group has.
pub(super) enum Origin<'g> {
    Direct,
    Group { id: &'g str, name: &'g str },
    Connection,
}

impl Origin<'_> {
    fn to_json(&self, origins: Origins) -> Value {
        let kind = match (self, origins) {
            (Self::Direct, Origins::Live) => "User Role",
            (Self::Direct, Origins::Document) => "USER",
            (Self::Group { .. }, Origins::Live) => "Group Role",
            (Self::Group { .. }, Origins::Document) => "GROUP",
            (Self::Connection, Origins::Live) => "Connection Base Role",
            (Self::Connection, Origins::Document) => "BASE",
        };
        match self {
            Self::Group { id, name } => {
                json!({"type": kind, "miniUuid": id, "name": name, "depth": 0})
            }
            Self::Direct | Self::Connection => json!({ "type": kind }),
        }
    }
}

/// The roles that apply to a user or group: each model of each source, with the most permissive one of a model marked.
pub(super) struct Applying<'r> {
    roles: &'r Roles,
    origins: Origins,
    /// Models, roles and their sources, in the order of the answer.
    found: Vec<(&'r Model, &'r str, Value)>,
}

impl<'r> Applying<'r> {
    pub(super) fn new(roles: &'r Roles, origins: Origins) -> Self {
        Self {
            roles,
            origins,
            found: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, origin: &Origin<'_>, scope: Scope, role: &'r str) {
        for model in self.roles.covered(scope) {
            let from = origin.to_json(self.origins);
            self.found.push((model, role, from));
        }
    }

    pub(super) fn add_base_roles(&mut self) {
        for connection in &self.roles.connections {
            let scope = Scope {
                connection: connection.id,
                model: None,
            };
            self.add(&Origin::Connection, scope, &connection.base_role);
        }
    }

    /// The entries in which all of these fields have these values.
    pub(super) fn to_json(&self, wanted: &[(&str, &str)]) -> Value {
        let entries = self.found.iter().enumerate();
        let entries = entries.map(|(at, applied)| self.entry(at, applied));
        let is_wanted = |entry: &Value| wanted.iter().all(|(name, value)| entry[*name] == *value);
        entries.filter(is_wanted).collect()
    }

    /// The entries without the fields about sources, as Omni's documentation shows those of a group.
    pub(super) fn to_bare_json(&self, wanted: &[(&str, &str)]) -> Value {
        let mut entries = self.to_json(wanted);
        for entry in entries.as_array_mut().into_iter().flatten() {
            if let Value::Object(fields) = entry {
                fields.retain(|name, _| !["priority", "resolved", "from"].contains(&name.as_str()));
            }
        }
        entries
    }

    fn entry(&self, at: usize, (model, role, from): &(&Model, &str, Value)) -> Value {
        json!({
            "roleName": role,
            "baseRole": self.roles.base_of(role),
            "connectionId": model.connection.to_string(),
            "modelId": model.id.to_string(),
            "priority": self.roles.priority(role),
            "resolved": self.resolved(model.id) == Some(at),
            "from": from,
        })
    }

    /// The place of the most permissive role of a model; the first of equal ones.
    fn resolved(&self, model: Id) -> Option<usize> {
        let entries = self.found.iter().enumerate();
        let of_model = entries.filter(|(_, (other, ..))| other.id == model);
        let best = of_model
            .max_by_key(|(at, (_, role, _))| (self.roles.priority(role), std::cmp::Reverse(*at)));
        best.map(|(at, _)| at)
    }
}
