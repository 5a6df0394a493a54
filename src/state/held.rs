//! Changes that runs hold, and those that dry runs plan.

use super::sql::{email, from_json, group, group_columns, role, role_columns, subject, to_json};
use super::{StateDb, StateError};
use crate::model::{
    ChangeKey, HeldChange, HeldRecord, Operation, RunNumber, RunResult, UserId, fold,
};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::BTreeSet;

/// The changes that one run held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldIn {
    /// The run.
    pub run: RunNumber,
    /// The held changes, by limit.
    pub held: Vec<HeldRecord>,
}

impl HeldIn {
    /// The limit that holds an operation.
    #[must_use]
    pub fn of(&self, key: &ChangeKey, operation: Operation) -> Option<&HeldRecord> {
        let is_it = |held: &HeldChange| held.operation == operation && held.key() == *key;
        self.held.iter().find(|held| held.changes.iter().any(is_it))
    }

    /// The number of held changes.
    #[must_use]
    pub fn count(&self) -> usize {
        self.held.iter().map(|held| held.changes.len()).sum()
    }
}

impl StateDb {
    /// Stores the changes that a run holds.
    pub async fn hold(&self, run: RunNumber, held: &[HeldRecord]) -> Result<(), StateError> {
        let held = held.to_vec();
        self.write(move |db| held.iter().try_for_each(|one| hold(db, run, one)))
            .await
    }

    /// Whether a run is a dry run.
    pub async fn is_dry_run(&self, run: RunNumber) -> Result<bool, StateError> {
        self.read(move |db| is_dry_run(db, run)).await
    }

    /// Stores the changes that a dry run plans. Returns the last dry run before it if that planned the same.
    pub async fn record_planned(
        &self,
        run: RunNumber,
        planned: Vec<HeldChange>,
    ) -> Result<Option<RunNumber>, StateError> {
        self.write(move |db| record_planned(db, run, &planned))
            .await
    }

    /// The changes that a run held, by limit.
    pub async fn held(&self, run: RunNumber) -> Result<Vec<HeldRecord>, StateError> {
        self.read(move |db| held(db, run)).await
    }

