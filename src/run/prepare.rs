//! The first half of a run: observe, plan and guard.

use super::cache::ObservationCache;
use super::observation::{CachedObservation, Snapshot, Target};
use super::read_budget::Allowance;
use super::{CHANGES, PlanSummary, Prepared, Reconciler, Run, RunError, RunEvent, Stop};
use crate::model::{
    Change, ChangeIntent, ChangeOutcome, ChangeRecord, FieldChange, HeldChange, HeldRecord,
    ObservedUser, Operation, OwnedSchedules, Prune, RunOptions, RunRef, Settled, Trigger,
};
use crate::omni::OmniError;
use crate::plan::{ownership, recover};
use crate::util::sync::lock;
use chrono::Utc;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// How often a run reads users again because their ids are cached. The roster may be replaced again and again; changes
/// that are still in doubt then are not sent.
const MAX_READ_AGAIN: usize = 3;

impl Reconciler {
    /// Reads the roster and Omni, plans, and records what the guard holds.
    ///
    /// # Errors
    /// Fails if the keys, the roster, Omni or the state database can't be read.
    pub async fn prepare(&self, run: &mut Run, stop: &Stop) -> Result<Arc<Prepared>, RunError> {
        // Once before requests are spent, and once for what was read.
        self.check_place(run, &stop.now).await?;
        let prepared = self.observe_and_plan(run, stop).await?;
        self.check_place(run, &stop.now).await?;
        let plan = PlanSummary {
            needs_listing: self.needs_listing(run.options, &prepared.cache),
            ..PlanSummary::from(&prepared)
        };
        (self.on_event.0)(RunEvent::Planned(run.started, &plan));
        run.plan = Some(plan);
        self.record_base(&prepared).await?;
        if run.target.is_whole_source() && !prepared.desired.folder.is_empty() {
            let files = prepared.desired.folder.clone();
            self.state().record_files(run.number, files).await?;
        }
        if run.is_dry {
            self.record_planned(run, &prepared).await?;
        }
        let held = prepared.assessment.verdict.held();
        if !held.is_empty() {
            let held: Vec<_> = held.iter().map(HeldRecord::from).collect();
            self.state().hold(run.number, &held).await?;
        }
        Ok(Arc::new(prepared))
    }

    /// Approves what a run holds, and evaluates its plan again with the approval.
    ///
    /// # Errors
    /// Fails if the approval can't be stored, or Omni can't be read.
    pub async fn approve_held(
        &self,
        run: &mut Run,
        prepared: Arc<Prepared>,
        by: &str,
        stop: &Stop,
    ) -> Result<Arc<Prepared>, RunError> {
        let scope = RunRef::Number(run.number);
        self.state().approve(scope, by, Utc::now(), false).await?;
        let Prepared { desired, cache, .. } = Arc::unwrap_or_clone(prepared);
        // The first plan has resolved the changes whose outcome was unknown.
        let snapshot = Snapshot { desired, cache };
        let prepared = self.assess(run, snapshot, &[], stop).await?;
        run.plan = Some(PlanSummary::from(&prepared));
        Ok(Arc::new(prepared))
    }

    /// Records and logs what a dry run would send.
    async fn record_planned(&self, run: &Run, prepared: &Prepared) -> Result<(), RunError> {
        let passed = prepared.assessment.verdict.passed();
        let planned: Vec<_> = passed.iter().map(HeldChange::from).collect();
        let recorded = self.state().record_planned(run.number, planned.clone());
        match recorded.await? {
            Some(last) if !planned.is_empty() => {
                let (changes, like_run) = (planned.len(), last.0);
                tracing::info!(target: CHANGES, changes, like_run, "dry run: the same changes as in an earlier run");
            }
            Some(_) => {}
            None => planned.iter().for_each(log_planned),
        }
        Ok(())
    }

    /// Remembers how many users a whole listing showed, for runs that see only some of them.
    async fn record_base(&self, prepared: &Prepared) -> Result<(), RunError> {
        let Prepared {
            memory, assessment, ..
        } = prepared;
        match assessment.verdict.removal_base() {
            Some(base) if memory.last_base != Some(base) => {
                Ok(self.state().record_base(base).await?)
            }
            _ => Ok(()),
        }
    }

