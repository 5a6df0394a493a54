//! Roles as Omni shows them, and what an assignment changes.

use super::plain_id::plain_id;
use super::word::word_enum;
use super::{Escaped, GroupId, RoleName, StandardRole, Text, UserId};
use std::cmp::Ordering;
use std::collections::BTreeMap;

plain_id! {
    /// Omni's id of a connection to a database.
    ConnectionId
}

plain_id! {
    /// Omni's id of a model.
    ModelId
}

/// A connection to a database, as Omni shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedConnection {
    /// The id.
    pub id: ConnectionId,
    /// The name, as Omni spells it. Several connections may have the same.
    pub name: Text,
    /// The role of every user on its models; `None` if the response lacks it.
    pub base_role: Option<RoleName>,
}

/// A model that can have roles, as Omni shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedModel {
    /// The id.
    pub id: ModelId,
    /// The name, as Omni spells it; may be empty. Several models of a connection may have the same.
    pub name: Text,
    /// The connection that it belongs to.
    pub connection: ConnectionId,
}

/// What a role is for: one model, or a whole connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleScope {
    /// The connection.
    pub connection: ConnectionId,
    /// The model; `None` for the whole connection.
    pub model: Option<ModelId>,
}

impl RoleScope {
    /// The ids in one text: the connection, a slash, and the model if there is one.
    #[must_use]
    pub fn text(&self) -> String {
        let model = self.model.as_ref().map_or("", ModelId::as_str);
        format!("{}/{model}", self.connection.as_str())
    }

    /// Takes ids as Omni sent them, with the rule of [`UserId::parse`].
    #[must_use]
    pub fn parse(connection: &str, model: Option<&str>) -> Option<Self> {
        let model = model.map(|id| ModelId::parse(id).ok_or(()));
        Some(Self {
            connection: ConnectionId::parse(connection)?,
            model: model.transpose().ok()?,
        })
    }
}

/// A user or a group that has roles, by id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoleHolder {
    /// A user.
    User(UserId),
    /// A group.
    Group(GroupId),
}

/// The source of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleOrigin {
    /// Assigned to the user or group itself.
    Direct,
    /// Assigned to a group of the user.
    Group {
        /// The group, if Omni shows its id.
        id: Option<GroupId>,
        /// Its name, as Omni spells it.
        name: Text,
    },
    /// The connection, for every user.
    Base,
    /// The organisation, or a source that this program does not know.
    Other,
}

impl RoleOrigin {
    /// The source for people; `None` for the user or group itself.
    #[must_use]
    pub fn source(&self) -> Option<String> {
        match self {
            Self::Direct => None,
            Self::Group { name, .. } => Some(format!("the group '{}'", Escaped(name))),
            Self::Base => Some("the connection, for every user".to_owned()),
            Self::Other => Some("the organisation".to_owned()),
        }
    }
}

/// A role on a model, as Omni shows it. A user may have several on one model, of which the most permissive one counts.
/// Omni does not show a user's role on a whole connection; that of a group it shows for each model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedRole {
    /// The user or group that was asked about.
    pub holder: RoleHolder,
    /// The model.
    pub scope: RoleScope,
    /// The role.
    pub role: RoleName,
    /// The standard role that a custom one is based on, if Omni shows it.
    pub base: Option<StandardRole>,
    /// The source.
    pub origin: RoleOrigin,
    /// Whether Omni says that this is the role that counts.
    pub is_resolved: bool,
}

impl ObservedRole {
    /// The rank; `None` for a custom role without a known base.
    #[must_use]
    pub fn rank(&self) -> Option<StandardRole> {
        self.role.standard().or(self.base)
    }