    /// The changes that the latest run with a plan held. A later run without a plan found nothing new.
    pub async fn last_held(&self) -> Result<Option<HeldIn>, StateError> {
        self.read(|db| {
            let sql = "SELECT number FROM runs WHERE planned_update IS NOT NULL
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
}

fn hold(db: &Connection, run: RunNumber, held: &HeldRecord) -> rusqlite::Result<()> {
    let HeldRecord {
        rule,
        reason,
        changes,
    } = held;
    let set = change_set(db, changes)?;
    db.prepare_cached("INSERT INTO held (run, rule, reason, change_set) VALUES (?1, ?2, ?3, ?4)")?
        .execute((run, rule, reason, set))
        .map(drop)
}

/// The number of a set of changes. Stores the set if it is new.
fn change_set(db: &Connection, changes: &[HeldChange]) -> rusqlite::Result<i64> {
    let rows: BTreeSet<_> = changes.iter().map(as_row).collect();
    let digest = digest(&rows);
    let there = db
        .prepare_cached("SELECT id FROM change_sets WHERE digest = ?1")?
        .query_row([digest], |row| row.get(0))
        .optional()?;
    if let Some(set) = there {
        return Ok(set);
    }
    let set = db
        .prepare_cached("INSERT INTO change_sets (digest) VALUES (?1) RETURNING id")?
        .query_row([digest], |row| row.get(0))?;
    let mut insert = db.prepare_cached(
        "INSERT INTO set_changes
            (change_set, operation, email_key, email, user_id, group_id, group_name, role, successor, fields)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for row in &rows {
        insert.execute((
            set,
            row.operation,
            fold(row.email),
            row.email,
            row.user_id,
            row.group_id,
            row.group_name,
            &row.role,
            &row.successor,
            &row.fields,
        ))?;
    }
    Ok(set)
}

fn record_planned(
    db: &Connection,
    run: RunNumber,
    planned: &[HeldChange],
) -> rusqlite::Result<Option<RunNumber>> {
    let set = change_set(db, planned)?;
    let last: Option<(RunNumber, i64)> = db
        .query_row(
            "SELECT number, planned_set FROM runs WHERE planned_set IS NOT NULL ORDER BY number DESC LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    db.execute(
        "UPDATE runs SET planned_set = ?2 WHERE number = ?1",
        (run, set),
    )?;
    Ok(last
        .filter(|(_, before)| *before == set)
        .map(|(run, _)| run))
}

/// Whether a run is a dry run. Earlier versions recorded only its result.
pub(super) fn is_dry_run(db: &Connection, run: RunNumber) -> rusqlite::Result<bool> {
    let sql =
        "SELECT planned_set IS NOT NULL OR coalesce(result, '') = ?2 FROM runs WHERE number = ?1";
    let found = db.query_row(sql, (run, RunResult::DryRun), |row| row.get(0));
    Ok(found.optional()?.unwrap_or(false))
}

/// A held change as stored.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HeldRow<'a> {
    pub(super) operation: Operation,
    pub(super) email: &'a str,
    pub(super) user_id: Option<&'a str>,
    pub(super) group_id: Option<&'a str>,
    pub(super) group_name: Option<&'a str>,
    pub(super) role: Option<String>,
    pub(super) role_scope: Option<String>,
    pub(super) successor: Option<String>,
    pub(super) fields: String,
}

pub(super) fn as_row(change: &HeldChange) -> HeldRow<'_> {
    let HeldChange {
        user_id,
        operation,
        subject,
        group,
        role,
        successor,
        fields,
    } = change;
    let user_id = user_id.as_ref().map(UserId::as_str);
    let (group_id, group_name) = group_columns(group.as_ref());
    let (role, role_scope) = role_columns(role.as_ref(), &change.key());
    HeldRow {
        operation: *operation,
        email: email(subject),
        user_id,
        group_id,
        group_name,
        role,
        role_scope,
        successor: successor.as_ref().map(to_json),
        fields: to_json(fields),
    }
}

/// Digest of a held set. Parts are newline-separated and contain no newlines, so entries can't be confused.
fn digest(rows: &BTreeSet<HeldRow<'_>>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for row in rows {
        let ids = [row.user_id, row.group_id, row.group_name].map(Option::unwrap_or_default);
        let parts = [row.operation.as_str(), row.email, &row.fields];
        for part in parts
            .into_iter()
            .chain(ids)
            .chain(row.role.as_deref())
            .chain(row.successor.as_deref())
        {
            hasher.update(part.as_bytes());
            hasher.update(b"\n");
        }
    }
    *hasher.finalize().as_bytes()
}

pub(super) fn held(db: &Connection, run: RunNumber) -> rusqlite::Result<Vec<HeldRecord>> {
    let mut rules = db
        .prepare_cached("SELECT rule, reason, change_set FROM held WHERE run = ?1 ORDER BY rule")?;
    let mut changes = db.prepare_cached(
        "SELECT user_id, operation, email, group_id, group_name, role, successor, fields FROM set_changes
         WHERE change_set = ?1 ORDER BY operation, group_name, email, user_id, role",
    )?;
    rules
        .query_map([run], |row| {
            let set: i64 = row.get("change_set")?;
            Ok(HeldRecord {
                rule: row.get("rule")?,
                reason: row.get("reason")?,
                changes: changes
                    .query_map([set], change)?
                    .collect::<Result<_, _>>()?,
            })
        })?
        .collect()
}

pub(super) fn change(row: &Row<'_>) -> rusqlite::Result<HeldChange> {
    Ok(HeldChange {
        user_id: row.get("user_id")?,
        operation: row.get("operation")?,
        subject: subject(row)?,
        group: group(row)?,
        role: role(row)?,
        successor: match row.get_ref("successor")? {
            ValueRef::Null => None,
            json => Some(from_json(json)?),
        },
        fields: from_json(row.get_ref("fields")?)?,
    })
}

/// Deletes change sets of deleted runs.
pub(super) fn prune(db: &Connection) -> rusqlite::Result<()> {
    db.execute(
        "DELETE FROM change_sets
         WHERE NOT EXISTS (SELECT 1 FROM held WHERE change_set = change_sets.id)
            AND NOT EXISTS (SELECT 1 FROM runs WHERE planned_set = change_sets.id)",
        [],
    )
    .map(drop)
}
