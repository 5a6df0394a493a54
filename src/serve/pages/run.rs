//! One run with its changes.

use super::{Approved, Frame, HeldCard, not_found, said, unreadable};
use crate::model::{ChangeOutcome, Operation, RunNumber, RunRef, Trigger};
use crate::plan::render::counted;
use crate::serve::auth::Principal;
use crate::serve::look::{RunLook, Wanted};
use crate::serve::refusal::{Form, Refusal, render, see_other};
use crate::serve::rows::{ChangeRow, RunRow, encoded};
use crate::serve::site::AppState;
use crate::serve::standing::ended;
use crate::state::{Approval, ApproveError, ChangeFilter};
use crate::util::text::plural;
use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use chrono::Utc;
use serde::Deserialize;
use std::sync::Arc;
use tracing::info;

/// So many changes stand on a page.
const LISTED: usize = 100;

/// What became of a change, where that is not known.
const UNKNOWN: &str = "unknown";

#[derive(Template)]
#[template(path = "run.html")]
struct Page {
    frame: Frame,
    said: Option<&'static str>,
    run: RunRow,
    detail: String,
    read: Option<String>,
    needed: Option<String>,
    approvals: Vec<Approved>,
    held: Option<HeldCard>,
    kinds: Vec<Choice>,
    outcomes: Vec<Choice>,
    text: String,
    is_filtered: bool,
    changes: Vec<ChangeRow>,
    caption: String,
    previous: Option<String>,
    following: Option<String>,
}

struct Choice {
    word: &'static str,
    chosen: bool,
}

/// How a page or a document of a run is asked for.
#[derive(Debug, Default, Deserialize)]
pub(in crate::serve) struct Asked {
    #[serde(default)]
    operation: String,
    #[serde(default)]
    outcome: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    skip: usize,
    limit: Option<usize>,
    said: Option<String>,
}

impl Asked {
    /// What is wanted, or which word is none.
    pub(in crate::serve) fn wanted(&self, most: usize) -> Result<Wanted, String> {
        let filter = ChangeFilter {
            operation: word(
                "operation",
                &self.operation,
                &Operation::ALL.map(|operation| (operation.as_str(), operation)),
            )?,
            outcome: word("outcome", &self.outcome, &outcomes())?,
            text: self.text.clone(),
        };
        Ok(Wanted {
            filter,
            skip: self.skip,
            limit: self.limit.unwrap_or(most).min(most),
        })
    }

    fn is_filtered(&self) -> bool {
        [&self.operation, &self.outcome, &self.text]
            .iter()
            .any(|said| !said.trim().is_empty())
    }

    /// The same page, from another change on.
    fn link(&self, run: u64, skip: usize) -> String {
        let Self {
            operation,
            outcome,
            text,
            ..
        } = self;
        let [operation, outcome, text] = [operation, outcome, text].map(|said| encoded(said));
        format!(
            "/runs/{run}?operation={operation}&outcome={outcome}&text={text}&skip={skip}#changes"
        )
    }
}

fn outcomes() -> [(&'static str, Option<ChangeOutcome>); 5] {
    let [a, b, c, d] = ChangeOutcome::ALL.map(|outcome| (outcome.as_str(), Some(outcome)));
    [a, b, c, d, (UNKNOWN, None)]
}

fn word<T: Copy>(name: &str, said: &str, words: &[(&str, T)]) -> Result<Option<T>, String> {
    let said = said.trim();
    if said.is_empty() {
        return Ok(None);
    }
    let found = words.iter().find(|(word, _)| *word == said);
    found.map(|(_, meant)| Some(*meant)).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!("{name} is one of: {}.", words.join(", "))
    })
}

/// How a person names a run.
pub(in crate::serve) fn run_ref(name: &str) -> Option<RunRef> {
    match name {
        "latest" => Some(RunRef::Latest),
        number => number
            .parse()
            .ok()
            .map(|number| RunRef::Number(RunNumber(number))),
    }
}

pub(in crate::serve) async fn run(
    State(shared): State<Arc<AppState>>,
    Extension(visitor): Extension<Principal>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
    uri: Uri,
) -> Response {
    let Some(run) = run_ref(&name) else {
        return not_found("A run is named by its number, or `latest`.");
    };
    let wanted = match asked.wanted(LISTED) {
        Ok(wanted) => wanted,
        Err(said) => return Refusal::new(Form::Page, StatusCode::BAD_REQUEST, said).answer(),
    };
    match shared.run(run, wanted).await {
        Ok(Some(look)) => render(&page(
            Frame::new("runs", &shared, &visitor, &uri),
            &look,
            &asked,
        )),
        Ok(None) => not_found("There is no such run, or it is older than state.retain."),
        Err(error) => unreadable(error),
    }
}

