//! Managed users, and users that we deactivated. Which users these are is decided in
//! [`ownership`](crate::plan::ownership).

use super::sql::{Time, keyed_email};
use super::{StateDb, StateError, groups, leavers, observation, quarantine, roles, runs};
use crate::model::{Email, ObservedUser, OwnershipUpdate, Quarantined, RunTime, UserId};
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row};
use std::sync::Arc;

/// A managed user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Managed {
    /// When the user became managed.
    pub since: DateTime<Utc>,
    /// Since when the user is missing from the roster.
    pub missing_since: Option<DateTime<Utc>>,
}

/// What is known about one user, apart from changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserState {
    /// The record of a managed user.
    pub managed: Option<Managed>,
    /// The ids that we deactivated, and when.
    pub deactivated: Vec<(UserId, DateTime<Utc>)>,
    /// The quarantine entry, expired or not.
    pub quarantined: Option<Quarantined>,
    /// The user in Omni, as runs have seen it; `None` if none or several users have the email, or that is not known.
    pub observed: Option<Arc<ObservedUser>>,
}

impl StateDb {
    /// What is known about one user.
    pub async fn user(&self, email: &Email) -> Result<UserState, StateError> {
        let email = email.clone();
        self.read(move |db| user_state(db, &email)).await
    }
}

pub(super) fn user_state(db: &Connection, email: &Email) -> rusqlite::Result<UserState> {
    Ok(UserState {
        managed: managed(db, email)?,
        deactivated: deactivated_of(db, email)?,
        quarantined: quarantine::get(db, email)?,
        observed: observation::observed(db, email)?,
    })
}

fn managed(db: &Connection, email: &Email) -> rusqlite::Result<Option<Managed>> {
    let sql =
        "SELECT since, missing_since FROM managed WHERE email_key = ?1 AND removed_id IS NULL";
    db.prepare_cached(sql)?
        .query_row([email.folded()], |row| {
            Ok(Managed {
                since: row.get::<_, Time>(0)?.0,
                missing_since: row.get::<_, Option<Time>>(1)?.map(|time| time.0),
            })
        })
        .optional()
}

fn deactivated_of(
    db: &Connection,
    email: &Email,
) -> rusqlite::Result<Vec<(UserId, DateTime<Utc>)>> {
    db.prepare_cached("SELECT user_id, since FROM deactivated WHERE email_key = ?1")?
        .query_map([email.folded()], |row| {
            Ok((row.get(0)?, row.get::<_, Time>(1)?.0))
        })?
        .collect()
}

/// Stores what a roster or a change does to the records of managed and deactivated users.
pub(super) fn store(
    db: &Connection,
    update: &OwnershipUpdate,
    now: DateTime<Utc>,
) -> rusqlite::Result<()> {
    let OwnershipUpdate {
        managed,
        forgotten,
        removed,
        not_removed,
        missing,
        found,
        deactivated,
        not_deactivated,
        groups,
        roles,
        due,
        removed_by_others,
    } = update;
    leavers::store(db, due, now)?;
    groups::store(db, groups, now)?;
    roles::store(db, roles)?;
    roles::forget(db, removed.iter().map(|(id, _)| id))?;
    // In the order of the table: a million rows in any other order would rewrite its pages again and again.
    let mut managed: Vec<_> = managed.iter().collect();
    managed.sort_by_cached_key(|email| email.folded().into_owned());
    managed
        .into_iter()
        .try_for_each(|email| add(db, email, now))?;
    let by_us = removed.iter().chain(deactivated).map(|(_, email)| email);
    let all_removed = forgotten.iter().chain(by_us).chain(removed_by_others);
    all_removed
        .into_iter()
        .try_for_each(|email| remember_removed(db, email))?;
    removed
        .iter()
        .try_for_each(|(id, email)| set_removed(db, email, Some(id)))?;
    not_removed
        .iter()
        .try_for_each(|email| set_removed(db, email, None))?;
    forgotten.iter().try_for_each(|email| remove(db, email))?;
    if !missing.is_empty() {
        let run_time = runs::run_time(db, now)?;
        missing
            .iter()
            .try_for_each(|email| set_missing(db, email, now, run_time))?;
    }
    found
        .iter()
        .try_for_each(|email| clear_missing(db, email))?;
    deactivated
        .iter()
        .try_for_each(|(id, email)| add_deactivated(db, id, email, now))?;
    not_deactivated
        .iter()
        .try_for_each(|id| remove_deactivated(db, id))
}

