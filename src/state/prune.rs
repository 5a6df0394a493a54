//! Deletes old history.

use super::memory::GUARDED;
use super::sql::Time;
use super::{StateDb, StateError, approvals, held, quarantine};
use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::Connection;
use std::time::Duration;

impl StateDb {
    /// Deletes runs, changes, held changes and approvals that are older than `retain`. Keeps managed users, changes with
    /// an unknown outcome, and whatever the guard still counts, however short `retain` is.
    pub async fn prune_old(&self, now: DateTime<Utc>, retain: Duration) -> Result<(), StateError> {
        let retain = TimeDelta::from_std(retain)
            .unwrap_or(TimeDelta::MAX)
            .max(GUARDED);
        let Some(before) = now.checked_sub_signed(retain) else {
            return Ok(());
        };
        self.write(move |db| prune(db, before)).await
    }
}

fn prune(db: &Connection, before: DateTime<Utc>) -> rusqlite::Result<()> {
    db.execute(
        "DELETE FROM changes WHERE settled < ?1
            AND run IN (SELECT number FROM runs WHERE started < ?1)",
        [Time(before)],
    )?;
    db.execute(
        "DELETE FROM runs WHERE started < ?1 AND (ended < ?1 OR interrupted = 1)
            AND NOT EXISTS (SELECT 1 FROM changes WHERE run = runs.number)",
        [Time(before)],
    )?;
    approvals::prune(db, before)?;
    held::prune(db)?;
    quarantine::prune(db, before)
}
