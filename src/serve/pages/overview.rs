//! The overview, and the list of runs.

use super::chart::Chart;
use super::held::HeldCard;
use super::pause::PauseCard;
use super::rows::{RunRow, SubjectLink, Timestamp};
use super::{Frame, NoticeParams, notice};
use crate::model::{Problem, RunRecord};
use crate::plan::render::counted;
use crate::serve::auth::Principal;
use crate::serve::queries::{HistoryView, Overview};
use crate::serve::response::{redirect, render};
use crate::serve::state::AppState;
use crate::serve::summary::{Severity, Summary, summary};
use crate::util::text::plural;
use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::Response;
use chrono::{DateTime, Utc};
use std::sync::Arc;

/// Runs in the table, and roster problems or warnings in each list.
const MAX_ROWS: usize = 10;
const MAX_PROBLEMS: usize = 50;

/// The warning while the daemon runs that created the state database.
const NEW_STATE: &str =
    "The state database is new: earlier removals are not known, so the safety limits start over.";

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    notice: Option<&'static str>,
    summary: Summary,
    paused: Option<PauseCard>,
    is_running: bool,
    last: Option<RunRow>,
    next: Option<Timestamp>,
    is_watched: bool,
    retry: Option<Timestamp>,
    not_ready: Option<String>,
    tiles: Vec<Tile>,
    held: Option<HeldCard>,
    roster: Option<RosterCard>,
    leaving: Vec<SubjectLink>,
    warnings: Vec<String>,
    state_error: Option<String>,
    chart: Chart,
    runs: Vec<RunRow>,
    quarantined: Vec<SubjectLink>,
}

struct Tile {
    name: &'static str,
    number: String,
    note: String,
    severity: Severity,
}

struct RosterCard {
    count: String,
    caption: String,
    problems: Vec<Problem>,
    more: usize,
}

pub(in crate::serve) async fn overview(
    State(state): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    Query(params): Query<NoticeParams>,
    uri: Uri,
) -> Response {
    let overview = state.overview().await;
    let (now, runs) = (overview.now, overview.runs());
    let history = overview.history.as_ref().ok();
    let last = runs.iter().find(|run| run.end().is_some());
    let rows = runs.iter().take(MAX_ROWS).map(|run| RunRow::new(run, now));
    render(&OverviewPage {
        frame: Frame::new("overview", &state, &principal, &uri),
        notice: notice(params.notice.as_deref()),
        summary: summary(&overview),
        paused: overview
            .facts
            .paused
            .as_ref()
            .map(|pause| PauseCard::new(pause, now)),
        is_running: overview.facts.running.is_some(),
        last: last.map(|run| RunRow::new(run, now)),
        next: overview.next_due.map(|at| Timestamp::new(at, now)),
        is_watched: state.config.is_watched,
        retry: overview.facts.retry.map(|at| Timestamp::new(at, now)),
        not_ready: overview.not_ready.clone(),
        tiles: tiles(&overview),
        held: history.and_then(|history| held(history, now)),
        roster: roster(&overview),
        leaving: SubjectLink::of_leavers(
            &overview.findings.leaving,
            overview.findings.leaving_count,
        ),
        warnings: warnings(&overview),
        state_error: overview.history.as_ref().err().cloned(),
        chart: Chart::new(runs),
        runs: rows.collect(),
        quarantined: history.map_or_else(Vec::new, |history| quarantined(history, now)),
    })
}

fn held(history: &HistoryView, now: DateTime<Utc>) -> Option<HeldCard> {
    let held = history.held.as_ref()?;
    HeldCard::new(held, now)
}

