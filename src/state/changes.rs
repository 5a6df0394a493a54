//! Changes: what is about to be sent, and what became of it.

use super::runs::only_one;
use super::sql::{Count, Time};
use super::{StateDb, StateError, fields, managed};
use crate::model::{ChangeId, ChangeIntent, ChangeRecord, Settled};
use crate::model::{ChangeOutcome, Email, Field, Operation, RunNumber, UserId, fold};
use chrono::{DateTime, Utc};
use rusqlite::{Connection, Row, named_params};

/// Which changes of a run are asked for. The default is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeFilter {
    /// Of one kind.
    pub kind: Option<Operation>,
    /// With one end; `Some(None)` for those of which it is not known.
    pub outcome: Option<Option<ChangeOutcome>>,
    /// With this text in the email, in a field, or in what became of it; in any case.
    pub text: String,
}

/// Some of the changes that were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangePage {
    /// How many there are in all.
    pub total: usize,
    /// These, in the order in which they were sent.
    pub changes: Vec<ChangeRecord>,
}

impl StateDb {
    /// A change is about to be sent. Send it only after this has returned: then no write reaches
    /// Omni that is not in here. Calls at the same time share one commit.
    ///
    /// # Errors
    /// When it can't be written; then the change must not be sent.
    pub async fn intend(
        &self,
        run: RunNumber,
        intent: &ChangeIntent,
    ) -> Result<ChangeId, StateError> {
        let intent = intent.clone();
        self.write(move |db| intend(db, run, &intent)).await
    }

    /// It is known what became of a change. Where it is not, don't call this: a later run finds out
    /// ([`StateDb::unknown`]).
    ///
    /// # Errors
    /// When it can't be written, or was settled before.
    pub async fn settle(&self, change: ChangeId, settled: &Settled) -> Result<(), StateError> {
        let settled = settled.clone();
        self.write(move |db| settle(db, change, &settled, None))
            .await
    }

    /// The same of a creation, and who was made: whoever has the email later may be somebody else.
    ///
    /// # Errors
    /// As [`StateDb::settle`].
    pub async fn settle_creation(
        &self,
        change: ChangeId,
        settled: &Settled,
        made: &UserId,
    ) -> Result<(), StateError> {
        let (settled, made) = (settled.clone(), made.clone());
        self.write(move |db| settle(db, change, &settled, Some(&made)))
            .await
    }

