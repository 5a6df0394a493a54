//! Events of the file system that may mean that the source has changed.
//!
//! Folders are watched, never the file: a watch on a file is lost after an atomic rename. Events are
//! not filtered by name: the swap of a ConfigMap names only `..data`, never the CSV file.

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

/// The events of one source. All calls block, so they run on the watcher's own thread.
pub(super) struct FsEvents {
    /// Its files or folders.
    paths: Vec<PathBuf>,
    watch: Watch,
    notify: Arc<Notify>,
    logged: Option<WatchMethod>,
    watches: Option<FolderWatches>,
    has_failed: bool,
}

/// How changes are noticed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum WatchMethod {
    /// By events, for this reason.
    Events(&'static str),
    /// Only by polling, because of the settings.
    Polling,
    /// Only by polling, because this file system is shared.
    Shared(&'static str),
}

impl FsEvents {
    /// Sends the events of these paths to `notify`, from the first [`FsEvents::renew`] on.
    pub(super) fn new(paths: Vec<PathBuf>, watch: Watch, notify: Arc<Notify>) -> Self {
        Self {
            paths,
            watch,
            notify,
            logged: None,
            watches: None,
            has_failed: false,
        }
    }

    /// Updates the watched folders, which may have been created, removed or replaced. Returns whether
    /// every later change causes an event.
    pub(super) fn renew(&mut self) -> bool {
        if !matches!(self.choose_method(), WatchMethod::Events(_)) {
            self.watches = None;
            return false;
        }
        let folders = folders(&self.paths);
        let found: Vec<_> = folders
            .iter()
            .filter_map(|path| WatchedFolder::of(path))
            .collect();
        let is_complete = found.len() == folders.len();
        let watches = self.watches.as_ref();
        if !watches.is_some_and(|watches| watches.cover(&found)) {
            self.watch(found);
        }
        is_complete && self.watches.is_some()
    }

    /// Chooses the method each time, since a share may be mounted later. Logs a change.
    fn choose_method(&mut self) -> WatchMethod {
        let method = match self.watch {
            Watch::Native => WatchMethod::Events("source.watch = \"native\""),
            Watch::Poll | Watch::Off => WatchMethod::Polling,
            Watch::Auto => {
                let mut shared = self
                    .paths
                    .iter()
                    .filter_map(|path| file_system::shared(path));
                shared.next().map_or(
                    WatchMethod::Events("local file system"),
                    WatchMethod::Shared,
                )
            }
        };
        if self.logged.replace(method) != Some(method) {
            match method {
                WatchMethod::Events(reason) => info!(reason, "watching the roster by events"),
                WatchMethod::Polling => {
                    info!(reason = "source.watch", "watching the roster by polling");
                }
                WatchMethod::Shared(file_system) => info!(
                    file_system,
                    "watching the roster by polling: a share sends no events for changes by other \
                     machines"
                ),
            }
        }
        method
    }

    /// Replaces all watches. If that fails, polling continues, and the next probe tries again.
    fn watch(&mut self, folders: Vec<WatchedFolder>) {
        self.watches = None;
        match FolderWatches::new(folders, Arc::clone(&self.notify)) {
            Ok(watches) => {
                self.watches = Some(watches);
                self.has_failed = false;
            }
            Err(error) if !self.has_failed => {
                let error: &dyn std::error::Error = &error;
                warn!(error, "can't watch the roster by events; polling instead");
                self.has_failed = true;
            }
            Err(_) => {}
        }
    }
}

/// The watches on all folders.
struct FolderWatches {
    folders: Vec<WatchedFolder>,
    is_broken: Arc<AtomicBool>,
    _watcher: RecommendedWatcher,
}

impl FolderWatches {
    fn new(folders: Vec<WatchedFolder>, notify: Arc<Notify>) -> notify::Result<Self> {
        let is_broken = Arc::new(AtomicBool::new(false));
        let handler = handler(&folders, Arc::clone(&is_broken), notify);
        let mut watcher = notify::recommended_watcher(handler)?;
        for folder in &folders {
            watcher.watch(&folder.path, RecursiveMode::NonRecursive)?;
        }
        Ok(Self {
            folders,
            is_broken,
            _watcher: watcher,
        })
    }

    fn cover(&self, folders: &[WatchedFolder]) -> bool {
        !self.is_broken.load(Ordering::Acquire) && self.folders == folders
    }
}

/// Handles an event, on the thread of the notify crate.
fn handler(
    folders: &[WatchedFolder],
    is_broken: Arc<AtomicBool>,
    notify: Arc<Notify>,
) -> impl FnMut(notify::Result<Event>) + use<> {
    let folders: Vec<_> = folders.iter().map(|folder| folder.path.clone()).collect();
    move |event| {
        if event.as_ref().is_ok_and(is_read_access) {
            return;
        }
        if event
            .as_ref()
            .map_or(true, |event| ends_watch(event, &folders))
        {
            is_broken.store(true, Ordering::Release);
        }
        notify.notify_one();
    }
}

/// Whether an event only means that a file was read. The probes cause such events themselves, without
/// end. The end of a write is a different event, and may be the only one of a write through a memory
/// map.
fn is_read_access(event: &Event) -> bool {
    let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
    matches!(event.kind, EventKind::Access(_)) && event.kind != written
}

/// Whether a watched folder itself is gone. Its watch is lost, even if a new folder gets the same
/// inode.
fn ends_watch(event: &Event, folders: &[PathBuf]) -> bool {
    let gone = matches!(
        event.kind,
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
    );
    gone && event.paths.iter().any(|path| folders.contains(path))
}

/// A folder, identified by its inode too, since another folder may take its path.
#[derive(Debug, PartialEq)]
struct WatchedFolder {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl WatchedFolder {
    fn of(path: &Path) -> Option<Self> {
        let metadata = path.metadata().ok()?;
        Some(Self {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

/// The folders in which a change of the source causes events: for each path its parent, the parent of the target of
/// a symbolic link, and the path itself if it is a folder.
fn folders(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut all: Vec<_> = paths.iter().map(|path| parent(path)).collect();
    let targets = paths.iter().filter_map(|path| path.canonicalize().ok());
    all.extend(targets.map(|target| parent(&target)));
    all.extend(paths.iter().filter(|path| path.is_dir()).cloned());
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
    fn read_access_is_not_a_change() {
        let access = |kind| is_read_access(&Event::new(EventKind::Access(kind)));
        assert!(access(AccessKind::Open(AccessMode::Any)));
        assert!(access(AccessKind::Close(AccessMode::Read)));
        assert!(!access(AccessKind::Close(AccessMode::Write)));
        for kind in [
            EventKind::Create(CreateKind::File),
            EventKind::Modify(ModifyKind::Data(DataChange::Any)),
            EventKind::Other,
        ] {
            assert!(!is_read_access(&Event::new(kind)));
        }
        let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert!(lost.need_rescan() && !is_read_access(&lost));
    }

    #[test]
    fn only_a_lost_folder_ends_its_watch() {
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
    fn finds_the_folders_to_watch() {
        let at = tempfile::tempdir().expect("a temporary folder");
        let root = at.path().canonicalize().expect("the folder exists");
        let (real, file, link) = (root.join("a"), root.join("a/x.csv"), root.join("users.csv"));
        std::fs::create_dir(&real).expect("created");
        std::fs::write(&file, "").expect("written");
        std::os::unix::fs::symlink(&file, &link).expect("linked");
        let folders = |paths: &[&Path]| {
            let paths: Vec<_> = paths.iter().map(|path| path.to_path_buf()).collect();
            super::folders(&paths)
        };
        assert_eq!(folders(&[&file]), [real.as_path()]);
        assert_eq!(folders(&[&link]), [root.as_path(), &real]);
        assert_eq!(folders(&[&real]), [root.as_path(), &real]);
        assert_eq!(folders(&[Path::new("missing.csv")]), [Path::new(".")]);
        let beside = root.join("groups.csv");
        assert_eq!(folders(&[&file, &beside]), [root.as_path(), &real]);
    }
}
