//! The roster of a command: its argument, standard input, or `source.path`.

use crate::run::Target;
use crate::settings::Settings;
use anyhow::{Context, bail};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The name of a roster from standard input, in problems.
const STDIN: &str = "stdin";

/// The roster that a command is about.
pub(super) struct RosterInput {
    pub(super) target: Target,
    /// Holds the copy of standard input, which is removed at the end.
    _copy: Option<TempDir>,
}

impl RosterInput {
    /// The roster that an argument names: a file or folder, or `-` for standard input, which never prunes and marks
    /// no user as managed. Without one, that of `source.path`.
    pub(super) fn of(settings: &Settings, argument: Option<PathBuf>) -> anyhow::Result<Self> {
        let Some(path) = argument else {
            let target = Target::source(settings, None)?;
            return Ok(Self {
                target,
                _copy: None,
            });
        };
        if path.as_os_str() == "-" {
            return Self::from_stdin(settings.source.max_bytes);
        }
        Ok(Self {
            target: target(is_source(settings, &path), path),
            _copy: None,
        })
    }

    /// A copy in a folder that no other user can read: the reader checks a file's size and form before it reads it.
    fn from_stdin(max_bytes: u64) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("can't create a temporary folder")?;
        let path = folder.path().join(STDIN);
        let copied = std::fs::File::create(&path).and_then(|mut file| {
            let mut input = io::stdin().lock().take(max_bytes.saturating_add(1));
            io::copy(&mut input, &mut file)
        });
        if copied.context("can't read standard input")? > max_bytes {
            bail!("standard input is longer than source.max_bytes");
        }
        Ok(Self {
            target: target(false, path),
            _copy: Some(folder),
        })
    }
}

fn target(is_source: bool, path: PathBuf) -> Target {
    Target {
        path,
        is_source,
        stable_fingerprint: None,
        only: None,
    }
}

/// Whether a path is that of `source.path`.
fn is_source(settings: &Settings, path: &Path) -> bool {
    let canonical = |path: &Path| std::fs::canonicalize(path).ok();
    let source = settings.source.path.as_deref().and_then(canonical);
    source.is_some() && source == canonical(path)
}
