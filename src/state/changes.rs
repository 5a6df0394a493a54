//! The changes of runs and their outcomes.

use super::runs::only_one;
use super::sql::{
    Count, Time, email, email_key, from_json, group, group_columns, role, role_columns, subject,
    to_json,
};
use super::{StateDb, StateError, approvals, managed};
use crate::model::{
    ChangeId, ChangeIntent, ChangeOutcome, ChangeRecord, Email, NewIds, Operation, OwnershipUpdate,
    PLANNED, RunNumber, Settled, UNKNOWN, fold,
};
use chrono::{DateTime, Utc};
use rusqlite::{Connection, Row, named_params};

/// Selects changes of a run. The default selects all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeFilter {
    /// Only this operation.
    pub operation: Option<Operation>,
    /// Only this outcome.
    pub outcome: Option<OutcomeFilter>,
    /// Only changes with this text in the email, a field or the detail, in any letter case.
    pub text: String,
}

/// Selects changes by their outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeFilter {
    /// A known outcome.
    Is(ChangeOutcome),
    /// Sent, and the outcome is not known.
    Unknown,
    /// Planned by a dry run.
    Planned,
}

impl OutcomeFilter {
    /// All of them.
    pub const ALL: [Self; ChangeOutcome::ALL.len() + 2] = {
        let [a, b, c, d] = ChangeOutcome::ALL;
        [
            Self::Is(a),
            Self::Is(b),
            Self::Is(c),
            Self::Is(d),
            Self::Unknown,
            Self::Planned,
        ]
    };

    /// The word for the outcome.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Is(outcome) => outcome.as_str(),
            Self::Unknown => UNKNOWN,
            Self::Planned => PLANNED,
        }
    }
}

/// A page of the selected changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangePage {
    /// The number of selected changes.
    pub total: usize,
    /// The changes on this page, in the order in which they were sent.
    pub changes: Vec<ChangeRecord>,
}

impl StateDb {
    /// Records a change that is about to be sent. A change may be sent only after this has returned, so no write
    /// reaches Omni that is not recorded. Concurrent calls share one commit.
    ///
    /// # Errors
    /// Fails if the record can't be written; then the change must not be sent.
    pub async fn intend(
        &self,
        run: RunNumber,
        intent: &ChangeIntent,
    ) -> Result<ChangeId, StateError> {
        let intent = intent.clone();
        self.write(move |db| intend(db, run, &intent)).await
    }

    /// Records the outcome of a change, the ids that it lacked, and what it does to the ownership of users. If the
    /// outcome is unknown, this is not called; a later run finds out ([`StateDb::unknown`]).
    ///
    /// # Errors
    /// Fails if the outcome can't be written or was recorded before.
    pub async fn settle(
        &self,
        change: ChangeId,
        settled: &Settled,
        ids: &NewIds,
        ownership: OwnershipUpdate,
    ) -> Result<(), StateError> {
        let (settled, ids) = (settled.clone(), ids.clone());
        self.write(move |db| settle(db, change, &settled, &ids, &ownership))
            .await
    }

    /// The changes whose outcome is unknown, in the order in which they were sent. Must be called before a run sends
    /// anything, because a change in progress is one of them.
    ///
    /// # Errors
    /// Fails if the state database can't be read.
    pub async fn unknown(&self) -> Result<Vec<ChangeRecord>, StateError> {
        self.read(|db| {
            db.prepare_cached(
                "SELECT *, 0 AS is_planned FROM changes WHERE settled IS NULL ORDER BY id",
            )?
            .query_map([], record)?
            .collect()
        })
        .await
    }

