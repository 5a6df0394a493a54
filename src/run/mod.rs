//! One run: reads the roster and Omni, plans, applies what the guard passes, and reports.
//!
//! ```text
//! begin → observe → plan → guard → apply → finish
//! ```
//!
//! The rules of the module:
//!
//! - Read-only code is in [`Observer`], which has no access to a writer. [`Reconciler`] adds it.
//! - Every change is recorded in the state database before it is sent ([`ChangeRecorder`]).
//! - An error of one user never stops the changes of others.
//! - [`RunOptions`] say what a run may do; the trigger is only for the log.

mod apply;
mod cache;
mod explain;
mod finish;
mod observe;
mod observer;
mod outcome;
mod place;
mod progress;
mod read_budget;
mod recorder;
mod row_report;
mod unlisted;

pub use apply::CHANGES;
pub use cache::{Effect, ObservationCache};
pub use explain::{Explanation, Next};
pub use observer::{Observer, Target};
pub use outcome::{
    Applied, AppliedChange, Completion, PlanSummary, RosterSummary, RunError, RunOutcome,
};
pub use place::check_place;
pub use recorder::ChangeRecorder;

use crate::metrics::Metrics;
use crate::model::{
    Action, Change, ChangeIntent, ChangeOutcome, Desired, Fingerprint, HeldChange, HeldRecord,
    Memory, Mode, ObservedUser, Policy, RunNumber, RunOptions, RunRef, RunStart, Settled, Trigger,
};
use crate::omni::WriteClient;
use crate::plan::render::Cost;
use crate::plan::{Assessment, HeldChanges, ownership, recover};
use crate::report::Reporter;
use crate::settings::Settings;
use crate::state::StateDb;
use crate::util::sync::lock;
use apply::{ApplyContext, apply};
use chrono::{DateTime, Utc};
use observer::{CachedObservation, Snapshot};
use progress::Progress;
use row_report::Interim;
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// What a run would do, with everything it was planned from.
#[derive(Debug)]
pub struct Prepared {
    /// The roster.
    pub desired: Desired,
    /// The users and attribute definitions in Omni.
    pub cache: ObservationCache,
    /// What earlier runs left behind.
    pub memory: Memory,
    /// The plan and the verdict on it.
    pub assessment: Assessment,
}

impl Prepared {
    fn new(snapshot: Snapshot, memory: Memory, policy: &Policy) -> Self {
        let Snapshot { mut desired, cache } = snapshot;
        desired.settle_doubtful(&cache.schema, |email| {
            cache.observed.has_exactly(email) || memory.manages_exactly(email)
        });
        let assessment = Assessment::new(&desired, &cache.observed, &cache.schema, &memory, policy);
        Self {
            desired,
            cache,
            memory,
            assessment,
        }
    }
}

impl Prepared {
    /// The users that would be removed and whose fields are not known.
    fn unread_removals(&self) -> Vec<Arc<ObservedUser>> {
        let passed = self.assessment.verdict.passed().iter();
        let removed = passed.filter_map(|change| match &change.action {
            Action::Delete(user) | Action::Deactivate(user) => Some(user),
            Action::Update(..) | Action::Create(_) => None,
        });
        removed.filter(|user| !user.is_read()).cloned().collect()
    }
}

/// Executes runs, one after the other, and keeps the observation from one to the next.
#[derive(Debug)]
pub struct Reconciler {
    observer: Observer,
    /// The only way to a writer.
    client: WriteClient,
    metrics: Metrics,
    reporter: Reporter,
    on_event: EventHandler,
    /// The observation of the last run. At the start, and after a run that failed, it is in the state database.
    cache: Mutex<Option<ObservationCache>>,
}

/// An event of a run in progress.
#[derive(Clone, Copy, Debug)]
pub enum RunEvent<'a> {
    /// The run that started at this time has planned.
    Planned(DateTime<Utc>, &'a PlanSummary),
    /// A change has ended.
    Change(&'a AppliedChange),
}

struct EventHandler(Box<dyn Fn(RunEvent<'_>) + Send + Sync>);

impl std::fmt::Debug for EventHandler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventHandler")
    }
}

/// Ends a run early.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// The program ends: the run stops between two requests.
    pub now: CancellationToken,
    /// The next run waits: the run finishes reading, tries at least one change, and stops between two changes. So a roster
    /// that is replaced again and again still reaches Omni.
    pub for_next: CancellationToken,
}

impl Stop {
    /// A stop that only a shutdown of the program triggers.
    #[must_use]
    pub fn when(now: &CancellationToken) -> Self {
        Self {
            now: now.clone(),
            for_next: CancellationToken::new(),
        }
    }
}

