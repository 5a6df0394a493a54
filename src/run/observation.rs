//! One observation: definitions, roster and users.

use super::RunError;
use super::cache::ObservationCache;
use super::observe::{ObservationSource, ObserveRequest};
use super::read_budget::ReadBudget;
use crate::model::{Desired, Email, Fingerprint, Readings, Schema};
use crate::omni::{self, Reader};
use crate::plan;
use crate::roster::{self, SourceError};
use crate::settings::{Settings, SettingsError};
use crate::state::StateDb;
use std::path::PathBuf;

/// The roster that a run is about.
#[derive(Clone, Debug)]
pub struct Target {
    /// A CSV file, or a folder of CSV files.
    pub path: PathBuf,
    /// Whether this is `source.path`. Another roster never prunes and makes no user managed.
    pub is_source: bool,
    /// The content that the watcher found stable.
    pub stable_fingerprint: Option<Fingerprint>,
    /// The only user that the run is about. Such a run looks up this user, prunes no users, and does not accept the
    /// roster.
    pub only: Option<Email>,
}

impl Target {
    /// Whether a run over this roster may accept it: it is the whole roster of `source.path`.
    pub(super) fn is_whole_source(&self) -> bool {
        self.is_source && self.only.is_none()
    }

    /// The roster of `source.path`.
    ///
    /// # Errors
    /// Fails if the settings have no `source.path`.
    pub fn source(
        settings: &Settings,
        stable_fingerprint: Option<Fingerprint>,
    ) -> Result<Self, SettingsError> {
        Ok(Self {
            path: settings.source.path()?.to_owned(),
            is_source: true,
            stable_fingerprint,
            only: None,
        })
    }
}

/// Which users a run must see.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope<'a> {
    /// The users that the roster names.
    Named,
    /// All users.
    Everybody {
        /// Whether groups must be seen too, because the outcome of earlier changes of memberships is unknown.
        with_groups: bool,
    },
    /// One user. The plan for others is meaningless then.
    One(&'a Email),
}

/// What a run sees before it plans.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) desired: Desired,
    pub(super) cache: ObservationCache,
}

/// The observation of an earlier run.
pub(super) struct CachedObservation {
    pub(super) cache: ObservationCache,
    /// Whether it may be used instead of a new one. If not, it only has the fields that lists do not show.
    pub(super) is_usable: bool,
}

/// One observation in progress.
pub(super) struct Observation<'a> {
    pub(super) reader: Reader,
    pub(super) settings: &'a Settings,
    pub(super) target: &'a Target,
    /// Receives the number of requests still to come.
    pub(super) expect: &'a (dyn Fn(usize) + Sync),
    pub(super) keep_in: Option<&'a StateDb>,
    pub(super) budget: &'a ReadBudget,
    pub(super) readings: &'a Readings,
    /// What earlier runs know about roles.
    pub(super) state: &'a StateDb,
}

