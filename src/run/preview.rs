//! Plans from the cache, without a request to Omni.

use super::cache::ObservationCache;
use super::observation::{Snapshot, Target};
use super::observer::Observer;
use super::{Prepared, RunError};
use crate::model::Desired;
use crate::roster::{self, SourceError};
use crate::util::text::{agree, plural};
use std::path::Path;
use tokio_util::sync::CancellationToken;

impl Observer {
    /// Plans the roster of `source.path` as the next run would, by the stored observation. Sends no request. `None` if
    /// no run has stored an observation.
    ///
    /// # Errors
    /// Fails if the roster or the state database can't be read.
    pub async fn preview(&self) -> Result<Option<Prepared>, RunError> {
        let never = CancellationToken::new();
        let target = Target::source(self.settings(), None)?;
        let Some(cache) = ObservationCache::stored(self.state()).await else {
            return Ok(None);
        };
        self.check_place(&target, None, &never).await?;
        let source = &self.settings().source;
        let desired = roster::read_stable(source, &target.path, true, &cache.schema, None).await?;
        let prepared = self.plan_by_cache(desired, cache, &target.path).await?;
        Ok(Some(prepared))
    }

    /// Plans a roster of one file that is in memory, by the stored observation. Sends no request and writes nothing.
    /// Such a roster never prunes. `None` if no run has stored an observation.
    ///
    /// # Errors
    /// Fails if the file is rejected, or the state database can't be read.
    pub async fn preview_file(
        &self,
        name: &str,
        bytes: impl AsRef<[u8]> + Send + 'static,
    ) -> Result<Option<Prepared>, RunError> {
        let Some(cache) = ObservationCache::stored(self.state()).await else {
            return Ok(None);
        };
        let (settings, schema) = (self.settings().source.clone(), cache.schema.clone());
        let (name, path) = (name.to_owned(), Path::new(name));
        let read = move || roster::read_memory(&settings, &name, bytes.as_ref(), &schema);
        let desired = roster::blocking(path, read).await?;
        Ok(Some(self.plan_by_cache(desired, cache, path).await?))
    }

    async fn plan_by_cache(
        &self,
        desired: Desired,
        mut cache: ObservationCache,
        path: &Path,
    ) -> Result<Prepared, RunError> {
        if desired.roles.is_some() {
            cache.recall_roles(self.state()).await?;
        }
        let snapshot = Snapshot { desired, cache };
        let mut memory = self.memory(&snapshot, false).await?;
        self.recall_key_users(&mut memory).await?;
        self.read_keys().await;
        let policy = self.settings().policy.clone();
        // A large plan would delay other responses.
        let plan = move || Ok::<_, SourceError>(Prepared::new(snapshot, memory, &policy));
        Ok(roster::blocking(path, plan).await?)
    }
}

impl Prepared {
    /// Notes on what a run would first read from Omni.
    #[must_use]
    pub fn preview_notes(&self) -> Vec<String> {
        let named = self.desired.named();
        let unseen = named.filter(|(email, _)| !self.cache.knows(email)).count();
        let unread = self.assessment.verdict.unread().len();
        let leavers = self.assessment.verdict.leavers();
        let unlooked = leavers.filter(|user| user.owned.is_none()).count();
        let unseen = (unseen > 0).then(|| {
            format!(
                "{} of the roster {} not in the cache. The preview takes them as new; a run looks them up first.",
                plural(unseen, "user"),
                agree(unseen, "is", "are")
            )
        });
        let unread = (unread > 0).then(|| {
            format!(
                "Not all fields of {} who {} access are known. A run reads them first, and keeps protected admins.",
                plural(unread, "user"),
                agree(unread, "loses", "lose")
            )
        });
        let unlooked = (unlooked > 0).then(|| {
            format!(
                "The schedules of {} to be removed are not known. A run reads them first, and applies \
                 policy.owned_schedules.",
                plural(unlooked, "user")
            )
        });
        let notes = [unseen, unread, unlooked];
        notes.into_iter().flatten().collect()
    }
}
