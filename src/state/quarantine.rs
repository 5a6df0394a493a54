//! Users, memberships and roles in quarantine. How long a quarantine lasts is decided in [`plan`](crate::plan).

use super::sql::{Count, Time, email, email_key, keyed_email, role_scope};
use super::{StateDb, StateError};
use crate::model::{ChangeKey, Email, GroupName, Quarantined, RoleScope, Subject};
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::HashMap;

impl StateDb {
    /// Stores the quarantine of a user or a membership.
    pub async fn quarantine_put(
        &self,
        key: impl Into<ChangeKey>,
        quarantined: &Quarantined,
    ) -> Result<(), StateError> {
        let (key, quarantined) = (key.into(), quarantined.clone());
        self.write(move |db| put(db, &key, &quarantined)).await
    }

    /// The number of users, memberships and roles in quarantine, and the first of them in the order in which they are
    /// retried.
    pub async fn quarantined(
        &self,
        now: DateTime<Utc>,
        limit: usize,
    ) -> Result<(usize, Vec<(ChangeKey, Quarantined)>), StateError> {
        self.read(move |db| {
            let count = db
                .prepare_cached("SELECT count(*) FROM quarantine WHERE until > ?1")?
                .query_row([Time(now)], |row| row.get::<_, Count>(0))?;
            let sql =
                "SELECT * FROM quarantine WHERE until > ?1 ORDER BY until, email_key, group_name, role_scope LIMIT ?2";
            let some = db
                .prepare_cached(sql)?
                .query_map((Time(now), Count(limit as u64)), |row| {
                    Ok((key(row)?, read(row)?))
                })?
                .collect::<Result<_, _>>()?;
            Ok((usize::try_from(count.0).unwrap_or(usize::MAX), some))
        })
        .await
    }

    /// Ends the quarantine of users, memberships and roles.
    pub async fn quarantine_clear<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a ChangeKey>,
    ) -> Result<(), StateError> {
        let keys: Vec<_> = keys.into_iter().cloned().collect();
        if keys.is_empty() {
            return Ok(());
        }
        self.write(move |db| {
            let sql = "DELETE FROM quarantine WHERE email_key = ?1 AND group_name = ?2 AND role_scope = ?3";
            let mut delete = db.prepare_cached(sql)?;
            keys.iter().try_for_each(|key| {
                let row = (email_key(&key.subject), group_name(key), scope(key));
                delete.execute(row).map(drop)
            })
        })
        .await
    }
}

/// The group as stored; empty for a user.
fn group_name(key: &ChangeKey) -> &str {
    let group = key.group.as_ref().or_else(|| key.subject.group());
    group.map_or("", GroupName::as_str)
}

/// The connection and the model of a role as stored; empty for a user.
fn scope(key: &ChangeKey) -> String {
    key.scope.as_ref().map_or_else(String::new, RoleScope::text)
}

fn key(row: &Row<'_>) -> rusqlite::Result<ChangeKey> {
    let group = match row.get_ref("group_name")?.as_str()? {
        "" => None,
        _ => Some(row.get("group_name")?),
    };
    match (group, row.get_ref("email")?.as_str()?) {
        (Some(group), "") => Ok(ChangeKey {
            subject: Subject::Group(group),
            group: None,
            scope: role_scope(row)?,
            schedule: None,
        }),
        (group, _) => Ok(ChangeKey {
            subject: keyed_email(row)?.into(),
            group,
            scope: role_scope(row)?,
            schedule: None,
        }),
    }
}

fn put(db: &Connection, key: &ChangeKey, quarantined: &Quarantined) -> rusqlite::Result<()> {
    let Quarantined {
        until,
        failures,
        undone,
        fingerprint,
        reason,
    } = quarantined;
    db.prepare_cached(
        "INSERT OR REPLACE INTO quarantine
            (email_key, group_name, role_scope, email, until, failures, undone, fingerprint, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute((
        email_key(&key.subject),
        group_name(key),
        scope(key),
        email(&key.subject),
        Time(*until),
        failures,
        undone,
        fingerprint,
        reason,
    ))
    .map(drop)
}

pub(super) fn get(db: &Connection, email: &Email) -> rusqlite::Result<Option<Quarantined>> {
    db.prepare_cached(
        "SELECT * FROM quarantine WHERE email_key = ?1 AND group_name = '' AND role_scope = ''",
    )?
    .query_row([email.folded()], read)
    .optional()
}

pub(super) fn all(db: &Connection) -> rusqlite::Result<HashMap<ChangeKey, Quarantined>> {
    db.prepare_cached("SELECT * FROM quarantine")?
        .query_map([], |row| Ok((key(row)?, read(row)?)))?
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
        undone: row.get("undone")?,
        fingerprint: row.get("fingerprint")?,
        reason: row.get("reason")?,
    })
}
