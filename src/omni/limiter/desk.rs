//! Where processes share a key's limit: it joins what this one knows to the files of the state
//! folder.
//!
//! The file and this process's own log are merged, and neither is believed to be all: what this
//! process sent counts for it whatever happens to the file, and where there is no file to be had it
//! counts alone, with a warning. A file that is there and can't be read is taken for a minute's worth
//! of requests sent just now, and written anew: that costs a minute, once, and never the limit.

use super::clock::{Clock, wall};
use super::folder::{Folder, Patience};
use super::page::Content;
use super::state::{Key, KeyId, KeyPool, Next};
use crate::util::sync::lock;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct SharedLimiter {
    state: Mutex<KeyPool>,
    folder: Option<Folder>,
    /// The folder does not answer: it is left alone for as long as the process lives.
    given_up: AtomicBool,
    /// It has been told that the folder can't be used.
    told: AtomicBool,
}

/// One slot taken: of which key, and until when its request may arrive.
pub(super) type Took = (KeyId, Instant);

impl SharedLimiter {
    pub(super) fn new(state: KeyPool, dir: Option<&Path>) -> Self {
        let shared = dir.and_then(crate::file_system::shared);
        let desk = Self {
            state: Mutex::new(state),
            folder: dir.filter(|_| shared.is_none()).map(Folder::new),
            given_up: AtomicBool::new(false),
            told: AtomicBool::new(false),
        };
        if let (Some(dir), Some(file_system)) = (dir, shared) {
            let why = format!("it is on {file_system}, where locks can't be relied on");
            desk.tell(dir, &why);
        }
        desk
    }

    /// A lock that a panic elsewhere can't poison: no code that holds it can panic half-way through
    /// a change.
    pub(super) fn state(&self) -> MutexGuard<'_, KeyPool> {
        lock(&self.state)
    }

    /// Whether there are files to look at, which may take as long as the disk does.
    pub(super) fn is_shared(&self) -> bool {
        self.folder.is_some() && !self.given_up.load(Ordering::Relaxed)
    }

    /// The folder does not answer.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
        if let Some(folder) = &self.folder {
            self.tell(folder.path(), "it does not answer");
        }
    }

    /// Takes a slot, or says what to wait for.
    pub(super) fn take(&self) -> Result<Took, Next> {
        if self.state().usable().nth(1).is_some() {
            self.look(Patience::Some);
        }
        loop {
            let now = Instant::now();
            let next = {
                let mut state = self.state();
                state.forget(now);
                state.next(now)
            };
            let Next::Take(key) = next else {
                return Err(next);
            };
            // Where the file says that there is no room, that is known now: another key is next, or
            // none.
            let took = self.visit(key, Patience::Some, true, |state| state.take(key, now));
            if let Some(arrives_by) = took.flatten() {
                return Ok((key, arrives_by));
            }
        }
    }

    /// Looks at what others have sent with the keys in use.
    pub(super) fn look(&self, patience: Patience) {
        let keys: Vec<_> = self.state().usable().map(|key| key.id).collect();
        for key in keys {
            self.visit(key, patience, false, |_| ());
        }
    }

    /// Writes down what is known of a key.
    pub(super) fn note(&self, key: KeyId) {
        self.visit(key, Patience::Some, true, |_| ());
    }

    /// Learns what a key's file says, acts, and writes it down if wanted, while no other process
    /// does. Where there is no file to be had it acts alone. Nothing for a key that is gone.
    fn visit<T>(
        &self,
        key: KeyId,
        patience: Patience,
        write: bool,
        act: impl FnOnce(&mut KeyPool) -> T,
    ) -> Option<T> {
        let secret = self.state().key(key)?.secret.clone();
        let mut act = Some(act);
        let mut acted = None;
        if let Some(folder) = self.folder.as_ref().filter(|_| self.is_shared()) {
            let visited = folder.visit(&secret, patience, |text| {
                let mut state = self.state();
                let broken = learn(&mut state, key, text, folder)?;
                acted = act.take().map(|act| act(&mut state));
                (write || broken)
                    .then(|| written(state.key(key)?))
                    .flatten()
            });
            if let Err(error) = visited {
                self.failed(folder, &error, patience);
            }
        }
        let alone = act.take().map(|act| act(&mut self.state()));
        acted.or(alone)
    }

    fn failed(&self, folder: &Folder, error: &io::Error, patience: Patience) {
        let busy = error.kind() == io::ErrorKind::WouldBlock && patience == Patience::None;
        if !busy {
            self.tell(folder.path(), &error.to_string());
        }
    }

    /// Says once that what others send is not known.
    fn tell(&self, dir: &Path, why: &str) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                folder = %dir.display(),
                why,
                "the state folder can't be used to share the limit of requests: this process counts \
                 its own alone"
            );
        }
    }
}

