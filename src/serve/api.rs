//! The JSON API: the same data and actions as the pages. `docs/api.md` describes it. Fields are only
//! ever added.

mod pause;
mod settings;
mod users;

pub(super) use pause::{pause, resume};
pub(super) use settings::settings;
pub(super) use users::users;

use super::actions::approve_error;
use super::auth::Principal;
use super::params::{
    ChangeParams, PrefixParams, RunParams, next_changes, next_runs, parse_run_number, parse_run_ref,
};
use super::preview::Upload;
use super::queries::{HistoryView, Overview, RunView, UserView};
use super::response::{ErrorResponse, Format};
use super::state::AppState;
use super::summary::{summary, user_summaries};
use crate::model::{Email, FieldCount, GroupName, HeldRecord, RoleScope, RunRecord, Subject};
use crate::plan::ProblemDoc;
use crate::state::render::{change_doc, held_change_doc, held_doc, run_doc};
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use chrono::Utc;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// The default and the maximum number of runs in a response, and the same of changes.
const DEFAULT_RUNS: usize = 50;
const MAX_RUNS: usize = 500;
const DEFAULT_CHANGES: usize = 100;
const MAX_CHANGES: usize = 1000;

type ApiResult = Result<Response, ErrorResponse>;

fn bad_request(message: impl Into<String>) -> ErrorResponse {
    ErrorResponse::new(Format::Json, StatusCode::BAD_REQUEST, message)
}

fn state_error(error: String) -> ErrorResponse {
    ErrorResponse::state_error(Format::Json, &error)
}

fn parse_email(text: &str) -> Result<Email, ErrorResponse> {
    Email::known(text).map_err(|error| bad_request(format!("{error}.")))
}

/// Rejects a body: it would be ignored, which is not what its sender expects.
fn reject_body(body: &Bytes, message: &str) -> Result<(), ErrorResponse> {
    match body.is_empty() {
        true => Ok(()),
        false => Err(bad_request(message)),
    }
}

pub(super) async fn status(State(state): State<Arc<AppState>>) -> Json<Value> {
    let mut doc = status_doc(&state.overview().await);
    doc["organisation"] = json!(state.config.explainer.organisation());
    Json(doc)
}

fn status_doc(overview: &Overview) -> Value {
    let summary = summary(overview);
    let Overview {
        facts,
        progress,
        next_due,
        not_ready,
        findings,
        history,
        now,
    } = overview;
    let running = facts
        .running
        .map(|(trigger, since)| json!({ "trigger": trigger.as_str(), "since": since, "progress": progress }));
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
        "state": summary.severity.as_str(),
        "summary": summary.text,
        "ready": not_ready.is_none(),
        "not_ready_reason": not_ready,
        "running": running,
        "paused": facts.paused,
        "next_due": next_due,
        "retry": facts.retry,
        "last_success": facts.last_success,
        "roster": roster,
        "blocked": findings.blocked,
        "warnings": findings.warnings,
        "leaving": findings.leaving,
        "leaving_count": findings.leaving_count,
    });
    match history {
        Ok(history) => add_history(&mut doc, history),
        Err(error) => doc["state_error"] = json!(error),
    }
    doc
}

fn add_history(doc: &mut Value, history: &HistoryView) {
    let mut finished = history.runs.iter().filter(|run| run.end().is_some());
    let mut ends = history.runs.iter().filter_map(RunRecord::end);
    doc["last_run"] = json!(finished.next().map(run_doc));
    doc["pending"] = json!(ends.find_map(|end| end.pending));
    doc["held"] = match history.held.as_ref().filter(|held| held.count() > 0) {
        None => Value::Null,
        Some(held) => json!({
            "run": held.run.0,
            "count": held.count(),
            "rules": held.held.iter().map(rule_doc).collect::<Vec<_>>(),
            "unapproved": held.open().count(),
            "dry_run": held.is_dry_run,
            "approved": held.approval().map(|(by, at)| json!({ "by": by, "at": at })),
        }),
    };
    let (count, some) = &history.quarantined;
    let users = some.iter().map(|(key, one)| {
        let group = key.group.as_ref().or_else(|| key.subject.group());
        let group = group.map(GroupName::as_str);
        json!({ "email": key.subject.email(), "group": group, "role": key.scope.as_ref().map(scope_doc), "until": one.until, "reason": one.reason })
    });
    doc["quarantined"] = json!({ "count": count, "users": users.collect::<Vec<_>>() });
}

