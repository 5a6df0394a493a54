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
mod effects;
mod explain;
mod finish;
mod group_cache;
mod groups;
mod key_users;
mod leavers;
mod listing;
mod observation;
mod observe;
mod observer;
mod outcome;
mod owned;
mod place;
mod prepare;
mod preview;
mod progress;
mod read_budget;
mod recorder;
mod roles;
mod row_outcomes;
mod row_report;
mod undo;
mod unlisted;

pub use apply::CHANGES;
pub use cache::{Effect, ObservationCache};
pub use effects::Effects;
pub use explain::{Explanation, Next};
pub use key_users::KeyAnswers;
pub use observation::Target;
pub use observe::verified_per_run;
pub use observer::Observer;
pub use outcome::{
    Applied, AppliedChange, Completion, PlanSummary, RosterSummary, RunError, RunOutcome,
};
pub use place::check_place;
pub use progress::{Progress, ProgressReport};
pub use recorder::ChangeRecorder;
pub use undo::StoredUndo;

use crate::metrics::Metrics;
use crate::model::{
    ChangeOutcome, Desired, Fingerprint, Memory, Mode, Policy, RunNumber, RunOptions, RunStart,
    Subject, Trigger,
};
use crate::omni::WriteClient;
use crate::plan::render::Cost;
use crate::plan::{Assessment, due_update, ownership, settle_leavers};
use crate::report::Reporter;
use crate::settings::Settings;
use crate::state::StateDb;
use crate::util::sync::lock;
use apply::{ApplyContext, apply};
use chrono::{DateTime, Utc};
use observation::Snapshot;
use progress::Measured;
use row_report::Interim;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// What a run would do, with everything it was planned from.
#[derive(Clone, Debug)]
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
        settle_leavers(&mut desired, &memory);
        let assessment = Assessment::new(&desired, &cache.observed, &cache.schema, &memory, policy);
        Self {
            desired,
            cache,
            memory,
            assessment,
        }
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
    /// The next run waits: the run finishes reading, tries at least one change, and stops between two changes. So a
    /// roster that is replaced again and again still reaches Omni.
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
    /// Whether the run sends nothing and accepts no roster.
    is_dry: bool,
    plan: Option<PlanSummary>,
    /// The time that a person took to answer.
    asked: Duration,
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
            observer: Observer::with_client(
                settings,
                client.client().clone(),
                metrics.clone(),
                state,
            ),
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

    /// Does one run over the roster of `source.path`. `stable_fingerprint` is the content that the watcher found
    /// stable.
    pub async fn run(
        &self,
        options: impl Into<RunOptions>,
        stable_fingerprint: Option<Fingerprint>,
        stop: &Stop,
    ) -> RunOutcome {
        // On the heap, because the future of a run is large.
        let run = Box::pin(self.run_steps(options.into(), stable_fingerprint, stop));
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
        run.is_dry = self.settings().policy.mode == Mode::DryRun;
        let prepared = match self.prepare(&mut run, stop).await {
            Ok(prepared) => prepared,
            Err(error) => return self.finish(run, None, Applied::nothing(error)).await,
        };
        let (applied, effects) = if run.is_dry {
            (Applied::nothing(Completion::DryRun), Effects::default())
        } else {
            if let Err(error) = self.accept(&prepared).await {
                return self.finish(run, None, Applied::nothing(error)).await;
            }
            self.apply(&run, &prepared, stop, |_| {}).await
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
            is_source: target.is_whole_source(),
            max_gap: self.settings().schedule.max_gap_after(started),
        };
        let number = self.state().begin(start).await?;
        tracing::Span::current().record("number", number.0);
        tracing::info!(trigger = options.trigger.as_str(), "run started");
        Ok(Run {
            number,
            options,
            target,
            started,
            requests_before: self.client.client().requests_sent(),
            is_dry: false,
            plan: None,
            asked: Duration::ZERO,
        })
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
        let mut ownership = ownership::by_roster(desired, &cache.observed, memory);
        if accepted.is_some() {
            ownership.groups = assessment.groups.clone();
            ownership.roles = assessment.roles.clone();
            ownership.due = due_update(desired, memory);
        }
        let now = Utc::now();
        if accepted.is_some() {
            let ended = assessment.no_longer_asked_for(desired, memory);
            self.state().end_approvals(ended, now).await?;
        }
        let recorded = self.state().record_roster(ownership, accepted, now);
        Ok(recorded.await?)
    }

    /// Sends the changes that passed the guard. `on_change` is called for each change as it ends. Returns what was
    /// done, and what is known about users and groups now.
    pub async fn apply(
        &self,
        run: &Run,
        prepared: &Arc<Prepared>,
        stop: &Stop,
        mut on_change: impl FnMut(&AppliedChange) + Send,
    ) -> (Applied, Effects) {
        let sending = stop.now.child_token();
        let one_has_ended = CancellationToken::new();
        let recorder = ChangeRecorder::new(self.state(), run.number, prepared);
        let interim = Interim::new(&self.reporter, run.number, prepared, run.started);
        let changes = prepared.assessment.verdict.passed().len();
        let progress = self.observer.progress();
        let progress = progress.begin_applying(self.client.client(), changes);
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
            policy: &self.settings().policy,
            max_in_flight: self.settings().omni.max_in_flight,
            started: run.started,
            max_age: self.settings().observe.max_age,
        };
        tokio::select! {
            report = Box::pin(apply(&work, on_change)) => report,
            never = interim.write_each_minute() => match never {},
            never = progress.log() => match never {},
            never = make_way => never,
        }
    }

    /// Keeps the observation for later runs, with the effects of this one. A report that is still being written holds
    /// on to the old observation, so it is copied then.
    pub async fn keep(&self, prepared: Arc<Prepared>, effects: Effects, outcome: &RunOutcome) {
        let mut cache = match Arc::try_unwrap(prepared) {
            Ok(prepared) => prepared.cache,
            Err(shared) => shared.cache.clone(),
        };
        let Effects { users, groups } = effects;
        for (change, effect) in users {
            cache.learn_from(&change, &effect);
            let id = change.user_id().cloned();
            if let Subject::User(email) = change.subject {
                cache.take_in(email, id, effect);
            }
        }
        for effect in groups {
            cache.take_in_group(effect);
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

    /// Leaves the time that a person took to answer out of the duration.
    pub fn leave_out(&mut self, asked: Duration) {
        self.asked += asked;
    }

    /// Whether the run is about one user.
    #[must_use]
    pub fn is_about_one(&self) -> bool {
        self.target.only.is_some()
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

fn log_cost(changes: usize, cost: Cost, progress: &Measured) {
    let Cost { requests, time } = cost;
    progress.expect(requests);
    if changes > 0 {
        let seconds = time.as_secs_f64().round();
        tracing::info!(target: CHANGES, changes, requests, seconds, "applying changes");
    }
}