fn tiles(overview: &Overview) -> Vec<Tile> {
    let history = overview.history.as_ref().ok();
    let ends = || overview.runs().iter().filter_map(RunRecord::end);
    let tile = |name, number: Option<usize>, note: String, severity| Tile {
        name,
        number: number.map_or_else(|| "–".into(), |number| number.to_string()),
        note,
        severity: match number {
            Some(1..) => severity,
            _ => Severity::Idle,
        },
    };
    let pending = ends().find_map(|end| end.pending);
    let pending_note = match pending {
        None => String::new(),
        Some(counts) if counts.total() == 0 => "changes after the last run".into(),
        Some(counts) => format!("after the last run: {}", counted(&counts)),
    };
    let held = history.and_then(|history| history.held.as_ref());
    let held_note = held.map_or("", |held| match held.approval() {
        Some(_) => "approved",
        None if held.is_dry_run => "in a dry run",
        None => "waiting for approval",
    });
    let quarantined = history.map(|history| history.quarantined.0);
    let roster = overview.findings.roster.as_ref();
    let rows = roster.and_then(|roster| roster.rows);
    let rows_note = rows.map_or_else(String::new, |rows| format!("in {}", plural(rows, "row")));
    let users = ends().find_map(|end| end.users);
    let users = users.and_then(|users| usize::try_from(users).ok());
    vec![
        tile(
            "Pending",
            pending.map(|counts| counts.total()),
            pending_note,
            Severity::Idle,
        ),
        tile(
            "Held",
            held.map(|held| held.count()),
            held_note.into(),
            Severity::Warning,
        ),
        tile(
            "In quarantine",
            quarantined,
            "retried later".into(),
            Severity::Warning,
        ),
        tile(
            "Roster problems",
            roster.map(|roster| roster.count),
            rows_note,
            Severity::Error,
        ),
        tile("Users", users, "in Omni".into(), Severity::Idle),
    ]
}

fn roster(overview: &Overview) -> Option<RosterCard> {
    let roster = overview.findings.roster.as_ref();
    let roster = roster.filter(|roster| roster.count > 0)?;
    let at = Timestamp::new(roster.at, overview.now);
    Some(RosterCard {
        count: plural(roster.count, "problem"),
        caption: format!("As read {}", at.relative),
        problems: roster.problems.iter().take(MAX_PROBLEMS).cloned().collect(),
        more: roster.count - roster.problems.len().min(MAX_PROBLEMS),
    })
}

/// Blocked removals and leaves, and warnings, up to a limit.
fn warnings(overview: &Overview) -> Vec<String> {
    let findings = &overview.findings;
    let all = findings.blocked.iter().chain(&findings.warnings);
    let mut warnings: Vec<_> = all.take(MAX_PROBLEMS).cloned().collect();
    if overview.facts.state_is_new {
        warnings.insert(0, NEW_STATE.to_owned());
    }
    let more = (findings.blocked.len() + findings.warnings.len()).saturating_sub(MAX_PROBLEMS);
    if more > 0 {
        warnings.push(format!("and {more} more"));
    }
    warnings
}

fn quarantined(history: &HistoryView, now: DateTime<Utc>) -> Vec<SubjectLink> {
    let (count, some) = &history.quarantined;
    let users = some.iter().map(|(key, one)| {
        let until = Timestamp::new(one.until, now).relative;
        let group = key.group.as_ref();
        let group = group.map_or_else(String::new, |group| format!("group {group}, "));
        let role = key.scope.as_ref().map_or("", |_| "role, ");
        SubjectLink::new(
            &key.subject,
            format!("{group}{role}retried {until}: {}", one.reason),
        )
    });
    let mut users: Vec<_> = users.collect();
    if let Some(more) = count.checked_sub(some.len()).filter(|more| *more > 0)
        && let Some(last) = users.last_mut()
    {
        last.note.push_str(&format!(" (and {more} more)"));
    }
    users
}

pub(in crate::serve) async fn stop(
    State(state): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
) -> Response {
    match state.stop_run(&principal) {
        true => redirect("/?notice=stopping"),
        false => redirect("/?notice=no_run"),
    }
}

pub(in crate::serve) async fn reconcile(
    State(state): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
) -> Response {
    state.request_run(&principal);
    redirect("/?notice=run_requested")
}
