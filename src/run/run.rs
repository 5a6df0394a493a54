//! A run from its beginning to its end, with what lasts from one to the next.

use super::ChangeRecorder;
use super::apply::{CHANGES, Work, apply};
use super::observe::{Effect, ObservationCache};
use super::outcome::{AppliedChange, Completion, HeldRule, RunError, RunOutcome};
use super::prepare::{Prepared, Snapshot, Target};
use super::progress::Progress;
use super::row_report::Interim;
use crate::metrics::Metrics;
use crate::model::{
    ChangeOutcome, Fingerprint, HeldRecord, HeldUser, Mode, RunNumber, RunStart, Trigger,
};
use crate::omni::{Client, OmniError};
use crate::plan::Change;
use crate::plan::recover::{by_id, was_done};
use crate::plan::render::Cost;
use crate::report::Reporter;
use crate::roster::SourceError;
use crate::settings::Settings;
use crate::state::{RosterRecord, StateDb};
use crate::util::sync::lock;
use chrono::Utc;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// Carries out runs, one after the other, and keeps what lasts from one to the next.
#[derive(Debug)]
pub struct Reconciler {
    pub(super) settings: Arc<Settings>,
    pub(super) client: Arc<Client>,
    pub(super) metrics: Metrics,
    pub(super) journal: StateDb,
    pub(super) reporter: Reporter,
    heard: Listener,
    /// What the run before left of what it saw.
    kept: Mutex<Option<ObservationCache>>,
}