    /// The role of these that was assigned directly for a scope. Only a role of the whole connection makes its holder
    /// its administrator on a model.
    #[must_use]
    pub fn assigned<'r>(roles: &'r [Self], scope: &RoleScope) -> Option<&'r RoleName> {
        let is_of_scope = |one: &&Self| {
            let is_admin = one.role == RoleName::CONNECTION_ADMIN;
            one.origin == RoleOrigin::Direct
                && one.scope.connection == scope.connection
                && match &scope.model {
                    None => is_admin,
                    model => one.scope.model == *model && !is_admin,
                }
        };
        roles.iter().find(is_of_scope).map(|one| &one.role)
    }

    /// The roles of these that were assigned directly, by what they are for.
    #[must_use]
    pub fn direct(roles: &[Self]) -> BTreeMap<RoleScope, &RoleName> {
        let direct = roles.iter().filter(|one| one.origin == RoleOrigin::Direct);
        let scoped = direct.map(|one| {
            let is_admin = one.role == RoleName::CONNECTION_ADMIN;
            let model = one.scope.model.clone().filter(|_| !is_admin);
            let connection = one.scope.connection.clone();
            (RoleScope { connection, model }, &one.role)
        });
        scoped.collect()
    }

    /// The role of these on one model that counts: the most permissive one. If one of them has no rank, only Omni
    /// knows.
    #[must_use]
    pub fn prevailing<'r>(roles: impl IntoIterator<Item = &'r Self>) -> Option<&'r Self> {
        let roles: Vec<_> = roles.into_iter().collect();
        if roles.iter().any(|one| one.rank().is_none()) {
            return roles.into_iter().find(|one| one.is_resolved);
        }
        // Of equal ones, Omni's choice; then the first.
        let ranked = roles.into_iter().rev();
        ranked.max_by_key(|one| (one.rank(), one.is_resolved))
    }

    /// The role of these on the same model, from another source, that is more permissive than a direct one would be.
    #[must_use]
    pub fn outranking<'r>(
        roles: impl IntoIterator<Item = &'r Self>,
        direct: &RoleName,
        bases: &RoleBases,
    ) -> Option<&'r Self> {
        let rank = bases.rank(direct)?;
        let others = roles
            .into_iter()
            .filter(|one| one.origin != RoleOrigin::Direct);
        let above = others.filter(|one| one.rank().is_some_and(|other| other > rank));
        Self::prevailing(above)
    }
}

/// The standard roles that custom roles are based on, as far as Omni has shown them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleBases(BTreeMap<Text, StandardRole>);

impl RoleBases {
    /// Learns the base of a role.
    pub fn learn(&mut self, seen: &ObservedRole) {
        if let (RoleName::Custom(name), Some(base)) = (&seen.role, seen.base) {
            self.0.insert(name.clone(), base);
        }
    }

    /// The rank of a role; `None` for a custom one whose base is unknown.
    #[must_use]
    pub fn rank(&self, role: &RoleName) -> Option<StandardRole> {
        match role {
            RoleName::Standard(role) => Some(*role),
            RoleName::Custom(name) => self.0.get(name).copied(),
        }
    }
}

/// The direction of an assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleStep {
    /// Nothing changes.
    Same,
    /// A role instead of none or of a less permissive one.
    Raise,
    /// A less permissive role.
    Lower,
    /// A custom role is involved whose permissions are unknown.
    Unknown,
}

word_enum! {
    /// Why an assignment is listed first, and counts fivefold for the limit of role changes.
    pub enum RoleRisk {
        /// The holder gets a less permissive role.
        Lowers = "lowers",
        /// A custom role is involved whose permissions are unknown.
        MayLower = "may_lower",
        /// The new role is `MODELER` or `CONNECTION_ADMIN`, or may grant as much.
        Grants = "grants",
    }
}

/// The number of ordinary assignments that one with a risk counts as.
const RISK_WEIGHT: u64 = 5;

impl RoleRisk {
    /// The risk of a step to a role.
    #[must_use]
    pub fn of(step: RoleStep, to: &RoleName, bases: &RoleBases) -> Option<Self> {
        let grants_much = || {
            let rank = bases.rank(to);
            rank.is_none_or(|rank| rank >= StandardRole::Modeler)
        };
        match step {
            RoleStep::Lower => Some(Self::Lowers),
            RoleStep::Unknown => Some(Self::MayLower),
            RoleStep::Raise => grants_much().then_some(Self::Grants),
            RoleStep::Same => None,
        }
    }

    /// The number that an assignment counts for the limit of role changes.
    #[must_use]
    pub fn weight(risk: Option<Self>) -> u64 {
        risk.map_or(1, |_| RISK_WEIGHT)
    }
}

impl RoleStep {
    /// The step from the direct role to another one.
    #[must_use]
    pub fn between(from: Option<&RoleName>, to: &RoleName, bases: &RoleBases) -> Self {
        let Some(from) = from else {
            return Self::Raise;
        };
        if from == to {
            return Self::Same;
        }
        let (Some(before), Some(after)) = (bases.rank(from), bases.rank(to)) else {
            return Self::Unknown;
        };
        match after.cmp(&before) {
            Ordering::Less => Self::Lower,
            // A custom role may have other permissions than its base.
            Ordering::Equal => Self::Unknown,
            Ordering::Greater => Self::Raise,
        }
    }
}
