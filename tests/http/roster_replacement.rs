//! Every way of changing a roster, by the daemon's own parts against the mock server: no run sees a
//! half-written roster, and each change arrives exactly once. `WAYS=50 cargo test --test http
//! roster_replacement:: -- --nocapture` for a campaign; it prints what it counted.
#![allow(clippy::print_stdout)] // the figures

use crate::support::World;
use omni_user_sync::daemon::{Inputs, RunLoop, Runner, Status};
use omni_user_sync::model::Fingerprint;
use omni_user_sync::model::Trigger;
use omni_user_sync::roster;
use omni_user_sync::run::{Completion, Reconciler, RunOutcome, Stop};
use omni_user_sync::settings::SourceSettings;
use omni_user_sync::trigger::Wake;
use omni_user_sync::trigger::watch::{RosterProbe, SourceState, Watcher};
use serde_json::json;
use std::fmt::Write as _;
use std::fs::{self, File, FileTimes};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long a roster must stand still here.
const SETTLE: Duration = Duration::from_millis(200);

/// More than any change should take to arrive.
const GENEROUS: Duration = Duration::from_secs(30);

/// Enough for a write to be more than one.
const ROWS: usize = 500;

/// The user that each change renames.
const EMAIL: &str = "u0499@example.com";

/// The roster after this many changes: the last row differs.
fn roster(round: usize) -> String {
    let mut text = "email,display_name\n".to_owned();
    for number in 0..ROWS - 1 {
        writeln!(text, "u{number:04}@example.com,Name").expect("a String takes every write");
    }
    writeln!(text, "{EMAIL},Round {round}").expect("a String takes every write");
    text
}

/// The reconciler, and what its runs have read.
struct Counting {
    reconciler: Reconciler,
    runs: Arc<Mutex<Vec<Run>>>,
}

/// What a run has read, if it could.
type Run = Option<(u64, Fingerprint)>;

impl Runner for Counting {
    async fn run(
        &mut self,
        trigger: Trigger,
        known: Option<Fingerprint>,
        stop: &Stop,
    ) -> RunOutcome {
        let outcome = self.reconciler.run(trigger, known, stop).await;
        let stopped = matches!(outcome.completion, Completion::Stopped);
        assert!(!stopped || stop.now.is_cancelled(), "{outcome:?}");
        let read = outcome.roster();
        lock(&self.runs).push(read.map(|roster| (roster.rows, roster.fingerprint)));
        outcome
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic")
}

/// A daemon at work: loop, watcher and reconciler.
struct Rig {
    world: World,
    source: SourceSettings,
    runs: Arc<Mutex<Vec<Run>>>,
    condition: Arc<Mutex<Option<SourceState>>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    /// How long it took from the end of each change to its first write.
    took: Vec<Duration>,
    /// Whether the last change took its writer too long to be counted.
    is_spoilt: bool,
}

impl Rig {
    /// Starts one on a roster that is there, and waits for its first run.
    async fn on(path: &Path, watch: &str) -> Self {
        let world = World::new()
            .await
            .set("source.path", path.to_str().expect("text"))
            .set("source.watch", watch)
            .set("source.settle", &format!("{}ms", SETTLE.as_millis()))
            // Where events can be relied on it polls once a minute at most: too late for this.
            .set("source.poll_interval", "50ms")
            .set("source.reports", "")
            // A roster that was cut short must not pass for the lack of a reason to remove.
            .set("policy.prune", "managed")
            .set("policy.max_removals", "100%");
        for row in roster(0).lines().skip(1) {
            let (email, name) = row.split_once(',').expect("two cells");
            world.user(email, name, json!({}));
        }
        let source = world.settings().source;
        let mut rig = Self {
            runs: Arc::default(),
            condition: Arc::default(),
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
            took: Vec::new(),
            is_spoilt: false,
            source,
            world,
        };
        rig.start();
        rig.until("the first run", || rig.arrived().len() == 1)
            .await;
        rig.world.org().clear_requests();
        rig
    }

    fn start(&mut self) {
        let (publish, still) = watch::channel(None);
        let inputs = Inputs {
            wake: Wake::default(),
            stable: still,
            stop: self.stop.clone(),
        };
        inputs.wake.wake(Trigger::Start);
        let watcher = Watcher::new(&self.source, true, inputs.wake.clone(), publish);
        let condition = self.condition.clone();
        let watching = watcher
            .expect("is wanted")
            .with_observer(move |now| *lock(&condition) = Some(now))
            .run(
                RosterProbe::new(&self.source).expect("has a path"),
                self.stop.clone(),
            );
        let runner = Counting {
            reconciler: self.world.reconciler(),
            runs: self.runs.clone(),
        };
        let cycle = RunLoop::new(
            runner,
            inputs,
            Status::new(None),
            self.world.metrics.clone(),
        );
        self.tasks
            .spawn(async { watching.await.expect("it goes on") });
        self.tasks.spawn(cycle.run());
    }

