//! The shared limit: joins the key pool of this process with the files of the state folder.
//!
//! The file and this process's own window are merged, and neither is assumed to be complete: this
//! process's requests count even if the file is lost, and without a usable file the process counts
//! alone, with a warning. A file that exists and can't be read counts as a full minute of requests
//! sent just now, and is rewritten: that delays requests by at most a minute, and never exceeds the limit.

use super::clock::{Clock, wall};
use super::key::{Key, KeyId};
use super::key_pool::{KeyPool, NextSlot};
use super::priority::Priority;
use super::slot_file::Content;
use super::slot_folder::{SlotFolder, WhenLocked};
use crate::util::sync::lock;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct SharedLimiter {
    pool: Mutex<KeyPool>,
    folder: Option<SlotFolder>,
    /// The folder is unresponsive, and not used for the rest of the process.
    given_up: AtomicBool,
    /// The log has a warning that the folder can't be used.
    warned: AtomicBool,
}

/// One slot taken.
pub(super) struct Reservation {
    pub(super) key: KeyId,
    /// The latest possible arrival of the request.
    pub(super) arrives_by: Instant,
}

impl SharedLimiter {
    pub(super) fn new(pool: KeyPool, dir: Option<&Path>) -> Self {
        let network = dir.and_then(crate::file_system::shared);
        let limiter = Self {
            pool: Mutex::new(pool),
            folder: dir.filter(|_| network.is_none()).map(SlotFolder::new),
            given_up: AtomicBool::new(false),
            warned: AtomicBool::new(false),
        };
        if let (Some(dir), Some(file_system)) = (dir, network) {
            let reason = format!("it is on {file_system}, where file locks are not reliable");
            limiter.warn(dir, &reason);
        }
        limiter
    }

    pub(super) fn pool(&self) -> MutexGuard<'_, KeyPool> {
        lock(&self.pool)
    }

    /// Whether the folder is used, so that calls take as long as the disk does.
    pub(super) fn uses_folder(&self) -> bool {
        self.folder.is_some() && !self.given_up.load(Ordering::Relaxed)
    }

    /// Stops using the folder, which is unresponsive.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
        if let Some(folder) = &self.folder {
            self.warn(folder.path(), "it is unresponsive");
        }
    }

    /// Takes a slot, or returns what to wait for.
    pub(super) fn take(&self, priority: Priority) -> Result<Reservation, NextSlot> {
        if self.pool().usable().nth(1).is_some() {
            self.refresh(WhenLocked::Wait);
        }
        loop {
            let now = Instant::now();
            let next = {
                let mut pool = self.pool();
                pool.expire(now);
                pool.next(priority, now)
            };
            let NextSlot::Now(key) = next else {
                return Err(next);
            };
            let take = |pool: &mut KeyPool| pool.take(key, priority, now);
            let taken = self.with_locked_file(key, WhenLocked::Wait, true, take);
            if let Some(arrives_by) = taken.flatten() {
                return Ok(Reservation { key, arrives_by });
            }
            // By the file, the key has no free slot. The pool has been updated, so the next round
            // finds another key, or none.
        }
    }

    /// Reads what other processes have sent with the keys in use.
    pub(super) fn refresh(&self, when_locked: WhenLocked) {
        let keys: Vec<_> = self.pool().usable().map(|key| key.id).collect();
        for key in keys {
            self.with_locked_file(key, when_locked, false, |_| ());
        }
    }

    /// Writes the state of a key to its file.
    pub(super) fn save(&self, key: KeyId) {
        self.with_locked_file(key, WhenLocked::Wait, true, |_| ());
    }

    /// Merges the key's file into the pool, calls `act`, and writes the file if `write` is set, all
    /// while the file is locked. Without a usable file it only calls `act`. Returns `None` if the key
    /// no longer exists.
    fn with_locked_file<T>(
        &self,
        key: KeyId,
        when_locked: WhenLocked,
        write: bool,
        act: impl FnOnce(&mut KeyPool) -> T,
    ) -> Option<T> {
        let secret = self.pool().key(key)?.secret.clone();
        let mut act = Some(act);
        let mut result = None;
        if let Some(folder) = self.folder.as_ref().filter(|_| self.uses_folder()) {
            let visited = folder.with_locked_file(&secret, when_locked, |text| {
                let mut pool = self.pool();
                let broken = merge(&mut pool, key, text, folder)?;
                result = act.take().map(|act| act(&mut pool));
                (write || broken)
                    .then(|| file_text(pool.key(key)?))
                    .flatten()
            });
            if let Err(error) = visited {
                let skipped =
                    error.kind() == io::ErrorKind::WouldBlock && when_locked == WhenLocked::Skip;
                if !skipped {
                    self.warn(folder.path(), &error.to_string());
                }
            }
        }
        result.or_else(|| act.map(|act| act(&mut self.pool())))
    }

    /// Warns once that requests of other processes are not counted.
    fn warn(&self, dir: &Path, reason: &str) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                folder = %dir.display(),
                reason,
                "the state folder can't be used to share the request limit; this process counts \
                 only its own requests"
            );
        }
    }
}

