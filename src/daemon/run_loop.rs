//! The run loop: waits for a trigger, runs, records the result, and retries failed runs.

use super::run_log::RunLog;
use super::run_metrics;
use super::systemd::Systemd;
use crate::metrics::{Metrics, seconds};
use crate::model::{Fingerprint, RunOptions, Trigger};
use crate::notify::NotificationSender;
use crate::run::{self, Completion, Reconciler, RunOutcome, Stop};
use crate::status::Status;
use crate::trigger::Wake;
use crate::util::backoff::Backoff;
use chrono::Utc;
use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

/// The delays after failed runs.
const RETRY: Backoff = Backoff {
    first: Duration::from_secs(10),
    max: Duration::from_secs(300),
    factor: 2,
    jitter: (0.8, 1.2),
};

/// How long a run that lists waits for runs that may use the cache. A roster that changes all the time must not
/// postpone it for ever.
const MAX_POSTPONED: Duration = Duration::from_secs(60);

/// Executes runs.
pub trait Runner: Send {
    /// Executes one run. After a stop it ends between two changes; the loop never drops it.
    fn run(
        &mut self,
        trigger: Trigger,
        known: Option<Fingerprint>,
        stop: &Stop,
    ) -> impl Future<Output = RunOutcome> + Send;
}

impl Runner for Reconciler {
    async fn run(
        &mut self,
        trigger: Trigger,
        known: Option<Fingerprint>,
        stop: &Stop,
    ) -> RunOutcome {
        Self::run(self, trigger, known, stop).await
    }
}

/// The inputs of the loop.
#[derive(Debug)]
pub struct Inputs {
    /// Requests for a run.
    pub wake: Wake,
    /// The current stable content of the roster, if the watcher knows it.
    pub stable: watch::Receiver<Option<Fingerprint>>,
    /// Ends the loop.
    pub stop: CancellationToken,
}

/// The loop. It executes one run at a time and sends a heartbeat every second, also during runs.
#[derive(Debug)]
pub struct RunLoop<R> {
    runner: R,
    inputs: Inputs,
    heartbeat: Heartbeat,
    metrics: Metrics,
    notifier: NotificationSender,
    log: RunLog,
    /// The number of failed runs in a row.
    failures: u32,
    retry: Option<Instant>,
    /// Since when runs that list wait for runs that may use the cache.
    postponed_since: Option<Instant>,
    /// Whether Omni refused the last run.
    is_refused: bool,
    /// The content that the last run read, unless the run was stopped.
    last_read: Option<Fingerprint>,
}

impl<R: Runner> RunLoop<R> {
    /// A loop that has not started.
    pub fn new(runner: R, inputs: Inputs, status: Status, metrics: Metrics) -> Self {
        run_metrics::initialise(&metrics);
        Self {
            runner,
            inputs,
            heartbeat: Heartbeat::new(status, Systemd::from_environment()),
            metrics,
            notifier: NotificationSender::default(),
            log: RunLog::default(),
            failures: 0,
            retry: None,
            postponed_since: None,
            is_refused: false,
            last_read: None,
        }
    }

    /// Sends each run that has ended to a notifier.
    #[must_use]
    pub fn with_notifier(self, notifier: NotificationSender) -> Self {
        Self { notifier, ..self }
    }

    /// Runs until the stop; a run in progress ends first.
    pub async fn run(mut self) {
        self.heartbeat.ready();
        self.publish_next_run(None);
        while let Some(trigger) = self.next().await {
            self.metrics.run_in_progress.set(1);
            let outcome = self.execute(trigger).await;
            self.record(&outcome);
        }
    }

    /// Waits for the next trigger; `None` after the stop. During a pause triggers wait.
    async fn next(&mut self) -> Option<Trigger> {
        loop {
            // A pause is noticed at the next heartbeat.
            let is_active = !self.heartbeat.status.is_paused();
            // All arms are cancel-safe: a wake is only taken to be returned here.
            tokio::select! {
                biased;
                () = self.inputs.stop.cancelled() => return None,
                triggers = self.inputs.wake.wait(), if is_active => {
                    // The pause began while this waited.
                    if self.heartbeat.status.is_paused() {
                        triggers.into_iter().for_each(|trigger| self.inputs.wake.wake(trigger));
                    } else if let Some(trigger) = self.should_run(&triggers) {
                        return Some(trigger);
                    }
                }
                () = at(self.retry), if is_active => return Some(Trigger::Retry),
                () = self.heartbeat.tick() => {}
            }
        }
    }

    /// The most important of the pending triggers. Runs that may use the cache take precedence over those that list,
    /// which stay pending for up to a minute. `None` if the roster is the only trigger and the last run has read this
    /// content already, because it started before the watcher reported it. `None` too if Omni refused the last run and
    /// no person asks for another: the retry will do what the trigger asks for.
    fn should_run(&mut self, triggers: &BTreeSet<Trigger>) -> Option<Trigger> {
        if self.is_refused && !triggers.iter().any(|trigger| trigger.is_personal()) {
            debug!("Omni refused the last run; waiting for the retry");
            return None;
        }
        let stable = *self.inputs.stable.borrow();
        let has_hidden = self.inputs.wake.take_hidden();
        let is_read = stable.is_some() && stable == self.last_read && !has_hidden;
        let triggers = triggers.iter().copied();
        let triggers = triggers.filter(|trigger| !(is_read && *trigger == Trigger::File));
        let (quick, slow): (Vec<_>, Vec<_>) =
            triggers.partition(|trigger| RunOptions::from(*trigger).may_use_cache);
        let now = Instant::now();
        let may_wait = |since: Instant| now - since < MAX_POSTPONED;
        match (quick.first(), slow.first()) {
            (Some(quick), Some(_)) if self.postponed_since.is_none_or(may_wait) => {
                self.postponed_since.get_or_insert(now);
                slow.iter().for_each(|slow| self.inputs.wake.wake(*slow));
                Some(*quick)
            }
            (_, Some(first)) => {
                self.postponed_since = None;
                let personal = slow.iter().find(|trigger| trigger.is_personal());
                Some(*personal.unwrap_or(first))
            }
            (Some(quick), None) => {
                self.postponed_since = None;
                Some(*quick)
            }
            (None, None) => {
                debug!("the last run has already read this roster");
                None
            }
        }
    }

