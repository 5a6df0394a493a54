//! How everything is, and the runs.

use super::{Frame, HeldCard, said, unreadable};
use crate::model::{Problem, RunNumber, Trigger};
use crate::serve::auth::Principal;
use crate::serve::chart::Chart;
use crate::serve::look::{HistoryView, Overview, PICTURED};
use crate::serve::refusal::{render, see_other};
use crate::serve::rows::{Person, RunRow, When, encoded};
use crate::serve::site::AppState;
use crate::serve::standing::{Severity, ended};
use crate::util::text::plural;
use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use std::sync::Arc;
use tracing::info;

/// So many of the last runs are listed, and so many of the roster's problems.
const LISTED: usize = 10;
const PROBLEMS: usize = 50;

#[derive(Template)]
#[template(path = "overview.html")]
struct Page {
    frame: Frame,
    said: Option<&'static str>,
    tone: Severity,
    sentence: String,
    last: Option<RunRow>,
    next: Option<When>,
    is_watched: bool,
    retry: Option<When>,
    not_ready: Option<String>,
    tiles: Vec<Tile>,
    held: Option<HeldCard>,
    roster: Option<RosterCard>,
    notes: Vec<String>,
    journal_error: Option<String>,
    chart: Chart,
    runs: Vec<RunRow>,
    quarantined: Vec<Person>,
}

struct Tile {
    name: &'static str,
    number: String,
    note: String,
    tone: Severity,
}

struct RosterCard {
    count: String,
    caption: String,
    problems: Vec<Problem>,
    more: usize,
}

#[derive(Deserialize)]
pub(in crate::serve) struct Said {
    said: Option<String>,
}

pub(in crate::serve) async fn overview(
    State(shared): State<Arc<AppState>>,
    Extension(visitor): Extension<Principal>,
    Query(query): Query<Said>,
    uri: Uri,
) -> Response {
    let look = shared.overview().await;
    let now = look.now;
    let books = look.books.as_ref().ok();
    let runs = books.map_or(&[][..], |books| &books.runs);
    let all = runs.iter().map(|run| RunRow::new(run, now));
    let last = runs.iter().find(|run| ended(run).is_some());
    render(&Page {
        frame: Frame::new("overview", &shared, &visitor, &uri),
        said: said(query.said.as_deref()),
        tone: look.standing.tone,
        sentence: look.standing.sentence.clone(),
        last: last.map(|run| RunRow::new(run, now)),
        next: look.next_due.map(|at| When::new(at, now)),
        is_watched: shared.site.is_watched,
        retry: look.facts.retry.map(|at| When::new(at, now)),
        not_ready: look.not_ready.clone(),
        tiles: tiles(&look),
        held: books.and_then(|books| held(books, now)),
        roster: roster(&look),
        notes: notes(&look),
        journal_error: look.books.as_ref().err().cloned(),
        chart: Chart::new(runs),
        runs: all.take(LISTED).collect(),
        quarantined: books.map_or_else(Vec::new, |books| quarantined(books, now)),
    })
}

fn held(books: &HistoryView, now: DateTime<Utc>) -> Option<HeldCard> {
    let held = books.held.as_ref()?;
    HeldCard::new(held.run, &held.held, books.good_approval(now), now)
}

fn tiles(look: &Overview) -> Vec<Tile> {
    let books = look.books.as_ref().ok();
    let runs = books.map_or(&[][..], |books| &books.runs);
    let planned = runs.iter().filter_map(ended).find_map(|end| end.pending);
    let users = runs.iter().filter_map(ended).find_map(|end| end.users);
    let held = books.and_then(|books| books.held.as_ref());
    let count = |number: Option<usize>| number.map_or_else(|| "–".into(), |n| n.to_string());
    let tile = |name, number: Option<usize>, note: String, loud| Tile {
        name,
        number: count(number),
        note,
        tone: match number {
            Some(1..) => loud,
            _ => Severity::Plain,
        },
    };
    let drift = planned.map(|needed| needed.total());
    let drift_note = planned.map_or_else(String::new, |needed| match needed.total() {
        0 => "changes needed by the last run".into(),
        _ => format!(
            "as the last run found: {}",
            crate::plan::render::counted(&needed)
        ),
    });
    let roster = look.findings.roster.as_ref();
    let rows = roster.and_then(|roster| roster.rows);
    let rows_note = rows.map_or_else(String::new, |rows| format!("in {rows} rows"));
    let waits = books.map_or("", |books| match books.good_approval(look.now) {
        Some(_) => "approved",
        None => "waiting for approval",
    });
    let quarantined = books.map(|books| books.quarantined.0);
    let users = users.and_then(|users| usize::try_from(users).ok());
    vec![
        tile("Needed", drift, drift_note, Severity::Plain),
        tile(
            "Held",
            held.map(|held| held.count()),
            waits.into(),
            Severity::Warn,
        ),
        tile(
            "In quarantine",
            quarantined,
            "tried again later".into(),
            Severity::Warn,
        ),
        tile(
            "Roster problems",
            roster.map(|roster| roster.count),
            rows_note,
            Severity::Bad,
        ),
        tile("Users", users, "in Omni".into(), Severity::Plain),
    ]
}

