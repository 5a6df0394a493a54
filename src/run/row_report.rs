//! The outcome of each row, for the row report.

use super::Prepared;
use super::outcome::{AppliedChange, Completion, RunError, RunOutcome};
use super::row_outcomes::{RowOutcomes, detail, row_outcomes};
use crate::model::{
    Change, Desired, DesiredUser, Email, Entry, Fingerprint, HeldChange, Location, Problem,
    RowOutcome, RunNumber, Subject,
};
use crate::report::{ReportRow, Reporter, RowReport};
use crate::roster::SourceError;
use crate::util::sync::lock;
use chrono::{DateTime, Utc};
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The interval of interim reports during a run.
const INTERIM: Duration = Duration::from_secs(60);

/// Builds a report. This runs on a thread of its own, because a roster may have a million rows.
type Build = Box<dyn FnOnce() -> RowReport + Send>;

/// The report on a run over the roster of `source.path`, and a name for what it reports on, so that runs over the same
/// content don't repeat it. `None` if there is nothing to report.
pub(super) fn report_on(
    prepared: Option<&Arc<Prepared>>,
    outcome: &RunOutcome,
) -> Option<(Build, String)> {
    match (prepared, &outcome.completion) {
        (Some(prepared), _) if prepared.desired.is_source => {
            let is_dry = matches!(outcome.completion, Completion::DryRun);
            let name = match is_dry {
                true => planned_name(prepared),
                false => name(prepared.desired.fingerprint),
            };
            let (prepared, changes) = (prepared.clone(), outcome.changes.clone());
            let run = outcome.number;
            let build = move || match is_dry {
                true => planned_report(&prepared, &changes),
                false => report(run, &prepared, &changes),
            };
            Some((Box::new(build), name))
        }
        (None, Completion::Failed(RunError::Source(error))) if !error.problems().is_empty() => {
            let report = rejection(error);
            Some((Box::new(move || report), error.to_string()))
        }
        _ => None,
    }
}

/// The name of a content.
pub(super) fn name(content: Fingerprint) -> String {
    content.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name of a content and of what a dry run plans for it, which depends on Omni too.
fn planned_name(prepared: &Prepared) -> String {
    let mut plan = blake3::Hasher::new();
    for change in prepared.assessment.verdict.all() {
        plan.update(format!("{:?}", HeldChange::from(change)).as_bytes());
    }
    let content = name(prepared.desired.fingerprint);
    format!("{content} planned {}", plan.finalize())
}

/// Writes interim reports while a run is in progress.
pub(super) struct Interim<'a> {
    reporter: &'a Reporter,
    run: RunNumber,
    prepared: &'a Arc<Prepared>,
    started: DateTime<Utc>,
    changes: Mutex<Vec<AppliedChange>>,
}

impl<'a> Interim<'a> {
    pub(super) fn new(
        reporter: &'a Reporter,
        run: RunNumber,
        prepared: &'a Arc<Prepared>,
        started: DateTime<Utc>,
    ) -> Self {
        Self {
            reporter,
            run,
            prepared,
            started,
            changes: Mutex::default(),
        }
    }

    fn is_enabled(&self) -> bool {
        self.reporter.writes() && self.prepared.desired.is_source
    }

    /// Records a change that has ended.
    pub(super) fn on_change(&self, applied: &AppliedChange) {
        if self.is_enabled() {
            lock(&self.changes).push(applied.clone());
        }
    }

    /// Writes an interim report each minute until dropped.
    pub(super) async fn write_each_minute(&self) -> Infallible {
        if !self.is_enabled() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(INTERIM).await;
            let (prepared, changes) = (self.prepared.clone(), lock(&self.changes).clone());
            let run = Some(self.run);
            let build = move || report(run, &prepared, &changes).with_problems();
            if let Err(error) = self.reporter.interim(build, self.started).await {
                tracing::warn!("{error}");
            }
        }
    }
}

/// The report on a roster that was read, with the changes tried so far.
fn report(run: Option<RunNumber>, prepared: &Prepared, changes: &[AppliedChange]) -> RowReport {
    let outcomes = row_outcomes(run, prepared, changes);
    let desired = &prepared.desired;
    let mut rows = Vec::new();
    for (email, entry) in &desired.users {
        let outcome = outcomes.get(&Subject::from(email)).cloned();
        let outcome = outcome.unwrap_or((RowOutcome::Unchanged, String::new()));
        rows.push(row(
            email.to_string(),
            Some(&entry.location),
            op(email, entry, desired),
            outcome,
        ));
    }
    rows.extend(bad_rows(desired));
    let unreadable = desired
        .rejected
        .iter()
        .chain(&desired.memberships.unreadable)
        .chain(desired.unreadable_roles());
    rows.extend(unreadable.clone().map(rejected));
    rows.sort_by(|a, b| (&a.file, a.line, &a.email).cmp(&(&b.file, b.line, &b.email)));
    rows.extend(unnamed(desired, &outcomes));
    let mut report = RowReport::new(rows);
    if prepared
        .assessment
        .not_found
        .iter()
        .any(|row| row.nearest.is_some())
    {
        report = report.with_problems();
    }
    match unreadable.count() {
        0 => report,
        _ => report.rejected(),
    }
}