impl Observation<'_> {
    pub(super) async fn observe(
        &self,
        scope: Scope<'_>,
        cached: Option<CachedObservation>,
    ) -> Result<Snapshot, RunError> {
        let earlier = match cached {
            Some(CachedObservation {
                cache,
                is_usable: true,
            }) => return self.observe_again(cache, scope).await,
            cached => cached.map(|cached| cached.cache),
        };
        let schema = self.definitions().await?;
        let desired = self.roster(&schema).await?;
        let needs_groups = self.needs_groups(&desired, scope);
        let reader = self.reader.with_groups(needs_groups);
        let request = self.request(&reader, &desired, scope, needs_groups);
        let (cache, source) = match scope {
            Scope::One(email) => {
                let observed = omni::look_up(&self.reader, email).await?;
                let cache = ObservationCache::new(schema, observed);
                (cache, ObservationSource::LookedUp)
            }
            Scope::Named | Scope::Everybody { .. } => {
                ObservationCache::fresh(schema, request, earlier).await?
            }
        };
        let cache = self.observed(cache, source, request).await?;
        Ok(Snapshot { desired, cache })
    }

    async fn observe_again(
        &self,
        mut cache: ObservationCache,
        scope: Scope<'_>,
    ) -> Result<Snapshot, RunError> {
        if cache.schema_read_at.elapsed() > self.settings.observe.max_age {
            cache.defined(self.definitions().await?);
        }
        let desired = self.roster_by_cached(&mut cache.schema).await?;
        let needs_groups = self.needs_groups(&desired, scope);
        let reader = self.reader.with_groups(needs_groups);
        let request = self.request(&reader, &desired, scope, needs_groups);
        let (cache, source) = cache.again(request).await?;
        let cache = self.observed(cache, source, request).await?;
        Ok(Snapshot { desired, cache })
    }

    /// Whether the run needs groups: it has to do with memberships, or with roles of groups.
    fn needs_groups(&self, desired: &Desired, scope: Scope<'_>) -> bool {
        if desired.role_groups().next().is_some() {
            return true;
        }
        let stated = &desired.memberships;
        let with_groups = match scope {
            Scope::One(email) => {
                let cells = desired.groups_cells().map(|(of, _)| of);
                let mut named = cells.chain(stated.named_rows().map(|row| &row.email));
                return named.any(|of| of == email);
            }
            Scope::Named => false,
            Scope::Everybody { with_groups } => with_groups,
        };
        let has_cells = desired.groups_cells().next().is_some();
        let is_stated = has_cells || !stated.is_empty() || stated.unreadable.is_some();
        with_groups || is_stated || !self.settings.policy.managed_groups.is_empty()
    }

    /// Reads the roster with cached definitions. If that finds problems, the definitions may have changed, so they are
    /// read again.
    async fn roster_by_cached(&self, schema: &mut Schema) -> Result<Desired, RunError> {
        let read = self.roster(schema).await;
        let may_be_stale = match &read {
            Ok(desired) => !desired.problems().is_empty(),
            Err(error) => matches!(error, RunError::Source(SourceError::Rejected(_))),
        };
        if !may_be_stale {
            return read;
        }
        let now = self.definitions().await?;
        if now == *schema {
            return read;
        }
        *schema = now;
        self.roster(schema).await
    }

    async fn definitions(&self) -> Result<Schema, RunError> {
        self.budget.spend(1);
        Ok(self.reader.definitions().await?.into_schema())
    }

    async fn roster(&self, schema: &Schema) -> Result<Desired, RunError> {
        let Target {
            path,
            is_source,
            stable_fingerprint,
            only,
        } = self.target;
        let source = &self.settings.source;
        let reading = roster::read_stable(source, path, *is_source, schema, *stable_fingerprint);
        let desired = roster::unless_stopped(self.reader.stop(), reading).await?;
        let Some(email) = only else {
            return Ok(desired);
        };
        let successor = plan::successor_of(&desired, &self.settings.policy, email).cloned();
        Ok(desired.about(email, successor.as_ref()))
    }

    fn request<'r>(
        &'r self,
        reader: &'r Reader,
        desired: &'r Desired,
        scope: Scope<'_>,
        needs_groups: bool,
    ) -> ObserveRequest<'r> {
        ObserveRequest {
            reader,
            desired,
            everybody: matches!(scope, Scope::Everybody { .. }),
            expect: self.expect,
            keep_in: self.keep_in,
            budget: self.budget,
            readings: self.readings,
            needs_groups,
            managed_groups: &self.settings.policy.managed_groups,
            max_age: self.settings.observe.max_age,
        }
    }

    /// The observation with its groups and roles.
    async fn observed(
        &self,
        mut cache: ObservationCache,
        source: ObservationSource,
        request: ObserveRequest<'_>,
    ) -> Result<ObservationCache, RunError> {
        tracing::info!(
            source = source.as_str(),
            users = cache.observed.count(),
            age_seconds = cache.age().as_secs(),
            "fetched users"
        );
        let is_cached = matches!(source, ObservationSource::Cache);
        cache.observe_groups(request, source).await?;
        cache.observe_roles(request, self.state, is_cached).await?;
        Ok(cache)
    }
}
