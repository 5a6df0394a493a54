//! What became of each row, from what a run found and did: for the row report.

use super::Prepared;
use super::outcome::{AppliedChange, Completion, RunError, RunOutcome};
use crate::model::{
    ChangeOutcome, Desired, DesiredUser, Email, Entry, Fingerprint, Location, Operation, Problem,
};
use crate::plan::Change;
use crate::report::{Report, Reporter, Row};
use crate::roster::SourceError;
use crate::util::sync::lock;
use chrono::{DateTime, Utc};
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often a run that takes longer tells what it has done so far.
const INTERIM: Duration = Duration::from_secs(60);

/// Builds a report: work for a thread of its own, since a large roster has a million lines.
type Build = Box<dyn FnOnce() -> Report + Send>;

/// The answer to whoever dropped the roster of `source.path`, and a name for what was answered, so
/// that runs over the same content say nothing new. `None` where there is nobody to answer.
pub(super) fn answer(
    prepared: Option<&Arc<Prepared>>,
    outcome: &RunOutcome,
) -> Option<(Build, String)> {
    match (prepared, &outcome.end) {
        // What was only planned became of nothing.
        (_, Completion::PlanOnly) => None,
        (Some(prepared), _) if prepared.desired.is_source => {
            let name = name(prepared.desired.fingerprint);
            let (prepared, applied) = (prepared.clone(), outcome.applied.clone());
            Some((Box::new(move || report(&prepared, &applied)), name))
        }
        (None, Completion::Failed(RunError::Source(error))) if !error.problems().is_empty() => {
            let report = rejection(error);
            Some((Box::new(move || report), error.to_string()))
        }
        _ => None,
    }
}

/// The name of the answer to a content.
pub(super) fn name(content: Fingerprint) -> String {
    content.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A run under way, as far as it has come.
pub(super) struct Interim<'a> {
    reporter: &'a Reporter,
    prepared: &'a Arc<Prepared>,
    started: DateTime<Utc>,
    applied: Mutex<Vec<AppliedChange>>,
}

impl<'a> Interim<'a> {
    pub(super) fn new(
        reporter: &'a Reporter,
        prepared: &'a Arc<Prepared>,
        started: DateTime<Utc>,
    ) -> Self {
        Self {
            reporter,
            prepared,
            started,
            applied: Mutex::default(),
        }
    }

    fn is_wanted(&self) -> bool {
        self.reporter.writes() && self.prepared.desired.is_source
    }

    /// A change has ended.
    pub(super) fn hear(&self, applied: &AppliedChange) {
        if self.is_wanted() {
            self.lock().push(applied.clone());
        }
    }