fn page(frame: Frame, look: &RunLook, asked: &Asked) -> Page {
    let now = Utc::now();
    let (run, number) = (RunRow::new(&look.run, now), look.run.number);
    let end = ended(&look.run);
    let shown = look.page.changes.len();
    let (skip, total) = (asked.skip, look.page.total);
    let choices = |words: Vec<&'static str>, said: &str| {
        let choice = |word: &'static str| Choice {
            chosen: word == said,
            word,
        };
        words.into_iter().map(choice).collect()
    };
    let read = end.and_then(|end| {
        let rows = end.rows.map(|rows| format!("{rows} rows"));
        let users = end.users.map(|users| format!("{users} users in Omni"));
        let said: Vec<_> = rows.into_iter().chain(users).collect();
        (!said.is_empty()).then(|| said.join(", "))
    });
    Page {
        frame,
        said: said(asked.said.as_deref()),
        detail: end.map_or_else(String::new, |end| end.detail.clone()),
        read,
        needed: end.and_then(|end| end.pending.as_ref().map(counted)),
        approvals: look
            .approvals
            .iter()
            .map(|one| Approved::new(one, now))
            .collect(),
        held: HeldCard::new(number, &look.held, look.good_approval(now), now),
        kinds: choices(
            Operation::ALL.map(Operation::as_str).to_vec(),
            &asked.operation,
        ),
        outcomes: choices(outcomes().map(|(word, _)| word).to_vec(), &asked.outcome),
        text: asked.text.clone(),
        is_filtered: asked.is_filtered(),
        changes: look
            .page
            .changes
            .iter()
            .map(|one| ChangeRow::new(one, now))
            .collect(),
        caption: caption(skip, shown, total),
        previous: (skip > 0).then(|| asked.link(number.0, skip.saturating_sub(LISTED))),
        following: (skip + shown < total && shown > 0).then(|| asked.link(number.0, skip + shown)),
        run,
    }
}

fn caption(skip: usize, shown: usize, total: usize) -> String {
    match shown == total {
        true => format!(
            "{}, in the order in which they were sent",
            plural(total, "change")
        ),
        false => format!("Changes {} to {} of {total}", skip + 1, skip + shown),
    }
}

/// Approves what a run held.
pub(in crate::serve) async fn approve(
    State(shared): State<Arc<AppState>>,
    Extension(visitor): Extension<Principal>,
    Path(name): Path<String>,
) -> Response {
    let Some(run) = named(&name) else {
        return not_found("A run to approve is named by its number.");
    };
    match shared.approve(run, &visitor, false).await {
        Ok(_) => see_other(&format!("/runs/{run}?said=approved")),
        Err(error) => {
            let (status, said) = told(&error);
            Refusal::new(Form::Page, status, said).answer()
        }
    }
}

/// The run that is to be approved. Not `latest`: that may be another one by now than the one that
/// somebody looked at.
pub(in crate::serve) fn named(name: &str) -> Option<RunNumber> {
    name.parse().ok().map(RunNumber)
}

/// Why nothing was approved, for whoever asked.
pub(in crate::serve) fn told(error: &ApproveError) -> (StatusCode, String) {
    let status = match error {
        ApproveError::Unknown => StatusCode::NOT_FOUND,
        ApproveError::Expired { .. } => StatusCode::GONE,
        ApproveError::NothingHeld { .. } | ApproveError::Done { .. } => StatusCode::CONFLICT,
        ApproveError::State(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, format!("Not approved: {error}."))
}

impl AppState {
    /// Approves what a run held, by the rules of `approve`, and wakes the loop for it.
    pub(in crate::serve) async fn approve(
        &self,
        run: RunNumber,
        visitor: &Principal,
        dry: bool,
    ) -> Result<Approval, ApproveError> {
        let by = visitor.visit.who();
        let now = Utc::now();
        let writer = &self.site.writer;
        let approval = writer.approve(RunRef::Number(run), &by, now, dry).await?;
        if !dry {
            info!(%run, by, changes = approval.users.len(), "approved");
            self.site.wake.wake(Trigger::Approval);
        }
        Ok(approval)
    }
}
