//! Several processes with one key share its limit through the state folder. A process is a limiter, or
//! a client, of its own; a killed one does not release its slots. All tests but the last run under
//! paused time.

use crate::support::cases;
use crate::support::logged::Logged;
use crate::support::paused::paused;
use omni_user_sync::omni::{Priority, RateLimiter, Slot};
use omni_user_sync::settings::{ApiKeys, KeySource};
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(30);
/// The cost of random wake-up delays and of rounded response times.
pub(crate) const SLACK: Duration = Duration::from_millis(50);

fn keys(text: &str) -> ApiKeys {
    KeySource::from_text(text).read().expect("keys")
}

/// A process.
fn throttle_of(per_minute: u32, max_in_flight: usize, dir: &Path, of: &str) -> RateLimiter {
    let throttle = RateLimiter::shared(per_minute, max_in_flight, TIMEOUT, dir);
    throttle.use_keys(&keys(of));
    throttle
}

pub(crate) fn throttle(per_minute: u32, dir: &Path) -> RateLimiter {
    throttle_of(per_minute, 4, dir, "hunter2")
}

pub(crate) async fn slot(throttle: &RateLimiter) -> Slot {
    let stop = CancellationToken::new();
    throttle
        .slot(Priority::Urgent, &stop)
        .await
        .expect("a slot")
}

/// Sends requests with immediate responses.
pub(crate) async fn send(throttle: &RateLimiter, requests: usize) {
    for _ in 0..requests {
        drop(slot(throttle).await);
    }
}

/// Waits until all responses are saved; time does not advance by itself before that.
pub(crate) async fn written() {
    sleep(Duration::from_millis(1)).await;
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

pub(crate) fn file(dir: &Path) -> PathBuf {
    let entries = std::fs::read_dir(dir).expect("a folder").flatten();
    let mut slots =
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("slots-"));
    slots.next().expect("a file of slots").path()
}

#[derive(Clone, Debug)]
struct Send {
    before: u64,
    to_server: u64,
    back: u64,
}

/// The requests of one process, which may be killed with the last one in flight.
#[derive(Clone, Debug)]
struct Life {
    sends: Vec<Send>,
    killed: bool,
}

fn lives() -> impl Strategy<Value = Vec<Life>> {
    let quick = |most: u64| prop_oneof![4 => 0u64..200, 1 => 0u64..most];
    let send =
        (quick(20_000), quick(15_000), quick(15_000)).prop_map(|(before, to_server, back)| Send {
            before,
            to_server,
            back,
        });
    let sends = prop::collection::vec(send, 1..25);
    let life = (sends, any::<bool>()).prop_map(|(sends, killed)| Life { sends, killed });
    prop::collection::vec(life, 1..5)
}

type Arrivals = Arc<Mutex<Vec<Instant>>>;

fn arrive(arrivals: &Arrivals) {
    arrivals.lock().expect("no panic").push(Instant::now());
}

/// One process after another, each started when the previous one has ended.
async fn live(limit: u32, dir: PathBuf, lives: Vec<Life>, arrivals: Arrivals) {
    for Life { sends, killed } in lives {
        let throttle = throttle(limit, &dir);
        let count = sends.len();
        for (number, send) in sends.into_iter().enumerate() {
            sleep(Duration::from_millis(send.before)).await;
            let slot = slot(&throttle).await;
            let to_server = sleep(Duration::from_millis(send.to_server));
            if killed && number + 1 == count {
                // The request arrives anyway, and its response is not recorded.
                std::mem::forget(slot);
                let arrivals = arrivals.clone();
                tokio::spawn(async move {
                    to_server.await;
                    arrive(&arrivals);
                });
                break;
            }
            to_server.await;
            arrive(&arrivals);
            sleep(Duration::from_millis(send.back)).await;
        }
    }
}

