//! HTML pages. They work without JavaScript; the script only refreshes them.

mod chart;
mod login;
mod overview;
mod rows;
mod run;
mod user;

pub(super) use login::{log_in, log_out, login_form};
pub(super) use overview::{overview, reconcile, runs, stop};
pub(super) use run::{approve, run};
pub(super) use user::{find_user, user};

use super::auth::Principal;
use super::response::{ErrorResponse, Format, url_encode};
use super::state::AppState;
use crate::model::{HeldRecord, RunNumber};
use crate::state::APPROVAL_VALID;
use crate::util::text::plural;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use chrono::{DateTime, Utc};
use rows::{Timestamp, UserLink};
use serde::Deserialize;

/// Held users that are listed for each rule.
const MAX_HELD_USERS: usize = 200;

type PageResult = Result<Response, ErrorResponse>;

/// The data of the page header.
#[derive(Debug)]
struct Frame {
    current: &'static str,
    organisation: String,
    is_admin: bool,
    has_session: bool,
    can_log_in: bool,
    /// The URL of this page, encoded for use in another URL.
    url: String,
}

impl Frame {
    fn new(current: &'static str, state: &AppState, principal: &Principal, uri: &Uri) -> Self {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Self {
            current,
            organisation: state.config.organisation.clone(),
            is_admin: principal.is_admin,
            has_session: principal.has_session,
            can_log_in: state.admin_token.is_set(),
            url: url_encode(path),
        }
    }
}

/// Held changes, and the form to approve them.
#[derive(Debug)]
struct HeldCard {
    run: u64,
    changes: String,
    rules: Vec<RuleCard>,
    approved: Option<ApprovalCard>,
}

#[derive(Debug)]
struct RuleCard {
    rule: String,
    reason: String,
    users: Vec<UserLink>,
    more: usize,
}

/// An approval, and the end of its validity.
#[derive(Debug)]
struct ApprovalCard {
    by: String,
    at: Timestamp,
    until: Timestamp,
}

impl ApprovalCard {
    fn new((by, at): &(String, DateTime<Utc>), now: DateTime<Utc>) -> Self {
        Self {
            by: by.clone(),
            at: Timestamp::new(*at, now),
            until: Timestamp::new(*at + APPROVAL_VALID, now),
        }
    }
}

impl HeldCard {
    /// `None` if no change is held.
    fn new(
        run: RunNumber,
        held: &[HeldRecord],
        approval: Option<&(String, DateTime<Utc>)>,
        now: DateTime<Utc>,
    ) -> Option<Self> {
        let count: usize = held.iter().map(|record| record.changes.len()).sum();
        (count > 0).then(|| Self {
            run: run.0,
            changes: plural(count, "change"),
            rules: held.iter().map(RuleCard::new).collect(),
            approved: approval.map(|approval| ApprovalCard::new(approval, now)),
        })
    }
}

impl RuleCard {
    fn new(held: &HeldRecord) -> Self {
        let mut users: Vec<_> = held.changes.iter().collect();
        users.sort_by(|a, b| (a.operation, &a.email).cmp(&(b.operation, &b.email)));
        let users = users
            .iter()
            .take(MAX_HELD_USERS)
            .map(|user| UserLink::new(&user.email, user.operation.as_str()));
        Self {
            rule: held.rule.label(),
            reason: held.reason.clone(),
            users: users.collect(),
            more: held.changes.len().saturating_sub(MAX_HELD_USERS),
        }
    }
}

/// The query parameter that names the notice to show after an action.
#[derive(Deserialize)]
pub(super) struct NoticeParams {
    notice: Option<String>,
}

/// The notice for a word in the query.
fn notice(word: Option<&str>) -> Option<&'static str> {
    match word? {
        "run_requested" => Some("Run requested. It starts now, or after the current run."),
        "stopping" => Some("The run stops before its next request. The next run continues."),
        "no_run" => Some("No run is in progress."),
        "approved" => Some("Approved. A run that applies the changes starts within seconds."),
        _ => None,
    }
}

fn state_error(error: String) -> ErrorResponse {
    ErrorResponse::state_error(Format::Html, &error)
}

fn bad_request(message: impl Into<String>) -> ErrorResponse {
    ErrorResponse::new(Format::Html, StatusCode::BAD_REQUEST, message)
}

fn not_found(message: &str) -> ErrorResponse {
    ErrorResponse::new(Format::Html, StatusCode::NOT_FOUND, message)
}
