//! What the pages tell and do, for machines: `docs/api.md` describes it. Fields are only ever added.

use super::auth::Principal;
use super::look::{HistoryView, Overview, UserLook};
use super::pages::{Asked, named, run_ref, told};
use super::refusal::{Form, Refusal};
use super::site::AppState;
use super::standing::{self, ended};
use crate::model::{Email, HeldRecord, HeldUser, RunNumber};
use crate::plan::render::ProblemDoc;
use crate::state::render::{change_doc, held_doc, run_doc};
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use chrono::Utc;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// So many runs are told when no number is asked for, and at most; and so many changes of one.
const RUNS: usize = 50;
const MOST_RUNS: usize = 500;
const MOST_CHANGES: usize = 1000;

fn refused(status: StatusCode, said: impl Into<String>) -> Response {
    Refusal::new(Form::Api, status, said).answer()
}

fn unreadable(error: &str) -> Response {
    let said = format!("What is remembered can't be read: {error}.");
    refused(StatusCode::SERVICE_UNAVAILABLE, said)
}

pub(super) async fn status(State(shared): State<Arc<AppState>>) -> Response {
    Json(status_doc(&shared.overview().await)).into_response()
}

fn status_doc(look: &Overview) -> Value {
    let Overview {
        standing,
        facts,
        next_due,
        not_ready,
        findings,
        books,
        now,
    } = look;
    let running = facts
        .running
        .map(|(trigger, since)| json!({ "trigger": trigger.as_str(), "since": since }));
    let roster = findings.roster.as_ref().map(|roster| {
        json!({
            "read": roster.at,
            "rows": roster.rows,
            "problem_count": roster.count,
            "problems": roster.problems.iter().map(ProblemDoc::from).collect::<Vec<_>>(),
        })
    });
    let mut doc = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started": facts.started,
        "now": now,
        "state": standing.tone.as_str(),
        "sentence": standing.sentence,
        "ready": not_ready.is_none(),
        "not_ready_because": not_ready,
        "running": running,
        "next_due": next_due,
        "retry": facts.retry,
        "last_success": facts.last_success,
        "roster": roster,
        "blocked": findings.blocked,
        "warnings": findings.warnings,
    });
    match books {
        Ok(books) => tell_books(&mut doc, books, look),
        Err(error) => doc["journal_error"] = json!(error),
    }
    doc
}

fn tell_books(doc: &mut Value, books: &HistoryView, look: &Overview) {
    let mut ends = books.runs.iter().filter_map(ended);
    doc["last_run"] = json!(
        books
            .runs
            .iter()
            .find(|run| ended(run).is_some())
            .map(run_doc)
    );
    doc["pending"] = json!(ends.find_map(|end| end.pending));
    let approved = books.good_approval(look.now);
    doc["held"] = match books.held.as_ref().filter(|held| held.count() > 0) {
        None => Value::Null,
        Some(held) => json!({
            "run": held.run.0,
            "count": held.count(),
            "rules": held.held.iter().map(rule_doc).collect::<Vec<_>>(),
            "approved": approved.map(|(by, at)| json!({ "by": by, "at": at })),
        }),
    };
    let (count, some) = &books.quarantined;
    let users = some.iter().map(
        |(email, one)| json!({ "email": email.as_str(), "until": one.until, "reason": one.reason }),
    );
    doc["quarantined"] = json!({ "count": count, "users": users.collect::<Vec<_>>() });
}

/// A rule that holds, without whom: `/runs/{id}` names them.
fn rule_doc(held: &HeldRecord) -> Value {
    json!({ "rule": held.rule, "why": held.reason, "count": held.users.len() })
}

#[derive(Deserialize)]
pub(super) struct Which {
    before: Option<u64>,
    limit: Option<usize>,
}

pub(super) async fn runs(
    State(shared): State<Arc<AppState>>,
    Query(Which { before, limit }): Query<Which>,
) -> Response {
    let limit = limit.unwrap_or(RUNS).min(MOST_RUNS);
    match shared.runs(before.map(RunNumber), limit).await {
        Ok(runs) => {
            let is_full = runs.len() == limit;
            let next = runs.last().filter(|_| is_full).map(|run| run.number.0);
            let runs: Vec<_> = runs.iter().map(run_doc).collect();
            Json(json!({ "runs": runs, "next_before": next })).into_response()
        }
        Err(error) => unreadable(&error),
    }
}