fn add(db: &Connection, email: &Email, now: DateTime<Utc>) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO managed (email_key, email, since) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET email = excluded.email, since = excluded.since,
             missing_since = NULL, missing_run_time = NULL, removed_id = NULL
         WHERE removed_id IS NOT NULL",
    )?
    .execute((email.folded(), email, Time(now)))
    .map(drop)
}

fn remove(db: &Connection, email: &Email) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM managed WHERE email_key = ?1")?
        .execute([email.folded()])
        .map(drop)
}

/// Records the id of a managed user whose removal Omni confirmed, or that the user is still there.
fn set_removed(db: &Connection, email: &Email, id: Option<&UserId>) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE managed SET removed_id = ?2 WHERE email_key = ?1")?
        .execute((email.folded(), id))
        .map(drop)
}

/// Remembers for good that a user was removed, as a digest of the email.
fn remember_removed(db: &Connection, email: &Email) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR IGNORE INTO removed (email_digest) VALUES (?1)")?
        .execute([email.digest()])
        .map(drop)
}

/// The digests of all users that were ever removed.
pub(super) fn all_removed<C: FromIterator<[u8; 32]>>(db: &Connection) -> rusqlite::Result<C> {
    db.prepare_cached("SELECT email_digest FROM removed")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// Records since when a user is missing. An earlier time is kept.
fn set_missing(
    db: &Connection,
    email: &Email,
    now: DateTime<Utc>,
    run_time: RunTime,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE managed SET missing_since = ?2, missing_run_time = ?3
         WHERE email_key = ?1 AND missing_since IS NULL",
    )?
    .execute((email.folded(), Time(now), run_time))
    .map(drop)
}

fn clear_missing(db: &Connection, email: &Email) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE managed SET missing_since = NULL, missing_run_time = NULL WHERE email_key = ?1",
    )?
    .execute([email.folded()])
    .map(drop)
}

/// All managed users: the email, since when the user is missing by the clock of recorded runs, and the id if Omni
/// confirmed the removal.
pub(super) fn all<C: FromIterator<(Email, Option<RunTime>, Option<UserId>)>>(
    db: &Connection,
) -> rusqlite::Result<C> {
    let read = |row: &Row<'_>| {
        let (since, removed) = (row.get("missing_run_time")?, row.get("removed_id")?);
        Ok((keyed_email(row)?, since, removed))
    };
    db.prepare_cached("SELECT email_key, email, missing_run_time, removed_id FROM managed")?
        .query_map([], read)?
        .collect()
}

fn add_deactivated(
    db: &Connection,
    user_id: &UserId,
    email: &Email,
    now: DateTime<Utc>,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO deactivated (user_id, email_key, email, since) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (user_id) DO UPDATE
         SET email_key = excluded.email_key, email = excluded.email, since = excluded.since",
    )?
    .execute((user_id, email.folded(), email, Time(now)))
    .map(drop)
}

fn remove_deactivated(db: &Connection, user_id: &UserId) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM deactivated WHERE user_id = ?1")?
        .execute([user_id])
        .map(drop)
}

/// All ids that we deactivated, with the user's email.
pub(super) fn all_deactivated<C: FromIterator<(UserId, Email)>>(
    db: &Connection,
) -> rusqlite::Result<C> {
    db.prepare_cached("SELECT user_id, email_key, email FROM deactivated")?
        .query_map([], |row| Ok((row.get("user_id")?, keyed_email(row)?)))?
        .collect()
}