/// A run that has begun and is recorded in the state database.
#[derive(Debug)]
pub struct Run {
    number: RunNumber,
    options: RunOptions,
    target: Target,
    started: DateTime<Utc>,
    /// The number of requests that the client had sent before the run.
    requests_before: u64,
    plan: Option<PlanSummary>,
}

impl Reconciler {
    /// A reconciler for the organisation that the settings name.
    ///
    /// # Errors
    /// Fails if the settings name no organisation, or the HTTP client can't be built.
    pub fn new(
        settings: Arc<Settings>,
        metrics: Metrics,
        state: StateDb,
    ) -> Result<Self, RunError> {
        let client = WriteClient::new(&settings.omni, &settings.state.dir, metrics.clone())?;
        let reporter = Reporter::new(&settings.source);
        Ok(Self {
            observer: Observer::with_client(settings, client.client().clone(), state),
            client,
            metrics,
            reporter,
            on_event: EventHandler(Box::new(|_| {})),
            cache: Mutex::default(),
        })
    }

    /// Calls a function for the events of each run.
    #[must_use]
    pub fn with_event_handler(
        self,
        on_event: impl Fn(RunEvent<'_>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            on_event: EventHandler(Box::new(on_event)),
            ..self
        }
    }

    /// The read side.
    #[must_use]
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    fn settings(&self) -> &Settings {
        self.observer.settings()
    }

    fn state(&self) -> &StateDb {
        self.observer.state()
    }

    /// Does one run over the roster of `source.path`. `stable_fingerprint` is the content that the watcher found stable.
    pub async fn run(
        &self,
        options: impl Into<RunOptions>,
        stable_fingerprint: Option<Fingerprint>,
        stop: &Stop,
    ) -> RunOutcome {
        let run = self.run_steps(options.into(), stable_fingerprint, stop);
        run.instrument(span(None)).await
    }

    async fn run_steps(
        &self,
        options: RunOptions,
        stable_fingerprint: Option<Fingerprint>,
        stop: &Stop,
    ) -> RunOutcome {
        let target = Target::source(self.settings(), stable_fingerprint);
        let begun = match target {
            Ok(target) => self.begin(options, target).await,
            Err(error) => Err(error.into()),
        };
        let mut run = match begun {
            Ok(run) => run,
            Err(error) => return not_begun(options.trigger, error),
        };
        let prepared = match self.prepare(&mut run, stop).await {
            Ok(prepared) => prepared,
            Err(error) => return self.finish(run, None, Applied::nothing(error)).await,
        };
        if let Err(error) = self.accept(&prepared).await {
            return self.finish(run, None, Applied::nothing(error)).await;
        }
        let (applied, effects) = match self.settings().policy.mode {
            Mode::Plan => (Applied::nothing(Completion::DryRun), Vec::new()),
            Mode::Apply => self.apply(&run, &prepared, stop, |_| {}).await,
        };
        let outcome = self.finish(run, Some(&prepared), applied).await;
        self.keep(prepared, effects, &outcome).await;
        outcome
    }