    /// Executes one run. The run is pinned outside of the select, so that no other arm drops it.
    async fn execute(&mut self, trigger: Trigger) -> RunOutcome {
        let Self {
            runner,
            inputs,
            heartbeat,
            ..
        } = self;
        let stop = Stop::when(&inputs.stop.child_token());
        // A request that came too late for the run before.
        let _ = inputs.wake.take_stop();
        let mut known = *inputs.stable.borrow_and_update();
        heartbeat.run_starts(trigger);
        let mut run = std::pin::pin!(runner.run(trigger, known, &stop));
        loop {
            tokio::select! {
                outcome = &mut run => return outcome,
                // Both arms are cancel-safe: a change or tick that is not taken now is taken later.
                Ok(()) = inputs.stable.changed() => {
                    let now = *inputs.stable.borrow_and_update();
                    if supersedes(known, now) {
                        info!("the roster has changed; stopping the current run for a new one");
                        stop.for_next.cancel();
                    }
                    known = now.or(known);
                }
                () = heartbeat.tick() => {
                    if inputs.wake.take_stop() {
                        info!("stopping the current run, as requested");
                        stop.now.cancel();
                    }
                    if inputs.wake.is_requested(Trigger::Approval) && !stop.for_next.is_cancelled() {
                        info!("changes were approved; stopping the current run for a new one");
                        stop.for_next.cancel();
                    }
                }
            }
        }
    }

    fn record(&mut self, run: &RunOutcome) {
        let delay = match run.completion {
            Completion::Failed(_) => {
                self.failures += 1;
                Some(RETRY.delay(self.failures))
            }
            Completion::Complete
            | Completion::DryRun
            | Completion::Declined
            | Completion::Stopped => {
                self.failures = 0;
                None
            }
        };
        self.retry = delay.map(|delay| Instant::now() + delay);
        let needs_listing = run.plan.as_ref().is_some_and(|plan| plan.needs_listing);
        let is_complete = matches!(run.completion, Completion::Complete | Completion::DryRun);
        if needs_listing && is_complete {
            debug!("the run looked up only the users to be changed; now all are read");
            self.inputs.wake.wake(Trigger::Schedule);
        }
        self.is_refused =
            matches!(&run.completion, Completion::Failed(error) if error.is_refusal());
        let roster = run
            .roster()
            .filter(|_| !matches!(run.completion, Completion::Stopped));
        self.last_read = roster.map(|roster| roster.fingerprint);
        run::span(run.number).in_scope(|| self.log.log(run));
        run_metrics::record_result(&self.metrics, run);
        self.metrics.run_in_progress.set(0);
        self.publish_next_run(delay);
        self.notifier.send(run);
        self.heartbeat.run_ended(run, delay);
    }

    /// Publishes the time of the next automatic run: by schedule, or the retry.
    fn publish_next_run(&self, retry: Option<Duration>) {
        let now = Utc::now();
        let due = self.heartbeat.status.next_due(now);
        let next = retry.map(|delay| now + delay).into_iter().chain(due).min();
        self.metrics.next_run.set(next.map_or(0.0, seconds));
    }
}

/// Whether new content must stop the current run. The first content, and a roster that returns
/// unchanged after it was unavailable, do not: the run has probably read that content.
fn supersedes(known: Option<Fingerprint>, now: Option<Fingerprint>) -> bool {
    known.is_some() && now.is_some() && known != now
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Reports the health and state of the loop to `/healthz` and systemd.
#[derive(Debug)]
struct Heartbeat {
    status: Status,
    systemd: Systemd,
    ticks: Interval,
}

impl Heartbeat {
    fn new(status: Status, systemd: Systemd) -> Self {
        let mut ticks = tokio::time::interval(systemd.interval());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            status,
            systemd,
            ticks,
        }
    }

    /// Waits for the next tick and sends a heartbeat. Cancel-safe: nothing waits after the tick.
    async fn tick(&mut self) {
        self.ticks.tick().await;
        self.status.beat();
        self.systemd.beat();
        self.report();
    }

    fn ready(&mut self) {
        self.systemd.ready(&self.status.status_line(Utc::now()));
    }

    fn run_starts(&mut self, trigger: Trigger) {
        self.status.run_starts(trigger);
        self.report();
    }

    fn run_ended(&mut self, run: &RunOutcome, retry: Option<Duration>) {
        self.status.run_ended(run, retry);
        self.report();
    }

    fn report(&mut self) {
        self.systemd.status(self.status.status_line(Utc::now()));
    }
}
