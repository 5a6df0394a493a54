//! The undo roster of a run, with its warnings.

use super::rows::Timestamp;
use super::{Frame, PageResult};
use crate::report::Undo;
use crate::run::StoredUndo;
use crate::serve::auth::Principal;
use crate::serve::response::{ErrorResponse, Format, attachment, render};
use crate::serve::state::AppState;
use crate::serve::undo::UndoError;
use crate::util::text::plural;
use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri};
use chrono::Utc;
use serde::Deserialize;
use std::sync::Arc;

/// Warnings that are listed.
const MAX_NOTES: usize = 500;

#[derive(Template)]
#[template(path = "undo.html")]
struct UndoPage {
    frame: Frame,
    run: u64,
    card: Result<UndoCard, String>,
}

struct UndoCard {
    observed: Timestamp,
    /// `3 rows`; `None` if there is nothing to undo.
    rows: Option<String>,
    notes: Vec<String>,
    more_notes: usize,
    /// Names the content that the page is about.
    digest: String,
}

/// Shows what the undo roster of a run does not restore, before it is downloaded.
pub(in crate::serve) async fn undo(
    State(state): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    Path(run): Path<String>,
    uri: Uri,
) -> PageResult {
    let (run, undo) = state.undo(&run).await?;
    let page = render(&UndoPage {
        frame: Frame::new("runs", &state, &principal, &uri),
        run: run.number.0,
        card: undo.as_ref().map(UndoCard::new).map_err(UndoError::message),
    });
    Ok(match undo {
        Ok(_) => page,
        Err(error) => error.response(Format::Html).apply_to(page),
    })
}

/// The content that the page showed. Without it, any content is sent.
#[derive(Deserialize)]
pub(in crate::serve) struct UndoParams {
    digest: Option<String>,
}

/// The undo roster of a run, unless it is another one than the page was about.
pub(in crate::serve) async fn undo_csv(
    State(state): State<Arc<AppState>>,
    Path(run): Path<String>,
    Query(UndoParams { digest }): Query<UndoParams>,
) -> PageResult {
    let (run, undo) = state.undo(&run).await?;
    let Undo { csv, rows, .. } = undo.map_err(|error| error.response(Format::Html))?.undo;
    if rows == 0 {
        return Err(conflict("The run has no changes to undo."));
    }
    if digest.is_some_and(|shown| shown != digest_of(&csv)) {
        return Err(conflict(
            "The undo roster has changed since the page was loaded, because Omni was read again. Load the page again.",
        ));
    }
    let name = format!("run-{}-undo.csv", run.number);
    Ok(attachment(&name, "text/csv; charset=utf-8", csv.into()))
}

fn conflict(message: &str) -> ErrorResponse {
    ErrorResponse::new(Format::Html, StatusCode::CONFLICT, message)
}

fn digest_of(csv: &str) -> String {
    blake3::hash(csv.as_bytes()).to_hex()[..16].to_owned()
}

impl UndoCard {
    fn new(StoredUndo { undo, observed }: &StoredUndo) -> Self {
        Self {
            observed: Timestamp::new(*observed, Utc::now()),
            rows: (undo.rows > 0).then(|| plural(undo.rows, "row")),
            notes: undo.notes.iter().take(MAX_NOTES).cloned().collect(),
            more_notes: undo.notes.len().saturating_sub(MAX_NOTES),
            digest: digest_of(&undo.csv),
        }
    }
}
