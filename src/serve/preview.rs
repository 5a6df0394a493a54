//! Previews on demand: the plan of the next run, and of a file that is never stored. They are made from the stored
//! observation, without a request to Omni, and limited because each reads a whole roster into memory.

use super::on_demand::{MAX_REQUESTS, Refusal, first_lines};
use super::response::{ErrorResponse, Format};
use super::state::AppState;
use crate::model::{Counts, Problem};
use crate::plan::render::PlanView;
use crate::plan::{PlanDoc, ProblemDoc};
use crate::roster::SourceError;
use crate::run::{Observer, Prepared, RunError};
use crate::util::error_chain::error_chain;
use axum::body::Bytes;
use axum::http::StatusCode;
use chrono::{DateTime, SubsecRound, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Entries of each list of the JSON document.
const MAX_LISTED: usize = 1000;

/// A file to preview.
#[derive(Debug)]
pub(super) struct Upload {
    /// For problems; the name of no file on this machine.
    pub(super) name: String,
    pub(super) bytes: Bytes,
}

/// A plan, and the time of its observation.
#[derive(Debug)]
pub(super) struct Preview {
    observer: Arc<Observer>,
    pub(super) prepared: Prepared,
}

/// Why there is no preview.
#[derive(Debug)]
pub(super) enum PreviewError {
    RateLimited(Duration),
    TimedOut,
    /// No run has read Omni.
    NotObserved,
    /// All files of the roster are rejected.
    Rejected(Vec<Problem>),
    Failed(String),
}

/// A preview, for programs.
#[derive(Debug, Serialize)]
pub(super) struct PreviewDoc<'a> {
    observed_at: DateTime<Utc>,
    passed: Counts,
    notes: Vec<String>,
    truncated: bool,
    #[serde(flatten)]
    plan: PlanDoc<'a>,
}

impl AppState {
    /// Plans the roster of `source.path`, as the next run would, or a file.
    pub(super) async fn preview(&self, file: Option<Upload>) -> Result<Preview, PreviewError> {
        let observer = Arc::clone(&self.config.explainer);
        let reader = Arc::clone(&observer);
        let work = async move {
            match file {
                None => reader.preview().await,
                Some(Upload { name, bytes }) => reader.preview_file(&name, bytes).await,
            }
        };
        let planned = self.preview_limiter.run(work).await?;
        let prepared = planned?.ok_or(PreviewError::NotObserved)?;
        Ok(Preview { observer, prepared })
    }
}

impl Preview {
    pub(super) fn view(&self) -> PlanView<'_> {
        self.observer.view(&self.prepared)
    }

    /// When the oldest part of the observation was read.
    pub(super) fn observed_at(&self) -> DateTime<Utc> {
        (Utc::now() - self.prepared.cache.age()).trunc_subsecs(0)
    }

    pub(super) fn doc(&self) -> PreviewDoc<'_> {
        let mut plan = PlanDoc::new(self.view());
        let passed = self.prepared.assessment.verdict.passed();
        PreviewDoc {
            observed_at: self.observed_at(),
            passed: Counts::of(passed.iter().map(|change| change.operation())),
            notes: self.prepared.preview_notes(),
            truncated: plan.truncate(MAX_LISTED),
            plan,
        }
    }
}

impl From<Refusal> for PreviewError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::RateLimited(wait) => Self::RateLimited(wait),
            Refusal::TimedOut => Self::TimedOut,
        }
    }
}

impl From<RunError> for PreviewError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Source(SourceError::Rejected(problems)) => Self::Rejected(problems),
            error => Self::Failed(first_lines(&error_chain(&error))),
        }
    }
}

impl PreviewError {
    pub(super) fn response(&self, format: Format) -> ErrorResponse {
        let status = match self {
            Self::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::TimedOut | Self::Failed(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotObserved => StatusCode::CONFLICT,
            Self::Rejected(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let response = ErrorResponse::new(format, status, self.message());
        match self {
            Self::RateLimited(wait) => response.retry_after(*wait),
            _ => response,
        }
    }

    /// The error as a sentence.
    pub(super) fn message(&self) -> String {
        match self {
            Self::RateLimited(wait) => format!(
                "At most {MAX_REQUESTS} previews a minute are made, because each reads a whole roster. \
                 Try again in {} s.",
                wait.as_secs() + 1
            ),
            Self::TimedOut => {
                "Timed out: the roster keeps changing or is very large, its file system does not respond, or another \
                 preview is in progress. Try again in a minute."
                    .into()
            }
            Self::NotObserved => {
                "No run has read Omni yet, so there is nothing to compare with. Use Run now, or wait for the first run."
                    .into()
            }
            Self::Rejected(_) => "The roster is rejected, so nothing would change.".into(),
            Self::Failed(reason) => format!("Preview failed: {}.", reason.trim_end_matches('.')),
        }
    }

    /// The JSON document, as `plan --json` prints it if there is no plan.
    pub(super) fn doc(&self) -> Value {
        let problems = self.problems().iter().take(MAX_LISTED);
        let problems: Vec<_> = problems.map(ProblemDoc::from).collect();
        match self {
            Self::Rejected(_) => json!({ "error": self.message(), "problems": problems }),
            _ => json!({ "error": self.message() }),
        }
    }

    /// The problems of a rejected roster.
    pub(super) fn problems(&self) -> &[Problem] {
        match self {
            Self::Rejected(problems) => problems,
            _ => &[],
        }
    }
}
