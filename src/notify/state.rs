//! The alerts that were sent, in a file in the state folder, so that a restart does not send them again.

use super::run_summary::Alert;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use tracing::warn;

/// The file in the state folder.
const FILE_NAME: &str = "notified.json";

/// The maximum size of the file.
const MAX_BYTES: u64 = 64 * 1024;

/// The alerts that were sent and are still active.
#[derive(Debug)]
pub(super) struct NotifiedState {
    path: PathBuf,
    alerts: Vec<Alert>,
}

impl NotifiedState {
    /// Reads the file. If it can't be read, active alerts are sent again.
    pub(super) fn load(state: &Path) -> Self {
        let path = state.join(FILE_NAME);
        let alerts = read(&path).unwrap_or_default();
        Self { path, alerts }
    }

    pub(super) fn alerts(&self) -> &[Alert] {
        &self.alerts
    }

    /// Replaces the alerts, also in the file.
    pub(super) async fn set(&mut self, alerts: Vec<Alert>) {
        if alerts == self.alerts {
            return;
        }
        self.alerts = alerts;
        let (path, text) = (self.path.clone(), serde_json::to_vec(&self.alerts));
        let written = tokio::task::spawn_blocking(move || write(&path, &text?)).await;
        if let Ok(Err(error)) = written {
            warn!(%error, "can't save which notifications were sent; a restart may send them again");
        }
    }
}

fn read(path: &Path) -> Option<Vec<Alert>> {
    let mut text = String::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn write(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text)?;
    file.persist(path)?;
    Ok(())
}
