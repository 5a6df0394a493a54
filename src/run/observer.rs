//! The read side of a run: reads the roster and Omni, and plans. It has no way to a writer, so `plan`, `explain` and
//! the server can't change Omni.

use super::cache::ObservationCache;
use super::explain::Explanation;
use super::leavers::Missing;
use super::observation::{CachedObservation, Observation, Scope, Snapshot, Target};
use super::place::check_place;
use super::progress::Progress;
use super::read_budget::{Allowance, ReadBudget};
use super::{Prepared, RunError};
use crate::metrics::Metrics;
use crate::model::{
    Change, ChangeRecord, Desired, Email, GroupRef, Limit, MembershipChange, Memory, ObservedUser,
    Operation, Policy, Prune, RosterPlace, RunNumber, UserMatch,
};
use crate::omni::{self, Client, OmniError, Priority};
use crate::plan::is_later;
use crate::plan::render::{Cost, PlanView};
use crate::roster::{self, SourceError};
use crate::settings::{ApiKeys, Select, Settings, UpdateMethod};
use crate::state::StateDb;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Two times of a refused page that differ by less are the same one.
/// How often a run reads what a plan lacks. What is missing then is not sent.
const MAX_READINGS: usize = 20;
const SAME_REFUSAL: TimeDelta = TimeDelta::minutes(1);

/// Reads and plans.
#[derive(Debug)]
pub struct Observer {
    settings: Arc<Settings>,
    pub(super) client: Arc<Client>,
    metrics: Metrics,
    state: StateDb,
    /// Whether what is read of Omni may be stored in the state database.
    keeps: bool,
    progress: Progress,
}

impl Observer {
    /// An observer of the organisation that the settings name.
    ///
    /// # Errors
    /// Fails if the settings name no organisation, or the HTTP client can't be built.
    pub fn new(
        settings: Arc<Settings>,
        metrics: Metrics,
        state: StateDb,
    ) -> Result<Self, RunError> {
        let client = Client::new(&settings.omni, &settings.state.dir, metrics.clone())?;
        Ok(Self {
            keeps: false,
            ..Self::with_client(settings, client, metrics, state)
        })
    }

    /// An observer that stores what it reads.
    pub(super) fn with_client(
        settings: Arc<Settings>,
        client: Arc<Client>,
        metrics: Metrics,
        state: StateDb,
    ) -> Self {
        Self {
            settings,
            client,
            metrics,
            state,
            keeps: true,
            progress: Progress::default(),
        }
    }

    /// The progress of the run in progress.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The state database, if it may be written.
    pub(super) fn keep_in(&self) -> Option<&StateDb> {
        self.keeps.then_some(&self.state)
    }

    /// The state database.
    #[must_use]
    pub fn state(&self) -> &StateDb {
        &self.state
    }