pub(super) async fn run(
    State(shared): State<Arc<AppState>>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    let Some(run) = run_ref(&name) else {
        let said = "A run is named by its number, or `latest`.";
        return refused(StatusCode::BAD_REQUEST, said);
    };
    let wanted = match asked.wanted(MOST_CHANGES) {
        Ok(wanted) => wanted,
        Err(said) => return refused(StatusCode::BAD_REQUEST, said),
    };
    let look = match shared.run(run, wanted).await {
        Ok(Some(look)) => look,
        Ok(None) => return refused(StatusCode::NOT_FOUND, "There is no such run."),
        Err(error) => return unreadable(&error),
    };
    let mut doc = run_doc(&look.run);
    doc["changes_total"] = look.page.total.into();
    doc["changes"] = look.page.changes.iter().map(change_doc).collect();
    doc["held"] = look.held.iter().map(held_doc).collect();
    let approvals = look.approvals.iter();
    doc["approvals"] = approvals
        .map(|(by, at)| json!({ "by": by, "at": at }))
        .collect();
    Json(doc).into_response()
}

pub(super) async fn user(
    State(shared): State<Arc<AppState>>,
    Path(email): Path<String>,
) -> Response {
    let email = match Email::parse(&email) {
        Ok(email) => email,
        Err(error) => return refused(StatusCode::BAD_REQUEST, format!("{error}.")),
    };
    match shared.user(email).await {
        Ok(look) => Json(user_doc(&look)).into_response(),
        Err(error) => unreadable(&error),
    }
}

pub(super) async fn explain(
    State(shared): State<Arc<AppState>>,
    Path(email): Path<String>,
) -> Response {
    let email = match Email::parse(&email) {
        Ok(email) => email,
        Err(error) => return refused(StatusCode::BAD_REQUEST, format!("{error}.")),
    };
    match shared.explain(&email).await {
        Ok(explanation) => Json(explanation.doc()).into_response(),
        Err(why) => why.refusal(Form::Api).answer(),
    }
}

fn user_doc(look: &UserLook) -> Value {
    let now = Utc::now();
    let managed = look.state.managed.as_ref();
    let deactivated = look.state.deactivated.iter();
    let quarantined = look
        .state
        .quarantined
        .as_ref()
        .filter(|one| one.until > now);
    let standing = standing::of_user(look, now);
    json!({
        "email": look.email.as_str(),
        "standing": standing.iter().map(|one| &one.sentence).collect::<Vec<_>>(),
        "managed": managed.map(|managed| json!({
            "since": managed.since,
            "missing_since": managed.missing_since,
        })),
        "deactivated": deactivated
            .map(|(id, at)| json!({ "id": id.as_str(), "at": at }))
            .collect::<Vec<_>>(),
        "quarantined": quarantined.map(|one| json!({
            "until": one.until,
            "failures": one.failures,
            "reason": one.reason,
        })),
        "held": look.held_by().map(|(held, operation)| json!({
            "run": look.held_in().run.0,
            "rule": held.rule,
            "why": held.reason,
            "operation": operation.as_str(),
        })),
        "protected": look.is_protected,
        "problems_complete": look.doubt.is_none(),
        "problems": look.problems.iter().map(ProblemDoc::from).collect::<Vec<_>>(),
        "changes": look.changes.iter().map(change_doc).collect::<Vec<_>>(),
    })
}

pub(super) async fn reconcile(
    State(shared): State<Arc<AppState>>,
    Extension(visitor): Extension<Principal>,
) -> Response {
    let running = shared.site.probes.status.facts().running.is_some();
    shared.reconcile(&visitor);
    let doc = json!({ "requested": true, "after_the_one_under_way": running });
    (StatusCode::ACCEPTED, Json(doc)).into_response()
}

/// A word that isn't known may be a misspelt `dry`, which must not approve.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dry {
    #[serde(default)]
    dry: bool,
}

pub(super) async fn approve(
    State(shared): State<Arc<AppState>>,
    Extension(visitor): Extension<Principal>,
    Path(name): Path<String>,
    Query(Dry { dry }): Query<Dry>,
    body: Bytes,
) -> Response {
    // Whoever sends one means something by it that would not be done.
    if !body.is_empty() {
        let said = "An approval takes no body; `?dry=true` only says what would be approved.";
        return refused(StatusCode::BAD_REQUEST, said);
    }
    let Some(run) = named(&name) else {
        let said = "A run to approve is named by its number.";
        return refused(StatusCode::BAD_REQUEST, said);
    };
    match shared.approve(run, &visitor, dry).await {
        Ok(approval) => {
            let user = |user: &HeldUser| {
                json!({
                    "kind": user.operation.as_str(),
                    "email": user.email.as_str(),
                    "id": user.user_id.as_str(),
                })
            };
            Json(json!({
                "run": approval.run.0,
                "approved": !dry,
                "by": approval.by,
                "expires": approval.expires,
                "users": approval.users.iter().map(user).collect::<Vec<_>>(),
            }))
            .into_response()
        }
        Err(error) => {
            let (status, said) = told(&error);
            refused(status, said)
        }
    }
}
