//! The run loop under paused time, with a scripted runner.

use crate::support::results::plan_summary;
use omni_user_sync::daemon::{Inputs, RunLoop, Runner, Status};
use omni_user_sync::metrics::Metrics;
use omni_user_sync::model::{Fingerprint, Pause, Trigger};
use omni_user_sync::omni::OmniError;
use omni_user_sync::run::{Completion, RunError, RunOutcome, Stop};
use omni_user_sync::settings::SettingsError;
use omni_user_sync::trigger::Wake;
use omni_user_sync::trigger::watch::SourceState;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance, sleep, timeout};
use tokio_util::sync::CancellationToken;

pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// A scripted run: its duration, the roster it reads, and its result.
#[derive(Clone, Copy)]
pub(super) struct Act {
    pub(super) takes: Duration,
    pub(super) reads: Option<u8>,
    pub(super) fails: bool,
    /// Whether the failure is that Omni refuses the key.
    pub(super) is_refused: bool,
    /// Whether only the users to be changed were seen lately.
    pub(super) needs_listing: bool,
}

pub(super) const QUICK: Act = Act {
    takes: Duration::ZERO,
    reads: Some(1),
    fails: false,
    is_refused: false,
    needs_listing: false,
};

const FAILS: Act = Act {
    reads: None,
    fails: true,
    ..QUICK
};

const REFUSED: Act = Act {
    is_refused: true,
    ..FAILS
};

const LONG: Act = Act {
    takes: Duration::from_secs(600),
    ..QUICK
};

/// Executes the script, then quick runs, and reports each start.
struct Scripted {
    script: VecDeque<Act>,
    started: mpsc::UnboundedSender<(Trigger, Option<Fingerprint>, Instant)>,
}

impl Runner for Scripted {
    async fn run(
        &mut self,
        trigger: Trigger,
        known: Option<Fingerprint>,
        stop: &Stop,
    ) -> RunOutcome {
        let act = self.script.pop_front().unwrap_or(QUICK);
        let _ = self.started.send((trigger, known, Instant::now()));
        let stopped = tokio::select! {
            () = sleep(act.takes) => false,
            () = stop.now.cancelled() => true,
            () = stop.for_next.cancelled() => true,
        };
        outcome(trigger, act, stopped)
    }
}

fn outcome(trigger: Trigger, act: Act, stopped: bool) -> RunOutcome {
    let failure = || match act.is_refused {
        false => RunError::Settings(SettingsError::Unreadable("a secret path".into())),
        true => OmniError::Unauthorized {
            detail: String::new(),
        }
        .into(),
    };
    RunOutcome {
        number: None,
        trigger,
        started: chrono::Utc::now(),
        duration: act.takes,
        requests: 0,
        plan: act.reads.map(|byte| {
            let mut plan = plan_summary();
            plan.roster.fingerprint = Fingerprint([byte; 32]);
            plan.needs_listing = act.needs_listing;
            plan
        }),
        changes: Vec::new(),
        warnings: Vec::new(),
        unlisted: Vec::new(),
        completion: match (stopped, act.fails) {
            (true, _) => Completion::Stopped,
            (false, true) => Completion::Failed(failure()),
            (false, false) => Completion::Complete,
        },
    }
}

/// A running loop with its inputs and outputs.
pub(super) struct Rig {
    pub(super) wake: Wake,
    still: watch::Sender<Option<Fingerprint>>,
    stop: CancellationToken,
    status: Status,
    metrics: Metrics,
    started: mpsc::UnboundedReceiver<(Trigger, Option<Fingerprint>, Instant)>,
    task: JoinHandle<()>,
}

impl Rig {
    pub(super) fn new(script: impl IntoIterator<Item = Act>) -> Self {
        let (sender, started) = mpsc::unbounded_channel();
        let (still, receiver) = watch::channel(None);
        let (wake, stop) = (Wake::default(), CancellationToken::new());
        let (status, metrics) = (Status::new(None), Metrics::new());
        let runner = Scripted {
            script: script.into_iter().collect(),
            started: sender,
        };
        let inputs = Inputs {
            wake: wake.clone(),
            stable: receiver,
            stop: stop.clone(),
        };
        let cycle = RunLoop::new(runner, inputs, status.clone(), metrics.clone());
        Self {
            wake,
            still,
            stop,
            status,
            metrics,
            started,
            task: tokio::spawn(cycle.run()),
        }
    }

    /// The start of the next run.
    pub(super) async fn run(&mut self) -> (Trigger, Instant) {
        let (trigger, _, at) = self.started.recv().await.expect("the loop goes round");
        (trigger, at)
    }

