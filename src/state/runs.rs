//! The runs.

use super::sql::{Count, Span, Time};
use super::{StateDb, StateError, StateLock};
use crate::model::{
    ClockStep, Counts, Operation, RunClock, RunEnd, RunNumber, RunRecord, RunRef, RunResult,
    RunStart, RunState, RunTime, Trigger,
};
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row, named_params};
use std::path::Path;

/// Selects runs. The default selects all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Only runs that sent changes, and dry runs that planned some.
    pub with_changes: bool,
    /// Only this result.
    pub result: Option<ResultFilter>,
    /// Only this trigger.
    pub trigger: Option<Trigger>,
}

/// Selects runs by their result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultFilter {
    /// Ended with this result.
    Is(RunResult),
    /// In progress.
    Running,
    /// The process ended during the run.
    Interrupted,
}

impl ResultFilter {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let ended = RunResult::ALL.into_iter().map(Self::Is);
        ended.chain([Self::Running, Self::Interrupted])
    }

    /// The word for the result, as [`RunState::as_str`] has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Is(result) => result.as_str(),
            Self::Running => RunState::Open.as_str(),
            Self::Interrupted => RunState::Interrupted.as_str(),
        }
    }
}

impl StateDb {
    /// Records the start of a run. An earlier run that has not ended was interrupted.
    pub async fn begin(&self, start: RunStart) -> Result<RunNumber, StateError> {
        self.write(move |db| begin(db, start)).await
    }

    /// Records the end of a run. Fails if the run has ended before.
    pub async fn finish(&self, run: RunNumber, end: &RunEnd) -> Result<(), StateError> {
        let end = end.clone();
        self.write(move |db| finish(db, run, &end)).await
    }

    /// The latest runs, the latest first.
    pub async fn runs(&self, limit: usize) -> Result<Vec<RunRecord>, StateError> {
        self.find_runs(RunFilter::default(), None, limit).await
    }

    /// The runs that a filter selects, the latest first: at most `limit`, and only those before a run if one is given.
    pub async fn find_runs(
        &self,
        filter: RunFilter,
        before: Option<RunNumber>,
        limit: usize,
    ) -> Result<Vec<RunRecord>, StateError> {
        let is_in_use = match filter.result {
            Some(ResultFilter::Running | ResultFilter::Interrupted) => self.is_in_use(),
            Some(ResultFilter::Is(_)) | None => true,
        };
        let read = self.read(move |db| find_runs(db, filter, before, limit, is_in_use));
        Ok(self.without_abandoned(read.await?))
    }

    /// One run.
    pub async fn run(&self, run: RunRef) -> Result<Option<RunRecord>, StateError> {
        let read = self.read(move |db| {
            let Some(number) = find(db, run)? else {
                return Ok(Vec::new());
            };
            db.query_row("SELECT * FROM runs WHERE number = ?1", [number], record)
                .map(|run| vec![run])
        });
        Ok(self.without_abandoned(read.await?).pop())
    }

    /// A run that has not ended was interrupted if no process holds the state folder.
    fn without_abandoned(&self, mut runs: Vec<RunRecord>) -> Vec<RunRecord> {
        let is_open = |run: &RunRecord| run.state == RunState::Open;
        if runs.iter().any(is_open) && !self.is_in_use() {
            let open = runs.iter_mut().filter(|run| is_open(run));
            open.for_each(|run| run.state = RunState::Interrupted);
        }
        runs
    }

    /// Whether a process may write to the state folder. True if that can't be found out.
    fn is_in_use(&self) -> bool {
        let is_in_use = |dir: &Path| !matches!(StateLock::holder(dir), Ok(None));
        self.path().parent().is_none_or(is_in_use)
    }
}

fn find_runs(
    db: &Connection,
    filter: RunFilter,
    before: Option<RunNumber>,
    limit: usize,
    is_in_use: bool,
) -> rusqlite::Result<Vec<RunRecord>> {
    let RunFilter {
        with_changes,
        result,
        trigger,
    } = filter;
    db.prepare_cached(
        "SELECT * FROM runs WHERE number < :before
            AND (:trigger IS NULL OR trigger = :trigger)
            AND (:result IS NULL OR :result = coalesce(
                result, iif(interrupted OR NOT :is_in_use, 'interrupted', 'running')
            ))
            AND (NOT :with_changes OR EXISTS (SELECT 1 FROM changes WHERE run = runs.number)
                OR EXISTS (SELECT 1 FROM set_changes WHERE change_set = runs.planned_set))
         ORDER BY number DESC LIMIT :limit",
    )?
    .query_map(
        named_params! {
            ":before": before.unwrap_or(RunNumber(u64::MAX)), ":trigger": trigger,
            ":result": result.map(ResultFilter::as_str), ":is_in_use": is_in_use,
            ":with_changes": with_changes, ":limit": Count(limit as u64),
        },
        record,
    )?
    .collect()
}