/// The ids of the connection and the model of a role.
fn scope_doc(scope: &RoleScope) -> Value {
    json!({
        "connection": scope.connection.as_str(),
        "model": scope.model.as_ref().map(|id| id.as_str()),
    })
}

/// A rule that holds changes, without their users: `/runs/{id}` lists these.
fn rule_doc(held: &HeldRecord) -> Value {
    json!({ "rule": held.rule, "reason": held.reason, "count": held.changes.len() })
}

pub(super) async fn runs(
    State(state): State<Arc<AppState>>,
    Query(params): Query<RunParams>,
) -> ApiResult {
    let query = params.query(DEFAULT_RUNS, MAX_RUNS).map_err(bad_request)?;
    let runs = state.runs(query).await.map_err(state_error)?;
    let next = next_runs(&runs, query.limit);
    let runs: Vec<_> = runs.iter().map(run_doc).collect();
    Ok(Json(json!({ "runs": runs, "next_before": next })).into_response())
}

pub(super) async fn changes(
    State(state): State<Arc<AppState>>,
    Query(params): Query<PrefixParams>,
) -> ApiResult {
    let limit = params.limit(DEFAULT_CHANGES, MAX_CHANGES);
    let changes = state.changes(&params.prefix, params.before(), limit).await;
    let changes = changes.map_err(state_error)?;
    let next = next_changes(&changes, limit);
    let changes: Vec<_> = changes.iter().map(change_doc).collect();
    Ok(Json(json!({ "changes": changes, "next_before": next })).into_response())
}

pub(super) async fn run(
    State(state): State<Arc<AppState>>,
    Path(run): Path<String>,
    Query(params): Query<ChangeParams>,
) -> ApiResult {
    let run = parse_run_ref(&run)
        .ok_or_else(|| bad_request("Invalid run: expected a number or `latest`."))?;
    let query = params.query(MAX_CHANGES).map_err(bad_request)?;
    let view = state.run(run, query).await.map_err(state_error)?;
    let view = view.ok_or_else(|| {
        ErrorResponse::new(
            Format::Json,
            StatusCode::NOT_FOUND,
            "This run does not exist.",
        )
    })?;
    let mut doc = run_head_doc(&view);
    doc["changes"] = view.page.changes.iter().map(change_doc).collect();
    Ok(Json(doc).into_response())
}

/// A run without its changes.
pub(super) fn run_head_doc(view: &RunView) -> Value {
    let mut doc = run_doc(&view.run);
    doc["changes_total"] = view.page.total.into();
    doc["held"] = view.held.held.iter().map(held_doc).collect();
    let approvals = view.held.approvals.iter();
    doc["approvals"] = approvals
        .map(|(by, at)| json!({ "by": by, "at": at }))
        .collect();
    doc
}

pub(super) async fn user(
    State(state): State<Arc<AppState>>,
    Path(email): Path<String>,
) -> ApiResult {
    let view = state.user(parse_email(&email)?).await;
    Ok(Json(user_doc(&view.map_err(state_error)?)).into_response())
}

pub(super) async fn explain(
    State(state): State<Arc<AppState>>,
    Path(email): Path<String>,
) -> ApiResult {
    let email = parse_email(&email)?;
    let explainer = &state.config.explainer;
    let explanation = state.explain_limiter.explain(explainer, &email).await;
    let explanation = explanation.map_err(|error| error.response(Format::Json))?;
    Ok(Json(explanation.doc()).into_response())
}

