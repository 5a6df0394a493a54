//! What the next run would do, and what a file would do that is sent with the form of this page.

use super::held::HeldChangeRow;
use super::rows::{SubjectLink, Timestamp};
use super::{Frame, PageResult, bad_request};
use crate::model::{Change, HeldChange, HeldRecord, Problem};
use crate::plan::HeldChanges;
use crate::plan::render::summary_text;
use crate::serve::auth::Principal;
use crate::serve::preview::{Preview, PreviewError, Upload};
use crate::serve::response::{Format, render};
use crate::serve::state::AppState;
use crate::util::text::plural;
use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::extract::multipart::{Multipart, MultipartError};
use axum::http::Uri;
use axum::response::Response;
use chrono::Utc;
use std::sync::Arc;
use tracing::info;

/// Problems, warnings and changes that are listed.
const MAX_PROBLEMS: usize = 100;
const MAX_WARNINGS: usize = 50;
const MAX_CHANGES: usize = 200;

/// Fields of one change.
const MAX_FIELDS: usize = 50;

/// Characters of a file's name.
const MAX_NAME: usize = 100;

#[derive(Template)]
#[template(path = "preview.html")]
struct PreviewPage {
    frame: Frame,
    /// The name of the file; `None` for the roster of the next run.
    file: Option<String>,
    plan: Result<PlanCard, String>,
    problems: Vec<Problem>,
    /// `120 problems`
    problem_count: String,
    more_problems: usize,
}

/// What would be done.
struct PlanCard {
    observed: Timestamp,
    summary: Vec<String>,
    notes: Vec<String>,
    warnings: Vec<String>,
    leaving: Vec<SubjectLink>,
    held: Vec<HeldDiff>,
    passed: DiffTable,
}

/// The changes that one safety limit would hold.
struct HeldDiff {
    rule: String,
    reason: String,
    counts: Vec<String>,
    changes: DiffTable,
}

/// Changes with what is in Omni now and what the roster states.
struct DiffTable {
    caption: String,
    changes: Vec<ChangeDiff>,
}

struct ChangeDiff {
    change: HeldChangeRow,
    more_fields: usize,
}

/// Shows what the next run would do.
pub(in crate::serve) async fn preview(
    State(state): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    uri: Uri,
) -> Response {
    let frame = Frame::new("preview", &state, &principal, &uri);
    page(frame, None, &state.preview(None).await)
}

/// Shows what the file of a form would do. It is neither stored nor applied.
pub(in crate::serve) async fn preview_file(
    State(state): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    uri: Uri,
    form: Multipart,
) -> PageResult {
    let upload = file_of(form)
        .await
        .map_err(|error| bad_request(format!("The form can't be read: {}.", error.body_text())))?;
    let upload = upload.ok_or_else(|| bad_request("Choose a file first."))?;
    info!(
        by = principal.origin.describe(),
        bytes = upload.bytes.len(),
        "preview of a file"
    );
    let frame = Frame::new("preview", &state, &principal, &uri);
    let name = upload.name.clone();
    Ok(page(frame, Some(name), &state.preview(Some(upload)).await))
}

/// The file of the form; `None` if none was chosen.
async fn file_of(mut form: Multipart) -> Result<Option<Upload>, MultipartError> {
    while let Some(field) = form.next_field().await? {
        let name = field.file_name().unwrap_or_default();
        if field.name() == Some("file") && !name.is_empty() {
            let name = name.chars().take(MAX_NAME).collect();
            let bytes = field.bytes().await?;
            return Ok(Some(Upload { name, bytes }));
        }
    }
    Ok(None)
}

fn page(frame: Frame, file: Option<String>, preview: &Result<Preview, PreviewError>) -> Response {
    let problems: Vec<_> = match preview {
        Ok(preview) => preview.view().problems(),
        Err(error) => error.problems().iter().collect(),
    };
    let page = render(&PreviewPage {
        frame,
        file,
        plan: preview
            .as_ref()
            .map(PlanCard::new)
            .map_err(PreviewError::message),
        problem_count: plural(problems.len(), "problem"),
        more_problems: problems.len().saturating_sub(MAX_PROBLEMS),
        problems: problems.into_iter().take(MAX_PROBLEMS).cloned().collect(),
    });
    match preview {
        Ok(_) => page,
        Err(error) => error.response(Format::Html).apply_to(page),
    }
}

impl PlanCard {
    fn new(preview: &Preview) -> Self {
        let view = preview.view();
        let (verdict, leaving) = (&view.assessment.verdict, &view.assessment.leaving);
        let mut warnings: Vec<_> = view
            .assessment
            .warnings
            .iter()
            .take(MAX_WARNINGS)
            .cloned()
            .collect();
        let more = view.assessment.warnings.len() - warnings.len();
        if more > 0 {
            warnings.push(format!("and {more} more"));
        }
        Self {
            observed: Timestamp::new(preview.observed_at(), Utc::now()),
            summary: summary_text(view).lines().map(str::to_owned).collect(),
            notes: preview.prepared.preview_notes(),
            warnings,
            leaving: SubjectLink::of_leavers(leaving, leaving.len()),
            held: verdict.held().iter().map(HeldDiff::new).collect(),
            passed: DiffTable::new(verdict.passed()),
        }
    }
}

impl HeldDiff {
    fn new(held: &HeldChanges) -> Self {
        let counts = HeldRecord::from(held).field_counts();
        Self {
            rule: held.rule.label(),
            reason: held.reason.clone(),
            counts: counts.iter().map(ToString::to_string).collect(),
            changes: DiffTable::new(&held.changes),
        }
    }
}

impl DiffTable {
    fn new(changes: &[Change]) -> Self {
        let shown = changes.iter().take(MAX_CHANGES).map(ChangeDiff::new);
        let shown: Vec<_> = shown.collect();
        let caption = match shown.len() == changes.len() {
            true => plural(changes.len(), "change"),
            false => format!("The first {} of {} changes", shown.len(), changes.len()),
        };
        Self {
            caption,
            changes: shown,
        }
    }
}

impl ChangeDiff {
    fn new(change: &Change) -> Self {
        let mut change = HeldChangeRow::new(&HeldChange::from(change), false);
        let more_fields = change.fields.len().saturating_sub(MAX_FIELDS);
        change.fields.truncate(MAX_FIELDS);
        Self {
            change,
            more_fields,
        }
    }
}
