//! From what a run found and did to one line for each row.

use crate::desired::{Desired, Entry, Place, Problem, SourceError, Want};
use crate::reconcile::{Applied, Change, Kind, Outcome, Prepared};
use crate::user::Email;
use std::collections::HashMap;

/// What a whole report says, for its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Every row is as it should be.
    Ok,
    /// Some rows are bad, or users failed.
    Problems,
    /// Something is held.
    Held,
    /// The roster, or a file of it, was rejected.
    Rejected,
}

impl Status {
    /// The word in a report's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Problems => "problems",
            Self::Held => "held",
            Self::Rejected => "rejected",
        }
    }
}

/// What became of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The file that it stands in; empty for users whom the roster does not name.
    pub file: String,
    /// Its line; 0 for none.
    pub line: u64,
    /// Whose it is, if that could be read.
    pub email: String,
    /// What it asks for.
    pub op: &'static str,
    /// What became of it, in one word.
    pub outcome: &'static str,
    /// More, in plain words.
    pub detail: String,
}

/// What became of every row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The lines, in the order of the roster; users whom it does not name come last.
    pub rows: Vec<Row>,
    /// What they say together.
    pub status: Status,
}

impl Report {
    /// What became of a roster that was read: `applied` is what was tried so far.
    #[must_use]
    pub fn new(prepared: &Prepared, applied: &[Applied]) -> Self {
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
        let status = match prepared.desired.rejected.is_empty() {
            true => rows.iter().map(status).max().unwrap_or(Status::Ok),
            false => Status::Rejected,
        };
        Self { rows, status }
    }

    /// What became of a roster that could not be used at all.
    #[must_use]
    pub fn rejected(error: &SourceError) -> Self {
        let mut rows: Vec<_> = error.problems().iter().map(rejected).collect();
        if rows.is_empty() {
            rows.push(Row {
                outcome: "rejected",
                detail: error.to_string(),
                ..row(None, None, "")
            });
        }
        Self {
            rows,
            status: Status::Rejected,
        }
    }
}

/// A user's outcome, and more of it in plain words.
type Fate = (&'static str, String);

fn fates<'a>(prepared: &'a Prepared, applied: &'a [Applied]) -> HashMap<&'a Email, Fate> {
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

fn word(applied: &Applied) -> &'static str {
    match (applied.outcome, applied.kind) {
        (Outcome::Done, Kind::Create) => "created",
        (Outcome::Done, Kind::Update) => "updated",
        (Outcome::Done, Kind::Delete) => "removed",
        (Outcome::Done, Kind::Deactivate) => "deactivated",
        (Outcome::NotKept | Outcome::Failed | Outcome::Unsent, _) => "failed",
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

fn row(email: Option<&Email>, place: Option<&Place>, op: &'static str) -> Row {
    Row {
        file: place
            .map(|place| place.file.to_string())
            .unwrap_or_default(),
        line: place.map_or(0, |place| place.line),
        email: email.map(ToString::to_string).unwrap_or_default(),
        op,
        outcome: "",
        detail: String::new(),
    }
}

fn op(entry: &Entry) -> &'static str {
    match entry.want {
        Want::Upsert(_) => "upsert",
        Want::Delete => "delete",
        Want::Deactivate => "deactivate",
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

fn status(row: &Row) -> Status {
    match row.outcome {
        "held" => Status::Held,
        "failed" | "frozen" | "quarantined" | "rejected" => Status::Problems,
        _ => Status::Ok,
    }
}
