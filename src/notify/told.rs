//! What was told last, kept in the state folder: after a restart it is not told again.

use super::news::Trouble;
use std::io::Write;
use std::path::{Path, PathBuf};
use tracing::warn;

/// The file's name in the state folder.
const NAME: &str = "notified.json";

/// The most bytes of it that are read.
const MOST_BYTES: u64 = 64 * 1024;

/// What was told and is not over.
#[derive(Debug)]
pub(super) struct NotifiedState {
    path: PathBuf,
    troubles: Vec<Trouble>,
}

impl NotifiedState {
    /// What was told before, as far as that can be read: what can't be is told again.
    pub(super) fn load(state: &Path) -> Self {
        let path = state.join(NAME);
        let troubles = read(&path).unwrap_or_default();
        Self { path, troubles }
    }

    /// What was told.
    pub(super) fn troubles(&self) -> &[Trouble] {
        &self.troubles
    }

    /// These were told, and nothing else.
    pub(super) async fn set(&mut self, troubles: Vec<Trouble>) {
        if troubles == self.troubles {
            return;
        }
        self.troubles = troubles;
        let (path, text) = (self.path.clone(), serde_json::to_vec(&self.troubles));
        let written = tokio::task::spawn_blocking(move || write(&path, &text?)).await;
        if let Ok(Err(error)) = written {
            warn!(%error, "what the webhook was told can't be kept: a restart may tell it again");
        }
    }
}

fn read(path: &Path) -> Option<Vec<Trouble>> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(MOST_BYTES).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn write(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text)?;
    file.persist(path)?;
    Ok(())
}