/// The maximum of arrivals in any minute.
fn max_in_a_minute(arrivals: &Arrivals) -> usize {
    let mut arrivals = arrivals.lock().expect("no panic").clone();
    arrivals.sort();
    let within = |(number, first): (usize, &Instant)| {
        let later = arrivals[number..].iter();
        later.take_while(|other| **other < *first + MINUTE).count()
    };
    arrivals.iter().enumerate().map(within).max().unwrap_or(0)
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn processes_together_never_exceed_the_limit(
        limit in 1u32..12,
        processes in prop::collection::vec(lives(), 1..4),
    ) {
        let dir = folder();
        let arrivals = Arrivals::default();
        paused(async {
            let mut all = JoinSet::new();
            for lives in processes {
                all.spawn(live(limit, dir.path().to_owned(), lives, arrivals.clone()));
            }
            while let Some(end) = all.join_next().await {
                end.expect("no panic");
            }
            // For the last killed process.
            sleep(MINUTE).await;
        });
        let most = max_in_a_minute(&arrivals);
        prop_assert!(most <= limit as usize, "{most} of {limit}");
    }

    #[test]
    fn estimates_include_requests_of_other_processes(
        limit in 1u32..70,
        keys in 1usize..4,
        max_in_flight in 1usize..6,
        answer_takes in 0u64..4_000,
        before in prop::collection::vec((0usize..40, 0u64..30_000), 0..4),
        requests in 0usize..300,
    ) {
        let dir = folder();
        let names: Vec<_> = (0..keys).map(|number| format!("key{number}")).collect();
        let new = || throttle_of(limit, max_in_flight, dir.path(), &names.join("\n"));
        let answer_takes = Duration::from_millis(answer_takes);
        let (estimate, took) = paused(async {
            for (requests, pause) in before {
                send(&new(), requests).await;
                sleep(Duration::from_millis(pause)).await;
            }
            let throttle = new();
            // As a run does.
            let first = slot(&throttle).await;
            sleep(answer_takes).await;
            drop(first);
            let (estimate, start) = (throttle.estimate(requests, Priority::Urgent), Instant::now());
            let mut all = JoinSet::new();
            for _ in 0..requests {
                let throttle = throttle.clone();
                all.spawn(async move {
                    let slot = slot(&throttle).await;
                    sleep(answer_takes).await;
                    drop(slot);
                });
            }
            while let Some(end) = all.join_next().await {
                end.expect("no panic");
            }
            (estimate, start.elapsed())
        });
        let off = took.abs_diff(estimate);
        prop_assert!(off <= estimate.mul_f64(0.05) + SLACK, "said {estimate:?}, took {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_keeps_the_window() {
    let (dir, start) = (folder(), Instant::now());
    for restart in 0..5u32 {
        send(&throttle(7, dir.path()), 3).await;
        let minutes = (3 * (restart + 1) - 1) / 7;
        let (least, waited) = (MINUTE * minutes, start.elapsed());
        assert!(
            waited >= least && waited < least + SLACK,
            "{restart}: {waited:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn requests_of_a_killed_process_count_until_expiry() {
    let (dir, start) = (folder(), Instant::now());
    std::mem::forget(slot(&throttle(1, dir.path())).await);
    send(&throttle(1, dir.path()), 1).await;
    let waited = start.elapsed();
    let least = MINUTE + TIMEOUT;
    assert!(
        waited >= least && waited < least + Duration::from_secs(3),
        "{waited:?}"
    );
}

/// As when a run is stopped: the slot may be in the file by then, and is not used.
#[tokio::test(start_paused = true)]
async fn a_cancelled_slot_is_released() {
    for _ in 0..100 {
        let (dir, start) = (folder(), Instant::now());
        let throttle = throttle(1, dir.path());
        let is_waiting = tokio::select! {
            biased;
            _ = slot(&throttle) => false,
            () = std::future::ready(()) => true,
        };
        // Sometimes the disk is faster.
        if is_waiting {
            let sent = tokio::time::timeout(MINUTE, send(&throttle, 1)).await;
            sent.expect("the slot is free");
            assert!(start.elapsed() < SLACK, "{:?}", start.elapsed());
            return;
        }
    }
    panic!("no request had to wait");
}

#[tokio::test(start_paused = true)]
async fn no_process_starves() {
    let dir = folder();
    let sent = Arc::new(Mutex::new([0usize; 2]));
    let mut all = JoinSet::new();
    for number in 0..2 {
        let (throttle, sent) = (throttle(10, dir.path()), sent.clone());
        all.spawn(async move {
            loop {
                let slot = slot(&throttle).await;
                sleep(Duration::from_millis(500)).await;
                drop(slot);
                sent.lock().expect("no panic")[number] += 1;
            }
        });
    }
    sleep(30 * MINUTE).await;
    all.shutdown().await;
    let [one, other] = *sent.lock().expect("no panic");
    assert!(
        one.min(other) >= 30 && one + other >= 280,
        "{one} and {other}"
    );
}

#[tokio::test(start_paused = true)]
async fn each_key_has_its_own_file_and_limit() {
    let (dir, start) = (folder(), Instant::now());
    let new = || throttle_of(3, 4, dir.path(), "one\ntwo");
    send(&throttle_of(3, 4, dir.path(), "two"), 2).await;
    send(&new(), 3).await;
    send(&new(), 1).await;
    assert!(start.elapsed() < SLACK);
    send(&new(), 1).await;
    assert!(start.elapsed() >= MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_429_pauses_the_key_in_every_process() {
    let (dir, start) = (folder(), Instant::now());
    let daemon = throttle(60, dir.path());
    let throttled = slot(&daemon).await;
    assert!(
        throttled
            .throttled(Some(Duration::from_secs(100)))
            .is_some()
    );
    drop(throttled);
    sleep(Duration::from_secs(1)).await;
    let plan = throttle(60, dir.path());
    plan.catch_up();
    let said = plan.estimate(1, Priority::Urgent);
    send(&plan, 1).await;
    let waited = start.elapsed();
    assert!(
        waited >= Duration::from_secs(100) && waited < Duration::from_secs(101),
        "{waited:?}"
    );
    assert_eq!(said.as_secs(), 99);
}

#[tokio::test(start_paused = true)]
async fn a_lower_pace_lasts_across_restarts() {
    let dir = folder();
    let throttled = slot(&throttle(60, dir.path())).await;
    assert!(throttled.throttled(None).is_some());
    drop(throttled);
    written().await;
    // After the pause, and with nothing left in the window.
    sleep(MINUTE).await;
    let (next, start) = (throttle(60, dir.path()), Instant::now());
    send(&next, 5).await;
    let spread = start.elapsed().as_secs();
    assert!(
        (5..=8).contains(&spread),
        "about every two seconds: {spread}"
    );
    assert!(
        slot(&next)
            .await
            .pace()
            .is_some_and(|pace| (36..40).contains(&pace))
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_request_respects_another_processes_pause() {
    let (dir, start) = (folder(), Instant::now());
    let throttled = slot(&throttle(60, dir.path())).await;
    assert!(
        throttled
            .throttled(Some(Duration::from_secs(100)))
            .is_some()
    );
    drop(throttled);
    written().await;
    send(&throttle(60, dir.path()), 1).await;
    assert_eq!(start.elapsed().as_secs(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_limit_used_by_others_is_reported_once() {
    const MESSAGE: &str = "other processes with this state folder have used up";
    let (dir, log) = (folder(), Logged::default());
    let _guard = log.listen();
    let (this, other) = (throttle(4, dir.path()), throttle(4, dir.path()));
    // With half of the limit or more, this process is the cause.
    for own in [3, 2] {
        send(&other, 4 - own).await;
        send(&this, own).await;
        written().await;
        send(&this, 1).await;
        assert_eq!(
            log.text().matches(MESSAGE).count(),
            0,
            "{own} of 4 were its own"
        );
        sleep(2 * MINUTE).await;
    }
    // A pause after a 429 is not reported either.
    let throttled = slot(&this).await;
    assert!(
        throttled
            .throttled(Some(Duration::from_secs(100)))
            .is_some()
    );
    drop(throttled);
    sleep(Duration::from_secs(70)).await;
    send(&this, 1).await;
    assert_eq!(log.text().matches(MESSAGE).count(), 0);
    sleep(2 * MINUTE).await;
    // Listen again: another test may have reached this event first, without a listener.
    let _guard = log.listen();
    for times in [1, 1, 2] {
        if times == 2 {
            this.use_keys(&keys("hunter2"));
        }
        send(&other, 4).await;
        written().await;
        send(&this, 1).await;
        assert_eq!(log.text().matches(MESSAGE).count(), times);
        sleep(2 * MINUTE).await;
    }
}

#[cfg(feature = "sandbox")]
mod with_omni {
    use crate::support::{World, assert_converged};
    use omni_user_sync::sandbox::Options;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    const ROSTER: &str = "email,display_name\nann@x.co,Ann\nbob@x.co,Bob\neve@x.co,Eve\n";

    fn strict(requests_per_minute: u32) -> Options {
        Options {
            requests_per_minute,
            ..Options::default()
        }
    }

    // The world itself checks that no request exceeded the limit.
    #[tokio::test(start_paused = true)]
    async fn commands_and_restarts_stay_below_the_limit() {
        let world = World::with(strict(4)).await;
        world.roster(ROSTER);
        assert_converged(&world.apply().await);
        assert_converged(&world.apply().await);
        assert!(
            world
                .plan()
                .await
                .expect("a plan")
                .assessment
                .verdict
                .passed()
                .is_empty()
        );
        for number in 0..5 {
            world.roster(&format!("{ROSTER}new{number}@x.co,New\n"));
            assert_converged(&world.run().await);
        }
        assert!(world.org().requests().len() >= 20);
        assert!(world.org().too_many().is_empty());
    }

    /// Runs the program itself, so that there are several processes. The list of the last one would have to wait for
    /// a minute; it reports that and is killed.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_concurrent_command_waits_and_reports_it() {
        let world = World::with(strict(12)).await;
        world.roster(ROSTER);
        let mut sent = 0;
        for _ in 0..2 {
            let ended = crate::support::command(&world, &["check"]).await;
            assert_eq!(ended.code, 0, "{}", ended.err);
            assert!(!ended.err.contains("waiting"), "{}", ended.err);
            sent += 5;
        }
        assert_eq!(world.org().requests().len(), sent);
        let mut apply = Command::new(assert_cmd::cargo::cargo_bin!("omni-user-sync"))
            .env_clear()
            .envs(world.variables())
            .args(["apply", "--yes"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let errors = BufReader::new(apply.stderr.take().expect("piped"));
        let said = tokio::task::spawn_blocking(move || {
            let mut lines = errors.lines().map_while(Result::ok);
            lines.find(|line| line.contains("have used up the request limit"))
        });
        let said = said.await.expect("no panic");
        apply.kill().expect("it is there");
        apply.wait().expect("it is there");
        assert!(said.is_some(), "it ended without waiting");
        assert_eq!(world.org().requests().len(), sent + 1, "the definitions");
    }
}
