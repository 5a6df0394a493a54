//! When a report is written, and that nothing waits for a folder that hangs.

use super::{Report, Reports, ReportsError};
use crate::settings::SourceSettings;
use crate::util::sync::lock;
use chrono::{DateTime, Utc};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a run's end waits for the folder.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reports on the rosters of `source.path`, each content once.
#[derive(Debug)]
pub struct Reporter {
    reports: Option<Reports>,
    /// What was reported last.
    last: Mutex<Option<String>>,
    /// One write at a time; once the last of a run is written, no interim one comes after it.
    writing: Arc<Mutex<Option<DateTime<Utc>>>>,
}

impl Reporter {
    /// A reporter, which writes nothing where `source.reports` or `source.path` is empty.
    #[must_use]
    pub fn new(settings: &SourceSettings) -> Self {
        let folder = settings.path.as_deref().zip(settings.reports.as_deref());
        Self {
            reports: folder.map(|(roster, reports)| Reports::new(roster, reports)),
            last: Mutex::default(),
            writing: Arc::default(),
        }
    }

    /// Whether it writes at all.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.reports.is_some()
    }

    /// Writes the report of a run that has ended, unless the last one was of the same `name`: runs
    /// over the same content say nothing new. `before` is the name of what an earlier process
    /// reported; what is not final is told again.
    ///
    /// # Errors
    /// When the folder can't be written, or does not answer.
    pub async fn write_last(
        &self,
        build: impl FnOnce() -> Report + Send + 'static,
        name: String,
        before: Option<String>,
        started: DateTime<Utc>,
        is_final: bool,
    ) -> Result<(), ReportsError> {
        let told = lock(&self.last).clone().or(before);
        if told.as_ref() == Some(&name) {
            return Ok(());
        }
        self.write(build, started, true).await?;
        if is_final {
            *lock(&self.last) = Some(name);
        }
        Ok(())
    }

    /// Writes what a run under way has done so far.
    ///
    /// # Errors
    /// When the folder can't be written, or does not answer.
    pub async fn interim(
        &self,
        build: impl FnOnce() -> Report + Send + 'static,
        started: DateTime<Utc>,
    ) -> Result<(), ReportsError> {
        self.write(build, started, false).await
    }

    /// Builds and writes on a thread that may hang, and waits only so long.
    async fn write(
        &self,
        build: impl FnOnce() -> Report + Send + 'static,
        started: DateTime<Utc>,
        is_last: bool,
    ) -> Result<(), ReportsError> {
        let Some(reports) = self.reports.clone() else {
            return Ok(());
        };
        let (folder, writing) = (reports.clone(), self.writing.clone());
        let work = tokio::task::spawn_blocking(move || {
            // An interim one that finds another still at it is not needed: one that hangs is enough.
            let mut ended = match writing.try_lock() {
                Ok(ended) => ended,
                Err(_) if !is_last => return Ok(()),
                Err(_) => lock(&writing),
            };
            if *ended == Some(started) {
                return Ok(());
            }
            if is_last {
                *ended = Some(started);
            }
            reports.write(&build(), started).map(drop)
        });
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(Ok(written)) => written,
            Ok(Err(_)) | Err(_) => Err(folder.hangs()),
        }
    }
}