    async fn observe_and_plan(&self, run: &Run, stop: &Stop) -> Result<Prepared, RunError> {
        let unknown = self.state().unknown().await?;
        let scope = self.observer.scope(&run.target, &unknown);
        let (now, never) = (&stop.now, CancellationToken::new());
        let observe = async |target: &Target, cached, interrupt| {
            let allowance = Allowance {
                time: run.options.reading_time,
                started: run.started,
                sent: self.client.client().requests_sent() - run.requests_before,
                interrupt,
            };
            let observed = self
                .observer
                .observe(target, scope, cached, Some(allowance), now);
            observed.await
        };
        let cached = match run.is_about_one() {
            true => None,
            false => self.cached(run.options).await,
        };
        let mut snapshot = observe(&run.target, cached, &stop.for_next).await?;
        if stop.for_next.is_cancelled() {
            tracing::info!("the roster changed while Omni was read; reading the roster again");
            let target = Target {
                stable_fingerprint: None,
                ..run.target.clone()
            };
            let cached = CachedObservation {
                cache: snapshot.cache.cached(),
                is_usable: true,
            };
            snapshot = observe(&target, Some(cached), &never).await?;
        }
        let mut prepared = self.assess(run, snapshot, &unknown, stop).await?;
        for attempt in 0..MAX_READ_AGAIN {
            let cached = match self.in_doubt(run, prepared, attempt == 0) {
                Ok(prepared) => return Ok(prepared),
                Err(cached) => cached,
            };
            let snapshot = observe(&run.target, Some(*cached), &never).await?;
            // An earlier plan may have resolved some of them.
            let unknown = self.state().unknown().await?;
            prepared = self.assess(run, snapshot, &unknown, stop).await?;
        }
        Ok(prepared)
    }

    /// What to observe again if a plan from a cached observation may be wrong. If it is the first plan: the users to be
    /// changed if the observation is older than `observe.max_age`, else all users if one may have a new address. Users
    /// whose memberships or roles change are always read again: the response does not show whose access was changed.
    /// Another plan may name other users, since it may have another roster, and a list may lack some of them.
    fn in_doubt(
        &self,
        run: &Run,
        prepared: Prepared,
        is_first: bool,
    ) -> Result<Prepared, Box<CachedObservation>> {
        let is_outdated = is_first && self.is_outdated(&prepared.cache);
        let has_renames = prepared.assessment.has_renames && prepared.cache.is_cached();
        let has_renames = is_first && has_renames;
        let has_cached_id = |change: &Change| {
            let mut users = change.unseen_users().into_iter();
            users.any(|(_, id)| prepared.cache.may_be_another(id, run.started))
        };
        let is_doubtful = |change: &&Change| is_outdated || has_cached_id(change);
        let passed = prepared.assessment.verdict.passed();
        let doubtful: Vec<_> = passed.iter().filter(is_doubtful).collect();
        if doubtful.is_empty() && !has_renames {
            return Ok(prepared);
        }
        let lists_again = has_renames && !is_outdated;
        // Successors are looked up in each plan with transfers.
        let of_users = doubtful.into_iter();
        let of_users = of_users.filter_map(|change| Some((change.email()?, change.user_id())));
        let of_users: Vec<_> = of_users
            .map(|(email, id)| (email.clone(), id.cloned()))
            .collect();
        let mut cache = prepared.cache;
        if lists_again {
            tracing::info!("a user may have a new address; reading Omni again");
        } else {
            of_users
                .iter()
                .for_each(|(email, id)| cache.doubt(email, id.as_ref()));
        }
        Err(Box::new(CachedObservation {
            cache,
            is_usable: !lists_again,
        }))
    }

    /// Whether users must be looked up before they are changed.
    fn is_outdated(&self, cache: &ObservationCache) -> bool {
        cache.is_cached() && !cache.is_younger_than(self.settings().observe.max_age)
    }

    /// Whether a run that reads all users should follow. At the start of the daemon, Omni must answer first.
    fn needs_listing(&self, options: RunOptions, cache: &ObservationCache) -> bool {
        let is_start = options.trigger == Trigger::Start && cache.is_cached();
        options.may_use_cache && (is_start || self.is_outdated(cache))
    }