    /// Records that earlier changes of the same kind and about the same, whose outcome is unknown, were not applied, or
    /// were replaced: Omni has confirmed a later one.
    pub async fn settle_earlier(
        &self,
        change: ChangeId,
        detail: &'static str,
        at: DateTime<Utc>,
    ) -> Result<(), StateError> {
        self.write(move |db| {
            let sql = "UPDATE changes SET settled = ?2, outcome = ?3, detail = ?4
                WHERE settled IS NULL AND id < ?1
                    AND (operation, email_key) = (SELECT operation, email_key FROM changes WHERE id = ?1)
                    AND group_name IS (SELECT group_name FROM changes WHERE id = ?1)
                    AND role_scope IS (SELECT role_scope FROM changes WHERE id = ?1)";
            db.prepare_cached(sql)?
                .execute((change, Time(at), ChangeOutcome::Failed, detail))
                .map(drop)
        })
        .await
    }

    /// The changes of a run, in the order in which they were sent.
    pub async fn changes(&self, run: RunNumber) -> Result<Vec<ChangeRecord>, StateError> {
        self.read(move |db| {
            db.prepare_cached("SELECT * FROM run_changes WHERE run = ?1 ORDER BY id")?
                .query_map([run], record)?
                .collect()
        })
        .await
    }

    /// The changes of a run after a change, in the order in which they were sent: at most `limit`.
    pub async fn changes_after(
        &self,
        run: RunNumber,
        after: Option<ChangeId>,
        limit: usize,
    ) -> Result<Vec<ChangeRecord>, StateError> {
        let after = after.unwrap_or(ChangeId(0));
        self.read(move |db| {
            let sql = "SELECT * FROM run_changes WHERE run = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
            db.prepare_cached(sql)?
                .query_map((run, after, Count(limit as u64)), record)?
                .collect()
        })
        .await
    }

    /// The changes of a run that a filter selects: at most `limit` after the first `skip`.
    pub async fn find_changes(
        &self,
        run: RunNumber,
        filter: ChangeFilter,
        skip: usize,
        limit: usize,
    ) -> Result<ChangePage, StateError> {
        self.read(move |db| find_changes(db, run, &filter, skip, limit))
            .await
    }

    /// The changes of all runs to users whose email begins with `prefix` in any letter case, the latest first: at most
    /// `limit`, and only those before a change if one is given. Changes planned by dry runs are not included.
    pub async fn changes_by_prefix(
        &self,
        prefix: &str,
        before: Option<ChangeId>,
        limit: usize,
    ) -> Result<Vec<ChangeRecord>, StateError> {
        let from = fold(prefix.trim()).into_owned();
        let to = format!("{from}{}", char::MAX);
        let before = before.unwrap_or(ChangeId(u64::MAX));
        self.read(move |db| {
            // The inner query reads only the index of emails. `+id` keeps it from reading the table in its order, which
            // would take all of it to find few changes.
            let sql = "SELECT *, 0 AS is_planned FROM changes WHERE id IN (
                    SELECT id FROM changes WHERE email_key >= ?1 AND email_key < ?2 AND +id < ?3
                    ORDER BY +id DESC LIMIT ?4
                ) ORDER BY id DESC";
            db.prepare_cached(sql)?
                .query_map((from, to, before, Count(limit as u64)), record)?
                .collect()
        })
        .await
    }

    /// The latest changes of a user, the latest first.
    pub async fn changes_of(
        &self,
        email: &Email,
        limit: usize,
    ) -> Result<Vec<ChangeRecord>, StateError> {
        let key = email.folded().into_owned();
        self.read(move |db| {
            let sql = "SELECT *, 0 AS is_planned FROM changes WHERE email_key = ?1 ORDER BY id DESC LIMIT ?2";
            db.prepare_cached(sql)?
                .query_map((key, Count(limit as u64)), record)?
                .collect()
        })
        .await
    }
}