    /// The runs that could read a roster: no other has anything to send.
    fn arrived(&self) -> Vec<(u64, Fingerprint)> {
        lock(&self.runs).iter().flatten().copied().collect()
    }

    async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let waiting = async {
            while !condition() {
                sleep(Duration::from_millis(2)).await;
            }
        };
        let held = timeout(GENEROUS, waiting).await;
        assert!(held.is_ok(), "never: {what}; runs: {:?}", self.arrived());
    }

    /// A change that has been made arrives: in one run, and in one write.
    async fn arrives(&mut self, round: usize, since: Instant) {
        let writes = || self.world.org().writes().len();
        self.until("a write", || writes() == round).await;
        let took = since.elapsed();
        self.until("a run", || self.arrived().len() > round).await;
        let user = self.world.org().user(EMAIL).expect("is there");
        assert_eq!(user["displayName"], format!("Round {round}"));
        let path = self.source.path.as_ref().expect("has a path");
        let content = roster::fingerprint(&self.source, path).expect("is there");
        assert_eq!(self.arrived()[round], (ROWS as u64, content));
        self.took.push(took);
    }

    /// The number of changes, if the machine is fast enough.
    async fn changes(&mut self, rounds: usize, path: &Path, change: &impl Change) {
        for round in 1..=rounds {
            let unfinished = change(path, &roster(round), self).await;
            let since = Instant::now();
            if unfinished >= SETTLE {
                // What it left for so long could be taken for whole, and rightly so.
                self.is_spoilt = true;
                return;
            }
            self.arrives(round, since).await;
        }
    }

    /// Stops, counts all runs and writes once more, late ones included, and says how many changes
    /// there were.
    async fn end(mut self, way: &str) -> usize {
        let rounds = self.took.len();
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no panic");
        }
        if self.is_spoilt {
            println!("{way}: {rounds} changes, then the machine was too busy for the writer");
            return rounds;
        }
        let (runs, writes) = (self.arrived(), self.world.org().writes().len());
        let is_whole = |(rows, _): &(u64, _)| *rows == ROWS as u64;
        assert!(runs.iter().all(is_whole), "{runs:?}");
        assert_eq!((runs.len(), writes), (rounds + 1, rounds), "{way}");
        let all = lock(&self.runs).len();
        self.took.sort();
        let (median, last) = (self.took[rounds / 2], self.took[rounds - 1]);
        println!(
            "{way}: {rounds} changes, {} runs and {writes} writes of them, {} runs without a roster; \
             settle and {} ms from a change to its write, at most {} ms",
            runs.len() - 1,
            all - runs.len(),
            beyond(median),
            beyond(last),
        );
        rounds
    }
}

/// What came on top of settling, in ms.
fn beyond(took: Duration) -> u128 {
    took.saturating_sub(SETTLE).as_millis()
}

/// What a writer does, and the longest that it let the file stand unfinished.
trait Change: AsyncFn(&Path, &str, &Rig) -> Duration {}
impl<F: AsyncFn(&Path, &str, &Rig) -> Duration> Change for F {}

/// Changes a roster in one way, again and again, by events and by polling.
async fn each(way: &str, lay: impl Fn(&Path) -> PathBuf, change: impl Change) {
    let rounds: usize = std::env::var("WAYS").map_or(2, |ways| ways.parse().expect("a number"));
    let on = async |watch| {
        let mut left = rounds;
        for _ in 0..10 {
            let folder = tempfile::tempdir().expect("a folder");
            let path = lay(folder.path());
            let mut rig = Rig::on(&path, watch).await;
            rig.changes(left, &path, &change).await;
            left -= rig.end(&format!("{way}, {watch}")).await;
            if left == 0 {
                return;
            }
        }
        panic!("{way}, {watch}: the machine is too busy");
    };
    tokio::join!(on("native"), on("poll"));
}

/// A folder with a roster in it.
fn plain(folder: &Path) -> PathBuf {
    let path = folder.join("users.csv");
    fs::write(&path, roster(0)).expect("written");
    path
}

/// How long something takes.
fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn rename_into(path: &Path, content: &str, times: FileTimes) {
    let aside = path.with_extension("tmp");
    fs::write(&aside, content).expect("written");
    let file = File::options().write(true).open(&aside).expect("opened");
    file.set_times(times).expect("set");
    fs::rename(&aside, path).expect("renamed");
}

#[tokio::test]
async fn follows_an_atomic_rename() {
    each(
        "rename",
        plain,
        async |path: &Path, content: &str, _: &Rig| {
            rename_into(path, content, FileTimes::new());
            Duration::ZERO
        },
    )
    .await;
}

