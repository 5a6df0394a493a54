//! FsEvents from the operating system that something about the source has changed.
//!
//! The folders are watched and never the file: a watch on a file goes silent for ever after one
//! atomic rename. Nothing is filtered by name: a ConfigMap swap names only `..data`, never the CSV.

use crate::file_system;
use crate::settings::Watch;
use notify::event::{AccessKind, AccessMode, Event, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;
use tracing::{info, warn};

/// The hints for one source. All of it blocks: it belongs on the watcher's own thread.
pub(super) struct FsEvents {
    path: PathBuf,
    watch: Watch,
    bell: Arc<Notify>,
    told: Option<Means>,
    armed: Option<Armed>,
    failed: bool,
}

/// How changes are noticed, and why so.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Means {
    /// By events, and why.
    Events(&'static str),
    /// By polling alone, as the settings say.
    Polling,
    /// By polling alone, as this file system is silent.
    Shared(&'static str),
}

impl FsEvents {
    /// FsEvents about a path, rung at a bell once [`FsEvents::renew`] was called.
    pub(super) fn new(path: &Path, watch: Watch, bell: Arc<Notify>) -> Self {
        Self {
            path: path.to_owned(),
            watch,
            bell,
            told: None,
            armed: None,
            failed: false,
        }
    }

    /// Watches what is to be watched now: folders come, go and are replaced. Says whether events
    /// can be relied on from here on.
    pub(super) fn renew(&mut self) -> bool {
        if !matches!(self.choose(), Means::Events(_)) {
            self.armed = None;
            return false;
        }
        let folders = folders(&self.path);
        let places: Vec<_> = folders.iter().filter_map(|path| Place::of(path)).collect();
        let complete = places.len() == folders.len();
        if !self
            .armed
            .as_ref()
            .is_some_and(|armed| armed.holds(&places))
        {
            self.arm(places);
        }
        complete && self.armed.is_some()
    }

    /// Chooses anew each time, since something may be mounted there later; says so when it differs.
    fn choose(&mut self) -> Means {
        let means = match self.watch {
            Watch::Native => Means::Events("source.watch says so"),
            Watch::Poll | Watch::Off => Means::Polling,
            Watch::Auto => file_system::shared(&self.path).map_or(
                Means::Events("its file system tells of changes"),
                Means::Shared,
            ),
        };
        if self.told.replace(means) != Some(means) {
            match means {
                Means::Events(why) => info!("watching the roster by events: {why}"),
                Means::Polling => info!("watching the roster by polling: source.watch says so"),
                Means::Shared(name) => info!(
                    "watching the roster by polling: it is on {name}, which does not tell of what \
                     others change"
                ),
            }
        }
        means
    }

    /// Starts over with these places; a watch that fails leaves polling, and is tried again.
    fn arm(&mut self, places: Vec<Place>) {
        self.armed = None;
        match Armed::new(places, Arc::clone(&self.bell)) {
            Ok(armed) => {
                self.armed = Some(armed);
                self.failed = false;
            }
            Err(error) if !self.failed => {
                let error: &dyn std::error::Error = &error;
                warn!(error, "the roster can't be watched by events: it is polled");
                self.failed = true;
            }
            Err(_) => {}
        }
    }
}

/// Watches that are set.
struct Armed {
    places: Vec<Place>,
    broken: Arc<AtomicBool>,
    _watcher: RecommendedWatcher,
}

impl Armed {
    fn new(places: Vec<Place>, bell: Arc<Notify>) -> notify::Result<Self> {
        let broken = Arc::new(AtomicBool::new(false));
        let handler = handler(&places, Arc::clone(&broken), bell);
        let mut watcher = notify::recommended_watcher(handler)?;
        for place in &places {
            watcher.watch(&place.path, RecursiveMode::NonRecursive)?;
        }
        Ok(Self {
            places,
            broken,
            _watcher: watcher,
        })
    }

    fn holds(&self, places: &[Place]) -> bool {
        !self.broken.load(Ordering::Acquire) && self.places == places
    }
}

/// Runs on notify's thread.
fn handler(
    places: &[Place],
    broken: Arc<AtomicBool>,
    bell: Arc<Notify>,
) -> impl FnMut(notify::Result<Event>) + use<> {
    let folders: Vec<_> = places.iter().map(|place| place.path.clone()).collect();
    move |event| {
        if event.as_ref().is_ok_and(is_only_access) {
            return;
        }
        if event
            .as_ref()
            .map_or(true, |event| ends_watch(event, &folders))
        {
            broken.store(true, Ordering::Release);
        }
        bell.notify_one();
    }
}

/// Our own reading makes such events: they would never end. The end of a write is none of them; it
/// may be all that is heard of a file that was written through a memory map.
fn is_only_access(event: &Event) -> bool {
    let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
    matches!(event.kind, EventKind::Access(_)) && event.kind != written
}

/// Whether a watched folder itself has gone: its watch is dead, even where a new folder gets the
/// same inode.
fn ends_watch(event: &Event, folders: &[PathBuf]) -> bool {
    let gone = matches!(
        event.kind,
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
    );
    gone && event.paths.iter().any(|path| folders.contains(path))
}

/// A folder, and which one of those that its path may have named in turn.
#[derive(Debug, PartialEq)]
struct Place {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Place {
    fn of(path: &Path) -> Option<Self> {
        let about = path.metadata().ok()?;
        Some(Self {
            path: path.to_owned(),
            device: about.dev(),
            inode: about.ino(),
        })
    }
}

/// The folders in which a change of the source can show: the one that holds its name, the one that
/// holds what a symbolic link leads to, and the source itself if it is a folder.
fn folders(source: &Path) -> Vec<PathBuf> {
    let mut all = vec![parent(source)];
    all.extend(source.canonicalize().ok().map(|target| parent(&target)));
    if source.is_dir() {
        all.push(source.to_owned());
    }
    all.sort();
    all.dedup();
    all
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => ".".into(),
        Some(parent) => parent.to_owned(),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, DataChange, Flag, RemoveKind, RenameMode};

    #[test]
    fn only_reading_is_no_hint() {
        let access = |kind| is_only_access(&Event::new(EventKind::Access(kind)));
        assert!(access(AccessKind::Open(AccessMode::Any)));
        assert!(access(AccessKind::Close(AccessMode::Read)));
        assert!(!access(AccessKind::Close(AccessMode::Write)));
        for kind in [
            EventKind::Create(CreateKind::File),
            EventKind::Modify(ModifyKind::Data(DataChange::Any)),
            EventKind::Other,
        ] {
            assert!(!is_only_access(&Event::new(kind)));
        }
        let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert!(lost.need_rescan() && !is_only_access(&lost));
    }

    #[test]
    fn a_folder_that_goes_ends_its_watch_and_a_file_does_not() {
        let folders = [PathBuf::from("/srv/rosters")];
        let removed = Event::new(EventKind::Remove(RemoveKind::Folder));
        let renamed = Event::new(EventKind::Modify(ModifyKind::Name(RenameMode::From)));
        for event in [removed, renamed] {
            let folder = event.clone().add_path("/srv/rosters".into());
            let file = event.add_path("/srv/rosters/users.csv".into());
            assert!(ends_watch(&folder, &folders));
            assert!(!ends_watch(&file, &folders));
        }
    }

    #[test]
    fn knows_where_changes_show() {
        let at = tempfile::tempdir().expect("a folder");
        let root = at.path().canonicalize().expect("is there");
        let (real, file, link) = (root.join("a"), root.join("a/x.csv"), root.join("users.csv"));
        std::fs::create_dir(&real).expect("made");
        std::fs::write(&file, "").expect("written");
        std::os::unix::fs::symlink(&file, &link).expect("linked");
        assert_eq!(folders(&file), [real.as_path()]);
        assert_eq!(folders(&link), [root.as_path(), &real]);
        assert_eq!(folders(&real), [root.as_path(), &real]);
        assert_eq!(folders(Path::new("missing.csv")), [Path::new(".")]);
    }
}
