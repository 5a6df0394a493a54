//! The page of a run, with its changes.

use super::held::{ApprovalCard, HeldCard};
use super::rows::{ChangeRow, RunRow};
use super::{
    Choice, Frame, PAGE_SIZE, PageResult, bad_request, choices, not_found, notice, state_error,
};
use crate::model::Operation;
use crate::plan::render::counted;
use crate::serve::auth::Principal;
use crate::serve::params::{ChangeParams, outcomes, parse_run_ref};
use crate::serve::queries::RunView;
use crate::serve::response::render;
use crate::serve::state::AppState;
use crate::serve::undo;
use crate::util::text::plural;
use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::Uri;
use chrono::Utc;
use std::sync::Arc;

#[derive(Template)]
#[template(path = "run.html")]
struct RunPage {
    frame: Frame,
    notice: Option<&'static str>,
    run: RunRow,
    detail: String,
    rows: Option<String>,
    users: Option<String>,
    planned: Option<String>,
    pending: Option<String>,
    approvals: Vec<ApprovalCard>,
    held: Option<HeldCard>,
    operations: Vec<Choice>,
    outcomes: Vec<Choice>,
    text: String,
    is_filtered: bool,
    has_row_report: bool,
    /// Why the run can't be undone.
    no_undo: Option<&'static str>,
    changes: Vec<ChangeRow>,
    caption: String,
    previous: Option<String>,
    next: Option<String>,
}

pub(in crate::serve) async fn run(
    State(state): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    Path(run): Path<String>,
    Query(params): Query<ChangeParams>,
    uri: Uri,
) -> PageResult {
    let run = parse_run_ref(&run)
        .ok_or_else(|| not_found("Invalid run: expected a number or `latest`."))?;
    let query = params.query(PAGE_SIZE).map_err(bad_request)?;
    let view = state.run(run, query).await.map_err(state_error)?;
    let view = view
        .ok_or_else(|| not_found("This run does not exist, or was removed after state.retain."))?;
    let frame = Frame::new("runs", &state, &principal, &uri);
    let has_row_report = state.row_reports.has(&view.run).await;
    Ok(render(&page(frame, &view, &params, has_row_report)))
}

fn page(frame: Frame, view: &RunView, params: &ChangeParams, has_row_report: bool) -> RunPage {
    let now = Utc::now();
    let (number, end) = (view.run.number, view.run.end());
    let (skip, shown, total) = (params.skip, view.page.changes.len(), view.page.total);
    let rows = end.and_then(|end| end.rows);
    let users = end.and_then(|end| end.users);
    let approvals = view.held.approvals.iter();
    let changes = view.page.changes.iter();
    RunPage {
        frame,
        notice: notice(params.notice.as_deref()),
        run: RunRow::new(&view.run, now),
        detail: end.map_or_else(String::new, |end| end.detail.clone()),
        rows: rows.map(|rows| plural(rows, "row")),
        users: users.map(|users| format!("{} in Omni", plural(users, "user"))),
        planned: end.and_then(|end| end.planned.as_ref().map(counted)),
        pending: end.and_then(|end| end.pending.as_ref().map(counted)),
        approvals: approvals.map(|one| ApprovalCard::new(one, now)).collect(),
        held: HeldCard::new(&view.held, now),
        operations: choices(Operation::ALL.map(Operation::as_str), &params.operation),
        outcomes: choices(outcomes().map(|(word, _)| word), &params.outcome),
        text: params.text.clone(),
        is_filtered: params.is_filtered(),
        has_row_report,
        no_undo: undo::refusal(&view.run),
        changes: changes.map(|one| ChangeRow::new(one, now)).collect(),
        caption: caption(skip, shown, total),
        previous: (skip > 0).then(|| params.link(number.0, skip.saturating_sub(PAGE_SIZE))),
        next: (skip + shown < total && shown > 0).then(|| params.link(number.0, skip + shown)),
    }
}

fn caption(skip: usize, shown: usize, total: usize) -> String {
    match shown == total {
        true => format!("{}, in the order sent", plural(total, "change")),
        false => format!("Changes {} to {} of {total}", skip + 1, skip + shown),
    }
}