    /// The changes of which is not known what became of them, in the order in which they were sent.
    /// To be asked before a run sends anything: what is under way is among them.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn unknown(&self) -> Result<Vec<ChangeRecord>, StateError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM changes WHERE settled IS NULL ORDER BY id")?
                .query_map([], record)?
                .collect()
        })
        .await
    }

    /// A later look at Omni says whether an unknown change was done.
    ///
    /// # Errors
    /// When it can't be written, or was settled before.
    pub async fn resolve(
        &self,
        change: ChangeId,
        was_done: bool,
        now: DateTime<Utc>,
    ) -> Result<(), StateError> {
        let (outcome, detail) = if was_done {
            (
                ChangeOutcome::Done,
                "the answer was lost; a later run found it done",
            )
        } else {
            (
                ChangeOutcome::Failed,
                "the answer was lost; a later run found it not done",
            )
        };
        let settled = Settled {
            at: now,
            outcome,
            detail: detail.into(),
        };
        self.settle(change, &settled).await
    }

    /// The changes of a run, in the order in which they were sent.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn changes(&self, run: RunNumber) -> Result<Vec<ChangeRecord>, StateError> {
        self.read(move |db| {
            db.prepare_cached("SELECT * FROM changes WHERE run = ?1 ORDER BY id")?
                .query_map([run], record)?
                .collect()
        })
        .await
    }

    /// The changes of a run that a filter lets through: so many of those after `skip`.
    ///
    /// # Errors
    /// When it can't be read.
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

    /// The last changes of a user, the last one first.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn changes_of(
        &self,
        email: &Email,
        limit: usize,
    ) -> Result<Vec<ChangeRecord>, StateError> {
        let key = email.folded().into_owned();
        self.read(move |db| {
            let sql = "SELECT * FROM changes WHERE email_key = ?1 ORDER BY id DESC LIMIT ?2";
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
    const WANTED: &str = "FROM changes WHERE run = :run
        AND (:kind IS NULL OR kind = :kind)
        AND (:outcome IS NULL OR coalesce(outcome, 'unknown') = :outcome)
        AND (:text = '' OR instr(email_key, :text) OR instr(lower(fields), :text)
            OR instr(lower(detail), :text))";
    let ChangeFilter {
        kind,
        outcome,
        text,
    } = filter;
    let outcome = outcome.map(|outcome| outcome.map_or("unknown", ChangeOutcome::as_str));
    let text = fold(text.trim());
    let total = db
        .prepare_cached(&format!("SELECT count(*) {WANTED}"))?
        .query_row(
            named_params! { ":run": run, ":kind": kind, ":outcome": outcome, ":text": text },
            |row| row.get::<_, Count>(0),
        )?;
    let sql = format!("SELECT * {WANTED} ORDER BY id LIMIT :limit OFFSET :skip");
    let changes = db
        .prepare_cached(&sql)?
        .query_map(
            named_params! {
                ":run": run, ":kind": kind, ":outcome": outcome, ":text": text,
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
        email,
        user_id,
        kind,
        fields,
        approved,
    } = intent;
    db.prepare_cached(
        "INSERT INTO changes (run, intended, email_key, email, user_id, kind, fields, approved)
         VALUES (:run, :intended, :email_key, :email, :user_id, :kind, :fields, :approved)
         RETURNING id",
    )?
    .query_row(
        named_params! {
            ":run": run, ":intended": Time(*intended), ":email_key": email.folded(),
            ":email": email, ":user_id": user_id, ":kind": kind,
            ":fields": fields::to_json(fields), ":approved": approved,
        },
        |row| row.get(0),
    )
}

fn settle(
    db: &Connection,
    id: ChangeId,
    settled: &Settled,
    made: Option<&UserId>,
) -> rusqlite::Result<()> {
    let Settled {
        at,
        outcome,
        detail,
    } = settled;
    let written = db
        .prepare_cached(
            "UPDATE changes SET settled = ?2, outcome = ?3, detail = ?4, user_id = coalesce(user_id, ?5)
             WHERE id = ?1 AND settled IS NULL",
        )?
        .execute((id, Time(*at), outcome, detail, made))?;
    only_one(written)?;
    if *outcome != ChangeOutcome::Done {
        return Ok(());
    }
    let change = db
        .prepare_cached("SELECT * FROM changes WHERE id = ?1")?
        .query_row([id], record)?;
    note_done(db, &change, *at)
}

/// What follows from a change that was done.
fn note_done(db: &Connection, change: &ChangeRecord, at: DateTime<Utc>) -> rusqlite::Result<()> {
    let ChangeIntent {
        email,
        user_id,
        kind,
        fields,
        ..
    } = &change.intent;
    if *kind == Operation::Create && is_source(db, change.run)? {
        managed::add(db, email, at)?;
    }
    if *kind == Operation::Delete {
        managed::remove(db, email)?;
    }
    let Some(user_id) = user_id else {
        return Ok(());
    };
    use_approvals(db, change.id, user_id, *kind)?;
    match kind {
        Operation::Deactivate => managed::add_deactivated(db, user_id, email, at),
        Operation::Update if !fields.iter().any(|one| one.field == Field::Active) => Ok(()),
        Operation::Delete | Operation::Update | Operation::Create => {
            managed::remove_deactivated(db, user_id)
        }
    }
}

fn is_source(db: &Connection, run: RunNumber) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT is_source FROM runs WHERE number = ?1")?
        .query_row([run], |row| row.get(0))
}

/// An approval is for once. All that are there for this are used up, so that two approvals of one
/// run are not good for two removals.
fn use_approvals(
    db: &Connection,
    change: ChangeId,
    user_id: &UserId,
    kind: Operation,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE approved_users SET used_by = ?1
         WHERE user_id = ?2 AND kind = ?3 AND used_by IS NULL",
    )?
    .execute((change, user_id, kind))
    .map(drop)
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
        intent: ChangeIntent {
            intended: row.get::<_, Time>("intended")?.0,
            email: row.get("email")?,
            user_id: row.get("user_id")?,
            kind: row.get("kind")?,
            fields: fields::from_json(row.get_ref("fields")?)?,
            approved: row.get("approved")?,
        },
        settled,
    })
}
