//! Decides when to write a report. A folder that hangs never blocks a run.

use super::{ReportError, ReportFolder, RowReport};
use crate::settings::SourceSettings;
use crate::util::sync::lock;
use chrono::{DateTime, Utc};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The time limit for writing a report.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Reports on the rosters of `source.path`, once for each content.
#[derive(Debug)]
pub struct Reporter {
    folder: Option<ReportFolder>,
    /// The name of the content that was reported last.
    last: Mutex<Option<String>>,
    /// Held while a report is written. Contains the start of the last run with a final report: no
    /// interim report of this run is written after that.
    finished: Arc<Mutex<Option<DateTime<Utc>>>>,
}

impl Reporter {
    /// A reporter. It writes nothing if `source.reports` or `source.path` is empty.
    #[must_use]
    pub fn new(settings: &SourceSettings) -> Self {
        Self {
            folder: ReportFolder::of(settings),
            last: Mutex::default(),
            finished: Arc::default(),
        }
    }

    /// Whether reports are enabled.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.folder.is_some()
    }

    /// Writes the report of a run that has ended, unless the content `name` was reported already.
    /// `before` is the name that an earlier process reported. A report that is not final is written
    /// again by the next run.
    ///
    /// # Errors
    /// If the folder is not writable or does not respond.
    pub async fn write_last(
        &self,
        build: impl FnOnce() -> RowReport + Send + 'static,
        name: String,
        before: Option<String>,
        started: DateTime<Utc>,
        is_final: bool,
    ) -> Result<(), ReportError> {
        let last = lock(&self.last).clone().or(before);
        if last.as_ref() == Some(&name) {
            return Ok(());
        }
        self.write(build, started, true).await?;
        if is_final {
            *lock(&self.last) = Some(name);
        }
        Ok(())
    }

    /// Makes the next run report on the same content again.
    pub fn repeat(&self) {
        *lock(&self.last) = None;
    }

    /// Writes a report on a run in progress.
    ///
    /// # Errors
    /// If the folder is not writable or does not respond.
    pub async fn interim(
        &self,
        build: impl FnOnce() -> RowReport + Send + 'static,
        started: DateTime<Utc>,
    ) -> Result<(), ReportError> {
        self.write(build, started, false).await
    }

    /// Builds and writes a report on a blocking thread, which may hang.
    async fn write(
        &self,
        build: impl FnOnce() -> RowReport + Send + 'static,
        started: DateTime<Utc>,
        is_last: bool,
    ) -> Result<(), ReportError> {
        let Some(folder) = self.folder.clone() else {
            return Ok(());
        };
        let (writer, finished) = (folder.clone(), self.finished.clone());
        let work = tokio::task::spawn_blocking(move || {
            // An interim report is skipped while another report is being written, so that at most one
            // of them hangs.
            let mut finished = match finished.try_lock() {
                Ok(finished) => finished,
                Err(_) if !is_last => return Ok(()),
                Err(_) => lock(&finished),
            };
            if *finished == Some(started) {
                return Ok(());
            }
            if is_last {
                *finished = Some(started);
            }
            writer.write(&build(), started).map(drop)
        });
        match tokio::time::timeout(TIMEOUT, work).await {
            Ok(Ok(written)) => written,
            Ok(Err(_)) | Err(_) => Err(folder.unresponsive()),
        }
    }
}
