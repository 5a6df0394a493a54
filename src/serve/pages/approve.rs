//! Approvals on pages: of all changes that a run holds, or of one user or group. Removals take a second step, which the
//! server requires, so that no single press deletes users.

use super::held::HeldChangeRow;
use super::{Frame, PageResult, bad_request, not_found};
use crate::model::{Counts, HeldChange, RunNumber, Subject};
use crate::plan::render::counted;
use crate::serve::actions::approve_error;
use crate::serve::auth::Principal;
use crate::serve::params::parse_run_number;
use crate::serve::response::{ErrorResponse, Format, redirect, render, url_encode};
use crate::serve::state::AppState;
use crate::state::Approval;
use crate::util::text::plural;
use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::Uri;
use serde::Deserialize;
use std::sync::Arc;

/// Users that are listed.
const MAX_USERS: usize = 200;

/// What to approve.
#[derive(Debug, Deserialize)]
pub(in crate::serve) struct ApprovalParams {
    only: Option<String>,
    #[serde(default)]
    confirmed: bool,
}

impl ApprovalParams {
    fn only(&self) -> Result<Option<Subject>, ErrorResponse> {
        let only = self.only.as_deref().map(Subject::known).transpose();
        only.map_err(|error| bad_request(format!("{error}.")))
    }

    /// The address of the form, and of the page with the second step.
    fn path(&self, run: RunNumber) -> String {
        let only = self.only.as_deref().map(url_encode);
        let only = only.map(|only| format!("?only={only}"));
        format!("/runs/{run}/approve{}", only.unwrap_or_default())
    }
}

#[derive(Template)]
#[template(path = "approve.html")]
struct ApprovePage {
    frame: Frame,
    run: u64,
    /// `9 changes of run 7`
    title: String,
    /// `9 to delete`
    counts: String,
    /// `3 schedules`, if the removals delete some.
    schedules: Option<String>,
    action: String,
    /// The limits that hold the changes, and why.
    rules: Vec<String>,
    changes: Vec<HeldChangeRow>,
    more: usize,
}

/// Approves held changes. Removals are approved only by the form of the second step.
pub(in crate::serve) async fn approve(
    State(state): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    Path(run): Path<String>,
    Query(params): Query<ApprovalParams>,
) -> PageResult {
    let run = parse_run(&run)?;
    let shown = preview(&state, run, &params, &principal).await?;
    if removes(&shown.changes()) && !params.confirmed {
        return Ok(redirect(&params.path(run)));
    }
    let approved = state.approve(run, params.only()?, &principal, false).await;
    approved.map_err(|error| approve_error(&error, Format::Html))?;
    Ok(redirect(&format!("/runs/{run}?notice=approved")))
}

/// The second step: number, operations and organisation once more.
pub(in crate::serve) async fn confirm_approval(
    State(state): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    Path(run): Path<String>,
    Query(params): Query<ApprovalParams>,
    uri: Uri,
) -> PageResult {
    let run = parse_run(&run)?;
    let approval = preview(&state, run, &params, &principal).await?;
    let changes = approval.changes();
    let path = params.path(run);
    let separator = if params.only.is_some() { '&' } else { '?' };
    let shown = HeldChange::sorted(changes.iter().copied());
    let schedules: usize = changes.iter().map(|one| one.lost_schedules().len()).sum();
    Ok(render(&ApprovePage {
        frame: Frame::new("runs", &state, &principal, &uri),
        run: run.0,
        title: format!("{} of run {run}", plural(changes.len(), "change")),
        counts: counted(&Counts::of(changes.iter().map(|change| change.operation))),
        schedules: (schedules > 0).then(|| plural(schedules, "schedule")),
        action: format!("{path}{separator}confirmed=true"),
        rules: approval
            .held
            .iter()
            .map(|held| format!("Held by {}: {}", held.rule.label(), held.reason))
            .collect(),
        more: shown.len().saturating_sub(MAX_USERS),
        changes: shown
            .iter()
            .take(MAX_USERS)
            .map(|one| HeldChangeRow::new(one, false))
            .collect(),
    }))
}

fn parse_run(run: &str) -> Result<RunNumber, ErrorResponse> {
    parse_run_number(run)
        .ok_or_else(|| not_found("Invalid run: an approval needs the number of a run."))
}

/// What would be approved.
async fn preview(
    state: &AppState,
    run: RunNumber,
    params: &ApprovalParams,
    principal: &Principal,
) -> Result<Approval, ErrorResponse> {
    let shown = state.approve(run, params.only()?, principal, true).await;
    shown.map_err(|error| approve_error(&error, Format::Html))
}

fn removes(changes: &[&HeldChange]) -> bool {
    changes.iter().any(|change| change.operation.is_removal())
}
