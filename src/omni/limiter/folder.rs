//! The files in the state folder, one per key, in which processes tell each other what they send.
//!
//! A file is named by a short hash of its key. 32 bits are enough to tell a few keys apart (two that
//! fell together would share one limit), and too few to say for sure which key it was.

use secrecy::{ExposeSecret, SecretString};
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{
    DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most bytes that such a file has: 500 requests take some 15 KB.
const MAX_BYTES: u64 = 1024 * 1024;
/// How often a file that another process has is tried again, and how long after.
const TRIES: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(1);

/// The folder.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

/// How a file that another process is just using is dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// It is waited for, for a second or so: others take some microseconds.
    Some,
    /// It is passed over.
    None,
}

impl Folder {
    pub(super) fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Shows what a key's file says, and writes what is given in its place, while nobody else can do
    /// either. The file is made where there is none.
    ///
    /// It is written in place and not synced: what a power failure takes is lost, and what is only
    /// half there is seen to be broken.
    pub(super) fn visit(
        &self,
        key: &SecretString,
        patience: Patience,
        act: impl FnOnce(&[u8]) -> Option<String>,
    ) -> io::Result<()> {
        let mut file = self.open(&self.0.join(file_name(key)))?;
        lock(&file, patience)?;
        let mut text = Vec::new();
        (&mut file).take(MAX_BYTES).read_to_end(&mut text)?;
        if let Some(new) = act(&text) {
            file.write_all_at(new.as_bytes(), 0)?;
            // In this order: killed between the two, the end of the old text stays and does no harm.
            if new.len() < text.len() {
                file.set_len(new.len() as u64)?;
            }
        }
        // The kernel unlocks it as it is closed.
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        // A link could lead a privileged user's command to any file.
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
            return Err(io::Error::other(format!("{} is no file", path.display())));
        }
        if about.mode() & 0o777 != 0o600 {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        self.give_to_owner(&file, about.uid());
        Ok(file)
    }

    /// What a privileged user's command has made belongs to the folder's owner, who could not open it
    /// otherwise.
    fn give_to_owner(&self, file: &File, uid: u32) {
        let Ok(folder) = std::fs::metadata(&self.0) else {
            return;
        };
        if folder.uid() != uid {
            // Whoever may not is not privileged.
            let _ = fchown(file, Some(folder.uid()), Some(folder.gid()));
        }
    }
}

fn lock(file: &File, patience: Patience) -> io::Result<()> {
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if patience == Patience::None => break,
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
        }
    }
    let what = "another process keeps its files locked";
    Err(io::Error::new(io::ErrorKind::WouldBlock, what))
}

fn file_name(key: &SecretString) -> String {
    let context = "omni-user-sync 2026-11-23 file name of a key's slots";
    let hash = blake3::derive_key(context, key.expose_secret().as_bytes());
    let hash: String = hash[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("slots-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(dir: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).expect("a folder").flatten();
        entries.map(|entry| entry.path()).collect()
    }

    #[test]
    fn a_file_is_ours_alone_and_tells_nothing_of_its_key() {
        let temporary = tempfile::tempdir().expect("a folder");
        let dir = temporary.path().join("state");
        let folder = Folder::new(&dir);
        let key = SecretString::from("hunter2");
        let write = |text: &str| {
            let mut seen = Vec::new();
            let visited = folder.visit(&key, Patience::Some, |old| {
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
    fn a_link_is_not_followed_and_a_folder_is_no_file() {
        let temporary = tempfile::tempdir().expect("a folder");
        let (folder, key) = (Folder::new(temporary.path()), SecretString::from("key"));
        let (path, other) = (
            temporary.path().join(file_name(&key)),
            temporary.path().join("other"),
        );
        std::fs::write(&other, "precious").expect("ours");
        std::os::unix::fs::symlink(&other, &path).expect("ours");
        let visit = || folder.visit(&key, Patience::Some, |_| Some("x".into()));
        assert!(visit().is_err());
        std::fs::remove_file(&path).expect("ours");
        std::fs::create_dir(&path).expect("ours");
        assert!(visit().is_err());
        assert_eq!(std::fs::read(&other).expect("there"), b"precious");
    }

    #[test]
    fn what_a_privileged_command_makes_belongs_to_the_owner_of_the_folder() {
        let temporary = tempfile::tempdir().expect("a folder");
        let (folder, key) = (Folder::new(temporary.path()), SecretString::from("key"));
        // Only a privileged user may give it away; for any other it is their own already.
        let _ = std::os::unix::fs::chown(temporary.path(), Some(65534), Some(65534));
        let owner = |path: &Path| {
            let about = path.metadata().expect("there");
            (about.uid(), about.gid())
        };
        let visit = folder.visit(&key, Patience::Some, |_| Some("x".into()));
        visit.expect("ours");
        let file = temporary.path().join(file_name(&key));
        assert_eq!(owner(&file), owner(temporary.path()));
    }

    #[test]
    fn a_file_that_another_has_is_passed_over_without_patience() {
        let temporary = tempfile::tempdir().expect("a folder");
        let (folder, key) = (Folder::new(temporary.path()), SecretString::from("key"));
        let inside = folder.visit(&key, Patience::Some, |_| {
            let begun = std::time::Instant::now();
            let error = folder.visit(&key, Patience::None, |_| None);
            assert!(begun.elapsed() < TRIES * PAUSE, "it is not waited for");
            assert_eq!(
                error.expect_err("it is locked").kind(),
                io::ErrorKind::WouldBlock
            );
            None
        });
        inside.expect("ours");
    }
}
