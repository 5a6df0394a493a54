//! Known roles in Omni.

use super::{
    Observed, ObservedConnection, ObservedModel, ObservedRole, RoleBases, RoleHolder, RoleName,
    RoleOrigin, RoleScope, StandardRole,
};
use chrono::{DateTime, Utc};
use std::collections::{HashMap, HashSet};

/// The connections and models that roles can be assigned for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleScopeList {
    /// The connections.
    pub connections: Vec<ObservedConnection>,
    /// Their models.
    pub models: Vec<ObservedModel>,
}

impl RoleScopeList {
    /// The role of every user on the models of a connection.
    #[must_use]
    pub fn base_role(&self, scope: &RoleScope) -> Option<&RoleName> {
        let mut connections = self.connections.iter();
        let connection = connections.find(|one| one.id == scope.connection)?;
        connection.base_role.as_ref()
    }

    /// Whether Omni shows the direct role of a holder for a scope. It shows that of a group on a whole connection for
    /// each model of the connection.
    #[must_use]
    pub fn shows(&self, holder: &RoleHolder, scope: &RoleScope) -> bool {
        let mut models = self.models.iter();
        !scope.is_hidden_of(holder)
            && (scope.model.is_some() || models.any(|model| model.connection == scope.connection))
    }
}

/// Known roles of a user or group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownRoles {
    /// When Omni showed them; `None` if only own assignments are known.
    pub read: Option<DateTime<Utc>>,
    /// The roles from all sources.
    pub roles: Vec<ObservedRole>,
}

impl KnownRoles {
    /// The direct role for a scope, `Some(None)` if there is none; `None` if that is not known. Omni does not show a
    /// user's role on a whole connection, so one that this program did not assign counts as none.
    #[must_use]
    pub fn direct(&self, holder: &RoleHolder, scope: &RoleScope) -> Option<Option<&RoleName>> {
        let is_hidden = scope.is_hidden_of(holder);
        match ObservedRole::assigned(&self.roles, scope) {
            Some(role) => Some(Some(role)),
            None if self.read.is_some() || is_hidden => Some(None),
            None => None,
        }
    }

    /// The direct roles.
    pub fn direct_roles(&self) -> impl Iterator<Item = (&RoleScope, &RoleName)> {
        let direct = self.roles.iter();
        let direct = direct.filter(|one| one.origin == RoleOrigin::Direct);
        direct.map(|one| (&one.scope, &one.role))
    }

    /// The roles on the model of a scope.
    pub fn on<'a>(&'a self, scope: &'a RoleScope) -> impl Iterator<Item = &'a ObservedRole> {
        let is_on = |one: &&ObservedRole| one.scope == *scope;
        self.roles.iter().filter(is_on)
    }

    /// Brings an own assignment in.
    pub fn assign(&mut self, holder: &RoleHolder, scope: &RoleScope, role: &RoleName) {
        let is_replaced =
            |one: &ObservedRole| one.origin == RoleOrigin::Direct && one.scope == *scope;
        self.roles.retain(|one| !is_replaced(one));
        self.roles.push(ObservedRole {
            holder: holder.clone(),
            scope: scope.clone(),
            role: role.clone(),
            base: None,
            origin: RoleOrigin::Direct,
            is_resolved: false,
        });
    }

    /// Replaces the roles that Omni shows by those that it shows now. Other roles stay: Omni never shows them, as far
    /// as the connections and models are known.
    pub fn was_read(
        &mut self,
        holder: &RoleHolder,
        roles: Vec<ObservedRole>,
        scopes: Option<&RoleScopeList>,
        now: DateTime<Utc>,
    ) {
        let is_shown = |scope: &RoleScope| match scopes {
            Some(scopes) => scopes.shows(holder, scope),
            None => scope.model.is_some(),
        };
        self.roles.retain(|one| !is_shown(&one.scope));
        self.roles.extend(roles);
        self.read = Some(now);
    }
}

impl RoleScope {
    /// Whether Omni does not show the direct role of a holder for this scope.
    #[must_use]
    pub fn is_hidden_of(&self, holder: &RoleHolder) -> bool {
        self.model.is_none() && matches!(holder, RoleHolder::User(_))
    }
}

/// Why the connections and models are not known. `Display` is a clause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RolesUnknown {
    /// No run has read them.
    #[error("the connections and models were not read yet")]
    NotRead,
    /// Omni refuses them: 403 or 404.
    #[error("Omni does not show its connections and models to this key ({0})")]
    Refused(u16),
    /// They can't be read, for this reason.
    #[error("the connections and models can't be read: {0}")]
    Failed(String),
}

impl RolesUnknown {
    /// The remedy, as a clause.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Refused(_) => "use a key that may read connections and models",
            Self::NotRead | Self::Failed(_) => "the next run reads them again",
        }
    }
}

