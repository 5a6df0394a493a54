//! The slot files in the state folder, one per key, through which processes share a limit.
//!
//! A file is named by a short hash of its key. Two keys with the same hash would share one limit.

use crate::settings::KeyHash;
use secrecy::SecretString;
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{
    DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The size limit of a file: 500 requests take about 15 KB.
const MAX_BYTES: u64 = 1024 * 1024;
/// The attempts to lock a file, and the pause between them.
const MAX_ATTEMPTS: u32 = 1000;
const RETRY_PAUSE: Duration = Duration::from_millis(1);

/// The state folder.
#[derive(Debug)]
pub(super) struct SlotFolder(PathBuf);

/// What to do with a file that another process has locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhenLocked {
    /// Wait for up to a second. A lock is normally held for microseconds.
    Wait,
    /// Skip the file.
    Skip,
}

impl SlotFolder {
    pub(super) fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Locks a key's file, which is created if missing, calls `act` with its text, and writes the text
    /// that `act` returns.
    ///
    /// The file is written in place and not synced: a power failure may lose it, and the checksum
    /// detects a partial write.
    pub(super) fn with_locked_file(
        &self,
        key: &SecretString,
        when_locked: WhenLocked,
        act: impl FnOnce(&[u8]) -> Option<String>,
    ) -> io::Result<()> {
        let mut file = self.open(&self.0.join(file_name(key)))?;
        lock_file(&file, when_locked)?;
        let mut text = Vec::new();
        (&mut file).take(MAX_BYTES).read_to_end(&mut text)?;
        if let Some(new) = act(&text) {
            file.write_all_at(new.as_bytes(), 0)?;
            // In this order: if the process is killed in between, the end of the old text stays and is
            // ignored.
            if new.len() < text.len() {
                file.set_len(new.len() as u64)?;
            }
        }
        // Closing the file unlocks it.
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        // A symbolic link could make a privileged user's command write to any file.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.mode(0o600).custom_flags(flags.bits().cast_signed());
        let file = match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut builder = DirBuilder::new();
                builder.recursive(true).mode(0o700).create(&self.0)?;
                options.open(path)?
            }
            opened => opened?,
        };
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(io::Error::other(format!(
                "{} is not a file",
                path.display()
            )));
        }
        if about.mode() & 0o777 != 0o600 {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        self.give_to_owner(&file, about.uid());
        Ok(file)
    }

    /// Gives a file that a privileged user's command created to the folder's owner, who could not
    /// open it otherwise.
    fn give_to_owner(&self, file: &File, uid: u32) {
        let Ok(folder) = std::fs::metadata(&self.0) else {
            return;
        };
        if folder.uid() != uid {
            // Fails for users without the privilege, who don't need it.
            let _ = fchown(file, Some(folder.uid()), Some(folder.gid()));
        }
    }
}

fn lock_file(file: &File, when_locked: WhenLocked) -> io::Result<()> {
    for _ in 0..MAX_ATTEMPTS {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if when_locked == WhenLocked::Skip => break,
            Err(TryLockError::WouldBlock) => std::thread::sleep(RETRY_PAUSE),
        }
    }
    let message = "another process holds the lock of a slot file";
    Err(io::Error::new(io::ErrorKind::WouldBlock, message))
}

fn file_name(key: &SecretString) -> String {
    format!("slots-{}", KeyHash::of(key).as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(dir: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).expect("a folder").flatten();
        entries.map(|entry| entry.path()).collect()
    }

    #[test]
    fn files_are_private_and_reveal_no_key() {
        let temporary = tempfile::tempdir().expect("a folder");
        let dir = temporary.path().join("state");
        let folder = SlotFolder::new(&dir);
        let key = SecretString::from("hunter2");
        let write = |text: &str| {
            let mut seen = Vec::new();
            let visited = folder.with_locked_file(&key, WhenLocked::Wait, |old| {
                seen = old.to_vec();
                Some(text.into())
            });
            visited.expect("ours");
            String::from_utf8(seen).expect("text")
        };
        assert_eq!(write("longer"), "");
        let [path] = &entries(&dir)[..] else {
            panic!("one file")
        };
        std::fs::set_permissions(path, Permissions::from_mode(0o644)).expect("ours");
        assert_eq!(write("short"), "longer");
        assert_eq!(write(""), "short");
        assert_eq!(path.metadata().expect("there").mode() & 0o777, 0o600);
        assert_eq!(dir.metadata().expect("there").mode() & 0o777, 0o700);
        let name = path.file_name().and_then(|name| name.to_str());
        assert_eq!(name.map(str::len), Some("slots-".len() + 8));
        let other = file_name(&SecretString::from("hunter3"));
        assert_ne!(name, Some(other.as_str()));
    }

    #[test]
    fn links_and_folders_are_refused() {
        let temporary = tempfile::tempdir().expect("a folder");
        let (folder, key) = (SlotFolder::new(temporary.path()), SecretString::from("key"));
        let (path, other) = (
            temporary.path().join(file_name(&key)),
            temporary.path().join("other"),
        );
        std::fs::write(&other, "precious").expect("ours");
        std::os::unix::fs::symlink(&other, &path).expect("ours");
        let visit = || folder.with_locked_file(&key, WhenLocked::Wait, |_| Some("x".into()));
        assert!(visit().is_err());
        std::fs::remove_file(&path).expect("ours");
        std::fs::create_dir(&path).expect("ours");
        assert!(visit().is_err());
        assert_eq!(std::fs::read(&other).expect("there"), b"precious");
    }

    #[test]
    fn files_belong_to_the_owner_of_the_folder() {
        let temporary = tempfile::tempdir().expect("a folder");
        let (folder, key) = (SlotFolder::new(temporary.path()), SecretString::from("key"));
        // Only a privileged user may change the owner; any other user owns the files already.
        let _ = std::os::unix::fs::chown(temporary.path(), Some(65534), Some(65534));
        let owner = |path: &Path| {
            let about = path.metadata().expect("there");
            (about.uid(), about.gid())
        };
        let visit = folder.with_locked_file(&key, WhenLocked::Wait, |_| Some("x".into()));
        visit.expect("ours");
        let file = temporary.path().join(file_name(&key));
        assert_eq!(owner(&file), owner(temporary.path()));
    }

    #[test]
    fn a_locked_file_is_skipped_at_once() {
        let temporary = tempfile::tempdir().expect("a folder");
        let (folder, key) = (SlotFolder::new(temporary.path()), SecretString::from("key"));
        let inside = folder.with_locked_file(&key, WhenLocked::Wait, |_| {
            let begun = std::time::Instant::now();
            let error = folder.with_locked_file(&key, WhenLocked::Skip, |_| None);
            assert!(begun.elapsed() < MAX_ATTEMPTS * RETRY_PAUSE, "no wait");
            assert_eq!(
                error.expect_err("it is locked").kind(),
                io::ErrorKind::WouldBlock
            );
            None
        });
        inside.expect("ours");
    }
}
