//! Looks for the row report of a run beside the roster, one at a time: the file system may hang.

use crate::model::RunRecord;
use crate::report::{ReportFolder, RunReport};
use crate::util::blocking;
use chrono::{DateTime, Utc};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// The time limits for the wait for another look, and for a look.
const WAIT: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(3);

/// The largest report that is served.
const MAX_BYTES: u64 = 32 << 20;

/// The row reports of `source.path`.
#[derive(Debug)]
pub(super) struct RowReports {
    folder: Option<ReportFolder>,
    /// Held during a look, also by one that hangs.
    turn: Arc<Mutex<()>>,
}

/// Why a report can't be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowReportError {
    #[error("the file system of the roster does not respond")]
    Unresponsive,
    #[error("the row report can't be read: {0}")]
    Unreadable(#[from] io::Error),
}

impl RowReports {
    pub(super) fn new(folder: Option<ReportFolder>) -> Self {
        Self {
            folder,
            turn: Arc::default(),
        }
    }

    /// Whether the report of a run is still there, as far as can be told now.
    pub(super) async fn has(&self, run: &RunRecord) -> bool {
        let found = self.look(run, |folder, started| Ok(folder.has(started)));
        found.await.is_ok_and(|found| found.unwrap_or(false))
    }

    /// The report of a run; `None` if there is none.
    pub(super) async fn read(&self, run: &RunRecord) -> Result<Option<RunReport>, RowReportError> {
        let read = self.look(run, |folder, started| folder.read(started, MAX_BYTES));
        Ok(read.await?.flatten())
    }

    /// Does this with the folder, if this run may have a report.
    async fn look<T: Send + 'static>(
        &self,
        run: &RunRecord,
        look: impl FnOnce(&ReportFolder, DateTime<Utc>) -> io::Result<T> + Send + 'static,
    ) -> Result<Option<T>, RowReportError> {
        let Some(folder) = self.folder.clone().filter(|_| run.start.is_source) else {
            return Ok(None);
        };
        let turn = timeout(WAIT, Arc::clone(&self.turn).lock_owned()).await;
        let turn = turn.map_err(|_| RowReportError::Unresponsive)?;
        let started = run.start.started;
        let work = move || {
            let _turn = turn;
            look(&folder, started)
        };
        let looked = blocking::run(LIMIT, work).await;
        Ok(Some(looked.map_err(|_| RowReportError::Unresponsive)??))
    }
}
