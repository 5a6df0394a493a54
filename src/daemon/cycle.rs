//! The loop: wait for a wake, run, record, and try again what failed.

use super::record;
use super::systemd::Systemd;
use crate::metrics::{Metrics, seconds};
use crate::model::{Fingerprint, Trigger};
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

/// What carries out a run.
pub trait Runner: Send {
    /// One run. It ends between two changes once it is told to stop; the loop never drops it before
    /// its end.
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

/// What the loop listens to.
#[derive(Debug)]
pub struct Inputs {
    /// Who wants a run.
    pub wake: Wake,
    /// The content of the roster that stands still now, if the watcher knows one.
    pub still: watch::Receiver<Option<Fingerprint>>,
    /// When to end.
    pub stop: CancellationToken,
}

/// The loop. One run at a time, and a beat each second, during runs too.
#[derive(Debug)]
pub struct RunLoop<R> {
    runner: R,
    inputs: Inputs,
    pulse: Heartbeat,
    metrics: Metrics,
    notices: NotificationSender,
    /// Failed runs in a row.
    failures: u32,
    retry: Option<Instant>,
    /// The content that the last run read, if nothing about it is left to do before the retry.
    read: Option<Fingerprint>,
}

impl<R: Runner> RunLoop<R> {
    /// A loop that has not begun.
    pub fn new(runner: R, inputs: Inputs, status: Status, metrics: Metrics) -> Self {
        record::initialise(&metrics);
        Self {
            runner,
            inputs,
            pulse: Heartbeat::new(status, Systemd::from_environment()),
            metrics,
            notices: NotificationSender::default(),
            failures: 0,
            retry: None,
            read: None,
        }
    }

    /// Hands each run that has ended to whoever tells of it.
    #[must_use]
    pub fn noticed_by(self, notices: NotificationSender) -> Self {
        Self { notices, ..self }
    }

    /// Goes round until it is told to stop; a run under way comes to its end.
    pub async fn run(mut self) {
        self.pulse.ready();
        self.say_next(None);
        while let Some(trigger) = self.next().await {
            self.metrics.run_in_progress.set(1);
            let outcome = self.carry_out(trigger).await;
            self.record(&outcome);
        }
        self.pulse.systemd.stopping();
    }

    /// Waits for a reason to run; `None` at the end.
    async fn next(&mut self) -> Option<Trigger> {
        loop {
            // Cancel-safe, every one: no wake is taken that is not returned here.
            tokio::select! {
                biased;
                () = self.inputs.stop.cancelled() => return None,
                reasons = self.inputs.wake.wait() => {
                    if let Some(trigger) = self.worth(&reasons) {
                        return Some(trigger);
                    }
                }
                () = at(self.retry) => return Some(Trigger::Retry),
                () = self.pulse.tick() => {}
            }
        }
    }

    /// The reason to tell, of those that have come together. A change of the roster is none if the
    /// last run has read it already: a due time came before the watcher was sure of it.
    fn worth(&self, reasons: &BTreeSet<Trigger>) -> Option<Trigger> {
        let known = *self.inputs.still.borrow();
        let only_file = reasons.iter().all(|reason| *reason == Trigger::File);
        if only_file && known.is_some() && known == self.read {
            debug!("the last run has read this roster already");
            return None;
        }
        reasons.first().copied()
    }

    /// One run, to its end. The run is pinned outside of the select: no other arm drops it.
    async fn carry_out(&mut self, trigger: Trigger) -> RunOutcome {
        let Self {
            runner,
            inputs,
            pulse,
            ..
        } = self;
        let stop = Stop::when(&inputs.stop);
        let mut known = *inputs.still.borrow_and_update();
        pulse.run_starts(trigger);
        let mut run = std::pin::pin!(runner.run(trigger, known, &stop));
        loop {
            tokio::select! {
                outcome = &mut run => return outcome,
                // Both cancel-safe: a change or a tick that is not taken now is taken next time.
                Ok(()) = inputs.still.changed() => {
                    let now = *inputs.still.borrow_and_update();
                    if supersedes(known, now) {
                        info!("the roster has changed: the run under way ends for the next");
                        stop.for_next.cancel();
                    }
                    known = now.or(known);
                }
                () = pulse.tick() => {
                    if inputs.wake.is_requested(Trigger::Approval) && !stop.for_next.is_cancelled() {
                        info!("something was approved: the run under way ends for the next");
                        stop.for_next.cancel();
                    }
                }
            }
        }
    }

    fn record(&mut self, run: &RunOutcome) {
        let wait = match run.completion {
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
        self.retry = wait.map(|wait| Instant::now() + wait);
        let roster = run
            .roster()
            .filter(|_| !matches!(run.completion, Completion::Stopped));
        self.read = roster.map(|roster| roster.fingerprint);
        run::span(run.number).in_scope(|| record::log(run));
        record::count(&self.metrics, run);
        self.metrics.run_in_progress.set(0);
        self.say_next(wait);
        self.notices.send(run);
        self.pulse.run_ended(run, wait);
    }

    /// Says when the next run starts by itself: by the schedule, or as another try.
    fn say_next(&self, retry: Option<Duration>) {
        let now = Utc::now();
        let due = self.pulse.status.next_due(now);
        let next = retry.map(|wait| now + wait).into_iter().chain(due).min();
        self.metrics.next_run.set(next.map_or(0.0, seconds));
    }
}

/// Whether a run over one content is to end for another. The first content found, and a return
/// after an absence, end nothing: the run under way may well have read just that.
fn supersedes(known: Option<Fingerprint>, now: Option<Fingerprint>) -> bool {
    known.is_some() && now.is_some() && known != now
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Tells everyone that the loop is alive, and how it is.
#[derive(Debug)]
struct Heartbeat {
    status: Status,
    systemd: Systemd,
    ticks: Interval,
}

impl Heartbeat {
    fn new(status: Status, systemd: Systemd) -> Self {
        let mut ticks = tokio::time::interval(systemd.beat_every());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            status,
            systemd,
            ticks,
        }
    }

    /// Waits for the next beat, and beats. Cancel-safe: nothing waits after the tick.
    async fn tick(&mut self) {
        self.ticks.tick().await;
        self.status.beat();
        self.systemd.beat();
        self.tell();
    }

    fn ready(&mut self) {
        self.systemd.ready(&self.status.status_line(Utc::now()));
    }

    fn run_starts(&mut self, trigger: Trigger) {
        self.status.run_starts(trigger);
        self.tell();
    }

    fn run_ended(&mut self, run: &RunOutcome, retry: Option<Duration>) {
        self.status.run_ended(run, retry);
        self.tell();
    }

    fn tell(&mut self) {
        self.systemd.status(self.status.status_line(Utc::now()));
    }
}