/// Merges the text of a key's file into the pool. Returns whether the text was broken, or `None` if
/// the key no longer exists.
fn merge(pool: &mut KeyPool, key: KeyId, text: &[u8], folder: &SlotFolder) -> Option<bool> {
    let (now, per_minute) = (Instant::now(), pool.per_minute);
    let key = pool.key(key)?;
    key.expire(now);
    match Content::read(text, Clock::of_process(), now, wall()) {
        Content::New => {}
        Content::Slots(file) => key.merge(file, per_minute, now),
        Content::Broken => {
            tracing::warn!(
                folder = %folder.path().display(),
                key = key.number,
                "the file that shares the request limit of a key can't be read; it is rewritten, and \
                 the key pauses for a minute, as if the limit were used up"
            );
            key.assume_exhausted(per_minute, now);
            return Some(true);
        }
    }
    Some(false)
}

fn file_text(key: &Key) -> Option<String> {
    let now = Instant::now();
    Some(key.to_file().write(Clock::of_process(), now, wall()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::KeySource;
    use std::sync::Arc;
    use std::time::Duration;

    #[derive(Clone, Default)]
    struct Logged(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Logged {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The number of warnings that the folder can't be used, and the log.
    fn logged(act: impl FnOnce()) -> (usize, String) {
        let log = Logged::default();
        let writer = log.clone();
        let listener = tracing_subscriber::fmt().with_writer(move || writer.clone());
        tracing::subscriber::with_default(listener.finish(), act);
        let text = log.0.lock().expect("no panic").clone();
        let text = String::from_utf8(text).expect("text");
        (text.matches("only its own requests").count(), text)
    }

    fn limiter(dir: &Path) -> SharedLimiter {
        let mut pool = KeyPool::new(3, 4, Duration::ZERO);
        let keys = KeySource::from_text("hunter2").read().expect("a key");
        pool.use_keys(&keys, Instant::now());
        SharedLimiter::new(pool, Some(dir))
    }

    #[test]
    fn an_unusable_folder_is_reported_once() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for when_locked in [WhenLocked::Skip, WhenLocked::Wait] {
            let limiter = limiter(file.path());
            let (times, text) = logged(|| limiter.refresh(when_locked));
            assert_eq!(times, 1, "{when_locked:?}: {text}");
            let (times, text) = logged(|| {
                let taken = (0..4).map(|_| limiter.take(Priority::Urgent).is_ok());
                assert_eq!(taken.collect::<Vec<_>>(), [true, true, true, false]);
            });
            assert_eq!(times, 0, "again: {text}");
        }
    }

    #[test]
    fn skipping_a_locked_file_is_not_reported() {
        let dir = tempfile::tempdir().expect("a folder");
        let (one, other) = (limiter(dir.path()), limiter(dir.path()));
        let (times, text) = logged(|| {
            let key = one.pool().usable().next().expect("a key").id;
            one.with_locked_file(key, WhenLocked::Wait, false, |_| ());
            let secret = one.pool().key(key).expect("there").secret.clone();
            let folder = SlotFolder::new(dir.path());
            let visited = folder.with_locked_file(&secret, WhenLocked::Wait, |_| {
                other.refresh(WhenLocked::Skip);
                None
            });
            visited.expect("ours");
        });
        assert_eq!(times, 0, "{text}");
    }

    #[test]
    fn an_unresponsive_folder_is_no_longer_used() {
        let dir = tempfile::tempdir().expect("a folder");
        let (times, text) = logged(|| {
            let limiter = limiter(dir.path());
            assert!(limiter.uses_folder());
            limiter.give_up();
            limiter.give_up();
            assert!(!limiter.uses_folder());
            assert!(limiter.take(Priority::Urgent).is_ok());
        });
        assert_eq!(times, 1, "{text}");
        assert!(text.contains("it is unresponsive"), "{text}");
        let left = std::fs::read_dir(dir.path()).expect("there").count();
        assert_eq!(left, 0, "nothing is written there");
    }
}