    pub(super) async fn is_quiet_for(&mut self, time: Duration) -> bool {
        timeout(time, self.started.recv()).await.is_err()
    }

    pub(super) fn publish(&self, byte: u8) {
        self.still.send_replace(Some(Fingerprint([byte; 32])));
        self.wake.wake(Trigger::File);
    }

    pub(super) async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("the loop does not panic");
    }
}

#[tokio::test(start_paused = true)]
async fn wakes_during_a_run_cause_one_run() {
    let mut rig = Rig::new([LONG]);
    rig.wake.wake(Trigger::Start);
    assert_eq!(rig.run().await.0, Trigger::Start);
    for _ in 0..10 {
        rig.wake.wake(Trigger::Schedule);
        rig.wake.wake(Trigger::Signal);
    }
    assert_eq!(rig.run().await.0, Trigger::Signal, "as a person asks");
    assert!(rig.is_quiet_for(HOUR).await);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn triggers_wait_for_the_end_of_a_pause() {
    let mut rig = Rig::new([FAILS]);
    rig.wake.wake(Trigger::Start);
    rig.run().await;
    rig.status.pause(Some(Pause {
        since: chrono::Utc::now(),
        until: None,
        by: "ann".into(),
    }));
    rig.wake.wake(Trigger::Request);
    assert!(
        rig.is_quiet_for(HOUR).await,
        "neither the retry nor a request"
    );
    assert!(rig.status.is_alive());
    rig.status.pause(None);
    assert_eq!(rig.run().await.0, Trigger::Request);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn all_users_are_read_after_a_run_from_an_old_cache() {
    let outdated = Act {
        needs_listing: true,
        ..QUICK
    };
    let mut rig = Rig::new([outdated, QUICK]);
    rig.wake.wake(Trigger::File);
    assert_eq!(rig.run().await.0, Trigger::File);
    assert_eq!(rig.run().await.0, Trigger::Schedule);
    assert!(rig.is_quiet_for(HOUR).await);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_with_back_off() {
    let mut rig = Rig::new([FAILS; 7]);
    rig.wake.wake(Trigger::Start);
    let (_, mut last) = rig.run().await;
    for planned in [10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0] {
        let (trigger, at) = rig.run().await;
        let waited = (at - last).as_secs_f64();
        assert_eq!(trigger, Trigger::Retry);
        assert!((0.79..=1.21).contains(&(waited / planned)), "{waited} s");
        last = at;
    }
    assert!(rig.is_quiet_for(HOUR).await, "the last one succeeded");
    assert_eq!(rig.metrics.run_in_progress.get(), 0);
    assert_eq!(rig.metrics.next_run.get(), 0.0, "nothing is due");
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_delays_all_but_personal_runs() {
    let mut rig = Rig::new([REFUSED; 5]);
    rig.wake.wake(Trigger::Start);
    let (_, mut last) = rig.run().await;
    for (round, planned) in [(1, 10.0), (2, 20.0)] {
        let waking = rig.wake.clone();
        let still = rig.still.clone();
        let changes = tokio::spawn(async move {
            for second in 1..=u8::MAX {
                sleep(Duration::from_secs(1)).await;
                still.send_replace(Some(Fingerprint([second; 32])));
                waking.wake(Trigger::File);
                waking.wake(Trigger::Schedule);
            }
        });
        let (trigger, at) = rig.run().await;
        changes.abort();
        let waited = (at - last).as_secs_f64();
        assert_eq!(trigger, Trigger::Retry, "{round}");
        assert!((0.79..=1.21).contains(&(waited / planned)), "{waited} s");
        last = at;
    }
    for personal in [Trigger::Signal, Trigger::Request] {
        rig.wake.wake(personal);
        let (trigger, at) = rig.run().await;
        assert_eq!((trigger, at), (personal, last), "a person need not wait");
    }
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_success_cancels_the_retry() {
    let mut rig = Rig::new([FAILS, FAILS, QUICK, FAILS]);
    rig.wake.wake(Trigger::Start);
    rig.run().await;
    assert_eq!(rig.run().await.0, Trigger::Retry);
    rig.wake.wake(Trigger::Schedule);
    assert_eq!(rig.run().await.0, Trigger::Schedule);
    assert!(rig.is_quiet_for(HOUR).await, "no retry is left over");
    rig.wake.wake(Trigger::Schedule);
    let (_, failed) = rig.run().await;
    let (trigger, at) = rig.run().await;
    assert_eq!(trigger, Trigger::Retry);
    assert!(
        at - failed < Duration::from_secs(13),
        "starts over at ten seconds"
    );
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_roster_supersedes_the_current_run() {
    let mut rig = Rig::new([QUICK, LONG]);
    rig.publish(1);
    rig.run().await;
    rig.wake.wake(Trigger::Schedule);
    let (_, at) = rig.run().await;
    rig.publish(2);
    let (trigger, known, next) = rig.started.recv().await.expect("goes round");
    assert_eq!((trigger, next - at), (Trigger::File, Duration::ZERO));
    assert_eq!(known, Some(Fingerprint([2; 32])));
    assert!(
        rig.metrics
            .render()
            .contains(r#"result="stopped",trigger="schedule"} 1"#)
    );
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_first_content_supersedes_nothing() {
    let mut rig = Rig::new([LONG]);
    rig.wake.wake(Trigger::Start);
    rig.run().await;
    rig.publish(1);
    assert!(
        rig.is_quiet_for(HOUR).await,
        "the run under way read just that"
    );
    assert!(
        rig.metrics
            .render()
            .contains(r#"result="converged",trigger="start"} 1"#)
    );
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_run() {
    let mut rig = Rig::new([LONG]);
    rig.wake.wake(Trigger::Start);
    rig.run().await;
    rig.wake.wake(Trigger::Schedule);
    rig.stop.cancel();
    assert!(rig.started.recv().await.is_none(), "no run after the stop");
    assert!(
        rig.metrics
            .render()
            .contains(r#"result="stopped",trigger="start"} 1"#)
    );
    rig.task.await.expect("the loop does not panic");
}

#[tokio::test(start_paused = true)]
async fn a_requested_stop_ends_only_the_current_run() {
    let mut rig = Rig::new([LONG, LONG]);
    rig.wake.request_stop();
    rig.wake.wake(Trigger::Start);
    let (_, first) = rig.run().await;
    assert!(rig.is_quiet_for(LONG.takes / 2).await);
    rig.wake.wake(Trigger::Schedule);
    rig.wake.request_stop();
    let (trigger, second) = rig.run().await;
    assert_eq!(trigger, Trigger::Schedule);
    assert!(second - first < LONG.takes / 2 + Duration::from_secs(5));
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_heartbeat_continues_during_a_run() {
    let mut rig = Rig::new([LONG]);
    rig.wake.wake(Trigger::Start);
    rig.run().await;
    for _ in 0..59 {
        sleep(Duration::from_secs(10)).await;
        assert!(rig.status.is_alive());
        assert!(rig.status.facts().running.is_some());
        assert_eq!(rig.metrics.run_in_progress.get(), 1);
    }
    rig.task.abort();
    advance(Duration::from_secs(16)).await;
    assert!(!rig.status.is_alive(), "a loop that is gone does not beat");
}

#[tokio::test(start_paused = true)]
async fn readiness_needs_a_success_and_hides_secrets() {
    let mut rig = Rig::new([FAILS]);
    let now = chrono::Utc::now();
    let before = rig.status.readiness(now).expect_err("nothing ran yet");
    assert_eq!(
        before,
        "no run has read the roster and listed the users in Omni yet"
    );
    rig.wake.wake(Trigger::Start);
    rig.run().await;
    sleep(Duration::from_secs(1)).await;
    let failed = rig.status.readiness(now).expect_err("it failed");
    assert!(
        failed.ends_with(": a setting is missing or invalid"),
        "{failed}"
    );
    assert!(rig.status.status_line(now).contains("Last run failed"));
    assert!(rig.metrics.next_run.get() > 0.0, "when it is tried again");
    rig.run().await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.status.readiness(now), Ok(()));
    rig.end().await;
}

#[test]
fn the_status_line_reports_roster_problems() {
    let (status, now) = (Status::new(None), chrono::Utc::now());
    let says = |condition| {
        status.roster(condition);
        let sentence = status.status_line(now);
        let about = sentence.split_once("; ").map(|(_, about)| about.to_owned());
        about.map(|about| {
            about
                .split(" since 2")
                .next()
                .unwrap_or_default()
                .to_owned()
        })
    };
    let table = [
        (SourceState::Stable, None),
        (SourceState::Changing, Some("the roster is changing")),
        (SourceState::Unavailable, Some("the roster is unavailable")),
        (
            SourceState::Unresponsive,
            Some("the roster's file system is unresponsive"),
        ),
    ];
    for (condition, expected) in table {
        assert_eq!(says(condition).as_deref(), expected);
    }
}
