//! The watcher on real folders: it reports every change exactly once, and no partial writes.

use omni_user_sync::model::{Fingerprint, Trigger};
use omni_user_sync::roster::{self, SourceStamp};
use omni_user_sync::settings::{KeySource, RawSettings, Select, Settings, SourceSettings, Watch};
use omni_user_sync::trigger::Wake;
use omni_user_sync::trigger::watch::{ProbeError, RosterProbe, SourceProbe, SourceState, Watcher};
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The time after which a roster counts as stable.
const SETTLE: Duration = Duration::from_millis(200);

/// Long enough for both parts of a write on a busy machine.
const LONG_SETTLE: Duration = Duration::from_secs(2);

/// An upper bound for the detection of a change.
const GENEROUS: Duration = Duration::from_secs(30);

/// A second report of the same change would arrive within this time.
const QUIET: Duration = Duration::from_millis(350);

const OLD: &str = "email,display_name\na@b.co,Ann\n";
const NEW: &str = "email,display_name\na@b.co,Ann\nc@d.co,Cid\n";

fn settings(path: &Path, watch: &str, settle: Duration) -> SourceSettings {
    let mut raw = RawSettings::default();
    raw.set("source.path", path.display());
    raw.set("source.watch", watch);
    raw.set("source.settle", format!("{}ms", settle.as_millis()));
    // Where events are expected, the poll must not be what noticed.
    let poll_interval = if watch == "poll" { "50ms" } else { "1h" };
    raw.set("source.poll_interval", poll_interval);
    let checked = Settings::check(raw, KeySource::default());
    checked.expect("valid").source
}

/// A running watcher.
struct Rig {
    settings: SourceSettings,
    wake: Wake,
    still: watch::Receiver<Option<Fingerprint>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Rig {
    /// Starts a watcher and waits for the first content.
    async fn on(path: &Path, watch: &str) -> Self {
        Self::settling(path, watch, SETTLE).await
    }

    async fn settling(path: &Path, watch: &str, settle: Duration) -> Self {
        let settings = settings(path, watch, settle);
        let look = RosterProbe::new(&settings).expect("has a path");
        let mut rig = Self::started(settings, false, look);
        timeout(GENEROUS, rig.still.changed())
            .await
            .expect("is found in time")
            .expect("the watcher runs");
        let published = *rig.still.borrow_and_update();
        assert_eq!(published, rig.content());
        assert!(rig.is_quiet().await, "the first content starts no run");
        rig
    }

    fn started(settings: SourceSettings, wake_first: bool, look: impl SourceProbe) -> Self {
        let (publish, still) = watch::channel(None);
        let (wake, stop) = (Wake::default(), CancellationToken::new());
        let watcher = Watcher::new(&settings, wake_first, wake.clone(), publish);
        let task = watcher.expect("is wanted").run(look, stop.clone());
        Self {
            settings,
            wake,
            still,
            stop,
            task: tokio::spawn(async { task.await.expect("the watch goes on") }),
        }
    }

    fn content(&self) -> Option<Fingerprint> {
        let path = self.settings.path.as_ref().expect("has a path");
        roster::fingerprint(&self.settings, path).ok()
    }

    /// Waits for exactly one wake, with the current content.
    async fn announced(&mut self) {
        let reasons = timeout(GENEROUS, self.wake.wait()).await;
        let reasons = reasons.expect("is noticed in time");
        assert_eq!(Vec::from_iter(reasons), [Trigger::File]);
        let published = *self.still.borrow_and_update();
        assert_eq!(published, self.content());
        assert!(self.is_quiet().await, "is announced once");
    }

    async fn is_quiet(&mut self) -> bool {
        timeout(QUIET, self.wake.wait()).await.is_err()
            && !self.still.has_changed().expect("the watcher runs")
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("the watcher does not panic");
    }
}

/// A folder with a roster.
fn roster() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("users.csv");
    fs::write(&path, OLD).expect("written");
    (folder, path)
}

