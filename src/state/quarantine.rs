//! Users whose changes keep failing, and until when they are left alone. How long that is, is for
//! [`reconcile`](crate::run) to say.

use super::sql::{Count, Time};
use super::{StateDb, StateError};
use crate::model::{Email, Quarantined};
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::HashMap;

impl StateDb {
    /// Puts a user into quarantine, or changes why and for how long.
    ///
    /// # Errors
    /// When it can't be written.
    pub async fn quarantine_put(
        &self,
        email: &Email,
        quarantined: &Quarantined,
    ) -> Result<(), StateError> {
        let (email, quarantined) = (email.clone(), quarantined.clone());
        self.write(move |db| put(db, &email, &quarantined)).await
    }

    /// How many users are left alone now, and some of them, those first who are tried again first.
    ///
    /// # Errors
    /// When it can't be read.
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
                    Ok((row.get("email")?, read(row)?))
                })?
                .collect::<Result<_, _>>()?;
            Ok((usize::try_from(count.0).unwrap_or(usize::MAX), some))
        })
        .await
    }

    /// Takes users out of quarantine, if they are in it.
    ///
    /// # Errors
    /// When it can't be written.
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
        .query_map([], |row| Ok((row.get("email")?, read(row)?)))?
        .collect()
}

/// Forgets who has long been let go and has not been seen to fail since.
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
