//! On-demand lookups of one user in the roster and in Omni. They are limited because runs share the same request limit:
//! each takes about five requests, of 55 per minute by default.

use super::on_demand::{MAX_REQUESTS, OnDemand, Refusal, first_lines};
use super::response::{ErrorResponse, Format};
use crate::model::Email;
use crate::run::{Explanation, Observer};
use crate::util::error_chain::error_chain;
use axum::http::StatusCode;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Limits lookups.
#[derive(Debug)]
pub(super) struct ExplainLimiter(OnDemand);

/// Why a lookup failed.
#[derive(Debug)]
pub(super) enum ExplainError {
    RateLimited(Duration),
    TimedOut,
    Failed(String),
}

impl From<Refusal> for ExplainError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::RateLimited(wait) => Self::RateLimited(wait),
            Refusal::TimedOut => Self::TimedOut,
        }
    }
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
                "At most {MAX_REQUESTS} users a minute can be checked, because runs share the request limit. \
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
        Self(OnDemand::new())
    }

    /// Reads a user from the roster and from Omni, and says what a run would do.
    pub(super) async fn explain(
        &self,
        explainer: &Arc<Observer>,
        email: &Email,
    ) -> Result<Explanation, ExplainError> {
        let (explainer, email) = (Arc::clone(explainer), email.clone());
        let lookup = async move { explainer.explain(&email, &CancellationToken::new()).await };
        let explained = self.0.run(lookup).await?;
        explained.map_err(|error| ExplainError::Failed(first_lines(&error_chain(&error))))
    }
}