/// Runs a test with events and with polling at the same time.
async fn both(test: impl AsyncFn(&'static str)) {
    tokio::join!(test("native"), test("poll"));
}

/// Runs a test of one change in both ways.
async fn each_way(change: impl AsyncFn(&Path, &mut Rig)) {
    both(async |watch| {
        let (_folder, path) = roster();
        let mut rig = Rig::on(&path, watch).await;
        change(&path, &mut rig).await;
        rig.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_atomic_rename_is_noticed() {
    each_way(async |path, rig| {
        for content in [NEW, OLD, NEW] {
            let aside = path.with_extension("tmp");
            fs::write(&aside, content).expect("written");
            fs::rename(&aside, path).expect("renamed");
            rig.announced().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_write_in_two_parts_is_noticed_once() {
    both(async |watch| {
        let (_folder, path) = roster();
        let mut rig = Rig::settling(&path, watch, LONG_SETTLE).await;
        let mut file = fs::File::create(&path).expect("opened");
        let (first, second) = NEW.split_at(NEW.len() / 2);
        file.write_all(first.as_bytes()).expect("written");
        file.sync_all().expect("is there");
        // A slow writer.
        sleep(LONG_SETTLE / 10).await;
        file.write_all(second.as_bytes()).expect("written");
        drop(file);
        rig.announced().await;
        rig.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_recreated_file_is_noticed() {
    each_way(async |path, rig| {
        fs::remove_file(path).expect("removed");
        fs::write(path, NEW).expect("written");
        rig.announced().await;
    })
    .await;
}

#[tokio::test]
async fn a_disappearing_and_returning_file_is_noticed() {
    each_way(async |path, rig| {
        fs::remove_file(path).expect("removed");
        rig.announced().await;
        assert_eq!(*rig.still.borrow(), None);
        fs::write(path, OLD).expect("written");
        rig.announced().await;
    })
    .await;
}

#[tokio::test]
async fn a_copy_with_an_older_time_is_noticed() {
    each_way(async |path, rig| {
        let year_ago = SystemTime::now() - Duration::from_secs(365 * 86400);
        let aside = path.with_extension("tmp");
        fs::write(&aside, NEW).expect("written");
        let times = fs::FileTimes::new().set_modified(year_ago);
        let file = fs::File::options()
            .write(true)
            .open(&aside)
            .expect("opened");
        file.set_times(times).expect("set");
        fs::rename(&aside, path).expect("renamed");
        rig.announced().await;
    })
    .await;
}

#[tokio::test]
async fn a_touch_is_not_a_change() {
    each_way(async |path, rig| {
        fs::write(path, OLD).expect("written");
        assert!(rig.is_quiet().await);
        fs::write(path, NEW).expect("written");
        rig.announced().await;
    })
    .await;
}

/// As kubelet does it: the CSV is a link into `..data`, and that link is replaced.
#[tokio::test]
async fn a_config_map_swap_is_noticed() {
    both(async |watch| {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let publish = |version: &str, content: &str| {
            fs::create_dir(at(version)).expect("made");
            fs::write(at(version).join("users.csv"), content).expect("written");
            symlink(version, at("..data_tmp")).expect("linked");
            fs::rename(at("..data_tmp"), at("..data")).expect("renamed");
        };
        publish("..1", OLD);
        symlink("..data/users.csv", at("users.csv")).expect("linked");
        let mut rig = Rig::on(&at("users.csv"), watch).await;
        publish("..2", NEW);
        fs::remove_dir_all(at("..1")).expect("removed");
        rig.announced().await;
        publish("..3", OLD);
        rig.announced().await;
        rig.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_replaced_parent_folder_is_noticed() {
    both(async |watch| {
        let root = tempfile::tempdir().expect("a folder");
        let (folder, other) = (root.path().join("a"), root.path().join("b"));
        fs::create_dir(&folder).expect("made");
        let path = folder.join("users.csv");
        fs::write(&path, OLD).expect("written");
        let mut rig = Rig::on(&path, watch).await;
        fs::create_dir(&other).expect("made");
        fs::write(other.join("users.csv"), NEW).expect("written");
        fs::rename(&folder, root.path().join("c")).expect("renamed");
        fs::rename(&other, &folder).expect("renamed");
        rig.announced().await;
        // The new folder is watched from now on.
        fs::write(&path, OLD).expect("written");
        rig.announced().await;
        // A recreated folder may get the same inode.
        fs::remove_dir_all(&folder).expect("removed");
        fs::create_dir(&folder).expect("made");
        fs::write(&path, NEW).expect("written");
        rig.announced().await;
        fs::write(&path, OLD).expect("written");
        rig.announced().await;
        rig.end().await;
    })
    .await;
}

#[tokio::test]
async fn changes_in_a_roster_folder_are_noticed() {
    both(async |watch| {
        let (folder, path) = roster();
        let mut rig = Rig::on(folder.path(), watch).await;
        let more = folder.path().join("more.csv");
        fs::write(&more, NEW).expect("written");
        rig.announced().await;
        fs::write(folder.path().join("notes.txt"), "none").expect("written");
        assert!(rig.is_quiet().await, "no roster has changed");
        fs::remove_file(&more).expect("removed");
        rig.announced().await;
        fs::write(&path, NEW).expect("written");
        rig.announced().await;
        rig.end().await;
    })
    .await;
}

/// A run must say that a file of a folder is not read because of one that is dated in the future.
#[tokio::test]
async fn a_hidden_file_is_noticed() {
    both(async |watch| {
        let (folder, path) = roster();
        let next_year = SystemTime::now() + Duration::from_hours(365 * 24);
        let file = fs::File::options().write(true).open(&path).expect("opens");
        file.set_modified(next_year).expect("is set");
        let mut settings = settings(folder.path(), watch, SETTLE);
        settings.select = Select::Newest;
        let look = RosterProbe::new(&settings).expect("has a path");
        let mut rig = Rig::started(settings, false, look);
        let found = timeout(GENEROUS, rig.still.changed()).await;
        found.expect("is found in time").expect("the watcher runs");
        fs::write(folder.path().join("today.csv"), NEW).expect("written");
        rig.announced().await;
        assert!(rig.wake.take_hidden());
        fs::remove_file(folder.path().join("today.csv")).expect("removed");
        rig.announced().await;
        assert!(rig.wake.take_hidden());
        rig.end().await;
    })
    .await;
}

/// `source.groups` is part of what a run reads, wherever it lies.
#[tokio::test]
async fn a_change_of_the_groups_file_is_noticed() {
    both(async |watch| {
        let (_folder, path) = roster();
        let elsewhere = tempfile::tempdir().expect("a folder");
        let groups = elsewhere.path().join("groups.csv");
        let mut settings = settings(&path, watch, SETTLE);
        settings.groups = Some(groups.clone());
        let look = RosterProbe::new(&settings).expect("has a path");
        let mut rig = Rig::started(settings, false, look);
        let found = timeout(GENEROUS, rig.still.changed()).await;
        found.expect("is found in time").expect("the watcher runs");
        assert!(rig.is_quiet().await, "the first content starts no run");
        fs::write(&groups, "op,email,group_name\n+,a@b.co,Sales\n").expect("written");
        rig.announced().await;
        fs::write(&groups, "op,email,group_name\n-,a@b.co,Sales\n").expect("written");
        rig.announced().await;
        fs::remove_file(&groups).expect("removed");
        rig.announced().await;
        fs::write(&path, NEW).expect("written");
        rig.announced().await;
        rig.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_change_behind_a_link_is_noticed() {
    let (folder, real) = roster();
    let elsewhere = tempfile::tempdir().expect("a folder");
    let link = elsewhere.path().join("users.csv");
    symlink(&real, &link).expect("linked");
    let mut rig = Rig::on(&link, "native").await;
    fs::write(&real, NEW).expect("written");
    rig.announced().await;
    rig.end().await;
    drop(folder);
}

#[tokio::test]
async fn a_new_roster_is_noticed() {
    let root = tempfile::tempdir().expect("a folder");
    let path = root.path().join("users.csv");
    let settings = settings(&path, "native", SETTLE);
    let look = RosterProbe::new(&settings).expect("has a path");
    let mut rig = Rig::started(settings, true, look);
    assert!(rig.is_quiet().await, "a run at the start says so itself");
    fs::write(&path, OLD).expect("written");
    rig.announced().await;
    rig.end().await;
}

#[tokio::test]
async fn watching_can_be_turned_off() {
    let (_folder, path) = roster();
    let settings = settings(&path, "off", SETTLE);
    assert_eq!(settings.watch, Watch::Off);
    let (publish, _still) = watch::channel(None);
    assert!(Watcher::new(&settings, true, Wake::default(), publish).is_none());
}

#[tokio::test]
async fn the_first_content_wakes_after_a_start_run() {
    let (_folder, path) = roster();
    let settings = settings(&path, "native", SETTLE);
    let look = RosterProbe::new(&settings).expect("has a path");
    let mut rig = Rig::started(settings, true, look);
    rig.announced().await;
    rig.end().await;
}

/// A hung mount, which says once that it was probed.
#[derive(Clone)]
struct Hangs {
    is_probed: Arc<Notify>,
    never: Arc<Mutex<std::sync::mpsc::Receiver<()>>>,
}

impl SourceProbe for Hangs {
    fn stamp(&mut self) -> Result<SourceStamp, ProbeError> {
        self.is_probed.notify_one();
        self.never.lock().expect("whole").recv()?;
        Ok(SourceStamp::of(&[]))
    }

    fn fingerprint(&mut self) -> Result<Fingerprint, ProbeError> {
        Ok(Fingerprint([0; 32]))
    }
}

#[tokio::test]
async fn a_hung_mount_does_not_block_shutdown() {
    let (_folder, path) = roster();
    let (never, hangs) = std::sync::mpsc::channel();
    let is_probed = Arc::new(Notify::new());
    let look = Hangs {
        is_probed: is_probed.clone(),
        never: Arc::new(Mutex::new(hangs)),
    };
    let rig = Rig::started(settings(&path, "native", SETTLE), false, look);
    timeout(GENEROUS, is_probed.notified())
        .await
        .expect("is probed");
    timeout(GENEROUS, rig.end()).await.expect("ends in time");
    drop(never);
}

/// The first probe hangs forever, as on a lost mount; later probes do not.
#[derive(Clone)]
struct HangsOnce(Arc<Mutex<Option<std::sync::mpsc::Receiver<()>>>>);

impl SourceProbe for HangsOnce {
    fn stamp(&mut self) -> Result<SourceStamp, ProbeError> {
        let hangs = self.0.lock().expect("whole").take();
        // An error is the end of the test.
        hangs.map_or(Ok(()), |never| never.recv())?;
        Ok(SourceStamp::of(&[]))
    }

    fn fingerprint(&mut self) -> Result<Fingerprint, ProbeError> {
        Ok(Fingerprint([0; 32]))
    }
}

/// Time is advanced manually: a blocking task prevents automatic advancing.
#[tokio::test(start_paused = true)]
async fn a_hung_mount_is_reported_and_replaced() {
    let (end, held) = std::sync::mpsc::channel::<()>();
    let clock = tokio::task::spawn_blocking(move || held.recv());
    let (_folder, path) = roster();
    let settings = settings(&path, "poll", SETTLE);
    let (never, hangs) = std::sync::mpsc::channel();
    let (publish, mut still) = watch::channel(None);
    let (sender, mut states) = tokio::sync::mpsc::unbounded_channel();
    let watcher = Watcher::new(&settings, false, Wake::default(), publish)
        .expect("is wanted")
        .with_observer(move |condition| sender.send(condition).expect("is listened to"));
    let stop = CancellationToken::new();
    let look = HangsOnce(Arc::new(Mutex::new(Some(hangs))));
    let task = tokio::spawn(watcher.run(look, stop.clone()));
    let mut all = Vec::new();
    while all.last() != Some(&SourceState::Stable) {
        tokio::time::advance(Duration::from_secs(1)).await;
        // Gives the probing thread time.
        std::thread::sleep(Duration::from_millis(1));
        all.extend(std::iter::from_fn(|| states.try_recv().ok()));
    }
    assert_eq!(all[0], SourceState::Unresponsive, "{all:?}");
    still.changed().await.expect("the watcher runs");
    stop.cancel();
    let ended = task.await.expect("does not panic");
    ended.expect("the watch goes on");
    drop((never, end));
    let _ = clock.await;
}
