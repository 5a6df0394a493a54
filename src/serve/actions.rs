//! The actions: request a run, stop one, and approve held changes.

use super::auth::Principal;
use super::response::{ErrorResponse, Format};
use super::state::AppState;
use crate::model::{Email, RunNumber, RunRef, Trigger};
use crate::state::{Approval, ApprovalScope, ApproveError};
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

    /// Approves held changes of a run, or those of one user, by the rules of the `approve` command. The daemon watches
    /// the state database for approvals, so each one starts one run, whatever process recorded it.
    pub(super) async fn approve(
        &self,
        run: RunNumber,
        only: Option<Email>,
        principal: &Principal,
        dry: bool,
    ) -> Result<Approval, ApproveError> {
        let by = principal.origin.describe();
        let now = Utc::now();
        let writer = &self.config.writer;
        let run = RunRef::Number(run);
        let scope = ApprovalScope { run, only };
        let approval = writer.approve(scope, &by, now, dry).await?;
        if !dry {
            info!(run = %approval.run, by, changes = approval.changes.len(), "approved");
        }
        Ok(approval)
    }
}

/// The response to a failed approval.
pub(super) fn approve_error(error: &ApproveError, format: Format) -> ErrorResponse {
    let status = match error {
        ApproveError::Unknown | ApproveError::NotHeld { .. } => StatusCode::NOT_FOUND,
        ApproveError::Expired { .. } => StatusCode::GONE,
        ApproveError::NothingHeld { .. }
        | ApproveError::DryRun { .. }
        | ApproveError::Done { .. } => StatusCode::CONFLICT,
        ApproveError::State(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    ErrorResponse::new(format, status, format!("Not approved: {error}."))
}
