//! What the guard held, and what a person approved of it.

use super::runs::find;
use super::sql::Time;
use super::{StateDb, StateError};
use crate::model::{GuardRule, HeldRecord, HeldUser, Operation, RunNumber, RunRef, UserId};
use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::{BTreeSet, HashSet};

/// How long an approval is good for.
pub const APPROVAL_VALID: TimeDelta = TimeDelta::hours(24);

/// What was held in one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldIn {
    /// The run.
    pub run: RunNumber,
    /// What it held, by rule; may be none.
    pub held: Vec<HeldRecord>,
}

impl HeldIn {
    /// What holds just this change.
    #[must_use]
    pub fn of(&self, user_id: &UserId, operation: Operation) -> Option<&HeldRecord> {
        let is_it = |user: &HeldUser| user.user_id == *user_id && user.operation == operation;
        self.held.iter().find(|held| held.users.iter().any(is_it))
    }

    /// How many changes it held.
    #[must_use]
    pub fn count(&self) -> usize {
        self.held.iter().map(|held| held.users.len()).sum()
    }
}

/// What a person approved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The run in which it was held.
    pub run: RunNumber,
    /// Who approved it.
    pub by: String,
    /// Until when it is good.
    pub expires: DateTime<Utc>,
    /// The changes that may be carried out, each once.
    pub users: Vec<HeldUser>,
}

/// Why nothing was approved.
#[derive(Debug, thiserror::Error)]
pub enum ApproveError {
    /// No run has this number, or none has run yet.
    #[error("there is no such run; `history` lists them")]
    Unknown,
    /// The run is no longer remembered.
    #[error(
        "run {run} is older than state.retain and what it held is forgotten; approve a later run (`history` lists them)"
    )]
    Expired {
        /// The run.
        run: RunNumber,
    },
    /// Nothing was held in it.
    #[error("nothing is held in run {run}{}", .last.map_or_else(String::new, |last| format!("; the last run that holds something is {last}")))]
    NothingHeld {
        /// The run.
        run: RunNumber,
        /// The last run in which something was held.
        last: Option<RunNumber>,
    },
    /// All of it was approved before, and done.
    #[error("what run {run} held was approved and has been done; nothing of it is left to approve")]
    Done {
        /// The run.
        run: RunNumber,
    },
    /// The journal can't be used.
    #[error(transparent)]
    StateDb(#[from] StateError),
}

impl StateDb {
    /// What the guard held in a run.
    ///
    /// # Errors
    /// When it can't be written.
    pub async fn hold(&self, run: RunNumber, held: &[HeldRecord]) -> Result<(), StateError> {
        let held = held.to_vec();
        self.write(move |db| held.iter().try_for_each(|one| hold(db, run, one)))
            .await
    }

    /// What was held in a run, by rule.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn held(&self, run: RunNumber) -> Result<Vec<HeldRecord>, StateError> {
        self.read(move |db| held(db, run)).await
    }

    /// What the last run held that came to its end and to a plan: a later one that could not be done
    /// has found nothing else.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn last_held(&self) -> Result<Option<HeldIn>, StateError> {
        self.read(|db| {
            let sql = "SELECT number FROM runs WHERE pending_update IS NOT NULL
                       ORDER BY number DESC LIMIT 1";
            let run = db
                .prepare_cached(sql)?
                .query_row([], |row| row.get(0))
                .optional()?;
            run.map(|run| held(db, run).map(|held| HeldIn { run, held }))
                .transpose()
        })
        .await
    }

    /// Approves all that is held in a run: the changes of these users, each once, within
    /// [`APPROVAL_VALID`]. When `dry`, it only says what that is.
    ///
    /// # Errors
    /// When there is nothing to approve, or it can't be written.
    pub async fn approve(
        &self,
        run: RunRef,
        by: &str,
        now: DateTime<Utc>,
        dry: bool,
    ) -> Result<Approval, ApproveError> {
        let by = by.to_owned();
        let work = move |db: &Connection| approve(db, run, by, now, dry);
        if dry {
            self.read(work).await?
        } else {
            self.write(work).await?
        }
    }

    /// The changes that are approved and not yet done.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn approvals(
        &self,
        now: DateTime<Utc>,
    ) -> Result<HashSet<(UserId, Operation)>, StateError> {
        self.read(move |db| approvals(db, now)).await
    }

    /// What was approved of a run, the last first: also what is no longer good.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn approvals_of(
        &self,
        run: RunNumber,
    ) -> Result<Vec<(String, DateTime<Utc>)>, StateError> {
        self.read(move |db| {
            let sql = "SELECT approved_by, approved FROM approvals WHERE run = ?1 ORDER BY id DESC";
            db.prepare_cached(sql)?
                .query_map([run], |row| Ok((row.get(0)?, row.get::<_, Time>(1)?.0)))?
                .collect()
        })
        .await
    }

    /// A number that is another one when something has been approved since, by whichever process.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn approval_mark(&self) -> Result<i64, StateError> {
        self.read(|db| Ok(last_number(db, "approvals")?.unwrap_or(0)))
            .await
    }
}