fn find_changes(
    db: &Connection,
    run: RunNumber,
    filter: &ChangeFilter,
    skip: usize,
    limit: usize,
) -> rusqlite::Result<ChangePage> {
    const WANTED: &str = "FROM run_changes WHERE run = :run
        AND (:operation IS NULL OR operation = :operation)
        AND (:outcome IS NULL OR coalesce(outcome, 'unknown') = :outcome)
        AND (:text = '' OR instr(email_key, :text) OR instr(lower(coalesce(group_name, '')), :text)
            OR instr(lower(coalesce(role, '')), :text) OR instr(lower(fields), :text)
            OR instr(lower(detail), :text))";
    let ChangeFilter {
        operation,
        outcome,
        text,
    } = filter;
    let outcome = outcome.map(OutcomeFilter::as_str);
    let text = fold(text.trim());
    let total = db
        .prepare_cached(&format!("SELECT count(*) {WANTED}"))?
        .query_row(
            named_params! { ":run": run, ":operation": operation, ":outcome": outcome, ":text": text },
            |row| row.get::<_, Count>(0),
        )?;
    let sql = format!("SELECT * {WANTED} ORDER BY id LIMIT :limit OFFSET :skip");
    let changes = db
        .prepare_cached(&sql)?
        .query_map(
            named_params! {
                ":run": run, ":operation": operation, ":outcome": outcome, ":text": text,
                ":limit": Count(limit as u64), ":skip": Count(skip as u64),
            },
            record,
        )?
        .collect::<Result<_, _>>()?;
    Ok(ChangePage {
        total: usize::try_from(total.0).unwrap_or(usize::MAX),
        changes,
    })
}

fn intend(db: &Connection, run: RunNumber, intent: &ChangeIntent) -> rusqlite::Result<ChangeId> {
    let ChangeIntent {
        intended,
        subject,
        user_id,
        operation,
        group,
        role,
        fields,
        approved,
    } = intent;
    let (role, role_scope) = role_columns(role.as_ref(), &intent.key());
    let (group_id, group_name) = group_columns(group.as_ref());
    db.prepare_cached(
        "INSERT INTO changes
            (run, intended, email_key, email, user_id, operation, group_id, group_name, role, role_scope, fields,
             approved, clears)
         VALUES
            (:run, :intended, :email_key, :email, :user_id, :operation, :group_id, :group_name, :role, :role_scope,
             :fields, :approved, :clears)
         RETURNING id",
    )?
    .query_row(
        named_params! {
            ":run": run, ":intended": Time(*intended), ":email_key": email_key(subject),
            ":email": email(subject), ":user_id": user_id, ":operation": operation,
            ":group_id": group_id, ":group_name": group_name, ":role": role, ":role_scope": role_scope,
            ":fields": to_json(fields), ":approved": approved, ":clears": operation.clears(fields),
        },
        |row| row.get(0),
    )
}

fn settle(
    db: &Connection,
    id: ChangeId,
    settled: &Settled,
    ids: &NewIds,
    ownership: &OwnershipUpdate,
) -> rusqlite::Result<()> {
    let Settled {
        at,
        outcome,
        detail,
    } = settled;
    let NewIds { user, group } = ids;
    let written = db
        .prepare_cached(
            "UPDATE changes SET settled = ?2, outcome = ?3, detail = ?4, user_id = coalesce(user_id, ?5),
                group_id = coalesce(group_id, ?6)
             WHERE id = ?1 AND settled IS NULL",
        )?
        .execute((id, Time(*at), outcome, detail, user, group))?;
    only_one(written)?;
    managed::store(db, ownership, *at)?;
    match outcome {
        ChangeOutcome::Applied => approvals::use_up(db, id),
        ChangeOutcome::NotKept | ChangeOutcome::Failed | ChangeOutcome::Skipped => Ok(()),
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<ChangeRecord> {
    let settled: Option<Time> = row.get("settled")?;
    let settled = match settled {
        None => None,
        Some(Time(at)) => Some(Settled {
            at,
            outcome: row.get("outcome")?,
            detail: row.get("detail")?,
        }),
    };
    Ok(ChangeRecord {
        id: row.get("id")?,
        run: row.get("run")?,
        is_planned: row.get("is_planned")?,
        intent: ChangeIntent {
            intended: row.get::<_, Time>("intended")?.0,
            subject: subject(row)?,
            user_id: row.get("user_id")?,
            operation: row.get("operation")?,
            group: group(row)?,
            role: role(row)?,
            fields: from_json(row.get_ref("fields")?)?,
            approved: row.get("approved")?,
        },
        settled,
    })
}