    /// Resolves changes whose outcome is unknown, and plans.
    async fn assess(
        &self,
        run: &Run,
        mut snapshot: Snapshot,
        unknown: &[ChangeRecord],
        stop: &Stop,
    ) -> Result<Prepared, RunError> {
        let (mut policy, options) = (self.settings().policy.clone(), run.options);
        if run.is_about_one() {
            policy.prune = Prune::Never;
        } else {
            self.resolve_unknown(&mut snapshot.cache, unknown, stop)
                .await?;
        }
        let assessed =
            self.observer
                .assess(snapshot, &policy, options.ignore_quarantine, &stop.now);
        let mut prepared = assessed.await?;
        // Such a run makes no user managed, and its row report would lack the other rows.
        prepared.desired.is_source &= !run.is_about_one();
        Ok(prepared)
    }

    async fn resolve_unknown(
        &self,
        cache: &mut ObservationCache,
        unknown: &[ChangeRecord],
        stop: &Stop,
    ) -> Result<(), RunError> {
        let is_theirs = |user: &ObservedUser| {
            let is_theirs = |intent: &ChangeIntent| match &intent.user_id {
                Some(id) => *id == user.id,
                None => intent.subject == user.email,
            };
            let of_users = unknown.iter().map(|change| &change.intent);
            let mut of_users = of_users.filter(|intent| intent.operation != Operation::Assign);
            of_users.any(is_theirs)
        };
        let read = self.observer.read_unread(cache, is_theirs, &stop.now);
        read.await?;
        let ObservationCache {
            schema, observed, ..
        } = cache;
        let by_id = recover::by_id(observed, unknown);
        for change in unknown {
            let now = Utc::now();
            let was_applied = match change.intent.operation {
                Operation::Leave | Operation::Join => {
                    recover::membership_was_applied(&change.intent, now, observed)
                }
                Operation::Assign => recover::role_was_applied(&change.intent, observed),
                Operation::Transfer => self.transfer_was_applied(&change.intent, stop).await?,
                _ => recover::was_applied(change, now, &by_id, observed, schema),
            };
            let Some(was_applied) = was_applied else {
                continue;
            };
            let (outcome, found) = match was_applied {
                true => (ChangeOutcome::Applied, "applied"),
                false => (ChangeOutcome::Failed, "not applied"),
            };
            let settled = Settled {
                at: now,
                outcome,
                detail: format!("the response was lost; a later run found the change {found}"),
            };
            let run = self.state().run(RunRef::Number(change.run)).await?;
            let is_source = run.is_some_and(|run| run.start.is_source);
            let ids = recover::new_ids(&change.intent, observed);
            let intent = change.intent.clone().with(&ids);
            let ownership = ownership::by_change(&intent, outcome, is_source);
            self.state()
                .settle(change.id, &settled, &ids, ownership)
                .await?;
        }
        Ok(())
    }

    /// Whether a schedule went to another user; `None` if Omni does not show the schedules of the former owner.
    async fn transfer_was_applied(
        &self,
        intent: &ChangeIntent,
        stop: &Stop,
    ) -> Result<Option<bool>, OmniError> {
        let (Some(owner), Some(id)) = (&intent.user_id, intent.key().schedule) else {
            return Ok(None);
        };
        let reader = self.client.client().reader(&stop.now);
        Ok(match reader.schedules_of(owner).await {
            Ok(OwnedSchedules::Read(schedules)) => {
                Some(schedules.iter().all(|schedule| schedule.id != id))
            }
            Ok(OwnedSchedules::NotShown | OwnedSchedules::Failed(_)) => None,
            Err(error) if error.ends_run() => return Err(error),
            Err(_) => None,
        })
    }

    /// The cached observation, and whether this run may use it instead of a new one.
    async fn cached(&self, options: RunOptions) -> Option<CachedObservation> {
        let last = lock(&self.cache).take();
        let cache = match last {
            Some(cache) => cache,
            None => ObservationCache::stored(self.state()).await?,
        };
        let is_usable = options.may_use_cache && !self.settings().observe.max_age.is_zero();
        Some(CachedObservation { cache, is_usable })
    }
}

/// One line without values.
fn log_planned(change: &HeldChange) {
    let (user, operation) = (&change.subject, change.operation);
    let is_set = |field: &&FieldChange| operation != Operation::Delete || field.to.is_some();
    let fields = change.fields.iter().filter(is_set);
    let fields: Vec<_> = fields.map(|field| field.field.to_string()).collect();
    let scope = change.role.as_ref();
    let scope = scope.map(|role| tracing::field::display(&role.scope));
    let fields = (!fields.is_empty()).then(|| fields.join(", "));
    let group = change.group.as_ref().map(tracing::field::display);
    tracing::info!(target: CHANGES, %user, %operation, group, scope, fields, "planned change");
}
