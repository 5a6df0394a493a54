//! What a run does before it writes anything, which is all that there is to a plan: it reads the roster
//! and Omni, compares, and says what that would take.

use super::prepare::{Look, Prepared, Scope, Snapshot, Target};
use super::progress::Progress;
use super::{Explanation, ObservationCache, Reconciler, RunError};
use crate::model::{Desired, Email, Limit, Memory, Operation, Prune};
use crate::plan::Change;
use crate::plan::render::Cost;
use crate::roster::{self, SourceError};
use crate::settings::{ApiKeys, Select, Settings, UpdateMethod};
use chrono::Utc;
use tokio_util::sync::CancellationToken;

impl Reconciler {
    /// What a run would do. Nothing is written, neither to Omni nor to the journal.
    ///
    /// # Errors
    /// When the keys, the roster or the listing can't be had.
    pub async fn plan(
        &self,
        target: &Target,
        stop: &CancellationToken,
    ) -> Result<Prepared, RunError> {
        let scope = self.scope(target, false);
        let seen = self.look(target, scope, None, stop).await?;
        self.plan_of(seen, &self.settings).await
    }

    /// Explains one user by the roster of `source.path`, for two requests. The guard counts everybody's
    /// changes: of one user's it has nothing to say.
    ///
    /// # Errors
    /// As [`Reconciler::plan`].
    pub async fn explain(
        &self,
        email: &Email,
        stop: &CancellationToken,
    ) -> Result<Explanation, RunError> {
        let target = Target::source(&self.settings, None)?;
        let mut seen = self.look(&target, Scope::One(email), None, stop).await?;
        seen.desired = seen.desired.about(email);
        let prepared = self.plan_of(seen, &without_guard(&self.settings)).await?;
        let state = self.journal.user(email).await?;
        let held = self.journal.last_held().await?;
        let (held, policy) = (held.as_ref(), &self.settings.policy);
        Ok(Explanation::new(email, &prepared, &state, held, policy))
    }

    async fn plan_of(&self, seen: Snapshot, settings: &Settings) -> Result<Prepared, RunError> {
        let memory = self.journal.memory(Utc::now()).await?;
        self.refuse_older(&seen.desired, &memory)?;
        Ok(Prepared::new(seen, memory, settings))
    }

    /// Whom a run has to see: everybody, where those count whom the roster does not name, or where it is
    /// not known what became of changes that got no answer.
    pub(super) fn scope(&self, target: &Target, has_unknown: bool) -> Scope<'static> {
        let prunes = target.is_source && self.settings.policy.prune != Prune::Never;
        match prunes || has_unknown {
            true => Scope::Everybody,
            false => Scope::Named,
        }
    }

    /// Of a folder's files the newest counts; when that is taken away, the one before it is not the
    /// roster again.
    pub(super) fn refuse_older(
        &self,
        desired: &Desired,
        memory: &Memory,
    ) -> Result<(), SourceError> {
        if self.settings.source.select != Select::Newest || !desired.is_source {
            return Ok(());
        }
        match (desired.files.first(), memory.last_files.first()) {
            (Some(newest), Some(accepted)) if newest.is_older_than(accepted) => {
                let (newest, accepted) = (newest.name.clone(), accepted.name.clone());
                Err(SourceError::Older { newest, accepted })
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn look(
        &self,
        target: &Target,
        scope: Scope<'_>,
        kept: Option<ObservationCache>,
        stop: &CancellationToken,
    ) -> Result<Snapshot, RunError> {
        let keys = roster::unless_stopped(stop, self.keys(target)).await?;
        self.client.begin(&keys);
        let progress = Progress::new(&self.client);
        let look = Look {
            reader: self.client.reader(stop),
            settings: &self.settings,
            target,
            expect: &|more| progress.expect(more),
        };
        tokio::select! {
            seen = look.look(scope, kept) => seen,
            never = progress.tell_reading() => match never {},
        }
    }

    /// The keys, once it is clear that there is a roster: what can be found out without a request
    /// takes none. Off the async threads, since a mount can hang.
    async fn keys(&self, target: &Target) -> Result<ApiKeys, RunError> {
        let (settings, path) = (self.settings.clone(), target.path.clone());
        let read = roster::blocking(&target.path, move || {
            roster::stamp(&settings.source, &path)?;
            Ok(settings.omni.keys.read()?)
        });
        read.await
    }

    /// What carrying out what passed takes, from now on.
    #[must_use]
    pub fn cost(&self, prepared: &Prepared) -> Cost {
        let method = self.settings.omni.update_method;
        let each = |change: &Change| match change.kind() {
            // The user is read right before.
            Operation::Update | Operation::Deactivate if method == UpdateMethod::Put => 2,
            _ => 1,
        };
        let requests = prepared.verdict.passed().iter().map(each).sum();
        Cost {
            requests,
            time: self.client.estimate_anew(requests),
        }
    }
}

fn without_guard(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    settings.policy.max_removals = Limit::Count(u64::MAX);
    settings.policy.max_clears = Limit::Count(u64::MAX);
    settings.policy.max_updates = None;
    settings
}