    /// Records the start of a run.
    ///
    /// # Errors
    /// Fails if the state database can't be written; then nothing may be sent.
    pub async fn begin(
        &self,
        options: impl Into<RunOptions>,
        target: Target,
    ) -> Result<Run, RunError> {
        let options = options.into();
        let started = Utc::now();
        let start = RunStart {
            trigger: options.trigger,
            started,
            is_source: target.is_source,
            max_gap: self.settings().schedule.max_gap_after(started),
        };
        let number = self.state().begin(start).await?;
        tracing::Span::current().record("number", number.0);
        Ok(Run {
            number,
            options,
            target,
            started,
            requests_before: self.client.client().requests_sent(),
            plan: None,
        })
    }

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
            is_outdated: self.is_outdated(&prepared.cache),
            ..PlanSummary::from(&prepared)
        };
        (self.on_event.0)(RunEvent::Planned(run.started, &plan));
        run.plan = Some(plan);
        self.record_base(&prepared).await?;
        if run.target.is_source && !prepared.desired.folder.is_empty() {
            let files = prepared.desired.folder.clone();
            self.state().record_files(run.number, files).await?;
        }
        let held = prepared.assessment.verdict.held();
        if !held.is_empty() {
            let held: Vec<_> = held.iter().map(held_record).collect();
            self.state().hold(run.number, &held).await?;
        }
        Ok(Arc::new(prepared))
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
        let has_unknown = !self.state().unknown().await?.is_empty();
        let scope = self.observer.scope(&run.target, has_unknown);
        let (now, never) = (&stop.now, CancellationToken::new());
        let observe = async |target: &Target, cached, interrupt| {
            let interrupt = run.options.has_budget.then_some(interrupt);
            let observed = self.observer.observe(target, scope, cached, interrupt, now);
            observed.await
        };
        let cached = self.cached(run.options).await;
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
        let prepared = self.assess(run, snapshot, stop).await?;
        match self.in_doubt(prepared) {
            Ok(prepared) => Ok(prepared),
            Err(cached) => {
                let snapshot = observe(&run.target, Some(*cached), &never).await?;
                self.assess(run, snapshot, stop).await
            }
        }
    }

    /// What to observe again if a plan from a cached observation may be wrong: the users to be changed if the observation is
    /// older than `observe.max_age`, else all users if one may have a new address.
    fn in_doubt(&self, prepared: Prepared) -> Result<Prepared, Box<CachedObservation>> {
        let is_outdated = self.is_outdated(&prepared.cache);
        let has_changes = prepared.assessment.verdict.all().next().is_some();
        let has_renames = prepared.assessment.has_renames && prepared.cache.is_cached();
        if !(is_outdated && has_changes || has_renames) {
            return Ok(prepared);
        }
        let Prepared {
            mut cache,
            assessment,
            ..
        } = prepared;
        if is_outdated {
            let changes = assessment.verdict.all();
            changes.for_each(|change| cache.doubt(&change.email, change.user_id()));
        } else {
            tracing::info!("a user may have a new address; reading Omni again");
        }
        Err(Box::new(CachedObservation {
            cache,
            is_usable: is_outdated,
        }))
    }

    /// Whether users must be looked up before they are changed.
    fn is_outdated(&self, cache: &ObservationCache) -> bool {
        cache.is_cached() && !cache.is_younger_than(self.settings().observe.max_age)
    }

    /// Resolves changes whose outcome is unknown, and plans.
    async fn assess(
        &self,
        run: &Run,
        mut snapshot: Snapshot,
        stop: &Stop,
    ) -> Result<Prepared, RunError> {
        self.resolve_unknown(&mut snapshot.cache, stop).await?;
        let (policy, options) = (&self.settings().policy, run.options);
        let assessed = self
            .observer
            .assess(snapshot, policy, options.ignore_quarantine, &stop.now);
        assessed.await
    }

    async fn resolve_unknown(
        &self,
        cache: &mut ObservationCache,
        stop: &Stop,
    ) -> Result<(), RunError> {
        let unknown = self.state().unknown().await?;
        let is_theirs = |user: &ObservedUser| {
            let is_theirs = |intent: &ChangeIntent| match &intent.user_id {
                Some(id) => *id == user.id,
                None => intent.email == user.email,
            };
            unknown.iter().any(|change| is_theirs(&change.intent))
        };
        let read = self.observer.read_unread(cache, is_theirs, &stop.now);
        read.await?;
        let ObservationCache {
            schema, observed, ..
        } = cache;
        let by_id = recover::by_id(observed, &unknown);
        for change in &unknown {
            let Some(was_applied) = recover::was_applied(change, &by_id, observed, schema) else {
                continue;
            };
            let (outcome, found) = match was_applied {
                true => (ChangeOutcome::Applied, "applied"),
                false => (ChangeOutcome::Failed, "not applied"),
            };
            let settled = Settled {
                at: Utc::now(),
                outcome,
                detail: format!("the response was lost; a later run found the change {found}"),
            };
            let run = self.state().run(RunRef::Number(change.run)).await?;
            let is_source = run.is_some_and(|run| run.start.is_source);
            let user_id = change.intent.user_id.as_ref();
            let ownership = ownership::by_change(&change.intent, user_id, outcome, is_source);
            self.state()
                .settle(change.id, &settled, None, ownership)
                .await?;
        }
        Ok(())
    }

    /// Accepts the roster before anything is sent: users that it upserts become managed, and managed users that it no
    /// longer names are missing from now on. A roster that lost most of its rows is not accepted until its pruning is
    /// approved; the users that it does not name count as missing all the same.
    ///
    /// # Errors
    /// Fails if the state database can't be written; then nothing may be sent.
    pub async fn accept(&self, prepared: &Prepared) -> Result<(), RunError> {
        let Prepared {
            desired,
            cache,
            memory,
            assessment,
        } = prepared;
        let policy = &self.settings().policy;
        let verdict = &assessment.verdict;
        let is_suspect = verdict.roster_is_suspect(desired.rows, memory, policy);
        let accepted = ownership::accepted(desired, is_suspect);
        let ownership = ownership::by_roster(desired, &cache.observed, memory);
        let now = Utc::now();
        if accepted.is_some() {
            let ended = assessment.no_longer_asked_for(desired, memory);
            self.state().end_approvals(ended, now).await?;
        }
        let recorded = self.state().record_roster(ownership, accepted, now);
        Ok(recorded.await?)
    }

    /// Sends the changes that passed the guard. `on_change` is called for each change as it ends. Returns what was done,
    /// and what is known about the users now.
    pub async fn apply(
        &self,
        run: &Run,
        prepared: &Arc<Prepared>,
        stop: &Stop,
        mut on_change: impl FnMut(&AppliedChange) + Send,
    ) -> (Applied, Vec<(Change, Effect)>) {
        let sending = stop.now.child_token();
        let one_has_ended = CancellationToken::new();
        let recorder = ChangeRecorder::new(self.state(), run.number, prepared);
        let interim = Interim::new(&self.reporter, run.number, prepared, run.started);
        let progress = Progress::new(self.client.client());
        let changes = prepared.assessment.verdict.passed().len();
        log_cost(changes, self.observer.cost(prepared), &progress);
        let on_change = |applied: &AppliedChange| {
            on_change(applied);
            (self.on_event.0)(RunEvent::Change(applied));
            interim.on_change(applied);
            progress.step();
            if applied.outcome != ChangeOutcome::Skipped {
                one_has_ended.cancel();
            }
        };
        let make_way = async {
            stop.for_next.cancelled().await;
            one_has_ended.cancelled().await;
            sending.cancel();
            std::future::pending().await
        };
        let work = ApplyContext {
            writer: self.client.writer(&sending),
            prepared,
            recorder: &recorder,
            max_in_flight: self.settings().omni.max_in_flight,
        };
        tokio::select! {
            report = apply(&work, on_change) => report,
            never = interim.write_each_minute() => match never {},
            never = progress.report_changes(changes) => match never {},
            never = make_way => never,
        }
    }

    /// The cached observation, and whether this run may use it instead of a new one.
    async fn cached(&self, options: RunOptions) -> Option<CachedObservation> {
        let last = lock(&self.cache).take();
        let cache = match last {
            Some(cache) => cache,
            None => self.observer.kept().await?,
        };
        let is_usable = options.may_use_cache && !self.settings().observe.max_age.is_zero();
        Some(CachedObservation { cache, is_usable })
    }

    /// Stores the observation for later runs, with the effects of this one. A report that is still being written holds
    /// on to the old observation, so it is copied then.
    pub async fn keep(
        &self,
        prepared: Arc<Prepared>,
        effects: Vec<(Change, Effect)>,
        outcome: &RunOutcome,
    ) {
        let mut cache = match Arc::try_unwrap(prepared) {
            Ok(prepared) => prepared.cache,
            Err(shared) => shared.cache.clone(),
        };
        for (change, effect) in effects {
            let id = change.user_id().cloned();
            cache.take_in(change.email, id, effect);
        }
        if !outcome.unlisted.is_empty() {
            cache.distrust_list("it does not show users that exist".into());
        }
        cache.keep(self.state()).await;
        *lock(&self.cache) = Some(cache.cached());
    }
}

impl Run {
    /// The number.
    #[must_use]
    pub fn number(&self) -> RunNumber {
        self.number
    }
}

/// The outcome of a run that could not be recorded.
fn not_begun(trigger: Trigger, error: RunError) -> RunOutcome {
    RunOutcome::new(None, trigger, Utc::now(), 0, None, Applied::nothing(error))
}

/// The span of a run, so that each log line carries the run's number. Its level is the highest one, so no filter drops
/// it.
#[must_use]
pub fn span(number: Option<RunNumber>) -> tracing::Span {
    tracing::error_span!("run", number = number.map(|number| number.0))
}

fn log_cost(changes: usize, cost: Cost, progress: &Progress<'_>) {
    let Cost { requests, time } = cost;
    progress.expect(requests);
    if changes > 0 {
        let seconds = time.as_secs_f64().round();
        tracing::info!(target: CHANGES, changes, requests, seconds, "applying changes");
    }
}

fn held_record(held: &HeldChanges) -> HeldRecord {
    HeldRecord {
        rule: held.rule,
        reason: held.reason.clone(),
        changes: held.changes.iter().map(HeldChange::from).collect(),
    }
}
