//! Observes roles, where `source.roles` states some.
//!
//! - Connections and models are read by each run that reads Omni again. Other runs use those that were read within
//!   `observe.max_age`, unless a row names one that is not known.
//! - The roles of a named group are read by each run that reads Omni again. Other runs use those that were read within
//!   `observe.max_age`.
//! - The roles of a named user are remembered as read, and as assigned since. Runs read those that are not known, and
//!   those that differ from the file if the last reading is older than `observe.max_age`: an assignment may lower a role.
//!   Runs that read Omni again also read a part of the others: those that were read the longest ago.
//! - If the outcome of an assignment is unknown, the roles of its user or group are read, whatever the file states.

use super::RunError;
use super::cache::ObservationCache;
use super::observe::{ObserveRequest, verified_per_run};
use crate::model::{
    DesiredRoles, HolderUnknown, Observed, ObservedRoles, ObservedRolesUpdate, RoleHolder,
    RoleScopeList, RolesUnknown, StoredRoles, Subject, UserMatch,
};
use crate::omni::{self, Available, OmniError, Reader};
use crate::plan::{NameIndex, RoleCatalogue};
use crate::state::{StateDb, StateError};
use chrono::{DateTime, Utc};
use std::collections::{BTreeSet, HashSet};

/// The number of users whose roles are read before what was read is stored.
const KEPT_AT_ONCE: usize = 50;

/// The requests for connections and models: one for the connections, and one for each kind of models.
const SCOPE_REQUESTS: usize = 3;

/// The holders whose roles are to be read.
#[derive(Default)]
struct DueRoles {
    /// Groups, and holders of assignments whose outcome is unknown.
    needed: BTreeSet<RoleHolder>,
    /// Users whose roles are not known, or were read too long ago to base an assignment on; then those that were read
    /// the longest ago.
    users: Vec<RoleHolder>,
}

impl ObservationCache {
    /// Observes roles after users and groups. A run with a cached observation reads less.
    pub(super) async fn observe_roles(
        &mut self,
        request: ObserveRequest<'_>,
        state: &StateDb,
        is_cached: bool,
    ) -> Result<(), RunError> {
        let stored = state.observed_roles().await?;
        let stated = request.desired.roles.as_ref();
        let stated = stated.filter(|stated| stated.rejected.is_empty());
        if stated.is_none() && stored.unsettled.is_empty() {
            *self.observed.roles_mut() = ObservedRoles::default();
            return Ok(());
        }
        let StoredRoles {
            scopes,
            holders,
            unsettled,
        } = stored;
        let mut reading = RoleReading {
            request,
            now: Utc::now(),
            roles: ObservedRoles {
                holders,
                ..ObservedRoles::default()
            },
        };
        if let Some(stated) = stated {
            let may_be_stored = is_cached || self.observed.is_of_one();
            let stored = scopes.filter(|_| may_be_stored);
            reading.observe_scopes(stored, stated).await?;
        }
        let mut due = match stated {
            Some(stated) => reading.due(stated, &self.observed, is_cached),
            None => DueRoles::default(),
        };
        due.needed.extend(unsettled);
        due.users.retain(|holder| !due.needed.contains(holder));
        reading.read_due(due).await?;
        reading.roles.outdated = reading.outdated();
        *self.observed.roles_mut() = reading.roles;
        Ok(())
    }

    /// What earlier runs know about roles.
    pub(super) async fn recall_roles(&mut self, state: &StateDb) -> Result<(), StateError> {
        let stored = state.observed_roles().await?;
        *self.observed.roles_mut() = ObservedRoles {
            scopes: match stored.scopes {
                Some((list, _)) => Ok(list),
                None => Err(RolesUnknown::NotRead),
            },
            holders: stored.holders,
            ..ObservedRoles::default()
        };
        Ok(())
    }
}

/// The reading of roles in one run.
struct RoleReading<'a> {
    request: ObserveRequest<'a>,
    now: DateTime<Utc>,
    roles: ObservedRoles,
}