    /// The host of the organisation.
    #[must_use]
    pub fn organisation(&self) -> String {
        let base_url = self.settings.omni.base_url();
        base_url.map_or_else(|_| String::new(), |url| url.host().to_owned())
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Plans without recording anything.
    ///
    /// # Errors
    /// Fails if the keys, the roster, Omni or the state database can't be read.
    pub async fn plan(
        &self,
        target: &Target,
        stop: &CancellationToken,
    ) -> Result<Prepared, RunError> {
        self.check_place(target, None, stop).await?;
        let scope = self.scope(target, &[]);
        let cached = ObservationCache::stored(&self.state)
            .await
            .map(|cache| CachedObservation {
                cache,
                is_usable: false,
            });
        let snapshot = self.observe(target, scope, cached, None, stop).await?;
        self.assess(snapshot, &self.settings.policy, false, stop)
            .await
    }

    /// Explains one user by the roster of `source.path`, with about five requests. The guard counts the changes of all
    /// users, so it is not evaluated here.
    ///
    /// # Errors
    /// Fails if the keys, the roster, Omni or the state database can't be read.
    pub async fn explain(
        &self,
        email: &Email,
        stop: &CancellationToken,
    ) -> Result<Explanation, RunError> {
        let target = Target {
            only: Some(email.clone()),
            ..Target::source(&self.settings, None)?
        };
        self.check_place(&target, None, stop).await?;
        let scope = Scope::One(email);
        let snapshot = self.observe(&target, scope, None, None, stop).await?;
        let policy = &self.settings.policy;
        let prepared = self
            .assess(snapshot, &without_limits(policy), false, stop)
            .await?;
        let owned = match prepared.cache.observed.get(email) {
            Some(UserMatch::One(user)) => self.owned_by(user, stop).await?,
            Some(UserMatch::Several(_)) | None => None,
        };
        let state = self.state.user(email).await?;
        let held = self.state.last_held().await?;
        let explanation = Explanation::new(email, &prepared, &state, held.as_ref(), policy);
        Ok(Explanation {
            owned,
            ..explanation
        })
    }

    /// Checks where the roster of `source.path` lies. Returns its place if that is not stored yet.
    pub(super) async fn check_place(
        &self,
        target: &Target,
        run: Option<RunNumber>,
        stop: &CancellationToken,
    ) -> Result<Option<RosterPlace>, RunError> {
        match target.is_source {
            true => check_place(&self.state, &target.path, run, stop).await,
            false => Ok(None),
        }
    }

    /// Plans, with what earlier runs recorded. Users who lose access are read if their fields are not known, and what
    /// users own is read if their removal passes the other limits.
    pub(super) async fn assess(
        &self,
        snapshot: Snapshot,
        policy: &Policy,
        ignore_quarantine: bool,
        stop: &CancellationToken,
    ) -> Result<Prepared, RunError> {
        let mut memory = self.memory(&snapshot, ignore_quarantine).await?;
        let are_keys_known = !policy.protect_admins || self.recall_key_users(&mut memory).await?;
        let mut prepared = Prepared::new(snapshot, memory, policy);
        if !are_keys_known && prepared.takes_access() {
            prepared = self.protect_key_users(prepared, policy, stop).await?;
        }
        let started = Utc::now();
        let oldest = started - self.settings.observe.max_age;
        for _ in 0..MAX_READINGS {
            let Some(missing) = Missing::of(&prepared, policy, started, oldest) else {
                break;
            };
            let Prepared {
                desired,
                mut cache,
                memory,
                ..
            } = prepared;
            let reader = self.client.reader(stop);
            // On the heap, because this future is large.
            Box::pin(missing.read(&mut cache, &reader, self.keep_in())).await?;
            // Other changes may pass the limits now.
            prepared = Prepared::new(Snapshot { desired, cache }, memory, policy);
        }
        if policy.protect_admins {
            prepared.warn_of_unknown_key_users();
        }
        Ok(prepared)
    }

    /// What earlier runs left behind. Rejects a roster that they rule out.
    pub(super) async fn memory(
        &self,
        snapshot: &Snapshot,
        ignore_quarantine: bool,
    ) -> Result<Memory, RunError> {
        let mut memory = self.state.memory(Utc::now()).await?;
        if ignore_quarantine {
            for quarantined in memory.quarantined.values_mut() {
                quarantined.until = quarantined.until.min(memory.now);
            }
        }
        if snapshot.cache.observed.parts_since().is_some() {
            let last = self.state.last_read().await?;
            memory.last_read_since = last.map(|(_, since)| since);
        }
        memory.today = self.settings.schedule.day_at(memory.now);
        self.reject_older(&snapshot.desired, &memory)?;
        Ok(memory)
    }

    /// Reads the users by id whose fields are not known and that are needed.
    pub(super) async fn read_unread(
        &self,
        cache: &mut ObservationCache,
        is_needed: impl Fn(&ObservedUser) -> bool,
        stop: &CancellationToken,
    ) -> Result<(), OmniError> {
        let users = cache.observed.users();
        let unread = users.filter(|user| !user.is_read() && is_needed(user));
        let unread = unread.cloned().collect();
        let reader = self.client.reader(stop);
        cache.read(&reader, unread, self.keep_in()).await
    }

    /// All users must be seen if pruning is on, or if the outcome of earlier changes is unknown.
    pub(super) fn scope<'a>(&self, target: &'a Target, unknown: &[ChangeRecord]) -> Scope<'a> {
        if let Some(email) = &target.only {
            return Scope::One(email);
        }
        let prunes = target.is_source && self.settings.policy.prune != Prune::Never;
        let is_membership = |change: &ChangeRecord| change.intent.operation.is_membership();
        let with_groups = unknown.iter().any(is_membership);
        let is_of_role = |change: &ChangeRecord| change.intent.operation == Operation::Assign;
        match prunes || !unknown.iter().all(is_of_role) {
            true => Scope::Everybody { with_groups },
            false => Scope::Named,
        }
    }

    /// Rejects a folder whose newest file is older than the last accepted one: if the newest file is removed, the one
    /// before it does not become the roster again. If that one was dated in the future, a file that arrived after it
    /// may be older.
    fn reject_older(&self, desired: &Desired, memory: &Memory) -> Result<(), SourceError> {
        if self.settings.source.select != Select::Newest || !desired.is_source {
            return Ok(());
        }
        match (desired.files.first(), memory.last_files().first()) {
            (Some(newest), Some(accepted))
                if newest.is_older_than(accepted)
                    && !(accepted.is_in_future(memory.now.into())
                        && is_later(newest, accepted, &memory.seen_files)) =>
            {
                let (newest, accepted) = (newest.name.clone(), accepted.name.clone());
                Err(SourceError::Older { newest, accepted })
            }
            _ => Ok(()),
        }
    }

    /// Reads keys, definitions, roster and users. `cached` is the observation of an earlier run. With an
    /// `allowance`, reading stays within `observe.budget`, and ends when a new roster waits.
    pub(super) async fn observe(
        &self,
        target: &Target,
        scope: Scope<'_>,
        cached: Option<CachedObservation>,
        allowance: Option<Allowance<'_>>,
        stop: &CancellationToken,
    ) -> Result<Snapshot, RunError> {
        let keys = roster::unless_stopped(stop, self.keys(target)).await?;
        self.client.begin(&keys);
        let readings = self.state.readings().await?;
        self.client.follow(&readings);
        let refused = self.state.refused_page().await?;
        self.client.recall_refused_page(refused);
        let keys_count = keys.as_slice().len();
        let limited = |one: Allowance<'_>| one.budget(&self.settings, keys_count);
        let budget = allowance.map_or_else(ReadBudget::unlimited, limited);
        let progress = self.progress.begin_reading(&self.client);
        let observation = Observation {
            reader: self.client.reader(stop),
            settings: &self.settings,
            target,
            expect: &|more| progress.expect(more),
            keep_in: self.keep_in(),
            budget: &budget,
            readings: &readings,
            state: &self.state,
        };
        let snapshot = tokio::select! {
            snapshot = observation.observe(scope, cached) => snapshot,
            never = progress.log() => match never {},
        };
        self.keep_refused_page(refused).await;
        match snapshot {
            Err(RunError::Omni(error)) => Err(omni::diagnose(&observation.reader, &keys, error)
                .await
                .into()),
            other => other,
        }
    }

    /// Stores that Omni refused a large page. A failure does not fail the run: a later process tries one again.
    async fn keep_refused_page(&self, stored: Option<DateTime<Utc>>) {
        let (Some(state), Some(refused)) = (self.keep_in(), self.client.refused_page()) else {
            return;
        };
        if stored.is_some_and(|stored| refused - stored < SAME_REFUSAL) {
            return;
        }
        if let Err(error) = state.record_refused_page(refused).await {
            tracing::warn!(%error, "the refused page size can't be stored for later runs");
        }
    }

    /// Reads the keys once the roster is known to exist, so that a missing roster is reported without a request. Both
    /// run on a blocking thread, because a mount can hang; the error names the path that hangs.
    async fn keys(&self, target: &Target) -> Result<ApiKeys, RunError> {
        let (settings, path) = (self.settings.clone(), target.path.clone());
        let exists = move || roster::stamp(&settings.source, &path).map(drop);
        roster::blocking(&target.path, exists).await?;
        Ok(self.settings.omni.keys.load().await?)
    }

    /// Reads the keys for [`Self::cost`] alone, which then counts on them. Without a readable key, no time is known.
    pub(super) async fn read_keys(&self) {
        if let Ok(keys) = self.settings.omni.keys.load().await {
            self.client.begin(&keys);
        }
    }

    /// What it takes to send the changes that passed, from now on.
    #[must_use]
    pub fn cost(&self, prepared: &Prepared) -> Cost {
        let method = self.settings.omni.update_method;
        let is_rechecked = prepared.cache.rechecks_removals();
        let requests_for = |change: &Change| match change.operation() {
            // A PUT reads the user first, and so does a removal by a cached id.
            // A reactivation is read back.
            Operation::Update if method == UpdateMethod::Put => {
                2 + usize::from(change.reactivates())
            }
            Operation::Update => 1 + usize::from(change.reactivates()),
            Operation::Delete => 1 + usize::from(is_rechecked),
            Operation::Deactivate if method == UpdateMethod::Put => 2 + usize::from(is_rechecked),
            Operation::Deactivate => 1 + usize::from(is_rechecked),
            Operation::Create | Operation::Assign | Operation::Transfer => 1,
            // Memberships are sent by group.
            Operation::Leave | Operation::Join => 0,
        };
        let passed = prepared.assessment.verdict.passed();
        let of_users = passed.iter().map(requests_for).sum::<usize>();
        let requests =
            of_users + requests_for_groups(passed, self.client.group_rules().max_members());
        Cost {
            requests,
            time: self.client.refresh_and_estimate(requests, Priority::Urgent),
        }
    }

    /// The plan with its cost, for rendering.
    #[must_use]
    pub fn view<'a>(&self, prepared: &'a Prepared) -> PlanView<'a> {
        PlanView {
            desired: &prepared.desired,
            users: prepared.cache.observed.count(),
            is_about_one: prepared.cache.observed.is_of_one(),
            assessment: &prepared.assessment,
            cost: self.cost(prepared),
            documents: None,
        }
    }
}

fn without_limits(policy: &Policy) -> Policy {
    Policy {
        max_removals: Limit::NONE,
        max_clears: Limit::NONE,
        max_updates: None,
        max_leaves: Limit::NONE,
        max_joins: Limit::NONE,
        max_role_changes: u64::MAX,
        ..policy.clone()
    }
}

/// The number of requests for changes of memberships: by group and direction, and one for a group to be created.
fn requests_for_groups(passed: &[Change], max_members: usize) -> usize {
    let mut groups: BTreeMap<_, usize> = BTreeMap::new();
    for membership in passed.iter().filter_map(Change::membership) {
        let key = (&membership.group, membership.change);
        *groups.entry(key).or_default() += 1;
    }
    let requests = |((group, _), members): ((&GroupRef, MembershipChange), usize)| {
        members.div_ceil(max_members) + usize::from(group.id.is_none())
    };
    groups.into_iter().map(requests).sum()
}
