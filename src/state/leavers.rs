//! Users whose day of leaving has come, with the start of the run that first recorded it.
//! [`due_update`](crate::plan::due_update) decides which users these are.

use super::runs;
use super::sql::{Day, keyed_email};
use crate::model::{DueLeaver, DueUpdate, Email};
use chrono::{DateTime, Utc};
use rusqlite::Connection;
use std::collections::HashMap;

pub(super) fn due(db: &Connection) -> rusqlite::Result<HashMap<Email, DueLeaver>> {
    db.prepare_cached("SELECT email_key, email, date, run_time FROM due_leavers")?
        .query_map([], |row| {
            let Day(date) = row.get("date")?;
            let since = row.get("run_time")?;
            Ok((keyed_email(row)?, DueLeaver { date, since }))
        })?
        .collect()
}

pub(super) fn store(
    db: &Connection,
    update: &DueUpdate,
    now: DateTime<Utc>,
) -> rusqlite::Result<()> {
    let DueUpdate { found, over } = update;
    for email in over {
        db.prepare_cached("DELETE FROM due_leavers WHERE email_key = ?1")?
            .execute([email.folded()])?;
    }
    if found.is_empty() {
        return Ok(());
    }
    // The run that found them has begun.
    let run_time = runs::last_start(db, now)?;
    for (email, date) in found {
        db.prepare_cached(
            "INSERT OR REPLACE INTO due_leavers (email_key, email, date, run_time) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute((email.folded(), email, Day(*date), run_time))?;
    }
    Ok(())
}
