//! Secrets in files: read each time they are needed, so that they can be replaced, and never shown.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The size limit of such a file, in bytes.
const MAX_BYTES: u64 = 4096;

/// A file with one secret, on one line.
#[derive(Clone, Debug)]
pub struct SecretFile {
    setting: &'static str,
    path: PathBuf,
}

/// Why a secret can't be read. Never contains the secret.
#[derive(Debug, thiserror::Error)]
#[error("{setting} {file}: {problem}")]
pub struct SecretError {
    setting: &'static str,
    file: String,
    problem: String,
}

/// Disables core dumps, which would contain the secrets of this process, and access to its memory by
/// other programs of the same user.
///
/// # Errors
/// If the operating system refuses.
pub fn disable_core_dumps() -> std::io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Into::into)
}

impl SecretFile {
    /// The file that is named by a setting.
    #[must_use]
    pub fn new(setting: &'static str, path: PathBuf) -> Self {
        Self { setting, path }
    }

    /// Reads the secret. Blocks.
    ///
    /// # Errors
    /// If the file can't be read or is not one line of ASCII without blanks.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        let text = read_bounded(&self.path, MAX_BYTES).map_err(|error| self.error(error))?;
        let secret = text.trim_start_matches('\u{feff}').trim();
        if secret.is_empty() {
            Err(self.error("the file is empty; expected one line"))
        } else if is_quoted(secret) {
            Err(self.error("the secret has quotes around it; write only the secret"))
        } else if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            Err(self.error("expected one line of ASCII characters without blanks"))
        } else {
            Ok(secret.into())
        }
    }

    /// Whether every user of the machine can read the file. That is only a warning, since some ways to
    /// mount a secret set such permissions.
    #[must_use]
    pub fn is_world_readable(&self) -> bool {
        is_world_readable(&self.path)
    }

    fn error(&self, problem: impl ToString) -> SecretError {
        SecretError {
            setting: self.setting,
            file: shown_path(&self.path),
            problem: problem.to_string(),
        }
    }
}

/// Whether a text has quotes around it, as in a settings file.
pub(super) fn is_quoted(text: &str) -> bool {
    const QUOTES: [(char, char); 5] =
        [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”'), ('‘', '’')];
    let mut quotes = QUOTES.iter();
    quotes.any(|(open, close)| {
        let inner = text.strip_prefix(*open);
        inner.is_some_and(|inner| inner.ends_with(*close))
    })
}

/// The path, if it or its folder exists. Otherwise it may be the key itself, put into the wrong setting;
/// keys contain slashes too.
pub(super) fn shown_path(path: &Path) -> String {
    let folder = path.parent().filter(|folder| folder.parent().is_some());
    if path.exists() || folder.is_some_and(Path::is_dir) {
        path.display().to_string()
    } else {
        "(not shown, since it may be a key; set the path of a file that contains the key)".into()
    }
}

/// Reads a file of secrets up to a size limit. The error contains neither the path nor the content.
/// Blocks.
pub(super) fn read_bounded(path: &Path, max: u64) -> Result<Zeroizing<String>, String> {
    let mut text = Zeroizing::new(String::new());
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(max + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > max {
        return Err(format!("the file is larger than {max} bytes"));
    }
    Ok(text)
}

/// Whether every user of the machine can read a file.
pub(super) fn is_world_readable(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0)
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
    fn a_replaced_secret_is_read() {
        let (folder, secret) = file("\u{feff}hunter2\r\n");
        let read = || secret.read().expect("a secret").expose_secret().to_owned();
        assert_eq!(read(), "hunter2");
        fs::write(folder.path().join("token"), "another\n").expect("written");
        assert_eq!(read(), "another");
    }

    #[test]
    fn an_invalid_secret_is_not_shown() {
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
    fn world_readable_files_are_detected() {
        let (folder, secret) = file("hunter2");
        for (mode, open) in [(0o600, false), (0o640, false), (0o644, true)] {
            let path = folder.path().join("token");
            fs::set_permissions(path, Permissions::from_mode(mode)).expect("set");
            assert_eq!(secret.is_world_readable(), open, "{mode:o}");
        }
    }
}
