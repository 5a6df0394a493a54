//! A secret in a file of its own: read anew each time, so that it can be exchanged, and never shown.

use super::keys::shown;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The most bytes such a file may have.
const MAX_BYTES: u64 = 4096;
/// What is in it, for a person.
const HOLDS: &str = "one line";

/// A file that holds one secret, on one line.
#[derive(Clone, Debug)]
pub struct SecretFile {
    setting: &'static str,
    path: PathBuf,
}

/// Why there is no secret. Never holds one.
#[derive(Debug, thiserror::Error)]
#[error("{setting} {file}: {problem}")]
pub struct SecretError {
    setting: &'static str,
    file: String,
    problem: String,
}

/// Sees to it that a crash leaves no core, which would hold the secrets of this process, and that no
/// other program of the same user looks into its memory.
///
/// # Errors
/// Where the system does not let it.
pub fn keep_from_cores() -> std::io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Into::into)
}

impl SecretFile {
    /// The file that a setting names.
    #[must_use]
    pub fn new(setting: &'static str, path: PathBuf) -> Self {
        Self { setting, path }
    }

    /// Reads the secret as it is now. Blocks.
    ///
    /// # Errors
    /// When there is none, or what is there is none.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        let text = read_bounded(&self.path, MAX_BYTES, HOLDS).map_err(|error| self.wrong(error))?;
        let secret = text.trim_start_matches('\u{feff}').trim();
        if secret.is_empty() {
            Err(self.wrong("it is empty; it holds one line"))
        } else if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            Err(self.wrong("it holds one line without blanks, of ASCII characters"))
        } else {
            Ok(secret.into())
        }
    }

    /// Whether every user of the machine may read it. It still works so, since some ways to mount a
    /// secret give it these rights.
    #[must_use]
    pub fn is_open_to_all(&self) -> bool {
        is_open_to_all(&self.path)
    }

    fn wrong(&self, problem: impl ToString) -> SecretError {
        SecretError {
            setting: self.setting,
            file: shown(&self.path),
            problem: problem.to_string(),
        }
    }
}

/// Reads a file of secrets, if it is no longer than such a file is; `holds` says what is in one. Blocks.
///
/// # Errors
/// Says what is wrong, without the path and without anything that is in it.
pub(super) fn read_bounded(
    path: &Path,
    most: u64,
    holds: &str,
) -> Result<Zeroizing<String>, String> {
    let mut text = Zeroizing::new(String::new());
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(most + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > most {
        return Err(format!("over {most} bytes; it holds {holds}"));
    }
    Ok(text)
}

/// Whether every user of the machine may read a file that is there.
pub(super) fn is_open_to_all(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|about| about.permissions().mode() & 0o004 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;
    use std::fs::{self, Permissions};

    fn file(text: &str) -> (tempfile::TempDir, SecretFile) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        fs::write(&path, text).expect("written");
        (folder, SecretFile::new("serve.admin_token_file", path))
    }

    #[test]
    fn one_line_is_read_anew_each_time() {
        let (folder, secret) = file("\u{feff}hunter2\r\n");
        let read = || secret.read().expect("a secret").expose_secret().to_owned();
        assert_eq!(read(), "hunter2");
        fs::write(folder.path().join("token"), "another\n").expect("written");
        assert_eq!(read(), "another");
    }

    #[test]
    fn what_is_none_is_named_by_its_setting_and_not_shown() {
        for text in ["", " \n", "hunter 2", "hunter\n2", &"hunter2".repeat(1000)] {
            let error = file(text).1.read().expect_err("none").to_string();
            assert!(error.starts_with("serve.admin_token_file "), "{error}");
            assert!(!error.contains("hunter"), "{error}");
        }
        let pasted = SecretFile::new("serve.admin_token_file", "hunter2".into());
        let error = format!("{:?}", pasted.read().expect_err("no file"));
        assert!(!error.contains("hunter"), "{error}");
    }

    #[test]
    fn knows_whether_all_may_read_it() {
        let (folder, secret) = file("hunter2");
        for (mode, open) in [(0o600, false), (0o640, false), (0o644, true)] {
            let path = folder.path().join("token");
            fs::set_permissions(path, Permissions::from_mode(mode)).expect("set");
            assert_eq!(secret.is_open_to_all(), open, "{mode:o}");
        }
    }
}
