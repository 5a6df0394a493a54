//! Assignments of roles, as changes.

use super::{
    Escaped, GroupRef, ObservedUser, RoleBases, RoleHolder, RoleName, RoleRisk, RoleScope,
    RoleStep, Text,
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
    /// The risk of the change, as known when it was planned.
    pub risk: Option<RoleRisk>,
}

impl RoleChange {
    /// A role change with its risk.
    #[must_use]
    pub fn new(scope: NamedScope, from: Option<RoleName>, to: RoleName, bases: &RoleBases) -> Self {
        let step = RoleStep::between(from.as_ref(), &to, bases);
        Self {
            risk: RoleRisk::of(step, &to, bases),
            scope,
            from,
            to,
        }
    }

    /// The risk for people, in brackets; empty without one.
    #[must_use]
    pub fn mark(&self) -> String {
        match self.risk {
            Some(RoleRisk::Lowers) => " (lowers the role)".to_owned(),
            Some(RoleRisk::MayLower) => " (may lower the role)".to_owned(),
            Some(RoleRisk::Grants) => format!(" (grants {})", self.to),
            None => String::new(),
        }
    }

    /// The present role for people.
    #[must_use]
    pub fn from_text(&self) -> String {
        let from = self.from.as_ref();
        from.map_or_else(|| "(none)".into(), RoleName::to_string)
    }
}

/// For people: `Sales / Orders: VIEWER => MODELER (grants MODELER)`.
impl fmt::Display for RoleChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, mark) = (self.from_text(), self.mark());
        write!(f, "{}: {from} => {}{mark}", self.scope, self.to)
    }
}

#[derive(Serialize, Deserialize)]
struct RoleChangeDoc {
    connection: NamedId,
    model: Option<NamedId>,
    from: Option<String>,
    to: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    risk: Option<String>,
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
            risk: role.risk.map(|risk| risk.as_str().to_owned()),
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
            risk: doc.risk.as_deref().and_then(RoleRisk::parse),
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
    /// The number that it counts for the limit of role changes.
    #[must_use]
    pub fn weight(&self) -> u64 {
        RoleRisk::weight(self.role.risk)
    }

    /// Whether the holder may have less access afterwards.
    #[must_use]
    pub fn may_lower(&self) -> bool {
        matches!(self.role.risk, Some(RoleRisk::Lowers | RoleRisk::MayLower))
    }

    /// Whether it may lower a role, or may grant `MODELER` or `CONNECTION_ADMIN`.
    #[must_use]
    pub fn is_risky(&self) -> bool {
        self.role.risk.is_some()
    }
}
