//! The actions: request a run, stop one, and approve held changes.

use super::auth::Principal;
use super::response::{ErrorResponse, Format};
use super::state::AppState;
use crate::model::{RunNumber, RunRef, Trigger};
use crate::state::{Approval, ApproveError};
use axum::http::StatusCode;
use chrono::Utc;
use tracing::info;

impl AppState {
    /// Requests a run, which fetches all users from Omni.
    pub(super) fn request_run(&self, principal: &Principal) {
        info!(by = principal.origin.describe(), "run requested");
        self.config.wake.wake(Trigger::Request);
    }

    /// Stops the run in progress between two requests. Returns whether there is one.
    pub(super) fn stop_run(&self, principal: &Principal) -> bool {
        let is_running = self.config.probes.status.facts().running.is_some();
        if is_running {
            info!(by = principal.origin.describe(), "stop requested");
            self.config.wake.request_stop();
        }
        is_running
    }

    /// Approves the held changes of a run, by the rules of the `approve` command, and wakes the run
    /// loop.
    pub(super) async fn approve(
        &self,
        run: RunNumber,
        principal: &Principal,
        dry: bool,
    ) -> Result<Approval, ApproveError> {
        let by = principal.origin.describe();
        let now = Utc::now();
        let writer = &self.config.writer;
        let approval = writer.approve(RunRef::Number(run), &by, now, dry).await?;
        if !dry {
            info!(%run, by, changes = approval.changes.len(), "approved");
            self.config.wake.wake(Trigger::Approval);
        }
        Ok(approval)
    }
}

/// The response to a failed approval.
pub(super) fn approve_error(error: &ApproveError, format: Format) -> ErrorResponse {
    let status = match error {
        ApproveError::Unknown => StatusCode::NOT_FOUND,
        ApproveError::Expired { .. } => StatusCode::GONE,
        ApproveError::NothingHeld { .. } | ApproveError::Done { .. } => StatusCode::CONFLICT,
        ApproveError::State(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    ErrorResponse::new(format, status, format!("Not approved: {error}."))
}
