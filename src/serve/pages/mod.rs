//! HTML pages. They work without JavaScript; the script only refreshes them.

mod approve;
mod chart;
mod error;
mod held;
mod login;
mod overview;
mod pause;
mod preview;
mod rows;
mod run;
mod runs;
mod settings;
mod undo;
mod user;
mod users;

pub(super) use approve::{approve, confirm_approval};
pub(super) use error::frame_errors;
pub(super) use login::{log_in, log_out, login_form};
pub(super) use overview::{overview, reconcile, stop};
pub(super) use pause::{pause, resume};
pub(super) use preview::{preview, preview_file};
pub(super) use run::run;
pub(super) use runs::{changes, runs};
pub(super) use settings::settings;
pub(super) use undo::{undo, undo_csv};
pub(super) use user::user;
pub(super) use users::users;

use super::auth::Principal;
use super::response::{ErrorResponse, Format, url_encode};
use super::state::AppState;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;

/// Rows on one page of a list, for a phone too.
const PAGE_SIZE: usize = 25;

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
            organisation: state.config.explainer.organisation(),
            is_admin: principal.is_admin,
            has_session: principal.has_session,
            can_log_in: state.admin_token.is_set(),
            url: url_encode(path),
        }
    }
}

/// An option of a selection in a form.
struct Choice {
    word: &'static str,
    is_selected: bool,
}

fn choices(words: impl IntoIterator<Item = &'static str>, selected: &str) -> Vec<Choice> {
    let choice = |word: &'static str| Choice {
        is_selected: word == selected,
        word,
    };
    words.into_iter().map(choice).collect()
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
        "paused" => Some("Paused. A run in progress finishes."),
        "resumed" => Some("Resumed. Runs that are due start within seconds."),
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