    /// Writes an interim report each minute, until it is dropped.
    pub(super) async fn write_each_minute(&self) -> Infallible {
        if !self.is_wanted() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(INTERIM).await;
            let (prepared, applied) = (self.prepared.clone(), self.lock().clone());
            let build = move || report(&prepared, &applied).unfinished();
            if let Err(error) = self.reporter.interim(build, self.started).await {
                tracing::warn!("{error}");
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<AppliedChange>> {
        lock(&self.applied)
    }
}

/// What became of a roster that was read: `applied` is what was tried so far.
fn report(prepared: &Prepared, applied: &[AppliedChange]) -> Report {
    let fates = fates(prepared, applied);
    let mut rows = Vec::new();
    for (email, entry) in &prepared.desired.users {
        let (outcome, detail) = fates
            .get(email)
            .cloned()
            .unwrap_or(("unchanged", String::new()));
        rows.push(Row {
            outcome,
            detail,
            ..row(Some(email), Some(&entry.place), op(entry))
        });
    }
    rows.extend(bad_rows(&prepared.desired));
    rows.extend(prepared.desired.rejected.iter().map(rejected));
    rows.sort_by(|a, b| (&a.file, a.line, &a.email).cmp(&(&b.file, b.line, &b.email)));
    rows.extend(unnamed(prepared, &fates));
    let report = Report::new(rows);
    if prepared.desired.rejected.is_empty() {
        report
    } else {
        report.rejected()
    }
}

/// What became of a roster that could not be used at all.
fn rejection(error: &SourceError) -> Report {
    Report::new(error.problems().iter().map(rejected).collect()).rejected()
}

/// A user's outcome, and more of it in plain words.
type Fate = (&'static str, String);

fn fates<'a>(prepared: &'a Prepared, applied: &'a [AppliedChange]) -> HashMap<&'a Email, Fate> {
    let mut fates = HashMap::new();
    for (held, changes) in prepared.verdict.held() {
        let why = format!("held by policy.{}: {}", held.rule, held.why);
        fates.extend(
            changes
                .iter()
                .map(|change| (&change.email, ("held", why.clone()))),
        );
    }
    for withheld in &prepared.withheld {
        fates.extend(
            withheld
                .emails
                .iter()
                .map(|email| (email, ("held", withheld.why.clone()))),
        );
    }
    let set_apart = |changes: &'a [Change], word: &'static str, why: &'static str| {
        changes
            .iter()
            .map(move |change| (&change.email, (word, why.to_owned())))
    };
    let verdict = &prepared.verdict;
    fates.extend(set_apart(
        verdict.protected(),
        "protected",
        "by policy.protect",
    ));
    let waits = "it failed before and is tried again later, or when it changes";
    fates.extend(set_apart(verdict.quarantined(), "quarantined", waits));
    // Of a run under way, or of one that only plans.
    let waiting = verdict.passed().iter();
    let waiting = waiting.map(|one| {
        (
            &one.email,
            ("unchanged", format!("not done yet: {}", one.kind())),
        )
    });
    fates.extend(waiting);
    for problem in &prepared.problems {
        let detail = format!("{}; {}", problem.what, problem.remedy);
        fates.extend(
            problem
                .email
                .as_ref()
                .map(|email| (email, ("frozen", detail))),
        );
    }
    fates.extend(
        applied
            .iter()
            .map(|one| (&one.email, (word(one), one.detail.clone()))),
    );
    fates
}

fn word(applied: &AppliedChange) -> &'static str {
    match (applied.outcome, applied.kind) {
        (ChangeOutcome::Done, Operation::Create) => "created",
        (ChangeOutcome::Done, Operation::Update) => "updated",
        (ChangeOutcome::Done, Operation::Delete) => "removed",
        (ChangeOutcome::Done, Operation::Deactivate) => "deactivated",
        (ChangeOutcome::NotKept | ChangeOutcome::Failed | ChangeOutcome::Unsent, _) => "failed",
    }
}

fn bad_rows(desired: &Desired) -> impl Iterator<Item = Row> + '_ {
    desired.bad_rows.iter().map(|problem| {
        let email = problem.email.as_ref();
        let outcome = if email.is_some() {
            "frozen"
        } else {
            "rejected"
        };
        Row {
            outcome,
            detail: told(problem),
            ..row(email, Some(&problem.place), "")
        }
    })
}

fn rejected(problem: &Problem) -> Row {
    Row {
        outcome: "rejected",
        detail: told(problem),
        ..row(None, Some(&problem.place), "")
    }
}

/// Users whom the roster's silence concerns.
fn unnamed(prepared: &Prepared, fates: &HashMap<&Email, Fate>) -> Vec<Row> {
    let desired = &prepared.desired;
    let mut rows: Vec<_> = fates
        .iter()
        .filter(|(email, _)| !desired.users.contains_key(**email))
        .map(|(email, (outcome, detail))| Row {
            outcome,
            detail: detail.clone(),
            ..row(Some(email), None, "(not in the roster)")
        })
        .collect();
    rows.sort_by(|a, b| a.email.cmp(&b.email));
    rows
}

fn row(email: Option<&Email>, place: Option<&Location>, op: &'static str) -> Row {
    Row {
        file: place.map(|place| place.file.clone()).unwrap_or_default(),
        line: place.map_or(0, |place| place.line),
        email: email.map(ToString::to_string).unwrap_or_default(),
        op,
        outcome: "",
        detail: String::new(),
    }
}

fn op(entry: &Entry) -> &'static str {
    match entry.want {
        DesiredUser::Upsert(_) => "upsert",
        DesiredUser::Delete => "delete",
        DesiredUser::Deactivate => "deactivate",
    }
}

fn told(problem: &Problem) -> String {
    let column = problem
        .place
        .column
        .as_ref()
        .map(|(number, name)| format!("cell {number} ({name}): "));
    format!(
        "{}{}; {}",
        column.unwrap_or_default(),
        problem.what,
        problem.remedy
    )
}
