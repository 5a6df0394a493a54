//! Whether the daemon is paused.

use super::sql::Time;
use super::{StateDb, StateError};
use crate::model::Pause;
use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension, Row};

impl StateDb {
    /// The pause that is in force; `None` if there is none, or its end has passed.
    pub async fn paused(&self, now: DateTime<Utc>) -> Result<Option<Pause>, StateError> {
        self.read(move |db| {
            let sql = "SELECT since, until, paused_by FROM pause WHERE until IS NULL OR until > ?1";
            db.prepare_cached(sql)?
                .query_row([Time(now)], pause)
                .optional()
        })
        .await
    }

    /// Pauses the daemon. An earlier pause ends.
    pub async fn pause(&self, pause: &Pause) -> Result<(), StateError> {
        let Pause { since, until, by } = pause.clone();
        let sql =
            "INSERT OR REPLACE INTO pause (id, since, until, paused_by) VALUES (1, ?1, ?2, ?3)";
        self.write(move |db| {
            db.execute(sql, (Time(since), until.map(Time), by))
                .map(drop)
        })
        .await
    }

    /// Ends the pause.
    pub async fn resume(&self) -> Result<(), StateError> {
        self.write(|db| db.execute("DELETE FROM pause", []).map(drop))
            .await
    }
}

fn pause(row: &Row<'_>) -> rusqlite::Result<Pause> {
    let until: Option<Time> = row.get("until")?;
    Ok(Pause {
        since: row.get::<_, Time>("since")?.0,
        until: until.map(|Time(until)| until),
        by: row.get("paused_by")?,
    })
}
