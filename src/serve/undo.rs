//! Undo rosters of runs, made from the stored observation, without a request to Omni.

use super::downloads::view;
use super::on_demand::{MAX_REQUESTS, Refusal};
use super::queries::RunView;
use super::response::{ErrorResponse, Format};
use super::state::AppState;
use crate::model::{RunRecord, RunResult, RunState};
use crate::run::StoredUndo;
use crate::state::{ChangeFilter, StateError};
use crate::util::error_chain::error_chain;
use axum::http::StatusCode;
use std::sync::Arc;

/// The largest number of changes that are undone here.
const MAX_CHANGES: usize = 20_000;

/// Why there is no undo roster.
#[derive(Debug)]
pub(super) enum UndoError {
    /// The run can't be undone, as a sentence.
    Impossible(&'static str),
    TooMany(usize),
    /// No run has read Omni.
    NotObserved,
    Refused(Refusal),
}

/// Why a run can't be undone, as far as its end shows.
pub(super) fn refusal(run: &RunRecord) -> Option<&'static str> {
    match &run.state {
        RunState::Open => Some("The run is in progress. It can be undone once it has ended."),
        RunState::Ended(end) if end.result == RunResult::DryRun => {
            Some("A dry run applies no changes, so there is nothing to undo.")
        }
        RunState::Ended(end) if end.applied == 0 => {
            Some("The run applied no changes, so there is nothing to undo.")
        }
        RunState::Ended(_) | RunState::Interrupted => None,
    }
}

impl AppState {
    /// A run, and the roster that undoes it.
    pub(super) async fn undo(
        &self,
        run: &str,
    ) -> Result<(RunRecord, Result<StoredUndo, UndoError>), ErrorResponse> {
        let RunView { run, page, .. } = view(self, run, Format::Html).await?;
        if let Some(reason) = refusal(&run) {
            return Ok((run, Err(UndoError::Impossible(reason))));
        }
        if page.total > MAX_CHANGES {
            return Ok((run, Err(UndoError::TooMany(page.total))));
        }
        let (observer, number) = (Arc::clone(&self.config.explainer), run.number);
        // The changes are read in turn as well: many requests together could fill the memory.
        let work = async move {
            let all = ChangeFilter::default();
            let page = observer.state().find_changes(number, all, 0, MAX_CHANGES);
            Ok::<_, StateError>(observer.undo(&page.await?.changes).await)
        };
        let undo = match self.undo_limiter.run(work).await {
            Ok(Ok(undo)) => undo.ok_or(UndoError::NotObserved),
            Ok(Err(error)) => {
                let error = error_chain(&error);
                return Err(ErrorResponse::state_error(Format::Html, &error));
            }
            Err(refusal) => Err(UndoError::Refused(refusal)),
        };
        Ok((run, undo))
    }
}

impl UndoError {
    /// The error as a sentence.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Impossible(reason) => (*reason).to_owned(),
            Self::TooMany(count) => format!(
                "The run has {count} changes. This page can undo at most {MAX_CHANGES}; use `omni-user-sync history RUN --undo`."
            ),
            Self::NotObserved => {
                "No run has read Omni yet, so the current values are unknown. Use `omni-user-sync history RUN --undo`, or \
                 wait for the next run."
                    .into()
            }
            Self::Refused(Refusal::RateLimited(wait)) => format!(
                "At most {MAX_REQUESTS} undo rosters a minute are made, because each reads all users into memory. Try \
                 again in {} s.",
                wait.as_secs() + 1
            ),
            Self::Refused(Refusal::TimedOut) => {
                "Timed out: another undo roster is being made. Try again in a minute.".into()
            }
        }
    }

    pub(super) fn response(&self, format: Format) -> ErrorResponse {
        let status = match self {
            Self::Impossible(_) | Self::TooMany(_) | Self::NotObserved => StatusCode::CONFLICT,
            Self::Refused(Refusal::RateLimited(_)) => StatusCode::TOO_MANY_REQUESTS,
            Self::Refused(Refusal::TimedOut) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let response = ErrorResponse::new(format, status, self.message());
        match self {
            Self::Refused(Refusal::RateLimited(wait)) => response.retry_after(*wait),
            _ => response,
        }
    }
}