fn roster(look: &Overview) -> Option<RosterCard> {
    let roster = look
        .findings
        .roster
        .as_ref()
        .filter(|roster| roster.count > 0)?;
    let at = When::new(roster.at, look.now);
    Some(RosterCard {
        count: plural(roster.count, "problem"),
        caption: format!("As it was read {}", at.ago),
        problems: roster.problems.iter().take(PROBLEMS).cloned().collect(),
        more: roster.count - roster.problems.len().min(PROBLEMS),
    })
}

/// What is blocked and what a person should know, up to a number.
fn notes(look: &Overview) -> Vec<String> {
    let findings = &look.findings;
    let all = findings.blocked.iter().chain(&findings.warnings);
    let mut notes: Vec<_> = all.take(PROBLEMS).cloned().collect();
    let more = findings.blocked.len() + findings.warnings.len() - notes.len();
    if more > 0 {
        notes.push(format!("and {more} more"));
    }
    notes
}

fn quarantined(books: &HistoryView, now: DateTime<Utc>) -> Vec<Person> {
    let (count, some) = &books.quarantined;
    let people = some.iter().map(|(email, one)| Person {
        email: email.as_str().into(),
        link: encoded(email.as_str()),
        what: format!(
            "tried again {}: {}",
            When::new(one.until, now).ago,
            one.reason
        ),
    });
    let mut people: Vec<_> = people.collect();
    if let Some(more) = count.checked_sub(some.len()).filter(|more| *more > 0)
        && let Some(last) = people.last_mut()
    {
        last.what.push_str(&format!(" (and {more} more users)"));
    }
    people
}

#[derive(Template)]
#[template(path = "runs.html")]
struct RunsPage {
    frame: Frame,
    chart: Chart,
    runs: Vec<RunRow>,
    before: Option<u64>,
    is_later_page: bool,
}

#[derive(Deserialize)]
pub(in crate::serve) struct Before {
    before: Option<u64>,
}

pub(in crate::serve) async fn runs(
    State(shared): State<Arc<AppState>>,
    Extension(visitor): Extension<Principal>,
    Query(Before { before }): Query<Before>,
    uri: Uri,
) -> Response {
    let runs = match shared.runs(before.map(RunNumber), PICTURED).await {
        Ok(runs) => runs,
        Err(error) => return unreadable(error),
    };
    let now = Utc::now();
    let is_full = runs.len() == PICTURED;
    render(&RunsPage {
        frame: Frame::new("runs", &shared, &visitor, &uri),
        chart: Chart::new(&runs),
        before: runs.last().filter(|_| is_full).map(|run| run.number.0),
        runs: runs.iter().map(|run| RunRow::new(run, now)).collect(),
        is_later_page: before.is_some(),
    })
}

/// Asks for a run.
pub(in crate::serve) async fn reconcile(
    State(shared): State<Arc<AppState>>,
    Extension(visitor): Extension<Principal>,
) -> Response {
    shared.reconcile(&visitor);
    see_other("/?said=asked")
}

impl AppState {
    /// Asks for a run: Omni is read anew for it.
    pub(in crate::serve) fn reconcile(&self, visitor: &Principal) {
        info!(by = visitor.visit.who(), "a run is asked for");
        self.site.wake.wake(Trigger::Request);
    }
}