impl RoleReading<'_> {
    /// Takes the stored connections and models, or reads them again.
    async fn observe_scopes(
        &mut self,
        stored: Option<(RoleScopeList, DateTime<Utc>)>,
        stated: &DesiredRoles,
    ) -> Result<(), RunError> {
        let has_all_names = |list: &RoleScopeList| {
            let resolved = RoleCatalogue::new(list).resolve(stated);
            resolved.problems.is_empty()
        };
        if let Some((list, read)) = stored
            && self.is_current(read)
            && has_all_names(&list)
        {
            self.roles.scopes = Ok(list);
            return Ok(());
        }
        (self.request.expect)(SCOPE_REQUESTS);
        self.request.budget.spend(SCOPE_REQUESTS);
        self.roles.scopes = read_scopes(self.request.reader).await?;
        if let Ok(list) = &self.roles.scopes {
            tracing::info!(
                connections = list.connections.len(),
                models = list.models.len(),
                "fetched connections and models"
            );
            let scopes = Some((list.clone(), self.now));
            self.keep(ObservedRolesUpdate {
                scopes,
                ..ObservedRolesUpdate::default()
            })
            .await;
        }
        Ok(())
    }

    /// When the roles of a holder were read.
    fn read_at(&self, holder: &RoleHolder) -> Option<DateTime<Utc>> {
        self.roles.holders.get(holder)?.read
    }

    fn is_current(&self, read: DateTime<Utc>) -> bool {
        let age = self.now.signed_duration_since(read).to_std();
        age.is_ok_and(|age| age <= self.request.max_age)
    }

    fn is_outdated(&self, holder: &RoleHolder) -> bool {
        let read = self.read_at(holder);
        !read.is_some_and(|read| self.is_current(read))
    }

    /// The holders whose roles were read too long ago to base an assignment on.
    fn outdated(&self) -> HashSet<RoleHolder> {
        let holders = self.roles.holders.keys();
        let outdated = holders.filter(|holder| self.is_outdated(holder));
        outdated.cloned().collect()
    }

    /// The users and groups of the file whose roles are to be read.
    fn due(&self, stated: &DesiredRoles, observed: &Observed, is_cached: bool) -> DueRoles {
        let Ok(list) = &self.roles.scopes else {
            return DueRoles::default();
        };
        let resolved = RoleCatalogue::new(list).resolve(stated);
        let groups = NameIndex::of_groups(observed.groups());
        let mut needed = BTreeSet::new();
        let (mut unknown, mut known) = (BTreeSet::new(), BTreeSet::new());
        for role in &resolved.roles {
            match &role.row.subject {
                Subject::Group(name) => {
                    let found = groups.get(name.as_str());
                    let holder = found.map(|group| RoleHolder::Group(group.id.clone()));
                    let is_due = |holder: &RoleHolder| !is_cached || self.is_outdated(holder);
                    needed.extend(holder.ok().filter(is_due));
                }
                Subject::User(email) => {
                    let Some(UserMatch::One(user)) = observed.get(email) else {
                        continue;
                    };
                    let holder = RoleHolder::User(user.id.clone());
                    match self.roles.direct(&holder, &role.scope) {
                        None => drop(unknown.insert(holder)),
                        Some(_) if role.scope.is_hidden_of(&holder) => {}
                        Some(now) if now != Some(&role.row.role) && self.is_outdated(&holder) => {
                            unknown.insert(holder);
                        }
                        Some(_) => drop(known.insert(holder)),
                    }
                }
            }
        }
        let part = match is_cached {
            true => 0,
            false => verified_per_run(unknown.len() + known.len()),
        };
        let mut rest: Vec<_> = known.difference(&unknown).cloned().collect();
        rest.sort_by_cached_key(|holder| self.read_at(holder));
        let users = unknown.into_iter().chain(rest.into_iter().take(part));
        DueRoles {
            needed,
            users: users.collect(),
        }
    }

    async fn read_due(&mut self, due: DueRoles) -> Result<(), RunError> {
        let DueRoles { needed, users } = due;
        let (request, budget) = (self.request, self.request.budget);
        (request.expect)(needed.len() + users.len().min(budget.left()));
        budget.spend(needed.len());
        let count = needed.len() + users.len();
        self.read(request.reader, needed.into_iter().collect())
            .await?;
        let read = async |reader: Reader| {
            for some in users.chunks(KEPT_AT_ONCE) {
                let some = some.iter().take_while(|_| budget.take()).cloned();
                self.read(&reader, some.collect()).await?;
            }
            Ok(())
        };
        match request.unless_interrupted(request.reader, read).await {
            Err(OmniError::Stopped) if request.was_interrupted() => {}
            read => read?,
        }
        if count > 0 {
            tracing::info!(holders = count, "fetched roles");
        }
        Ok(())
    }

    /// Reads the roles of these users and groups. One that can't be read does not hide the others.
    async fn read(&mut self, reader: &Reader, holders: Vec<RoleHolder>) -> Result<(), OmniError> {
        let mut update = ObservedRolesUpdate::default();
        let now = self.now;
        let ObservedRoles {
            scopes,
            holders: known_roles,
            refused,
            outdated: _,
        } = &mut self.roles;
        let scopes = scopes.as_ref().ok();
        let read = omni::read_roles(reader, holders, |holder, answer| {
            match answer {
                Ok(Available::Known(shown)) => {
                    let known = known_roles.entry(holder.clone()).or_default();
                    known.was_read(&holder, shown, scopes, now);
                    update.holders.push((holder, known.clone()));
                }
                Ok(Available::Rejected(status)) => {
                    let why = HolderUnknown::Refused(status.as_u16());
                    refused.insert(holder, why);
                }
                Err(error) if error.ends_run() => return Err(error),
                Err(error) => {
                    refused.insert(holder, HolderUnknown::Failed(error.redacted()));
                }
            }
            Ok(())
        })
        .await;
        self.keep(update).await;
        read
    }

    /// Stores what was read. A failure does not fail the run: the next run reads it again.
    async fn keep(&self, update: ObservedRolesUpdate) {
        let is_empty = update.scopes.is_none() && update.holders.is_empty();
        let Some(state) = self.request.keep_in.filter(|_| !is_empty) else {
            return;
        };
        if let Err(error) = state.keep_roles(update).await {
            tracing::warn!(%error, "the roles in Omni can't be stored for later runs");
        }
    }
}

/// The connections and models, or why they are not known.
async fn read_scopes(reader: &Reader) -> Result<Result<RoleScopeList, RolesUnknown>, OmniError> {
    match reader.role_scopes().await {
        Ok(Available::Known(scopes)) => Ok(Ok(scopes)),
        Ok(Available::Rejected(status)) => Ok(Err(RolesUnknown::Refused(status.as_u16()))),
        Err(error) if error.ends_run() => Err(error),
        Err(error) => Ok(Err(RolesUnknown::Failed(error.redacted()))),
    }
}
