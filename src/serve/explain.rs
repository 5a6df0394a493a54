//! On-demand lookups of one user in the roster and in Omni: one at a time, bounded in time and in
//! number, because runs share the same request limit.

use super::response::{ErrorResponse, Format};
use crate::model::Email;
use crate::run::{Explanation, Observer};
use crate::util::error_chain::error_chain;
use crate::util::window::SlidingWindow;
use axum::http::StatusCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// The maximum number of lookups per [`WINDOW`]. Each takes two requests, of 55 per minute by default.
const MAX_LOOKUPS: usize = 6;
const WINDOW: Duration = Duration::from_secs(60);

/// The time limit of a lookup, including the wait for its turn. It is shorter than the time limit of a
/// response.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Lines of an error message that are shown: a roster can have many problems.
const MAX_LINES: usize = 10;

/// Limits lookups. A lookup holds the lock, so there is only one at a time.
#[derive(Debug)]
pub(super) struct ExplainLimiter(Arc<Mutex<SlidingWindow>>);

/// Why a lookup failed.
#[derive(Debug)]
pub(super) enum ExplainError {
    RateLimited(Duration),
    TimedOut,
    Failed(String),
}

impl ExplainError {
    pub(super) fn response(&self, format: Format) -> ErrorResponse {
        match self {
            Self::RateLimited(wait) => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                ErrorResponse::new(format, status, self.message()).retry_after(*wait)
            }
            Self::TimedOut | Self::Failed(_) => {
                ErrorResponse::new(format, StatusCode::SERVICE_UNAVAILABLE, self.message())
            }
        }
    }

    /// The error as a sentence.
    pub(super) fn message(&self) -> String {
        match self {
            Self::RateLimited(wait) => format!(
                "At most {MAX_LOOKUPS} users a minute can be checked, because runs share the request limit. \
                 Try again in {} s.",
                wait.as_secs() + 1
            ),
            Self::TimedOut => {
                "Timed out: the roster keeps changing, Omni does not respond, or a run is using up the \
                request limit. Try again in a minute."
                    .into()
            }
            Self::Failed(reason) => format!("Check failed: {}.", reason.trim_end_matches('.')),
        }
    }
}

impl ExplainLimiter {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(SlidingWindow::new(WINDOW))))
    }

    /// Reads a user from the roster and from Omni, and says what a run would do.
    pub(super) async fn explain(
        &self,
        explainer: &Arc<Observer>,
        email: &Email,
    ) -> Result<Explanation, ExplainError> {
        let (explainer, email) = (Arc::clone(explainer), email.clone());
        let lookup = async {
            let mut recent = Arc::clone(&self.0).lock_owned().await;
            acquire(&mut recent, Instant::now()).map_err(ExplainError::RateLimited)?;
            // A lookup keeps the lock to its end even if the client is gone: on a hung mount, each
            // lookup blocks a thread.
            let task = tokio::spawn(async move {
                let _recent = recent;
                explainer.explain(&email, &CancellationToken::new()).await
            });
            let explained = task.await.map_err(|error| failed(&error))?;
            explained.map_err(|error| failed(&error))
        };
        let explained = timeout(TIMEOUT, lookup).await;
        explained.unwrap_or(Err(ExplainError::TimedOut))
    }
}

/// Counts a lookup, or returns the time to wait.
fn acquire(recent: &mut SlidingWindow, now: Instant) -> Result<(), Duration> {
    recent.expire(now);
    match recent.wait(MAX_LOOKUPS, now) {
        Some(wait) => Err(wait),
        None => {
            recent.record(now);
            Ok(())
        }
    }
}

fn failed(error: &dyn std::error::Error) -> ExplainError {
    ExplainError::Failed(first_lines(&error_chain(error)))
}

fn first_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().take(MAX_LINES).collect();
    let more = match text.lines().nth(MAX_LINES) {
        Some(_) => "\nand more",
        None => "",
    };
    lines.join("\n") + more
}
