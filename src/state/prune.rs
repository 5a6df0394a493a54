//! Deletes old history.

use super::memory::GUARDED;
use super::{StateDb, StateError, approvals, held, quarantine, runs};
use crate::model::RunNumber;
use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::Connection;
use std::time::Duration;

impl StateDb {
    /// Deletes runs, changes, held changes and approvals that are older than `retain`. Keeps managed users, changes
    /// with an unknown outcome, and whatever the guard still counts, however short `retain` is.
    pub async fn prune_old(&self, now: DateTime<Utc>, retain: Duration) -> Result<(), StateError> {
        let retain = TimeDelta::from_std(retain)
            .unwrap_or(TimeDelta::MAX)
            .max(GUARDED);
        self.write(move |db| prune(db, now, retain)).await
    }
}

/// Whether the last change and the end of run ?1 were before ?2.
const ENDED_BEFORE: &str = "
    SELECT latest >= started AND run_time + latest - started < ?2 FROM (
        SELECT started, run_time, coalesce(
            ended, (SELECT max(intended) FROM changes WHERE run = number), started
        ) AS latest
        FROM runs WHERE number = ?1
    )";

fn prune(db: &Connection, now: DateTime<Utc>, retain: TimeDelta) -> rusqlite::Result<()> {
    let before = runs::run_time(db, now)?.before(retain);
    let sql = "SELECT max(number) FROM runs WHERE run_time < ?1";
    if let Some(last) = db.query_row(sql, [before], |row| row.get(0))? {
        let ended_before = db.query_row(ENDED_BEFORE, (last, before), |row| row.get(0))?;
        prune_runs(db, last, ended_before)?;
    }
    held::prune(db)?;
    // These expire by the wall clock. Neither clock may delete them alone.
    let by_runs = DateTime::from_timestamp_millis(before.millis());
    let Some(before) = now.checked_sub_signed(retain).min(by_runs) else {
        return Ok(());
    };
    approvals::prune(db, before)?;
    quarantine::prune(db, before)
}

/// Deletes the runs before this one, and this one too if it is `included`.
fn prune_runs(db: &Connection, last: RunNumber, included: bool) -> rusqlite::Result<()> {
    let sql = "DELETE FROM changes WHERE run < ?1 + ?2 AND settled IS NOT NULL";
    db.execute(sql, (last, included))?;
    db.execute(
        "DELETE FROM runs WHERE number < ?1 + ?2 AND (ended IS NOT NULL OR interrupted = 1)
            AND NOT EXISTS (SELECT 1 FROM changes WHERE run = runs.number)",
        (last, included),
    )
    .map(drop)
}
