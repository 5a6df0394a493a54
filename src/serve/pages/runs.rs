//! The list of runs, and the changes of all runs.

use super::chart::Chart;
use super::rows::{ChangeRow, RunRow};
use super::{Choice, Frame, PAGE_SIZE, PageResult, bad_request, choices, state_error};
use crate::model::Trigger;
use crate::serve::auth::Principal;
use crate::serve::params::{PrefixParams, RunParams, next_changes, next_runs};
use crate::serve::queries::CHART_RUNS;
use crate::serve::response::{render, url_encode};
use crate::serve::state::AppState;
use crate::state::{ResultFilter, RunFilter};
use crate::util::text::plural;
use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::Uri;
use chrono::Utc;
use std::sync::Arc;

#[derive(Template)]
#[template(path = "runs.html")]
struct RunsPage {
    frame: Frame,
    with_changes: bool,
    results: Vec<Choice>,
    triggers: Vec<Choice>,
    is_filtered: bool,
    chart: Chart,
    runs: Vec<RunRow>,
    next: Option<String>,
    is_later_page: bool,
}

pub(in crate::serve) async fn runs(
    State(state): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    Query(params): Query<RunParams>,
    uri: Uri,
) -> PageResult {
    let query = params.query(CHART_RUNS, CHART_RUNS).map_err(bad_request)?;
    let runs = state.runs(query).await.map_err(state_error)?;
    // The chart shows more runs than the table.
    let shown = &runs[..runs.len().min(PAGE_SIZE)];
    let (now, filter) = (Utc::now(), query.filter);
    let results = ResultFilter::all().map(ResultFilter::as_str);
    let selected = |word: Option<&'static str>| word.unwrap_or_default();
    Ok(render(&RunsPage {
        frame: Frame::new("runs", &state, &principal, &uri),
        with_changes: filter.with_changes,
        results: choices(results, selected(filter.result.map(ResultFilter::as_str))),
        triggers: choices(
            Trigger::ALL.map(Trigger::as_str),
            selected(filter.trigger.map(Trigger::as_str)),
        ),
        is_filtered: filter != RunFilter::default(),
        chart: Chart::new(&runs),
        next: next_runs(shown, PAGE_SIZE).map(|before| params.link(before)),
        runs: shown.iter().map(|run| RunRow::new(run, now)).collect(),
        is_later_page: query.before.is_some(),
    }))
}

#[derive(Template)]
#[template(path = "changes.html")]
struct ChangesPage {
    frame: Frame,
    prefix: String,
    changes: Vec<ChangeRow>,
    caption: String,
    next: Option<String>,
    is_later_page: bool,
}

pub(in crate::serve) async fn changes(
    State(state): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    Query(params): Query<PrefixParams>,
    uri: Uri,
) -> PageResult {
    let limit = PAGE_SIZE;
    let changes = state.changes(&params.prefix, params.before(), limit).await;
    let changes = changes.map_err(state_error)?;
    let now = Utc::now();
    let prefix = url_encode(&params.prefix);
    let next = next_changes(&changes, limit);
    Ok(render(&ChangesPage {
        frame: Frame::new("runs", &state, &principal, &uri),
        caption: format!("{}, newest first", plural(changes.len(), "change")),
        next: next.map(|before| format!("/changes?prefix={prefix}&before={before}")),
        changes: changes
            .iter()
            .map(|change| ChangeRow::new(change, now))
            .collect(),
        is_later_page: params.before.is_some(),
        prefix: params.prefix,
    }))
}
