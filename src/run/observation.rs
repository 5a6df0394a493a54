//! One observation: definitions, roster and users.

use super::RunError;
use super::cache::ObservationCache;
use super::observe::{ObservationSource, ObserveRequest};
use super::observer::{CachedObservation, Scope, Snapshot, Target};
use super::read_budget::ReadBudget;
use crate::model::{Desired, Readings, Schema};
use crate::omni::{self, Reader};
use crate::roster::{self, SourceError};
use crate::settings::Settings;
use crate::state::StateDb;

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
}

impl Observation<'_> {
    pub(super) async fn observe(
        &self,
        scope: Scope<'_>,
        cached: Option<CachedObservation>,
    ) -> Result<Snapshot, RunError> {
        let everybody = matches!(scope, Scope::Everybody);
        let earlier = match cached {
            Some(CachedObservation {
                cache,
                is_usable: true,
            }) => return self.observe_again(cache, everybody).await,
            cached => cached.map(|cached| cached.cache),
        };
        let schema = self.definitions().await?;
        let desired = self.roster(&schema).await?;
        let (cache, source) = match scope {
            Scope::One(email) => {
                let observed = omni::look_up(&self.reader, email).await?;
                let cache = ObservationCache::new(schema, observed);
                (cache, ObservationSource::LookedUp)
            }
            Scope::Named | Scope::Everybody => {
                let request = self.request(&desired, everybody);
                ObservationCache::fresh(schema, request, earlier).await?
            }
        };
        Ok(snapshot(desired, cache, source))
    }

    async fn observe_again(
        &self,
        mut cache: ObservationCache,
        everybody: bool,
    ) -> Result<Snapshot, RunError> {
        if cache.schema_read_at.elapsed() > self.settings.observe.max_age {
            cache.defined(self.definitions().await?);
        }
        let desired = self.roster_by_cached(&mut cache.schema).await?;
        let (cache, source) = cache.again(self.request(&desired, everybody)).await?;
        Ok(snapshot(desired, cache, source))
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
        let mut desired = roster::unless_stopped(self.reader.stop(), reading).await?;
        if let Some(email) = only {
            desired.users.retain(|of, _| of == email);
        }
        Ok(desired)
    }

    fn request<'r>(&'r self, desired: &'r Desired, everybody: bool) -> ObserveRequest<'r> {
        ObserveRequest {
            reader: &self.reader,
            desired,
            everybody,
            expect: self.expect,
            keep_in: self.keep_in,
            budget: self.budget,
            readings: self.readings,
        }
    }
}

fn snapshot(desired: Desired, cache: ObservationCache, source: ObservationSource) -> Snapshot {
    tracing::info!(
        source = source.as_str(),
        users = cache.observed.count(),
        age_seconds = cache.age().as_secs(),
        "fetched users"
    );
    Snapshot { desired, cache }
}