#[tokio::test]
async fn follows_a_copy_with_an_older_time() {
    let start = SystemTime::now();
    each(
        "older time",
        plain,
        async |path: &Path, content: &str, rig: &Rig| {
            let older = Duration::from_secs(3600) * u32::try_from(rig.took.len()).expect("few");
            rename_into(path, content, FileTimes::new().set_modified(start - older));
            Duration::ZERO
        },
    )
    .await;
}

#[tokio::test]
async fn follows_a_write_in_place() {
    each(
        "in place",
        plain,
        async |path: &Path, content: &str, _: &Rig| {
            timed(|| fs::write(path, content).expect("written"))
        },
    )
    .await;
}

/// The same size and the same time: only the content differs.
#[tokio::test]
async fn follows_a_write_with_restored_time() {
    each(
        "time put back",
        plain,
        async |path: &Path, content: &str, _: &Rig| {
            let time = fs::metadata(path)
                .and_then(|file| file.modified())
                .expect("has one");
            timed(|| {
                fs::write(path, content).expect("written");
                let file = File::options().write(true).open(path).expect("opened");
                file.set_modified(time).expect("set");
            })
        },
    )
    .await;
}

/// A writer that takes its time, longer than the roster is to stand still.
#[tokio::test]
async fn follows_a_file_that_grows() {
    each(
        "growing",
        plain,
        async |path: &Path, content: &str, rig: &Rig| {
            let mut file = File::create(path).expect("opened");
            let (mut longest, mut last) = (Duration::ZERO, Instant::now());
            for piece in content.as_bytes().chunks(content.len() / 8) {
                file.write_all(piece).expect("written");
                longest = longest.max(last.elapsed());
                last = Instant::now();
                let is_moving = || *lock(&rig.condition) == Some(SourceState::Changing);
                rig.until("is reported as changing", is_moving).await;
                // Waits for nothing to happen: it is the writer's pace.
                sleep(SETTLE / 4).await;
            }
            longest
        },
    )
    .await;
}

#[tokio::test]
async fn follows_a_removed_and_recreated_file() {
    each(
        "recreated",
        plain,
        async |path: &Path, content: &str, _: &Rig| {
            timed(|| {
                fs::remove_file(path).expect("removed");
                fs::write(path, content).expect("written");
            })
        },
    )
    .await;
}

/// As kubelet does: the CSV is a link into `..data`, which is a link that is replaced.
#[tokio::test]
async fn follows_a_config_map_swap() {
    let publish = |folder: &Path, content: &str| {
        let version = tempfile::Builder::new().prefix("..").tempdir_in(folder);
        let version = version.expect("made").keep();
        fs::write(version.join("users.csv"), content).expect("written");
        let link = folder.join("..data_tmp");
        symlink(version.file_name().expect("has one"), &link).expect("linked");
        let old = fs::canonicalize(folder.join("..data"));
        fs::rename(link, folder.join("..data")).expect("renamed");
        if let Ok(old) = old {
            fs::remove_dir_all(old).expect("removed");
        }
    };
    let lay = |folder: &Path| {
        publish(folder, &roster(0));
        let path = folder.join("users.csv");
        symlink("..data/users.csv", &path).expect("linked");
        path
    };
    each(
        "config map",
        lay,
        async |path: &Path, content: &str, _: &Rig| {
            publish(path.parent().expect("has one"), content);
            Duration::ZERO
        },
    )
    .await;
}

/// A roster in a folder of its own, which can be replaced.
fn nested(folder: &Path) -> PathBuf {
    fs::create_dir(folder.join("a")).expect("made");
    plain(&folder.join("a"))
}

#[tokio::test]
async fn follows_a_replaced_parent_folder() {
    each(
        "parent replaced",
        nested,
        async |path: &Path, content: &str, _: &Rig| {
            let folder = path.parent().expect("has one");
            let (new, old) = (folder.with_extension("new"), folder.with_extension("old"));
            fs::create_dir(&new).expect("made");
            fs::write(new.join("users.csv"), content).expect("written");
            timed(|| {
                fs::rename(folder, &old).expect("renamed");
                fs::rename(&new, folder).expect("renamed");
                fs::remove_dir_all(&old).expect("removed");
            })
        },
    )
    .await;
}

/// The share is reported as unavailable; no user is removed meanwhile, and no change is lost.
#[tokio::test]
async fn follows_a_temporarily_unavailable_share() {
    each(
        "share away",
        nested,
        async |path: &Path, content: &str, rig: &Rig| {
            let folder = path.parent().expect("has one");
            let away = folder.with_extension("away");
            fs::rename(folder, &away).expect("renamed");
            let is_away = || *lock(&rig.condition) == Some(SourceState::Unavailable);
            rig.until("is reported as unavailable", is_away).await;
            fs::write(away.join("users.csv"), content).expect("written");
            fs::rename(&away, folder).expect("renamed");
            Duration::ZERO
        },
    )
    .await;
}