/// The last number that a table has given, whether its row is still there or not.
fn last_number(db: &Connection, table: &str) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = ?1")?
        .query_row([table], |row| row.get(0))
        .optional()
}

fn hold(db: &Connection, run: RunNumber, held: &HeldRecord) -> rusqlite::Result<()> {
    let HeldRecord {
        rule,
        reason,
        users,
    } = held;
    let set = held_set(db, &users.iter().collect())?;
    db.prepare_cached("INSERT INTO held (run, rule, reason, held_set) VALUES (?1, ?2, ?3, ?4)")?
        .execute((run, rule, reason, set))
        .map(drop)
}

/// The number of a set of users; it is stored if it is not there.
fn held_set(db: &Connection, users: &BTreeSet<&HeldUser>) -> rusqlite::Result<i64> {
    let digest = digest(users);
    let there = db
        .prepare_cached("SELECT id FROM held_sets WHERE digest = ?1")?
        .query_row([digest], |row| row.get(0))
        .optional()?;
    if let Some(set) = there {
        return Ok(set);
    }
    let set = db
        .prepare_cached("INSERT INTO held_sets (digest) VALUES (?1) RETURNING id")?
        .query_row([digest], |row| row.get(0))?;
    let mut insert = db.prepare_cached(
        "INSERT OR IGNORE INTO held_users (held_set, user_id, operation, email) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for user in users {
        insert.execute((set, &user.user_id, user.operation, &user.email))?;
    }
    Ok(set)
}

/// The same for the same users. No part of one can be taken for a part of another: neither an id
/// nor a kind nor an email has a line's end in it.
fn digest(users: &BTreeSet<&HeldUser>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for user in users {
        for part in [
            user.user_id.as_str(),
            user.operation.as_str(),
            user.email.as_str(),
        ] {
            hasher.update(part.as_bytes());
            hasher.update(b"\n");
        }
    }
    *hasher.finalize().as_bytes()
}

fn held(db: &Connection, run: RunNumber) -> rusqlite::Result<Vec<HeldRecord>> {
    let mut rules =
        db.prepare_cached("SELECT rule, reason, held_set FROM held WHERE run = ?1 ORDER BY rule")?;
    let mut users = db.prepare_cached(
        "SELECT user_id, operation, email FROM held_users WHERE held_set = ?1 ORDER BY operation, email, user_id",
    )?;
    rules
        .query_map([run], |row| {
            let set: i64 = row.get("held_set")?;
            Ok(HeldRecord {
                rule: row.get("rule")?,
                reason: row.get("reason")?,
                users: users.query_map([set], user)?.collect::<Result<_, _>>()?,
            })
        })?
        .collect()
}

fn user(row: &Row<'_>) -> rusqlite::Result<HeldUser> {
    Ok(HeldUser {
        user_id: row.get("user_id")?,
        operation: row.get("operation")?,
        email: row.get("email")?,
    })
}

