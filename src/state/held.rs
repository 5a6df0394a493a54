//! Held changes and approvals.

use super::runs::find;
use super::sql::Time;
use super::{StateDb, StateError, places};
use crate::model::{
    GuardRule, HeldRecord, HeldUser, Operation, RosterPlace, RunNumber, RunRef, UserId,
};
use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::{BTreeSet, HashSet};

/// How long an approval is valid.
pub const APPROVAL_VALID: TimeDelta = TimeDelta::hours(24);

/// The changes that one run held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldIn {
    /// The run.
    pub run: RunNumber,
    /// The held changes, by limit.
    pub held: Vec<HeldRecord>,
}

impl HeldIn {
    /// The limit that holds a change.
    #[must_use]
    pub fn of(&self, user_id: &UserId, operation: Operation) -> Option<&HeldRecord> {
        let is_it = |user: &HeldUser| user.user_id == *user_id && user.operation == operation;
        self.held.iter().find(|held| held.users.iter().any(is_it))
    }

    /// The number of held changes.
    #[must_use]
    pub fn count(&self) -> usize {
        self.held.iter().map(|held| held.users.len()).sum()
    }
}

/// An approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The run that held the changes.
    pub run: RunNumber,
    /// Who approved.
    pub by: String,
    /// When the approval expires.
    pub expires: DateTime<Utc>,
    /// The approved changes; each passes once.
    pub users: Vec<HeldUser>,
    /// The accepted place of the roster, if that is what the run refused.
    pub place: Option<RosterPlace>,
}

/// Why an approval is not possible.
#[derive(Debug, thiserror::Error)]
pub enum ApproveError {
    /// The run does not exist.
    #[error("no such run; `history` lists the runs")]
    Unknown,
    /// The run is no longer in history.
    #[error(
        "run {run} is older than state.retain and its held changes are deleted; approve a later run (`history` lists the runs)"
    )]
    Expired {
        /// The run.
        run: RunNumber,
    },
    /// The run has no held changes.
    #[error("run {run} has no held changes{}", .last.map_or_else(String::new, |last| format!("; the latest run that has any is {last}")))]
    NothingHeld {
        /// The run.
        run: RunNumber,
        /// The latest run that holds changes.
        last: Option<RunNumber>,
    },
    /// All held changes were approved and applied.
    #[error("all held changes of run {run} have already been approved and applied")]
    Done {
        /// The run.
        run: RunNumber,
    },
    /// The state database can't be used.
    #[error(transparent)]
    State(#[from] StateError),
}

impl StateDb {
    /// Stores the changes that a run holds.
    pub async fn hold(&self, run: RunNumber, held: &[HeldRecord]) -> Result<(), StateError> {
        let held = held.to_vec();
        self.write(move |db| held.iter().try_for_each(|one| hold(db, run, one)))
            .await
    }

    /// The changes that a run held, by limit.
    pub async fn held(&self, run: RunNumber) -> Result<Vec<HeldRecord>, StateError> {
        self.read(move |db| held(db, run)).await
    }

    /// The changes that the latest run with a plan held. A later run without a plan found nothing new.
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

    /// Approves all changes that a run holds, each once, for [`APPROVAL_VALID`]. A dry run (`dry`) only returns them.
    /// Fails if there is nothing to approve.
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

    /// The approved changes that are not applied yet.
    pub async fn approvals(
        &self,
        now: DateTime<Utc>,
    ) -> Result<HashSet<(UserId, Operation)>, StateError> {
        self.read(move |db| approvals(db, now)).await
    }

    /// The approvals of a run, the latest first, expired ones too.
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

    /// A number that changes with each approval, by any process.
    pub async fn approval_mark(&self) -> Result<i64, StateError> {
        self.read(|db| {
            let changes = last_number(db, "approvals")?.unwrap_or(0);
            Ok(changes + places::approval_mark(db)?)
        })
        .await
    }
}

/// The last number that a table has given, even if its row was deleted.
pub(super) fn last_number(db: &Connection, table: &str) -> rusqlite::Result<Option<i64>> {
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

/// The number of a set of users. Stores the set if it is new.
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

/// Digest of a held set. Fields are newline-separated and contain no newlines, so entries can't be confused.
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
    if let Some(place) = places::refused(db, number)? {
        if !dry {
            places::accept(db, number, &by, now)?;
        }
        return Ok(Ok(Approval {
            run: number,
            by,
            expires: now + APPROVAL_VALID,
            users: Vec::new(),
            place: Some(place),
        }));
    }
    let held = held(db, number)?.into_iter().flat_map(|one| one.users);
    let mut users: BTreeSet<HeldUser> = held.collect();
    if users.is_empty() {
        let last = db.query_row("SELECT max(run) FROM held", [], |row| row.get(0))?;
        return Ok(Err(ApproveError::NothingHeld { run: number, last }));
    }
    // Each approval passes once; the same user needs a new run that holds them again.
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
        place: None,
    };
    if !dry {
        store(db, &approval, now)?;
    }
    Ok(Ok(approval))
}

/// The used-up approvals of a run.
fn done(db: &Connection, run: RunNumber) -> rusqlite::Result<Vec<HeldUser>> {
    db.prepare_cached(
        "SELECT user_id, operation, email FROM approvals
         JOIN approved_users ON approval = approvals.id
         WHERE run = ?1 AND used_by IS NOT NULL",
    )?
    .query_map([run], user)?
    .collect()
}

/// Why a run does not exist.
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
        place: _,
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

/// Users for whom clearing values is approved; approvals of other updates don't count.
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

/// Deletes expired approvals, and held sets of deleted runs.
pub(super) fn prune(db: &Connection, before: DateTime<Utc>) -> rusqlite::Result<()> {
    db.execute("DELETE FROM approvals WHERE expires <= ?1", [Time(before)])?;
    db.execute(
        "DELETE FROM held_sets WHERE NOT EXISTS (SELECT 1 FROM held WHERE held_set = held_sets.id)",
        [],
    )
    .map(drop)
}