pub(super) async fn preview(State(state): State<Arc<AppState>>) -> Response {
    preview_of(&state, None).await
}

pub(super) async fn preview_file(
    State(state): State<Arc<AppState>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> ApiResult {
    let content_type = headers.get(CONTENT_TYPE);
    let is_csv = content_type.is_some_and(|it| it.as_bytes().starts_with(b"text/csv"));
    if !is_csv {
        let message = "Send the file as the body, with `Content-Type: text/csv`.";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(ErrorResponse::new(Format::Json, status, message));
    }
    let name = "body".to_owned();
    Ok(preview_of(&state, Some(Upload { name, bytes })).await)
}

async fn preview_of(state: &AppState, file: Option<Upload>) -> Response {
    match state.preview(file).await {
        Ok(preview) => Json(preview.doc()).into_response(),
        Err(error) => {
            let doc = error.doc();
            error
                .response(Format::Json)
                .apply_to(Json(doc).into_response())
        }
    }
}

fn user_doc(user: &UserView) -> Value {
    let now = Utc::now();
    let summaries = user_summaries(user, now);
    let mut doc = users::state_doc(&user.state, now);
    let held = user.held().map(|(run, held, change)| {
        json!({
            "run": run.0,
            "rule": held.rule,
            "reason": held.reason,
            "operation": change.operation.as_str(),
            "fields": change.fields,
        })
    });
    doc["email"] = json!(user.email);
    doc["summary"] = summaries.iter().map(|one| one.text.as_str()).collect();
    doc["held"] = json!(held);
    doc["protected"] = json!(user.is_protected);
    doc["problems_complete"] = json!(user.incompleteness.is_none());
    doc["problems"] = json!(
        user.problems
            .iter()
            .map(ProblemDoc::from)
            .collect::<Vec<_>>()
    );
    doc["changes"] = user.changes.iter().map(change_doc).collect();
    doc
}

pub(super) async fn reconcile(
    State(state): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
) -> Response {
    let is_running = state.config.probes.status.facts().running.is_some();
    state.request_run(&principal);
    let doc = json!({ "requested": true, "after_current_run": is_running });
    (StatusCode::ACCEPTED, Json(doc)).into_response()
}

pub(super) async fn stop(
    State(state): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
) -> Response {
    let stopping = state.stop_run(&principal);
    let status = if stopping {
        StatusCode::ACCEPTED
    } else {
        StatusCode::CONFLICT
    };
    (status, Json(json!({ "stopping": stopping }))).into_response()
}

/// Rejects unknown parameters: one may be a misspelt `dry_run`, which must not approve.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApproveParams {
    #[serde(default, alias = "dry")]
    dry_run: bool,
    only: Option<String>,
}

pub(super) async fn approve(
    State(state): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    Path(run): Path<String>,
    Query(ApproveParams { dry_run, only }): Query<ApproveParams>,
    body: Bytes,
) -> ApiResult {
    reject_body(
        &body,
        "An approval takes no body. For a dry run, use `?dry_run=true`.",
    )?;
    let run = parse_run_number(&run)
        .ok_or_else(|| bad_request("Invalid run: an approval needs the number of a run."))?;
    let only = only.as_deref().map(Subject::known).transpose();
    let only = only.map_err(|error| bad_request(format!("{error}.")))?;
    let approval = state.approve(run, only, &principal, dry_run).await;
    let approval = approval.map_err(|error| approve_error(&error, Format::Json))?;
    Ok(Json(json!({
        "run": approval.run.0,
        "approved": !dry_run,
        "by": approval.by,
        "expires": approval.expires,
        "field_counts": FieldCount::of(approval.changes()),
        "users": approval.changes().into_iter().map(held_change_doc).collect::<Vec<_>>(),
        "place": approval.place.map(|place| place.to_string()),
    }))
    .into_response())
}
