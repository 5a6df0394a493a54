//! Loads what earlier runs left behind.

use super::sql::Count;
use super::{
    StateDb, StateError, accepted, approvals, groups, leavers, managed, quarantine, roles, runs,
    seen_files, startup,
};
use crate::model::{
    ChangeOutcome, Email, GroupId, Memory, Operation, RecentChanges, RecentRemoval, RunTime, UserId,
};
use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::{Connection, OptionalExtension};
use std::collections::{HashMap, HashSet};

/// How long removals count for the guard.
pub(super) const GUARDED: TimeDelta = TimeDelta::hours(24);

/// The changes after ?1, where it is ?2 now. A change is as long after the start of its run as the wall clock says, and
/// not later than the start of the next run; a clock that was set back says nothing.
const RECENT: &str = "
    WITH spans AS (
        SELECT number, started, run_time, coalesce(lead(run_time) OVER (ORDER BY number), ?2) AS next
        FROM runs WHERE number >= coalesce((SELECT max(number) FROM runs WHERE run_time <= ?1), 0)
    )
    SELECT operation, user_id, email, group_id, outcome, approved, clears
    FROM spans JOIN changes ON changes.run = spans.number
    WHERE (outcome IS NULL OR outcome <> ?3) AND ?1 < CASE
        WHEN intended < started THEN next
        ELSE min(run_time + intended - started, next)
    END";

impl StateDb {
    /// Loads what the planner and the guard need, from one consistent view.
    pub async fn memory(&self, now: DateTime<Utc>) -> Result<Memory, StateError> {
        self.read(move |db| memory(db, now)).await
    }

    /// Remembers the base of the removal limit that a whole listing showed.
    pub async fn record_base(&self, base: usize) -> Result<(), StateError> {
        self.write(move |db| {
            let sql = "INSERT OR REPLACE INTO listing (id, base) VALUES (1, ?1)";
            db.execute(sql, [Count(base as u64)]).map(drop)
        })
        .await
    }
}

fn memory(db: &Connection, now: DateTime<Utc>) -> rusqlite::Result<Memory> {
    let run_time = runs::run_time(db, now)?;
    let mut missing_since = HashMap::new();
    let (mut managed, mut confirmed_removals) = (HashSet::new(), HashMap::new());
    for (email, since, removed) in managed::all::<Vec<_>>(db)? {
        missing_since.extend(since.map(|since| (email.clone(), since)));
        match removed {
            Some(id) => drop(confirmed_removals.insert(email, id)),
            None => drop(managed.insert(email)),
        }
    }
    Ok(Memory {
        now,
        run_time,
        today: now.date_naive(),
        clock_step: runs::clock_step(db, now)?,
        managed,
        confirmed_removals,
        removed: managed::all_removed(db)?,
        deactivated: managed::all_deactivated(db)?,
        missing_since,
        due: leavers::due(db)?,
        key_users: HashSet::new(),
        unnamed_keys: 0,
        key_doubt: None,
        recent: recent(db, run_time)?,
        groups: groups::memory(db)?,
        stated_roles: roles::stated(db)?,
        last_base: last_base(db)?,
        approved: approvals::approvals(db, now)?,
        quarantined: quarantine::all(db)?,
        last_read: startup::last_content(db)?,
        last_read_since: None,
        last_accepted: accepted::load(db)?,
        seen_files: seen_files::seen_files(db)?,
    })
}

/// The changes that were sent in the last 24 hours by the clock of recorded runs.
fn recent(db: &Connection, now: RunTime) -> rusqlite::Result<RecentChanges> {
    let mut recent = RecentChanges::default();
    let mut query = db.prepare_cached(RECENT)?;
    let mut rows = query.query((now.before(GUARDED), now, ChangeOutcome::Skipped))?;
    while let Some(row) = rows.next()? {
        let operation: Operation = row.get("operation")?;
        let id: Option<UserId> = row.get("user_id")?;
        let approved: bool = row.get("approved")?;
        if !operation.is_of_user() && operation != Operation::Leave {
            continue;
        }
        let email: Email = row.get("email")?;
        match (operation, id) {
            (Operation::Create, _) => {
                let outcome: Option<ChangeOutcome> = row.get("outcome")?;
                if outcome != Some(ChangeOutcome::Failed) {
                    recent.created.insert(email);
                }
            }
            (Operation::Delete | Operation::Deactivate, Some(id)) => {
                let removal = RecentRemoval { email, approved };
                let known = recent.removed.entry(id).or_insert(removal);
                known.approved &= approved;
            }
            (Operation::Update, Some(id)) if !approved => {
                if row.get("clears")? {
                    recent.cleared.insert(id.clone());
                }
                recent.updated.insert(id);
            }
            (Operation::Leave, Some(id)) if !approved => {
                recent.left.extend(
                    row.get::<_, Option<GroupId>>("group_id")?
                        .map(|group| (id, group)),
                );
            }
            (
                Operation::Delete
                | Operation::Deactivate
                | Operation::Leave
                | Operation::Update
                | Operation::Join
                | Operation::Assign
                | Operation::Transfer,
                _,
            ) => {}
        }
    }
    Ok(recent)
}

/// The base of the removal limit at the last whole listing.
fn last_base(db: &Connection) -> rusqlite::Result<Option<usize>> {
    db.prepare_cached("SELECT base FROM listing")?
        .query_row([], |row| row.get(0))
        .optional()
        .map(|base| base.map(|Count(base)| usize::try_from(base).unwrap_or(usize::MAX)))
}
