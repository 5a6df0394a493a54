//! Files of a run: the run as JSON, its changes as CSV, and its row report. No part of a path comes from a request.

use super::api::run_head_doc;
use super::params::parse_run_ref;
use super::queries::{ChangeQuery, RunView};
use super::response::{ErrorResponse, Format, attachment};
use super::state::AppState;
use crate::model::{ChangeId, ChangeRecord, RunNumber};
use crate::report::{RunReport, changes};
use crate::state::ChangeFilter;
use crate::state::render::change_doc;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::stream;
use std::io;
use std::sync::Arc;

/// Changes that are read at a time.
const PART_SIZE: usize = 1000;

const CSV: &str = "text/csv; charset=utf-8";

type DownloadResult = Result<Response, ErrorResponse>;

/// The run as JSON, with all changes.
pub(super) async fn json(
    State(state): State<Arc<AppState>>,
    Path(run): Path<String>,
) -> DownloadResult {
    let view = view(&state, &run, Format::Json).await?;
    let number = view.run.number;
    let mut head = run_head_doc(&view).to_string();
    // The changes follow, as the last member of the object.
    head.pop();
    head.push_str(",\"changes\":[");
    let body = stream_changes(state, number, head.into_bytes(), json_part, b"]}\n");
    Ok(attachment(
        &format!("run-{number}.json"),
        "application/json",
        body,
    ))
}

/// The changes of the run as CSV.
pub(super) async fn csv(
    State(state): State<Arc<AppState>>,
    Path(run): Path<String>,
) -> DownloadResult {
    let number = view(&state, &run, Format::Html).await?.run.number;
    let head = changes::begin().map_err(|error| unavailable(&error.to_string()))?;
    let body = stream_changes(state, number, head, |part, _| changes::rows(part), b"");
    Ok(attachment(&format!("run-{number}-changes.csv"), CSV, body))
}

/// The row report of the run, if it is still there.
pub(super) async fn row_report(
    State(state): State<Arc<AppState>>,
    Path(run): Path<String>,
) -> DownloadResult {
    let run = view(&state, &run, Format::Html).await?.run;
    let report = state.row_reports.read(&run).await;
    let report = report.map_err(|error| unavailable(&error.to_string()))?;
    let Some(RunReport { status, bytes }) = report else {
        return Err(not_found(
            "This run has no row report, or it was removed: the folder keeps the last reports.",
        ));
    };
    let name = format!("run-{}-row-report-{}.csv", run.number, status.as_str());
    Ok(attachment(&name, CSV, bytes.into()))
}

/// A run that exists, without its changes.
pub(super) async fn view(
    state: &AppState,
    run: &str,
    format: Format,
) -> Result<RunView, ErrorResponse> {
    let not_found = |message| ErrorResponse::new(format, StatusCode::NOT_FOUND, message);
    let run = parse_run_ref(run)
        .ok_or_else(|| not_found("Invalid run: expected a number or `latest`."))?;
    let query = ChangeQuery {
        filter: ChangeFilter::default(),
        skip: 0,
        limit: 0,
    };
    let view = state.run(run, query).await;
    let view = view.map_err(|error| ErrorResponse::state_error(format, &error))?;
    view.ok_or_else(|| not_found("This run does not exist, or was removed after state.retain."))
}

fn not_found(message: &str) -> ErrorResponse {
    ErrorResponse::new(Format::Html, StatusCode::NOT_FOUND, message)
}

fn unavailable(error: &str) -> ErrorResponse {
    let message = format!("The file can't be sent: {error}.");
    ErrorResponse::new(Format::Html, StatusCode::SERVICE_UNAVAILABLE, message)
}

/// Writes some changes. The flag says whether they are the first ones.
type WritePart = fn(&[ChangeRecord], bool) -> io::Result<Vec<u8>>;

fn json_part(changes: &[ChangeRecord], is_first: bool) -> io::Result<Vec<u8>> {
    let docs: Vec<_> = changes
        .iter()
        .map(|change| change_doc(change).to_string())
        .collect();
    let comma = if is_first { "" } else { "," };
    Ok(format!("{comma}{}", docs.join(",")).into_bytes())
}

/// What a stream sends next.
enum NextPart {
    Head(Vec<u8>),
    ChangesAfter(Option<ChangeId>),
    End,
}

/// A body with the changes of a run, which are read a part at a time.
fn stream_changes(
    state: Arc<AppState>,
    run: RunNumber,
    head: Vec<u8>,
    write: WritePart,
    tail: &'static [u8],
) -> Body {
    let parts = stream::try_unfold(NextPart::Head(head), move |part| {
        let state = Arc::clone(&state);
        async move {
            let after = match part {
                NextPart::Head(head) => return Ok(Some((head, NextPart::ChangesAfter(None)))),
                NextPart::ChangesAfter(after) => after,
                NextPart::End => return Ok(None),
            };
            let changes = state.changes_after(run, after, PART_SIZE).await;
            let changes = changes.map_err(io::Error::other)?;
            Ok::<_, io::Error>(Some(match changes.last() {
                Some(last) => {
                    let next = NextPart::ChangesAfter(Some(last.id));
                    (write(&changes, after.is_none())?, next)
                }
                None => (tail.to_vec(), NextPart::End),
            }))
        }
    });
    Body::from_stream(parts)
}