/// What is told of a run while it is under way.
#[derive(Clone, Copy, Debug)]
pub enum RunEvent<'a> {
    /// A roster was read, a listing answered, and it is planned what is to be done: the outcome so far.
    Found(&'a RunOutcome),
    /// A change has ended.
    Change(&'a AppliedChange),
}

/// Who hears it.
struct Listener(Box<dyn Fn(RunEvent<'_>) + Send + Sync>);

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

/// How a run hears that it is to end before its end.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// The program ends: between two requests.
    pub now: CancellationToken,
    /// The next run waits: what is being read is read to its end, one change at least is tried, and then
    /// it ends between two changes. So a roster that is replaced all the time comes into Omni too.
    pub for_next: CancellationToken,
}

impl Stop {
    /// One that only the program's end asks for.
    #[must_use]
    pub fn when(now: &CancellationToken) -> Self {
        Self {
            now: now.clone(),
            for_next: CancellationToken::new(),
        }
    }
}

/// A run that has begun: its page in the journal is open.
#[derive(Debug)]
pub struct Run {
    pub(super) number: RunNumber,
    pub(super) outcome: RunOutcome,
}

impl Reconciler {
    /// A reconciler for the organisation that the settings name. With a journal that is open for
    /// reading alone it can only plan.
    ///
    /// # Errors
    /// When they name none, or the HTTP client can't be made.
    pub fn new(
        settings: Arc<Settings>,
        metrics: Metrics,
        journal: StateDb,
    ) -> Result<Self, RunError> {
        let client = Client::new(&settings.omni, &settings.state.dir, metrics.clone())?;
        let reporter = Reporter::new(&settings.source);
        Ok(Self {
            settings,
            client,
            metrics,
            journal,
            reporter,
            heard: Listener(Box::new(|_| {})),
            kept: Mutex::default(),
        })
    }

    /// Tells whoever wants to know, in each run, what was found, and each change as it ends.
    #[must_use]
    pub fn with_observer(self, heard: impl Fn(RunEvent<'_>) + Send + Sync + 'static) -> Self {
        Self {
            heard: Listener(Box::new(heard)),
            ..self
        }
    }

    /// The connection to Omni.
    #[must_use]
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The journal.
    #[must_use]
    pub fn journal(&self) -> &StateDb {
        &self.journal
    }

    /// One run over the roster of `source.path`, as far as `policy.mode` lets it. `content` is what the
    /// watcher saw standing still.
    pub async fn run(
        &self,
        trigger: Trigger,
        content: Option<Fingerprint>,
        stop: &Stop,
    ) -> RunOutcome {
        let run = self.run_through(trigger, content, stop);
        run.instrument(span(None)).await
    }

    async fn run_through(
        &self,
        trigger: Trigger,
        content: Option<Fingerprint>,
        stop: &Stop,
    ) -> RunOutcome {
        let target = match Target::source(&self.settings, content) {
            Ok(target) => target,
            Err(error) => return self.failed(trigger, error.into()),
        };
        let mut run = match self.begin(trigger, &target).await {
            Ok(run) => run,
            Err(error) => return self.failed(trigger, error),
        };
        let prepared = match self.prepare(&mut run, &target, stop).await {
            Ok(prepared) => prepared,
            Err(error) => return self.abandon(run, error.into()).await,
        };
        if let Err(error) = self.accept(&prepared).await {
            return self.abandon(run, error.into()).await;
        }
        let mut effects = Vec::new();
        if self.settings.policy.mode == Mode::Plan {
            run.outcome.end = Completion::PlanOnly;
        } else {
            effects = self.carry_out(&mut run, &prepared, stop, |_| {}).await;
        }
        let outcome = self.finish(run, Some(&prepared)).await;
        // A report that is still being built keeps it from the next run, which then looks anew.
        if let Some(prepared) = Arc::into_inner(prepared) {
            self.keep(prepared.known, effects);
        }
        outcome
    }

    /// What the run before left, where it may be used: a due time and whoever asks by hand bring the
    /// truth back.
    fn kept(&self, trigger: Trigger) -> Option<ObservationCache> {
        let kept = self.lock_kept().take();
        kept.filter(|known| {
            matches!(trigger, Trigger::File | Trigger::Approval)
                && known.is_younger_than(self.settings.max_age)
        })
    }

    fn keep(&self, mut known: ObservationCache, effects: Vec<(Change, Effect)>) {
        for (change, effect) in effects {
            let id = change.user_id().cloned();
            known.take_in(change.email, id, effect);
        }
        *self.lock_kept() = Some(known.kept());
    }

    fn lock_kept(&self) -> MutexGuard<'_, Option<ObservationCache>> {
        lock(&self.kept)
    }

    /// Opens a run's page in the journal.
    ///
    /// # Errors
    /// When it can't be written: then nothing may be sent.
    pub async fn begin(&self, trigger: Trigger, target: &Target) -> Result<Run, RunError> {
        let outcome = self.start(trigger);
        let started = outcome.started;
        let start = RunStart {
            trigger,
            started,
            is_source: target.is_source,
        };
        let number = self.journal.begin(start).await?;
        tracing::Span::current().record("number", number.0);
        Ok(Run {
            number,
            outcome: RunOutcome {
                number: Some(number),
                ..outcome
            },
        })
    }

    /// Reads, compares and rules, and notes in the journal what is held. A command ignores
    /// quarantine: whoever gives it wants to see it tried.
    ///
    /// # Errors
    /// When the keys, the roster, the listing or the journal can't be had.
    pub async fn prepare(
        &self,
        run: &mut Run,
        target: &Target,
        stop: &Stop,
    ) -> Result<Arc<Prepared>, RunError> {
        let has_unknown = !self.journal.unknown().await?.is_empty();
        let scope = self.scope(target, has_unknown);
        let kept = self.kept(run.outcome.trigger);
        let mut seen = self.look(target, scope, kept, &stop.now).await?;
        if stop.for_next.is_cancelled() {
            tracing::info!("the roster changed while Omni was read: it is read again");
            let target = Target {
                known: None,
                ..target.clone()
            };
            let kept = seen.known.kept();
            seen = self.look(&target, scope, Some(kept), &stop.now).await?;
        }
        let mut prepared = self.compare(run, seen).await?;
        if prepared.has_renames && prepared.known.is_kept() {
            tracing::info!("somebody may have another address by now: Omni is read anew");
            let seen = self.look(target, scope, None, &stop.now).await?;
            prepared = self.compare(run, seen).await?;
        }
        prepared.verdict.say_how_to_approve(run.number);
        prepared.tell(&mut run.outcome);
        (self.heard.0)(RunEvent::Found(&run.outcome));
        let held: Vec<_> = prepared.verdict.held().iter().map(held_record).collect();
        if !held.is_empty() {
            self.journal.hold(run.number, &held).await?;
        }
        Ok(Arc::new(prepared))
    }

    /// Finds out what became of changes that got no answer, and plans.
    async fn compare(&self, run: &Run, seen: Snapshot) -> Result<Prepared, RunError> {
        let unknown = self.journal.unknown().await?;
        let ObservationCache {
            schema, observed, ..
        } = &seen.known;
        let by_id = by_id(observed, &unknown);
        for change in &unknown {
            if let Some(was_done) = was_done(change, &by_id, observed, schema) {
                self.journal
                    .resolve(change.id, was_done, Utc::now())
                    .await?;
            }
        }
        let mut memory = self.journal.memory(Utc::now()).await?;
        if run.outcome.trigger == Trigger::Command {
            memory
                .quarantined
                .values_mut()
                .for_each(|one| one.until = one.until.min(memory.now));
        }
        self.refuse_older(&seen.desired, &memory)?;
        Ok(Prepared::new(seen, memory, &self.settings))
    }

    /// Takes the roster for the one that counts, before anything is sent: whom it names is managed from now on,
    /// and whom it no longer names is missing.
    ///
    /// # Errors
    /// When the journal can't be written: then nothing may be sent.
    pub async fn accept(&self, prepared: &Prepared) -> Result<(), RunError> {
        let Prepared {
            desired,
            known,
            verdict,
            ..
        } = prepared;
        let doubted =
            verdict.roster_is_suspect(desired.rows, &prepared.memory, &self.settings.policy);
        self.journal
            .record_roster(RosterRecord {
                now: Utc::now(),
                desired,
                observed: &known.observed,
                is_accepted: desired.rejected.is_empty() && !doubted,
            })
            .await?;
        Ok(())
    }

    /// Carries out what passed the guard, and tells of it. `told` hears of each change as it ends. Says
    /// what was done to whom.
    pub async fn carry_out(
        &self,
        run: &mut Run,
        prepared: &Arc<Prepared>,
        stop: &Stop,
        mut told: impl FnMut(&AppliedChange) + Send,
    ) -> Vec<(Change, Effect)> {
        let sending = stop.now.child_token();
        let one_has_ended = CancellationToken::new();
        let ledger = ChangeRecorder::new(&self.journal, run.number, &prepared.memory);
        let interim = Interim::new(&self.reporter, prepared, run.outcome.started);
        let progress = Progress::new(&self.client);
        self.say_cost(prepared, &progress);
        let heard = |applied: &AppliedChange| {
            told(applied);
            (self.heard.0)(RunEvent::Change(applied));
            interim.hear(applied);
            progress.step();
            if applied.outcome != ChangeOutcome::Unsent {
                one_has_ended.cancel();
            }
        };
        let make_way = async {
            stop.for_next.cancelled().await;
            one_has_ended.cancelled().await;
            sending.cancel();
            std::future::pending().await
        };
        let work = Work {
            writer: self.client.writer(&sending),
            prepared,
            ledger: &ledger,
            max_in_flight: self.settings.omni.max_in_flight,
        };
        let report = tokio::select! {
            report = apply(&work, heard) => report,
            never = interim.write_each_minute() => match never {},
            never = progress.tell_changes(prepared.verdict.passed().len()) => match never {},
            never = make_way => never,
        };
        run.outcome.applied.extend(report.applied);
        run.outcome.end = report
            .cut_short
            .map_or(Completion::Complete, Completion::from);
        report.effects
    }

    /// Says in the log how much there is to do, before it is done.
    fn say_cost(&self, prepared: &Prepared, progress: &Progress<'_>) {
        let Cost { requests, time } = self.cost(prepared);
        progress.expect(requests);
        let changes = prepared.verdict.passed().len();
        if changes > 0 {
            let seconds = time.as_secs_f64().round();
            tracing::info!(target: CHANGES, changes, requests, seconds, "changing Omni");
        }
    }

    fn start(&self, trigger: Trigger) -> RunOutcome {
        RunOutcome {
            number: None,
            trigger,
            started: Utc::now(),
            took: std::time::Duration::ZERO,
            requests: self.client.requests_sent(),
            roster: None,
            users: None,
            drift: None,
            held: Vec::new(),
            withheld: Vec::new(),
            quarantined: 0,
            applied: Vec::new(),
            warnings: Vec::new(),
            end: Completion::Complete,
        }
    }

    fn failed(&self, trigger: Trigger, error: RunError) -> RunOutcome {
        let mut outcome = self.start(trigger);
        outcome.end = error.into();
        self.count(&mut outcome);
        outcome
    }

    pub(super) fn count(&self, outcome: &mut RunOutcome) {
        outcome.took = (Utc::now() - outcome.started).to_std().unwrap_or_default();
        outcome.requests = self.client.requests_sent() - outcome.requests;
    }
}

impl Run {
    /// Its number in the journal.
    #[must_use]
    pub fn number(&self) -> RunNumber {
        self.number
    }
}

/// Around whatever is logged of a run, so that each line has its number, once it has one. Whoever begins
/// a run is in it. Of the loudest level: a line must not lose it to the filter.
#[must_use]
pub fn span(number: Option<RunNumber>) -> tracing::Span {
    tracing::error_span!("run", number = number.map(|number| number.0))
}

fn held_record((held, changes): &(HeldRule, Vec<Change>)) -> HeldRecord {
    let users = changes.iter().filter_map(|change| {
        let (user_id, email) = (change.user_id()?.clone(), change.email.clone());
        Some(HeldUser {
            user_id,
            kind: change.kind(),
            email,
        })
    });
    HeldRecord {
        rule: held.rule.into(),
        why: held.why.clone(),
        users: users.collect(),
    }
}

impl From<RunError> for Completion {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Omni(OmniError::Stopped) | RunError::Source(SourceError::Stopped) => {
                Self::Stopped
            }
            error => Self::Failed(error),
        }
    }
}