fn begin(db: &Connection, start: RunStart) -> rusqlite::Result<RunNumber> {
    interrupt(db)?;
    let RunStart {
        trigger,
        started,
        is_source,
        max_gap,
    } = start;
    let run_time = run_time(db, started)?;
    db.prepare_cached(
        "INSERT INTO runs (trigger, started, is_source, max_gap, run_time)
         VALUES (?1, ?2, ?3, ?4, ?5) RETURNING number",
    )?
    .query_row(
        (trigger, Time(started), is_source, Span(max_gap), run_time),
        |row| row.get(0),
    )
}

/// The time on the clock of recorded runs.
pub(super) fn run_time(db: &Connection, now: DateTime<Utc>) -> rusqlite::Result<RunTime> {
    let last = clocks(db)?.into_iter().next();
    Ok(last.map_or(RunTime::first(now), |(run, _)| run.at(now)))
}

/// The start of the last run, by the same clock.
pub(super) fn last_start(db: &Connection, now: DateTime<Utc>) -> rusqlite::Result<RunTime> {
    let last = clocks(db)?.into_iter().next();
    Ok(last.map_or(RunTime::first(now), |(run, _)| run.time))
}

/// How far the wall clock is from the last run's, or was at the start of a run that is in progress.
pub(super) fn clock_step(
    db: &Connection,
    now: DateTime<Utc>,
) -> rusqlite::Result<Option<ClockStep>> {
    let mut clocks = clocks(db)?.into_iter();
    let Some((last, is_open)) = clocks.next() else {
        return Ok(None);
    };
    let before = clocks.next().filter(|_| is_open);
    let at_start = || before?.0.step(last.started);
    Ok(last.step(now).or_else(at_start))
}

/// The clocks of the last two runs, the latest first, and whether each has not ended.
fn clocks(db: &Connection) -> rusqlite::Result<Vec<(RunClock, bool)>> {
    db.prepare_cached(
        "SELECT started, run_time, max_gap, ended IS NULL AND interrupted = 0 AS is_open FROM runs
         ORDER BY number DESC LIMIT 2",
    )?
    .query_map([], |row| {
        let clock = RunClock {
            started: row.get::<_, Time>("started")?.0,
            time: row.get("run_time")?,
            max_gap: row.get::<_, Span>("max_gap")?.0,
        };
        Ok((clock, row.get("is_open")?))
    })?
    .collect()
}

/// Marks runs that have not ended as interrupted. The caller knows that no run is in progress.
pub(super) fn interrupt(db: &Connection) -> rusqlite::Result<()> {
    db.execute(
        "UPDATE runs SET interrupted = 1 WHERE ended IS NULL AND interrupted = 0",
        [],
    )
    .map(drop)
}

