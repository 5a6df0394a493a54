//! Assignments of roles, as changes.

use super::{
    Escaped, GroupRef, ObservedUser, RoleBases, RoleHolder, RoleName, RoleScope, RoleStep, Text,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A connection or a model, by ids and by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedScope {
    /// The name of the connection, as Omni spells it.
    pub connection: Text,
    /// The name of the model; `None` for the whole connection.
    pub model: Option<Text>,
    /// The ids.
    pub ids: RoleScope,
}

/// For people: `Sales / Orders`, or `Sales` for a whole connection.
impl fmt::Display for NamedScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.connection).fmt(f)?;
        match &self.model {
            Some(model) => write!(f, " / {}", Escaped(model)),
            None => Ok(()),
        }
    }
}

/// A role that changes: stored, shown and sent in this form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "RoleChangeDoc", try_from = "RoleChangeDoc")]
pub struct RoleChange {
    /// The connection or model.
    pub scope: NamedScope,
    /// The present direct role; `None` for none.
    pub from: Option<RoleName>,
    /// The new direct role.
    pub to: RoleName,
}

impl RoleChange {
    /// The present role for people.
    #[must_use]
    pub fn from_text(&self) -> String {
        let from = self.from.as_ref();
        from.map_or_else(|| "(none)".into(), RoleName::to_string)
    }
}

/// For people: `Sales / Orders: VIEWER => MODELER`.
impl fmt::Display for RoleChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} => {}", self.scope, self.from_text(), self.to)
    }
}

#[derive(Serialize, Deserialize)]
struct RoleChangeDoc {
    connection: NamedId,
    model: Option<NamedId>,
    from: Option<String>,
    to: String,
}

#[derive(Serialize, Deserialize)]
struct NamedId {
    id: String,
    name: String,
}

impl From<RoleChange> for RoleChangeDoc {
    fn from(role: RoleChange) -> Self {
        let NamedScope {
            connection,
            model,
            ids,
        } = role.scope;
        let named = |id: &str, name: Text| NamedId {
            id: id.to_owned(),
            name: name.to_string(),
        };
        Self {
            connection: named(ids.connection.as_str(), connection),
            model: ids
                .model
                .map(|id| named(id.as_str(), model.unwrap_or_default())),
            from: role.from.map(|role| role.as_str().to_owned()),
            to: role.to.as_str().to_owned(),
        }
    }
}

impl TryFrom<RoleChangeDoc> for RoleChange {
    type Error = &'static str;

    fn try_from(doc: RoleChangeDoc) -> Result<Self, Self::Error> {
        let RoleChangeDoc {
            connection, model, ..
        } = &doc;
        let model = model.as_ref();
        let ids = RoleScope::parse(&connection.id, model.map(|model| &*model.id));
        Ok(Self {
            scope: NamedScope {
                connection: connection.name.as_str().into(),
                model: model.map(|model| model.name.as_str().into()),
                ids: ids.ok_or("not an id")?,
            },
            from: doc.from.as_deref().map(RoleName::known),
            to: RoleName::known(&doc.to),
        })
    }
}

/// The assignment of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The user or group.
    pub holder: AssignmentHolder,
    /// The connection or model, and the roles.
    pub role: RoleChange,
    /// The direction.
    pub step: RoleStep,
    /// The number that it counts for the limit of role changes.
    pub weight: u64,
}

/// The user or group of an assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssignmentHolder {
    /// A user; `None` if the same plan creates the user.
    User(Option<Arc<ObservedUser>>),
    /// A group; without an id if the same plan creates it.
    Group(GroupRef),
}

impl AssignmentHolder {
    /// The holder by id; `None` if the same plan creates it.
    #[must_use]
    pub fn id(&self) -> Option<RoleHolder> {
        match self {
            Self::User(user) => Some(RoleHolder::User(user.as_ref()?.id.clone())),
            Self::Group(group) => Some(RoleHolder::Group(group.id.clone()?)),
        }
    }
}

impl Assignment {
    /// An assignment with its direction.
    #[must_use]
    pub fn new(holder: AssignmentHolder, role: RoleChange, bases: &RoleBases) -> Self {
        let step = RoleStep::between(role.from.as_ref(), &role.to, bases);
        Self {
            weight: step.weight(&role.to, bases),
            holder,
            role,
            step,
        }
    }

    /// Whether it may lower a role, or may grant `MODELER` or `CONNECTION_ADMIN`.
    #[must_use]
    pub fn is_sensitive(&self) -> bool {
        self.weight > 1
    }
}
