//! A run from its beginning to its end, with what lasts from one to the next.

use super::answers::{self, Interim};
use super::outcome::{Applied, End, Held, RunError, RunOutcome};
use super::prepare::{Prepared, Target, Whom, look};
use super::render::Cost;
use super::resolve::{by_id, was_done};
use super::{Change, Kind, Ledger, Memory, Outcome, Trigger, apply};
use crate::desired::{Desired, Fingerprint, SourceError};
use crate::journal::{
    HeldRecord, HeldUser, Journal, JournalError, RosterNote, RunEnd, RunNumber, RunStart, RunState,
};
use crate::metrics::Metrics;
use crate::omni::{Client, OmniError};
use crate::report::{Reporter, ReportsError};
use crate::settings::{ApiKeys, Limit, Mode, Select, Settings, UpdateMethod};
use chrono::Utc;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// How many runs back it is looked for what was reported before.
const RECENT: usize = 100;

/// Carries out runs, one after the other, and keeps what lasts from one to the next.
#[derive(Debug)]
pub struct Reconciler {
    settings: Arc<Settings>,
    client: Arc<Client>,
    journal: Journal,
    reporter: Reporter,
    observed: Observer,
}

/// Who hears that a roster was read and a listing answered.
struct Observer(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observer")
    }
}

