//! Users in quarantine. How long a quarantine lasts is decided in [`plan`](crate::plan).

use super::sql::{Count, Time, keyed_email};
use super::{StateDb, StateError};
use crate::model::{Email, Quarantined};
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::HashMap;

impl StateDb {
    /// Stores the quarantine of a user.
    pub async fn quarantine_put(
        &self,
        email: &Email,
        quarantined: &Quarantined,
    ) -> Result<(), StateError> {
        let (email, quarantined) = (email.clone(), quarantined.clone());
        self.write(move |db| put(db, &email, &quarantined)).await
    }

    /// The number of users in quarantine, and the first of them in the order in which they are retried.
    pub async fn quarantined(
        &self,
        now: DateTime<Utc>,
        limit: usize,
    ) -> Result<(usize, Vec<(Email, Quarantined)>), StateError> {
        self.read(move |db| {
            let count = db
                .prepare_cached("SELECT count(*) FROM quarantine WHERE until > ?1")?
                .query_row([Time(now)], |row| row.get::<_, Count>(0))?;
            let sql =
                "SELECT * FROM quarantine WHERE until > ?1 ORDER BY until, email_key LIMIT ?2";
            let some = db
                .prepare_cached(sql)?
                .query_map((Time(now), Count(limit as u64)), |row| {
                    Ok((keyed_email(row)?, read(row)?))
                })?
                .collect::<Result<_, _>>()?;
            Ok((usize::try_from(count.0).unwrap_or(usize::MAX), some))
        })
        .await
    }

    /// Ends the quarantine of users.
    pub async fn quarantine_clear<'a>(
        &self,
        emails: impl IntoIterator<Item = &'a Email>,
    ) -> Result<(), StateError> {
        let keys: Vec<_> = emails
            .into_iter()
            .map(|email| email.folded().into_owned())
            .collect();
        if keys.is_empty() {
            return Ok(());
        }
        self.write(move |db| {
            let mut delete = db.prepare_cached("DELETE FROM quarantine WHERE email_key = ?1")?;
            keys.iter()
                .try_for_each(|key| delete.execute([key]).map(drop))
        })
        .await
    }
}

fn put(db: &Connection, email: &Email, quarantined: &Quarantined) -> rusqlite::Result<()> {
    let Quarantined {
        until,
        failures,
        fingerprint,
        reason,
    } = quarantined;
    db.prepare_cached(
        "INSERT OR REPLACE INTO quarantine (email_key, email, until, failures, fingerprint, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((
        email.folded(),
        email,
        Time(*until),
        failures,
        fingerprint,
        reason,
    ))
    .map(drop)
}

pub(super) fn get(db: &Connection, email: &Email) -> rusqlite::Result<Option<Quarantined>> {
    db.prepare_cached("SELECT * FROM quarantine WHERE email_key = ?1")?
        .query_row([email.folded()], read)
        .optional()
}

pub(super) fn all(db: &Connection) -> rusqlite::Result<HashMap<Email, Quarantined>> {
    db.prepare_cached("SELECT * FROM quarantine")?
        .query_map([], |row| Ok((keyed_email(row)?, read(row)?)))?
        .collect()
}

/// Deletes entries that expired long ago.
pub(super) fn prune(db: &Connection, before: DateTime<Utc>) -> rusqlite::Result<()> {
    db.execute("DELETE FROM quarantine WHERE until < ?1", [Time(before)])
        .map(drop)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Quarantined> {
    Ok(Quarantined {
        until: row.get::<_, Time>("until")?.0,
        failures: row.get("failures")?,
        fingerprint: row.get("fingerprint")?,
        reason: row.get("reason")?,
    })
}