fn finish(db: &Connection, run: RunNumber, end: &RunEnd) -> rusqlite::Result<()> {
    let RunEnd {
        ended,
        result,
        fingerprint,
        rows,
        users,
        planned,
        pending,
        applied,
        failed,
        held,
        bad_rows,
        requests,
        detail,
    } = end;
    let of = |counts: &Option<Counts>, operation| {
        counts.map(|counts| Count(counts.get(operation) as u64))
    };
    let planned_of = |operation| of(planned, operation);
    let pending_of = |operation| of(pending, operation);
    let written = db.execute(
        "UPDATE runs SET ended = :ended, result = :result, fingerprint = :fingerprint,
            rows = :rows, users = :users, planned_delete = :planned_delete,
            planned_deactivate = :planned_deactivate, planned_update = :planned_update,
            planned_create = :planned_create, planned_leave = :planned_leave, planned_join = :planned_join,
            planned_assign = :planned_assign, pending_assign = :pending_assign,
            planned_transfer = :planned_transfer, pending_transfer = :pending_transfer,
            pending_delete = :pending_delete, pending_deactivate = :pending_deactivate,
            pending_update = :pending_update, pending_create = :pending_create,
            pending_leave = :pending_leave, pending_join = :pending_join, applied = :applied, failed = :failed, held = :held,
            bad_rows = :bad_rows, requests = :requests, detail = :detail
         WHERE number = :run AND ended IS NULL",
        named_params! {
            ":run": run, ":ended": Time(*ended), ":result": result,
            ":fingerprint": fingerprint, ":rows": rows.map(Count), ":users": users.map(Count),
            ":planned_delete": planned_of(Operation::Delete), ":planned_deactivate": planned_of(Operation::Deactivate),
            ":planned_update": planned_of(Operation::Update), ":planned_create": planned_of(Operation::Create),
            ":pending_delete": pending_of(Operation::Delete), ":pending_deactivate": pending_of(Operation::Deactivate),
            ":pending_update": pending_of(Operation::Update), ":pending_create": pending_of(Operation::Create),
            ":planned_leave": planned_of(Operation::Leave), ":planned_join": planned_of(Operation::Join),
            ":pending_leave": pending_of(Operation::Leave), ":pending_join": pending_of(Operation::Join),
            ":planned_transfer": planned_of(Operation::Transfer), ":pending_transfer": pending_of(Operation::Transfer),
            ":planned_assign": planned_of(Operation::Assign), ":pending_assign": pending_of(Operation::Assign),
            ":applied": Count(*applied), ":failed": Count(*failed), ":held": Count(*held),
            ":bad_rows": Count(*bad_rows), ":requests": Count(*requests), ":detail": detail,
        },
    )?;
    only_one(written)
}

/// Fails unless a write changed exactly one row.
pub(super) fn only_one(written: usize) -> rusqlite::Result<()> {
    match written {
        1 => Ok(()),
        other => Err(rusqlite::Error::StatementChangedRows(other)),
    }
}

/// The number of an existing run.
pub(super) fn find(db: &Connection, run: RunRef) -> rusqlite::Result<Option<RunNumber>> {
    match run {
        RunRef::Latest => db.query_row("SELECT max(number) FROM runs", [], |row| row.get(0)),
        RunRef::Number(number) => db
            .query_row(
                "SELECT number FROM runs WHERE number = ?1",
                [number],
                |row| row.get(0),
            )
            .optional(),
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<RunRecord> {
    let interrupted: bool = row.get("interrupted")?;
    let ended: Option<Time> = row.get("ended")?;
    Ok(RunRecord {
        number: row.get("number")?,
        start: RunStart {
            trigger: row.get("trigger")?,
            started: row.get::<_, Time>("started")?.0,
            is_source: row.get("is_source")?,
            max_gap: row.get::<_, Span>("max_gap")?.0,
        },
        state: match ended {
            Some(Time(ended)) => RunState::Ended(Box::new(read_end(row, ended)?)),
            None if interrupted => RunState::Interrupted,
            None => RunState::Open,
        },
    })
}

fn read_end(row: &Row<'_>, ended: DateTime<Utc>) -> rusqlite::Result<RunEnd> {
    let count = |name| row.get::<_, Count>(name).map(|count| count.0);
    let maybe = |name| {
        row.get::<_, Option<Count>>(name)
            .map(|count| count.map(|count| count.0))
    };
    Ok(RunEnd {
        ended,
        result: row.get("result")?,
        fingerprint: row.get("fingerprint")?,
        rows: maybe("rows")?,
        users: maybe("users")?,
        planned: counts(row, "planned")?,
        pending: counts(row, "pending")?,
        applied: count("applied")?,
        failed: count("failed")?,
        held: count("held")?,
        bad_rows: count("bad_rows")?,
        requests: count("requests")?,
        detail: row.get("detail")?,
    })
}

/// The counts by operation in the columns `…_delete` and so on.
fn counts(row: &Row<'_>, name: &str) -> rusqlite::Result<Option<Counts>> {
    let mut numbers = [0; Operation::ALL.len()];
    for (number, operation) in numbers.iter_mut().zip(Operation::ALL) {
        let column = format!("{name}_{}", operation.as_str());
        let Some(Count(count)) = row.get(&*column)? else {
            return Ok(None);
        };
        *number = usize::try_from(count).unwrap_or(usize::MAX);
    }
    Ok(Some(Counts::new(numbers)))
}
