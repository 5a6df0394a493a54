//! The actions: request a run, stop one, pause the daemon and end that, and approve held changes.

use super::auth::Principal;
use super::response::{ErrorResponse, Format};
use super::state::AppState;
use crate::model::{Pause, RunNumber, RunRef, Subject, Trigger};
use crate::state::{Approval, ApprovalScope, ApproveError, StateError};
use crate::util::error_chain::error_chain;
use axum::http::StatusCode;
use chrono::{TimeDelta, Utc};
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

    /// Pauses the daemon, which stores the pause as the `pause` command does.
    pub(super) async fn pause(
        &self,
        length: Option<TimeDelta>,
        principal: &Principal,
        format: Format,
    ) -> Result<Pause, ErrorResponse> {
        let by = principal.origin.describe();
        let pause = Pause::starting(Utc::now(), length, by);
        let paused = self.config.writer.pause(&pause).await;
        paused.map_err(|error| unwritable("Not paused", &error, format))?;
        // At once. Pauses of other processes are polled for.
        self.config.probes.status.pause(Some(pause.clone()));
        info!(by = pause.by, until = ?pause.until, "pause requested");
        Ok(pause)
    }

    /// Ends a pause. Returns whether there was one.
    pub(super) async fn resume(
        &self,
        principal: &Principal,
        format: Format,
    ) -> Result<bool, ErrorResponse> {
        let writer = &self.config.writer;
        let resumed = async {
            let is_paused = writer.paused(Utc::now()).await?.is_some();
            writer.resume().await.map(|()| is_paused)
        };
        let was_paused = resumed.await;
        let was_paused = was_paused.map_err(|error| unwritable("Not resumed", &error, format))?;
        self.config.probes.status.pause(None);
        info!(by = principal.origin.describe(), "resume requested");
        Ok(was_paused)
    }

    /// Approves held changes of a run, or those of one user or group, by the rules of the `approve` command. The daemon
    /// watches the state database for approvals, so each one starts one run, whatever process recorded it.
    pub(super) async fn approve(
        &self,
        run: RunNumber,
        only: Option<Subject>,
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
            info!(run = %approval.run, by, changes = approval.changes().len(), "approved");
        }
        Ok(approval)
    }
}

/// The response to an action that can't be stored.
fn unwritable(what: &str, error: &StateError, format: Format) -> ErrorResponse {
    let message = format!(
        "{what}: the state database can't be written: {}.",
        error_chain(error)
    );
    ErrorResponse::new(format, StatusCode::SERVICE_UNAVAILABLE, message)
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