/// Why the roles of a user or group are not known. `Display` is a clause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HolderUnknown {
    /// Omni refuses them: 403 or 404.
    #[error("Omni refuses them ({0})")]
    Refused(u16),
    /// They can't be read, for this reason.
    #[error("{0}")]
    Failed(String),
}

impl HolderUnknown {
    /// The remedy, as a clause.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Refused(_) => "use a key that may read them; until then the role is not assigned",
            Self::Failed(_) => "the next run reads them again; until then the role is not assigned",
        }
    }
}

/// Known roles in Omni.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedRoles {
    /// The connections and models, or why they are not known.
    pub scopes: Result<RoleScopeList, RolesUnknown>,
    /// The roles by holder.
    pub holders: HashMap<RoleHolder, KnownRoles>,
    /// Why this run could not read the roles of a holder.
    pub refused: HashMap<RoleHolder, HolderUnknown>,
    /// Users and groups whose roles were read too long ago to base an assignment on.
    pub outdated: HashSet<RoleHolder>,
}

impl Default for ObservedRoles {
    fn default() -> Self {
        Self {
            scopes: Err(RolesUnknown::NotRead),
            holders: HashMap::new(),
            refused: HashMap::new(),
            outdated: HashSet::new(),
        }
    }
}

impl ObservedRoles {
    /// The standard roles that custom roles are based on.
    #[must_use]
    pub fn bases(&self) -> RoleBases {
        let mut bases = RoleBases::default();
        let known = self.holders.values();
        let roles = known.flat_map(|known| &known.roles);
        roles.for_each(|role| bases.learn(role));
        bases
    }

    /// The direct role of a holder; see [`KnownRoles::direct`].
    #[must_use]
    pub fn direct(&self, holder: &RoleHolder, scope: &RoleScope) -> Option<Option<&RoleName>> {
        match self.holders.get(holder) {
            Some(known) => known.direct(holder, scope),
            None => scope.is_hidden_of(holder).then_some(None),
        }
    }

    /// Why this run could not read a role of a holder.
    #[must_use]
    pub fn why_refused(&self, holder: &RoleHolder, scope: &RoleScope) -> Option<&HolderUnknown> {
        let why = self.refused.get(holder)?;
        (!scope.is_hidden_of(holder)).then_some(why)
    }

    /// The most permissive role that a holder has on a model from another source than a direct assignment, if it is
    /// more permissive than this one.
    #[must_use]
    pub fn outranking(
        &self,
        holder: Option<&RoleHolder>,
        scope: &RoleScope,
        direct: &RoleName,
        bases: &RoleBases,
    ) -> Option<(RoleName, RoleOrigin)> {
        let known = holder.and_then(|holder| self.holders.get(holder));
        let roles = known.into_iter().flat_map(|known| known.on(scope));
        let shown = ObservedRole::outranking(roles, direct, bases);
        let shown = shown.map(|one| (one.role.clone(), one.origin.clone()));
        shown.or_else(|| {
            let base = self.scopes.as_ref().ok()?.base_role(scope)?;
            let ranks = (bases.rank(base)?, bases.rank(direct)?);
            let is_above = |(base, direct): (StandardRole, StandardRole)| base > direct;
            is_above(ranks).then(|| (base.clone(), RoleOrigin::Base))
        })
    }
}

impl Observed {
    /// The roles, as far as they are known.
    #[must_use]
    pub fn roles(&self) -> &ObservedRoles {
        &self.roles
    }

    /// The roles, to bring changes in.
    pub fn roles_mut(&mut self) -> &mut ObservedRoles {
        &mut self.roles
    }
}

/// What a run has found out about roles since they were stored.
#[derive(Clone, Debug, Default)]
pub struct ObservedRolesUpdate {
    /// The connections and models, with the time of reading.
    pub scopes: Option<(RoleScopeList, DateTime<Utc>)>,
    /// The roles of holders that were read.
    pub holders: Vec<(RoleHolder, KnownRoles)>,
}

/// What the state database has about roles.
#[derive(Clone, Debug, Default)]
pub struct StoredRoles {
    /// The connections and models, with the time of reading.
    pub scopes: Option<(RoleScopeList, DateTime<Utc>)>,
    /// The roles by holder.
    pub holders: HashMap<RoleHolder, KnownRoles>,
    /// The holders of assignments whose outcome is not known.
    pub unsettled: Vec<RoleHolder>,
}

/// What a roster or a change does to the records of roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleUpdate {
    /// Rows of `source.roles` that become stated.
    pub stated: Vec<StatedRole>,
    /// Rows that are no longer stated.
    pub not_stated: Vec<StatedRole>,
    /// Roles that this program assigned.
    pub assigned: Vec<(RoleHolder, RoleScope, RoleName)>,
    /// Holders whose roles are not known any more.
    pub uncertain: Vec<RoleHolder>,
}

/// What a row of `source.roles` is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatedRole {
    /// The user or group.
    pub subject: super::Subject,
    /// The connection or model.
    pub scope: RoleScope,
}