/// A run that has begun: its page in the journal is open.
#[derive(Debug)]
pub struct Run {
    number: RunNumber,
    outcome: RunOutcome,
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
        journal: Journal,
    ) -> Result<Self, RunError> {
        let client = Client::new(&settings.omni, metrics)?;
        let reporter = Reporter::new(&settings.source);
        Ok(Self {
            settings,
            client,
            journal,
            reporter,
            observed: Observer(Box::new(|| {})),
        })
    }

    /// Tells whoever wants to know, in each run, that a roster was read and a listing answered.
    #[must_use]
    pub fn when_observed(self, observed: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            observed: Observer(Box::new(observed)),
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
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// One run over the roster of `source.path`, as far as `policy.mode` lets it. `known` is the
    /// content that the watcher saw standing still. Between two changes it stops when `stop` is
    /// cancelled.
    pub async fn run(
        &self,
        trigger: Trigger,
        known: Option<Fingerprint>,
        stop: &CancellationToken,
    ) -> RunOutcome {
        let target = match self.settings.source.path() {
            Ok(path) => Target {
                path: path.to_owned(),
                is_source: true,
                known,
            },
            Err(error) => return self.failed(trigger, error.into()),
        };
        let mut run = match self.begin(trigger, &target).await {
            Ok(run) => run,
            Err(error) => return self.failed(trigger, error),
        };
        match self.prepare(&mut run, &target, stop).await {
            Ok(prepared) if self.settings.policy.mode == Mode::Plan => {
                run.outcome.end = End::PlanOnly;
                self.finish(run, Some(&prepared)).await
            }
            Ok(prepared) => {
                self.carry_out(&mut run, &prepared, stop, |_| {}).await;
                self.finish(run, Some(&prepared)).await
            }
            Err(error) => self.abandon(run, error.into()).await,
        }
    }

    /// What a run would do. Nothing is written, neither to Omni nor to the journal.
    ///
    /// # Errors
    /// When the keys, the roster or the listing can't be had.
    pub async fn plan(
        &self,
        target: &Target,
        whom: Whom<'_>,
        stop: &CancellationToken,
    ) -> Result<Prepared, RunError> {
        let seen = self.look(target, whom, stop).await?;
        let memory = self.journal.memory(Utc::now()).await?;
        self.refuse_older(&seen.desired, &memory)?;
        Ok(match whom {
            Whom::Everybody => Prepared::new(seen, memory, &self.settings),
            Whom::One(_) => Prepared::new(seen, memory, &without_guard(&self.settings)),
        })
    }

    /// Of a folder's files the newest counts; when that is taken away, the one before it is not the
    /// roster again.
    fn refuse_older(&self, desired: &Desired, memory: &Memory) -> Result<(), SourceError> {
        if self.settings.source.select != Select::Newest || !desired.is_source {
            return Ok(());
        }
        match (desired.files.first(), memory.last_files.first()) {
            (Some(newest), Some(accepted)) if newest.modified < accepted.modified => {
                let (newest, accepted) = (newest.name.clone(), accepted.name.clone());
                Err(SourceError::Older { newest, accepted })
            }
            _ => Ok(()),
        }
    }

    async fn look(
        &self,
        target: &Target,
        whom: Whom<'_>,
        stop: &CancellationToken,
    ) -> Result<super::Seen, RunError> {
        self.client.begin(&self.keys(target).await?);
        look(&self.client.reader(stop), &self.settings, target, whom).await
    }

    /// The keys, once it is clear that there is a roster: what can be found out without a request
    /// takes none. Off the async threads, since a mount can hang.
    async fn keys(&self, target: &Target) -> Result<ApiKeys, RunError> {
        let (settings, path) = (self.settings.clone(), target.path.clone());
        let read = tokio::task::spawn_blocking(move || {
            crate::desired::stamp(&settings.source, &path)?;
            Ok(settings.omni.keys.read()?)
        });
        // Only the end of the program cancels it.
        read.await.unwrap_or(Err(SourceError::Stopped.into()))
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
        Ok(Run {
            number,
            outcome: RunOutcome {
                number: Some(number),
                ..outcome
            },
        })
    }

    /// Reads, compares and rules, and notes in the journal what was found. A command ignores
    /// quarantine: whoever gives it wants to see it tried.
    ///
    /// # Errors
    /// When the keys, the roster, the listing or the journal can't be had.
    pub async fn prepare(
        &self,
        run: &mut Run,
        target: &Target,
        stop: &CancellationToken,
    ) -> Result<Prepared, RunError> {
        let seen = self.look(target, Whom::Everybody, stop).await?;
        let unknown = self.journal.unknown().await?;
        let by_id = by_id(&seen.observed, &unknown);
        for change in &unknown {
            if let Some(was_done) = was_done(change, &by_id, &seen.observed, &seen.schema) {
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
        let mut prepared = Prepared::new(seen, memory, &self.settings);
        prepared.verdict.say_how_to_approve(run.number);
        (self.observed.0)();
        prepared.tell(&mut run.outcome);
        self.note(run.number, &prepared).await?;
        Ok(prepared)
    }

    /// What the journal is to know of what was found, before anything is sent.
    async fn note(&self, run: RunNumber, prepared: &Prepared) -> Result<(), JournalError> {
        let Prepared {
            desired,
            observed,
            verdict,
            ..
        } = prepared;
        let doubted = verdict.doubts_roster(desired.rows, &prepared.memory, &self.settings.policy);
        self.journal
            .note_roster(RosterNote {
                now: Utc::now(),
                desired,
                observed,
                is_whole: observed.doubt().is_none(),
                is_accepted: desired.rejected.is_empty() && !doubted,
            })
            .await?;
        let held: Vec<_> = verdict.held().iter().map(held_record).collect();
        if !held.is_empty() {
            self.journal.hold(run, &held).await?;
        }
        Ok(())
    }

    /// What carrying out what passed takes, from now on.
    #[must_use]
    pub fn cost(&self, prepared: &Prepared) -> Cost {
        let method = self.settings.omni.update_method;
        let each = |change: &Change| match change.kind() {
            // The user is read right before.
            Kind::Update | Kind::Deactivate if method == UpdateMethod::Put => 2,
            _ => 1,
        };
        let requests = prepared.verdict.passed().iter().map(each).sum();
        Cost {
            requests,
            time: self.client.estimate(requests),
        }
    }

    /// Carries out what passed the guard, and tells of it. `told` hears of each change as it ends.
    pub async fn carry_out(
        &self,
        run: &mut Run,
        prepared: &Prepared,
        stop: &CancellationToken,
        mut told: impl FnMut(&Applied) + Send,
    ) {
        let writer = self.client.writer(stop);
        let ledger = Ledger::new(&self.journal, run.number, &prepared.memory);
        let most = self.settings.omni.max_in_flight;
        let interim = Interim::new(&self.reporter, prepared, run.outcome.started);
        let heard = |applied: &Applied| {
            told(applied);
            interim.hear(applied);
        };
        let report = tokio::select! {
            report = apply(&writer, &prepared.verdict, &prepared.schema, &ledger, most, heard) => report,
            never = interim.write_each_minute() => match never {},
        };
        run.outcome.applied.extend(report.applied);
        run.outcome.end = report.cut_short.map_or(End::Complete, End::from);
    }

    /// Ends a run that does not come to its changes.
    pub async fn abandon(&self, mut run: Run, end: End) -> RunOutcome {
        run.outcome.end = end;
        self.finish(run, None).await
    }

    /// Ends a run: it is told to the journal and to whoever dropped the roster.
    pub async fn finish(&self, mut run: Run, prepared: Option<&Prepared>) -> RunOutcome {
        self.count(&mut run.outcome);
        if let Err(error) = self.answer(prepared, &run.outcome).await {
            run.outcome.warnings.push(error.to_string());
        }
        if let Err(error) = self.close(&run, prepared).await {
            run.outcome.end = End::Failed(error.into());
        }
        run.outcome
    }

    /// Tells whoever dropped the roster what became of each row.
    async fn answer(
        &self,
        prepared: Option<&Prepared>,
        outcome: &RunOutcome,
    ) -> Result<(), ReportsError> {
        let Some((report, name)) = answers::answer(prepared, outcome) else {
            return Ok(());
        };
        let before = match prepared {
            Some(prepared) => self.told_before(prepared.desired.fingerprint).await,
            None => None,
        };
        let is_final =
            !matches!(outcome.end, End::Stopped) && (outcome.is_success() || prepared.is_none());
        self.reporter
            .write_last(report, name, before, outcome.started, is_final)
            .await
    }

    /// The name of a content, if a run over it has come to its end before.
    async fn told_before(&self, content: Fingerprint) -> Option<String> {
        let runs = self.journal.runs(RECENT).await.unwrap_or_default();
        let told = runs.iter().any(|run| match &run.state {
            RunState::Ended(end) => {
                end.fingerprint == Some(content)
                    && run.start.is_source
                    && ["converged", "partial", "held"].contains(&end.outcome.as_str())
            }
            RunState::Open | RunState::Interrupted => false,
        });
        told.then(|| answers::name(content))
    }

    async fn close(&self, run: &Run, prepared: Option<&Prepared>) -> Result<(), JournalError> {
        let saw_all = |prepared: &&Prepared| {
            let Prepared {
                desired,
                observed,
                withheld,
                ..
            } = prepared;
            desired.is_source
                && desired.rejected.is_empty()
                && observed.doubt().is_none()
                && withheld.is_empty()
        };
        if let Some(prepared) = prepared.filter(saw_all) {
            self.end_quarantines(prepared).await?;
        }
        self.journal
            .finish(run.number, &run_end(&run.outcome))
            .await?;
        self.journal
            .prune_old(Utc::now(), self.settings.state.retain)
            .await
    }

    /// Whoever needs nothing any more is out of quarantine.
    async fn end_quarantines(&self, prepared: &Prepared) -> Result<(), JournalError> {
        let needed: std::collections::HashSet<_> =
            prepared.verdict.all().map(|change| &change.email).collect();
        let over = prepared
            .memory
            .quarantined
            .keys()
            .filter(|email| !needed.contains(email));
        let clears: Vec<_> = over
            .map(|email| self.journal.quarantine_clear(email))
            .collect();
        futures_util::future::try_join_all(clears).await.map(drop)
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
            applied: Vec::new(),
            warnings: Vec::new(),
            end: End::Complete,
        }
    }

    fn failed(&self, trigger: Trigger, error: RunError) -> RunOutcome {
        let mut outcome = self.start(trigger);
        outcome.end = error.into();
        self.count(&mut outcome);
        outcome
    }

    fn count(&self, outcome: &mut RunOutcome) {
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

/// The guard counts everybody's changes: of one user's it has nothing to say.
fn without_guard(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    settings.policy.max_removals = Limit::Count(u64::MAX);
    settings.policy.max_clears = Limit::Count(u64::MAX);
    settings.policy.max_updates = None;
    settings
}

fn held_record((held, changes): &(Held, Vec<Change>)) -> HeldRecord {
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

fn run_end(outcome: &RunOutcome) -> RunEnd {
    let roster = outcome.roster.as_ref();
    let count = |number: usize| number as u64;
    RunEnd {
        ended: Utc::now(),
        outcome: outcome.as_str().into(),
        fingerprint: roster.map(|roster| roster.fingerprint),
        rows: roster.map(|roster| roster.rows),
        users: outcome.users.map(count),
        needed: outcome.drift,
        done: count(outcome.count(Outcome::Done)),
        failed: count(outcome.count(Outcome::Failed) + outcome.count(Outcome::NotKept)),
        held: count(outcome.held.iter().map(|held| held.count).sum()),
        bad_rows: roster.map_or(0, |roster| count(roster.bad_rows.len())),
        requests: outcome.requests,
        detail: match &outcome.end {
            End::Failed(error) => error.to_string(),
            End::Complete | End::PlanOnly | End::Stopped => String::new(),
        },
    }
}

impl From<RunError> for End {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Omni(OmniError::Stopped) => Self::Stopped,
            error => Self::Failed(error),
        }
    }
}