/// Takes in what a file says; tells whether it was broken. Nothing for a key that is gone.
fn learn(state: &mut KeyPool, key: KeyId, text: &[u8], folder: &Folder) -> Option<bool> {
    let (now, per_minute) = (Instant::now(), state.per_minute);
    let key = state.key(key)?;
    key.forget(now);
    match Content::read(text, Clock::of_process(), now, wall()) {
        Content::New => {}
        Content::SlotFile(page) => key.learn(page, now),
        Content::Broken => {
            tracing::warn!(
                folder = %folder.path().display(),
                key = key.number,
                "the file that shares a key's limit of requests can't be read: it is written anew, \
                 and the key waits for a minute, as if it were used up"
            );
            key.assume_exhausted(per_minute, now);
            return Some(true);
        }
    }
    Some(false)
}

fn written(key: &Key) -> Option<String> {
    let now = Instant::now();
    Some(key.page().write(Clock::of_process(), now, wall()))
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

    /// How often that the folder can't be used is told, and why.
    fn told(act: impl FnOnce()) -> (usize, String) {
        let log = Logged::default();
        let writer = log.clone();
        let listener = tracing_subscriber::fmt().with_writer(move || writer.clone());
        tracing::subscriber::with_default(listener.finish(), act);
        let text = log.0.lock().expect("no panic").clone();
        let text = String::from_utf8(text).expect("text");
        (text.matches("counts its own alone").count(), text)
    }

    fn desk(dir: &Path) -> SharedLimiter {
        let mut state = KeyPool::new(3, 4, Duration::ZERO);
        let keys = KeySource::from_text("hunter2").read().expect("a key");
        state.use_keys(&keys, Instant::now());
        SharedLimiter::new(state, Some(dir))
    }

    #[test]
    fn a_folder_that_can_not_be_used_is_told_once_and_it_counts_alone() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for patience in [Patience::None, Patience::Some] {
            let desk = desk(file.path());
            let (times, text) = told(|| desk.look(patience));
            assert_eq!(times, 1, "{patience:?}: {text}");
            let (times, text) = told(|| {
                let took = (0..4).map(|_| desk.take().is_ok());
                assert_eq!(took.collect::<Vec<_>>(), [true, true, true, false]);
            });
            assert_eq!(times, 0, "again: {text}");
        }
    }

    #[test]
    fn a_file_that_is_passed_over_is_no_trouble() {
        let dir = tempfile::tempdir().expect("a folder");
        let (one, other) = (desk(dir.path()), desk(dir.path()));
        let (times, text) = told(|| {
            let key = one.state().usable().next().expect("a key").id;
            one.visit(key, Patience::Some, false, |_| ());
            let secret = one.state().key(key).expect("there").secret.clone();
            let folder = Folder::new(dir.path());
            let visited = folder.visit(&secret, Patience::Some, |_| {
                other.look(Patience::None);
                None
            });
            visited.expect("ours");
        });
        assert_eq!(times, 0, "{text}");
    }

    #[test]
    fn a_folder_that_does_not_answer_is_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let (times, text) = told(|| {
            let desk = desk(dir.path());
            assert!(desk.is_shared());
            desk.give_up();
            desk.give_up();
            assert!(!desk.is_shared());
            assert!(desk.take().is_ok());
        });
        assert_eq!(times, 1, "{text}");
        assert!(text.contains("it does not answer"), "{text}");
        let left = std::fs::read_dir(dir.path()).expect("there").count();
        assert_eq!(left, 0, "nothing is written there any more");
    }
}