/// The report on a dry run: planned changes with their operation and field names.
fn planned_report(prepared: &Prepared, changes: &[AppliedChange]) -> RowReport {
    let mut planned: HashMap<_, Vec<_>> = HashMap::new();
    for change in prepared.assessment.verdict.passed() {
        let details = planned.entry(change.subject.to_string()).or_default();
        details.push(planned_detail(change));
    }
    for leaver in prepared.desired.upcoming_leavers() {
        if let Some(details) = planned.get_mut(leaver.email.as_str()) {
            details.push(leaver.detail());
        }
    }
    let mut report = report(None, prepared, changes);
    for row in &mut report.rows {
        if let Some(details) = planned.get(row.email.as_str()) {
            row.outcome = RowOutcome::Planned;
            row.detail = details.join("; ");
        }
    }
    report.planned()
}

/// `update: department, region`; a deletion has no fields.
fn planned_detail(change: &Change) -> String {
    let operation = change.operation();
    if operation.is_removal() {
        return operation.to_string();
    }
    if let Some(membership) = change.membership() {
        return format!("{operation}: {}", membership.group.marked());
    }
    if let Some(role) = change.role() {
        return format!("{operation}: {role}");
    }
    let fields = change.fields();
    let fields: Vec<_> = fields.iter().map(|one| one.field.to_string()).collect();
    format!("{operation}: {}", fields.join(", "))
}

/// The report on a roster that could not be used at all.
fn rejection(error: &SourceError) -> RowReport {
    RowReport::new(error.problems().iter().map(rejected).collect()).rejected()
}

fn bad_rows(desired: &Desired) -> impl Iterator<Item = ReportRow> + '_ {
    desired.bad_rows.iter().map(|problem| {
        let email = problem.email.as_ref();
        // An invalid row of `source.groups` does not freeze its user.
        let is_frozen = email.is_some_and(|email| desired.frozen.contains_key(email));
        let outcome = match is_frozen {
            true => RowOutcome::Frozen,
            false => RowOutcome::Rejected,
        };
        row(
            email.map(ToString::to_string).unwrap_or_default(),
            Some(&problem.location),
            "",
            (outcome, detail(problem)),
        )
    })
}

fn rejected(problem: &Problem) -> ReportRow {
    let outcome = (RowOutcome::Rejected, detail(problem));
    row(String::new(), Some(&problem.location), "", outcome)
}

/// Users that are not in the roster and have an outcome, such as pruned users, and groups.
fn unnamed(desired: &Desired, outcomes: &RowOutcomes) -> Vec<ReportRow> {
    let stated = stated_beside(desired);
    let mut rows: Vec<_> = outcomes
        .iter()
        .filter(|(subject, _)| match subject {
            Subject::User(email) => !desired.users.contains_key(email),
            Subject::Group(_) => true,
        })
        .map(|(subject, outcome)| {
            let location = stated.get(&subject.folded()).copied();
            let op = "(not in the roster)";
            row(subject.to_string(), location, op, outcome.clone())
        })
        .collect();
    rows.sort_by(|a, b| a.email.cmp(&b.email));
    rows
}

/// The first row of `source.groups`, or else of `source.roles`, about each user or group.
fn stated_beside(desired: &Desired) -> HashMap<String, &Location> {
    let groups = desired.memberships.rows.iter();
    let groups = groups.map(|row| (row.email.folded().into_owned(), &row.location));
    let roles = desired.roles.iter().flat_map(|roles| &roles.rows);
    let roles = roles.map(|row| (row.subject.folded(), &row.location));
    let mut first = HashMap::new();
    for (subject, location) in groups.chain(roles) {
        first.entry(subject).or_insert(location);
    }
    first
}

fn row(
    subject: String,
    location: Option<&Location>,
    op: &'static str,
    (outcome, detail): (RowOutcome, String),
) -> ReportRow {
    ReportRow {
        file: location
            .map(|location| location.file.clone())
            .unwrap_or_default(),
        line: location.map_or(0, |location| location.line),
        email: subject,
        op,
        outcome,
        detail,
    }
}

fn op(email: &Email, entry: &Entry, desired: &Desired) -> &'static str {
    if let Some(leaver) = desired.leavers.get(email) {
        return leaver.operation.as_str();
    }
    match entry.want {
        DesiredUser::Upsert(_) => "upsert",
        DesiredUser::Delete(_) => "delete",
        DesiredUser::Deactivate(_) => "deactivate",
    }
}