fn approve(
    db: &Connection,
    run: RunRef,
    by: String,
    now: DateTime<Utc>,
    dry: bool,
) -> rusqlite::Result<Result<Approval, ApproveError>> {
    let Some(number) = find(db, run)? else {
        return Ok(Err(missing(db, run)?));
    };
    let held = held(db, number)?.into_iter().flat_map(|one| one.users);
    let mut users: BTreeSet<HeldUser> = held.collect();
    if users.is_empty() {
        let last = db.query_row("SELECT max(run) FROM held", [], |row| row.get(0))?;
        return Ok(Err(ApproveError::NothingHeld { run: number, last }));
    }
    // Each once: to let the same user go again takes a run that holds them again.
    for done in done(db, number)? {
        users.remove(&done);
    }
    if users.is_empty() {
        return Ok(Err(ApproveError::Done { run: number }));
    }
    let approval = Approval {
        run: number,
        by,
        expires: now + APPROVAL_VALID,
        users: users.into_iter().collect(),
    };
    if !dry {
        store(db, &approval, now)?;
    }
    Ok(Ok(approval))
}

/// What was approved of a run and has been used up.
fn done(db: &Connection, run: RunNumber) -> rusqlite::Result<Vec<HeldUser>> {
    db.prepare_cached(
        "SELECT user_id, operation, email FROM approvals
         JOIN approved_users ON approval = approvals.id
         WHERE run = ?1 AND used_by IS NOT NULL",
    )?
    .query_map([run], user)?
    .collect()
}

/// Why a run is not there.
fn missing(db: &Connection, run: RunRef) -> rusqlite::Result<ApproveError> {
    let last = last_number(db, "runs")?.and_then(|last| u64::try_from(last).ok());
    Ok(match run {
        RunRef::Number(run) if run.0 > 0 && Some(run.0) <= last => ApproveError::Expired { run },
        _ => ApproveError::Unknown,
    })
}

fn store(db: &Connection, approval: &Approval, now: DateTime<Utc>) -> rusqlite::Result<()> {
    let Approval {
        run,
        by,
        expires,
        users,
    } = approval;
    let id: i64 = db.query_row(
        "INSERT INTO approvals (run, approved_by, approved, expires) VALUES (?1, ?2, ?3, ?4)
         RETURNING id",
        (run, by, Time(now), Time(*expires)),
        |row| row.get(0),
    )?;
    let mut insert = db.prepare_cached(
        "INSERT OR IGNORE INTO approved_users (approval, user_id, operation, email)
         VALUES (?1, ?2, ?3, ?4)",
    )?;
    for user in users {
        insert.execute((id, &user.user_id, user.operation, &user.email))?;
    }
    Ok(())
}

pub(super) fn approvals(
    db: &Connection,
    now: DateTime<Utc>,
) -> rusqlite::Result<HashSet<(UserId, Operation)>> {
    db.prepare_cached(
        "SELECT DISTINCT user_id, operation FROM approvals
         JOIN approved_users ON approval = approvals.id
         WHERE expires > ?1 AND used_by IS NULL",
    )?
    .query_map([Time(now)], |row| Ok((row.get(0)?, row.get(1)?)))?
    .collect()
}

/// Users whose clears are approved: an approval of other updates is none of these.
pub(super) fn approved_clears(
    db: &Connection,
    now: DateTime<Utc>,
) -> rusqlite::Result<HashSet<UserId>> {
    db.prepare_cached(
        "SELECT DISTINCT approved_users.user_id FROM approvals
         JOIN approved_users ON approval = approvals.id
         JOIN held ON held.run = approvals.run AND held.rule = ?2
         JOIN held_users ON held_users.held_set = held.held_set
            AND held_users.user_id = approved_users.user_id
            AND held_users.operation = approved_users.operation
         WHERE expires > ?1 AND used_by IS NULL",
    )?
    .query_map((Time(now), GuardRule::MaxClears), |row| row.get(0))?
    .collect()
}

/// Forgets what can no longer be approved, and approvals that are no longer good.
pub(super) fn prune(db: &Connection, before: DateTime<Utc>) -> rusqlite::Result<()> {
    db.execute("DELETE FROM approvals WHERE expires <= ?1", [Time(before)])?;
    db.execute(
        "DELETE FROM held_sets WHERE NOT EXISTS (SELECT 1 FROM held WHERE held_set = held_sets.id)",
        [],
    )
    .map(drop)
}
