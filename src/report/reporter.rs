//! When a report is written, and that nothing waits for a folder that hangs.

use super::{Report, Reports, ReportsError};
use crate::desired::Fingerprint;
use crate::reconcile::{Applied, End, Prepared, RunError, RunOutcome};
use crate::settings::SourceSettings;
use chrono::{DateTime, Utc};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often a run that takes longer tells what it has done so far.
const INTERIM: Duration = Duration::from_secs(60);
/// How long a run's end waits for the folder.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reports on the rosters of `source.path`, each content once.
#[derive(Debug)]
pub struct Reporter {
    reports: Option<Reports>,
    /// What was reported last, so that runs over the same content say nothing new.
    last: Mutex<Option<Told>>,
    /// One write at a time; once the last of a run is written, no interim one comes after it.
    writing: Arc<Mutex<Option<DateTime<Utc>>>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Roster(Fingerprint),
    Rejection(String),
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

    /// Reports on a run that a new roster started, or that rejected one.
    ///
    /// # Errors
    /// When the folder can't be written, or does not answer.
    pub async fn report(
        &self,
        prepared: Option<&Prepared>,
        outcome: &RunOutcome,
    ) -> Result<(), ReportsError> {
        let (report, told) = match (prepared, &outcome.end) {
            (Some(prepared), _) if prepared.desired.is_source => {
                let told = Told::Roster(prepared.desired.fingerprint);
                let seen = prepared.memory.last_fingerprint == Some(prepared.desired.fingerprint);
                if seen && lock(&self.last).is_none() {
                    return Ok(());
                }
                (Report::new(prepared, &outcome.applied), told)
            }
            (None, End::Failed(RunError::Source(error))) if !error.problems().is_empty() => {
                (Report::rejected(error), Told::Rejection(error.to_string()))
            }
            _ => return Ok(()),
        };
        if lock(&self.last).as_ref() == Some(&told) {
            return Ok(());
        }
        let Some(reports) = self.reports.clone() else {
            return Ok(());
        };
        let written = write(reports, report, outcome.started, self.writing.clone(), true).await;
        if written.is_ok() {
            *lock(&self.last) = Some(told);
        }
        written
    }

    /// Listens to a run, to tell what it has done so far.
    #[must_use]
    pub fn interim<'a>(&self, prepared: &'a Prepared, started: DateTime<Utc>) -> Interim<'a> {
        let reports = self.reports.clone().filter(|_| prepared.desired.is_source);
        Interim {
            reports,
            prepared,
            started,
            applied: Mutex::default(),
            writing: self.writing.clone(),
        }
    }
}

/// A run under way, as far as it has come.
#[derive(Debug)]
pub struct Interim<'a> {
    reports: Option<Reports>,
    prepared: &'a Prepared,
    started: DateTime<Utc>,
    applied: Mutex<Vec<Applied>>,
    writing: Arc<Mutex<Option<DateTime<Utc>>>>,
}

impl Interim<'_> {
    /// A change has ended.
    pub fn hear(&self, applied: &Applied) {
        if self.reports.is_some() {
            lock(&self.applied).push(applied.clone());
        }
    }

    /// Writes an interim report each minute, until it is dropped.
    pub async fn write_each_minute(&self) -> Infallible {
        let Some(reports) = &self.reports else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(INTERIM).await;
            let report = Report::new(self.prepared, &lock(&self.applied).clone());
            let written = write(
                reports.clone(),
                report,
                self.started,
                self.writing.clone(),
                false,
            )
            .await;
            if let Err(error) = written {
                tracing::warn!("{error}");
            }
        }
    }
}

/// Writes on a thread that may hang, and waits only so long.
async fn write(
    reports: Reports,
    report: Report,
    started: DateTime<Utc>,
    writing: Arc<Mutex<Option<DateTime<Utc>>>>,
    is_last: bool,
) -> Result<(), ReportsError> {
    let folder = reports.clone();
    let work = tokio::task::spawn_blocking(move || {
        let mut ended = lock(&writing);
        if *ended == Some(started) {
            return Ok(());
        }
        if is_last {
            *ended = Some(started);
        }
        reports.write(&report, started).map(drop)
    });
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(written)) => written,
        Ok(Err(_)) | Err(_) => Err(folder.hangs()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
