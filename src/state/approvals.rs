//! Approvals of held changes.

use super::held::{as_row, change, held, is_dry_run};
use super::runs::find;
use super::sql::{Count, Time, email_key, key, last_number};
use super::{StateDb, StateError, places};
use crate::model::{
    Approvals, ApprovedChange, ChangeId, ChangeKey, HeldChange, HeldRecord, NewIds, Operation,
    RosterPlace, RunNumber, RunRef, Subject,
};
use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::{Connection, Row};
use std::collections::HashSet;

/// How long an approval is valid.
pub const APPROVAL_VALID: TimeDelta = TimeDelta::hours(24);

/// What to approve: all that a run holds, or the changes of one user or group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalScope {
    /// The run that held the changes.
    pub run: RunRef,
    /// Only the changes of this user, or the roles of this group.
    pub only: Option<Subject>,
}

impl From<RunRef> for ApprovalScope {
    fn from(run: RunRef) -> Self {
        Self { run, only: None }
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
    /// The approved changes with the limits that hold them, and why; each change passes once.
    pub held: Vec<HeldRecord>,
    /// The accepted place of the roster, if that is what the run refused.
    pub place: Option<RosterPlace>,
}

impl Approval {
    /// The approved changes.
    #[must_use]
    pub fn changes(&self) -> Vec<&HeldChange> {
        self.held.iter().flat_map(|one| &one.changes).collect()
    }
}

/// Why an approval is not possible.
#[derive(Debug, thiserror::Error)]
pub enum ApproveError {
    /// The run does not exist.
    #[error("no such run; `history` lists the runs")]
    Unknown,
    /// The run is no longer in history.
    #[error(
        "run {run} is older than state.retain, and its held changes were deleted; approve a later run (`history` lists the runs)"
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
    /// The run holds no change of this user or group.
    #[error("run {run} holds no change of {subject} (`history {run}` lists its held changes)")]
    NotHeld {
        /// The run.
        run: RunNumber,
        /// The user or group.
        subject: Subject,
    },
    /// The run was a dry run.
    #[error("run {run} is a dry run, and what a dry run would hold can't be approved")]
    DryRun {
        /// The run.
        run: RunNumber,
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
    /// Approves changes that a run holds, each once, for [`APPROVAL_VALID`]. A dry run (`dry`) only returns them.
    /// Fails if there is nothing to approve.
    pub async fn approve(
        &self,
        scope: impl Into<ApprovalScope>,
        by: &str,
        now: DateTime<Utc>,
        dry: bool,
    ) -> Result<Approval, ApproveError> {
        let (scope, by) = (scope.into(), by.to_owned());
        let work = move |db: &Connection| approve(db, scope, by, now, dry);
        if dry {
            self.read(work).await?
        } else {
            self.write(work).await?
        }
    }

    /// Ends the approvals of a run that are not used up. Returns the run and the number of changes that are no longer
    /// approved.
    pub async fn revoke(
        &self,
        run: RunRef,
        now: DateTime<Utc>,
    ) -> Result<(RunNumber, usize), ApproveError> {
        self.write(move |db| revoke(db, run, now)).await?
    }

    /// Ends the approvals of these changes.
    pub async fn end_approvals(
        &self,
        numbers: Vec<u64>,
        now: DateTime<Utc>,
    ) -> Result<(), StateError> {
        self.write(move |db| {
            let sql = "UPDATE approved_changes SET ended = ?2 WHERE number = ?1";
            let mut end = db.prepare_cached(sql)?;
            let mut end = |number: &u64| end.execute((Count(*number), Time(now))).map(drop);
            numbers.iter().try_for_each(&mut end)
        })
        .await
    }

    /// The approved changes that are not applied yet.
    pub async fn approvals(&self, now: DateTime<Utc>) -> Result<Approvals, StateError> {
        self.read(move |db| approvals(db, now)).await
    }

    /// The changes that need no approval of this run any more: approved by any run and still valid, or approved by this
    /// run and applied.
    pub async fn approved_in(
        &self,
        run: RunNumber,
        now: DateTime<Utc>,
    ) -> Result<Vec<HeldChange>, StateError> {
        self.read(move |db| {
            db.prepare_cached(
                "SELECT operation, email, user_id, group_id, group_name, role, successor, fields FROM approvals
                 JOIN approved_changes ON approval = approvals.id
                 WHERE ended IS NULL AND CASE WHEN used_by IS NULL THEN expires > ?2 ELSE run = ?1 END",
            )?
            .query_map((run, Time(now)), change)?
            .collect()
        })
        .await
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

fn approve(
    db: &Connection,
    ApprovalScope { run, only }: ApprovalScope,
    by: String,
    now: DateTime<Utc>,
    dry: bool,
) -> rusqlite::Result<Result<Approval, ApproveError>> {
    let Some(number) = find(db, run)? else {
        return Ok(Err(missing(db, run)?));
    };
    if let Some(place) = places::refused(db, number)?.filter(|_| only.is_none()) {
        if !dry {
            places::accept(db, number, &by, now)?;
        }
        return Ok(Ok(Approval {
            run: number,
            by,
            expires: now + APPROVAL_VALID,
            held: Vec::new(),
            place: Some(place),
        }));
    }
    if is_dry_run(db, number)? {
        return Ok(Err(ApproveError::DryRun { run: number }));
    }
    let mut held = held(db, number)?;
    if held.iter().all(|one| one.changes.is_empty()) {
        let last = db.query_row("SELECT max(run) FROM held", [], |row| row.get(0))?;
        return Ok(Err(ApproveError::NothingHeld { run: number, last }));
    }
    if let Some(subject) = only {
        let folded = subject.folded();
        retain(&mut held, |change| change.subject.folded() == folded);
        if held.is_empty() {
            let run = number;
            return Ok(Err(ApproveError::NotHeld { run, subject }));
        }
    }
    // Each approval passes once; the same user needs a new run that holds them again.
    let done = done(db, number)?;
    retain(&mut held, |change| {
        !done.contains(&(change.operation, change.key()))
    });
    if held.is_empty() {
        return Ok(Err(ApproveError::Done { run: number }));
    }
    let approval = Approval {
        run: number,
        by,
        expires: now + APPROVAL_VALID,
        held,
        place: None,
    };
    if !dry {
        store(db, &approval, now)?;
    }
    Ok(Ok(approval))
}

/// Drops the other held changes, and the limits that hold none of the rest.
fn retain(held: &mut Vec<HeldRecord>, matches: impl Fn(&HeldChange) -> bool) {
    for one in held.iter_mut() {
        one.changes.retain(&matches);
    }
    held.retain(|one| !one.changes.is_empty());
}

/// The used-up approvals of a run.
fn done(db: &Connection, run: RunNumber) -> rusqlite::Result<HashSet<(Operation, ChangeKey)>> {
    db.prepare_cached(
        "SELECT operation, email, group_name, role_scope FROM approvals
         JOIN approved_changes ON approval = approvals.id
         WHERE run = ?1 AND used_by IS NOT NULL",
    )?
    .query_map([run], |row| Ok((row.get("operation")?, key(row)?)))?
    .collect()
}

fn revoke(
    db: &Connection,
    run: RunRef,
    now: DateTime<Utc>,
) -> rusqlite::Result<Result<(RunNumber, usize), ApproveError>> {
    let Some(number) = find(db, run)? else {
        return Ok(Err(missing(db, run)?));
    };
    let revoked = db.execute(
        "UPDATE approved_changes SET ended = ?2
         WHERE used_by IS NULL AND ended IS NULL
            AND approval IN (SELECT id FROM approvals WHERE run = ?1 AND expires > ?2)",
        (number, Time(now)),
    )?;
    Ok(Ok((number, revoked)))
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
        held: _,
        place: _,
    } = approval;
    let id: i64 = db.query_row(
        "INSERT INTO approvals (run, approved_by, approved, expires) VALUES (?1, ?2, ?3, ?4)
         RETURNING id",
        (run, by, Time(now), Time(*expires)),
        |row| row.get(0),
    )?;
    // Each change is approved once: a new approval takes the place of one that was not used.
    let mut replace = db.prepare_cached(
        "UPDATE approved_changes SET ended = ?4
         WHERE used_by IS NULL AND ended IS NULL AND operation = ?1 AND email_key = ?2 AND group_name IS ?5
            AND role_scope IS ?6
            AND approval IN (SELECT id FROM approvals WHERE run = ?3)",
    )?;
    let mut insert = db.prepare_cached(
        "INSERT INTO approved_changes
            (approval, operation, email_key, email, user_id, group_id, group_name, role, role_scope, successor, fields)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    for change in approval.changes() {
        let row = as_row(change);
        let key = email_key(&change.subject);
        replace.execute((
            row.operation,
            &key,
            run,
            Time(now),
            row.group_name,
            &row.role_scope,
        ))?;
        insert.execute((
            id,
            row.operation,
            &key,
            row.email,
            row.user_id,
            row.group_id,
            row.group_name,
            row.role,
            row.role_scope,
            row.successor,
            row.fields,
        ))?;
    }
    Ok(())
}

pub(super) fn approvals(db: &Connection, now: DateTime<Utc>) -> rusqlite::Result<Approvals> {
    let approved = |row: &Row<'_>| {
        Ok(ApprovedChange {
            number: row.get::<_, Count>("number")?.0,
            change: change(row)?,
            created: NewIds {
                user: row.get("created_user")?,
                group: row.get("created_group")?,
            },
        })
    };
    // The user or group whose id a change lacks is created by the run that held the change, or by a later one.
    db.prepare_cached(
        "SELECT number, operation, email, user_id, group_id, group_name, role, successor, fields,
            CASE WHEN user_id IS NULL AND operation <> 'create' AND email_key <> '' THEN (
                SELECT created.user_id FROM changes AS created
                WHERE created.email_key = approved_changes.email_key AND created.run >= approvals.run
                    AND created.operation = 'create' AND created.outcome = 'applied'
                ORDER BY created.id DESC LIMIT 1
            ) END AS created_user,
            CASE WHEN group_id IS NULL THEN (
                SELECT created.id FROM created_groups AS created
                WHERE created.name = group_name AND created.run >= approvals.run
                ORDER BY created.run DESC LIMIT 1
            ) END AS created_group
         FROM approvals JOIN approved_changes ON approval = approvals.id
         WHERE expires > ?1 AND used_by IS NULL AND ended IS NULL",
    )?
    .query_map([Time(now)], approved)?
    .collect()
}

/// Uses up the approvals of an applied change: each approved change passes once. An update that was not approved sets
/// other fields.
pub(super) fn use_up(db: &Connection, change: ChangeId) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE approved_changes SET used_by = ?1
         WHERE used_by IS NULL AND ended IS NULL
            AND (email_key, operation) =
                (SELECT email_key, operation FROM changes
                 WHERE id = ?1 AND (approved OR operation <> 'update'))
            AND (user_id IS NULL OR user_id = (SELECT user_id FROM changes WHERE id = ?1))
            AND group_name IS (SELECT group_name FROM changes WHERE id = ?1)
            AND role_scope IS (SELECT role_scope FROM changes WHERE id = ?1)
            AND (group_id IS NULL OR group_id = (SELECT group_id FROM changes WHERE id = ?1))",
    )?
    .execute([change])
    .map(drop)
}

/// Deletes expired approvals.
pub(super) fn prune(db: &Connection, before: DateTime<Utc>) -> rusqlite::Result<()> {
    db.execute("DELETE FROM approvals WHERE expires <= ?1", [Time(before)])
        .map(drop)
}
