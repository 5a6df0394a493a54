//! Loads what earlier runs left behind.

use super::sql::{Count, Time};
use super::{StateDb, StateError, accepted, held, managed, quarantine, startup};
use crate::model::{ChangeOutcome, Email, Memory};
use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::Connection;

/// How long removals count for the guard.
pub(super) const GUARDED: TimeDelta = TimeDelta::hours(24);

impl StateDb {
    /// Loads what the planner and the guard need, from one consistent view.
    pub async fn memory(&self, now: DateTime<Utc>) -> Result<Memory, StateError> {
        self.read(move |db| memory(db, now)).await
    }
}

fn memory(db: &Connection, now: DateTime<Utc>) -> rusqlite::Result<Memory> {
    let managed: Vec<(Email, _)> = managed::all(db)?;
    let missing = managed
        .iter()
        .filter_map(|(email, since)| Some((email.clone(), (*since)?)));
    let missing_since = missing.collect();
    let (removed_lately, removed_base) = removed(db, now)?;
    Ok(Memory {
        now,
        managed: managed.into_iter().map(|(email, _)| email).collect(),
        deactivated: managed::all_deactivated(db)?,
        missing_since,
        removed_lately,
        removed_base,
        approved: held::approvals(db, now)?,
        approved_clears: held::approved_clears(db, now)?,
        quarantined: quarantine::all(db)?,
        last_read: startup::last_content(db)?,
        last_accepted: accepted::load(db)?,
    })
}

/// The number of users that were or may have been removed in the last 24 hours: without approval, and deleted with or
/// without approval. A user that was removed twice because a response was lost counts once. A time in the future counts
/// too, in case the clock was set back.
fn removed(db: &Connection, now: DateTime<Utc>) -> rusqlite::Result<(usize, usize)> {
    db.prepare_cached(
        "SELECT count(DISTINCT CASE WHEN approved = 0 THEN coalesce(user_id, email_key) END),
                count(DISTINCT CASE WHEN operation = 'delete' THEN coalesce(user_id, email_key) END)
         FROM changes
         WHERE operation IN ('delete', 'deactivate') AND coalesce(settled, intended) > ?1
            AND (settled IS NULL OR outcome = ?2)",
    )?
    .query_row((Time(now - GUARDED), ChangeOutcome::Applied), |row| {
        let count = |at| {
            row.get(at)
                .map(|Count(count)| usize::try_from(count).unwrap_or(usize::MAX))
        };
        Ok((count(0)?, count(1)?))
    })
}
