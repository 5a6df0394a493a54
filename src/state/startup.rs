//! What a starting daemon needs to know about earlier runs.

use super::sql::Time;
use super::{StateDb, StateError};
use crate::model::{Fingerprint, RunResult};
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, params_from_iter};

impl StateDb {
    /// When the last successful run over the roster of `source.path` ended.
    pub async fn last_success(&self) -> Result<Option<DateTime<Utc>>, StateError> {
        let successes = RunResult::ALL.into_iter().filter(|it| it.is_success());
        let successes = successes.collect();
        self.read(move |db| last_end(db, successes)).await
    }

    /// When the last run over the roster of `source.path` ended after which Omni matched it.
    pub async fn last_converged(&self) -> Result<Option<DateTime<Utc>>, StateError> {
        self.read(|db| last_end(db, vec![RunResult::Converged]))
            .await
    }

    /// Since when each complete run over the roster of `source.path` held changes; `None` if the last one held none.
    pub async fn held_since(&self) -> Result<Option<DateTime<Utc>>, StateError> {
        self.read(held_since).await
    }

    /// The content that was last read from `source.path`, and the start of the first recorded run that read it.
    pub async fn last_read(&self) -> Result<Option<(Fingerprint, DateTime<Utc>)>, StateError> {
        self.read(last_read).await
    }
}

fn last_end(db: &Connection, results: Vec<RunResult>) -> rusqlite::Result<Option<DateTime<Utc>>> {
    let places = vec!["?"; results.len()].join(", ");
    let sql = format!(
        "SELECT ended FROM runs WHERE is_source AND result IN ({places})
         ORDER BY number DESC LIMIT 1"
    );
    db.query_row(&sql, params_from_iter(results), |row| row.get(0))
        .optional()
        .map(|found| found.map(|Time(ended)| ended))
}

fn held_since(db: &Connection) -> rusqlite::Result<Option<DateTime<Utc>>> {
    let started: Option<Time> = db.query_row(
        "SELECT min(started) FROM runs WHERE is_source AND held > 0 AND number > coalesce((
            SELECT max(number) FROM runs WHERE is_source AND held = 0 AND planned_delete IS NOT NULL
         ), 0)",
        [],
        |row| row.get(0),
    )?;
    Ok(started.map(|Time(started)| started))
}

/// The content that was last read of `source.path`. Each run needs it, so this is the cheap query.
pub(super) fn last_content(db: &Connection) -> rusqlite::Result<Option<Fingerprint>> {
    db.prepare_cached(
        "SELECT fingerprint FROM runs WHERE is_source AND fingerprint IS NOT NULL
         ORDER BY number DESC LIMIT 1",
    )?
    .query_row([], |row| row.get(0))
    .optional()
}

fn last_read(db: &Connection) -> rusqlite::Result<Option<(Fingerprint, DateTime<Utc>)>> {
    db.query_row(
        "SELECT fingerprint, (
            SELECT min(started) FROM runs WHERE is_source AND fingerprint = last.fingerprint
                AND number > coalesce((
                    SELECT number FROM runs WHERE is_source AND fingerprint <> last.fingerprint
                    ORDER BY number DESC LIMIT 1
                ), 0)
         )
         FROM runs AS last WHERE is_source AND fingerprint IS NOT NULL
         ORDER BY number DESC LIMIT 1",
        [],
        |row| Ok((row.get(0)?, row.get::<_, Time>(1)?.0)),
    )
    .optional()
}
