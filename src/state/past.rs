//! What a daemon that starts asks of the runs before it.

use super::sql::Time;
use super::{StateDb, StateError};
use crate::model::Fingerprint;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, params_from_iter};

impl StateDb {
    /// When the last run over the roster of `source.path` ended that ended so: in one of the words of
    /// [`RunOutcome`](crate::run::RunOutcome).
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn last_ended(
        &self,
        outcomes: &'static [&'static str],
    ) -> Result<Option<DateTime<Utc>>, StateError> {
        self.read(move |db| last_ended(db, outcomes)).await
    }

    /// What was last read of `source.path`, and when the first run began that read just that, of those
    /// that are remembered.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn last_read(&self) -> Result<Option<(Fingerprint, DateTime<Utc>)>, StateError> {
        self.read(last_read).await
    }
}

fn last_ended(db: &Connection, outcomes: &[&str]) -> rusqlite::Result<Option<DateTime<Utc>>> {
    let words = vec!["?"; outcomes.len()].join(", ");
    let sql = format!(
        "SELECT ended FROM runs WHERE is_source AND outcome IN ({words})
         ORDER BY number DESC LIMIT 1"
    );
    db.query_row(&sql, params_from_iter(outcomes), |row| row.get(0))
        .optional()
        .map(|found| found.map(|Time(ended)| ended))
}

/// What was last read of `source.path`, and no more: each run asks for it.
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
