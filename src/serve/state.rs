//! The configuration of the server, and its state between requests.

use super::Probes;
use super::explain::ExplainLimiter;
use super::on_demand::OnDemand;
use super::row_reports::RowReports;
use super::session::{LoginAttempts, Sessions};
use super::token::AdminToken;
use crate::report::ReportFolder;
use crate::run::Observer;
use crate::settings::SecretFile;
use crate::state::StateDb;
use crate::trigger::Wake;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Requests that query the state database at the same time; further ones wait.
const MAX_QUERIES: usize = 4;

/// The configuration of the server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Status and metrics of the daemon.
    pub probes: Probes,
    /// A read-only connection to the state database, so that queries never block a writer.
    pub reader: StateDb,
    /// The connection that records approvals and pauses.
    pub writer: StateDb,
    /// Reads the roster and Omni for `explain`. It is separate from the reconciler that applies changes:
    /// its state database is read-only, and it chooses its API keys on its own. Has the settings in force.
    pub explainer: Arc<Observer>,
    /// Wakes the run loop.
    pub wake: Wake,
    /// Additional host names of the pages (`serve.hosts`).
    pub hosts: Vec<String>,
    /// The header in which a proxy names the user (`serve.user_header`).
    pub user_header: Option<String>,
    /// The file with the token for actions; without it, there are no actions.
    pub admin_token: Option<SecretFile>,
    /// Whether a change of the roster starts a run (`source.watch`).
    pub is_watched: bool,
    /// The folder of the row reports (`source.reports`).
    pub row_reports: Option<ReportFolder>,
}

/// The configuration, and the state between requests.
#[derive(Debug)]
pub(super) struct AppState {
    pub(super) config: ServerConfig,
    /// Whether the server listens on a loopback address.
    pub(super) is_local: bool,
    /// The name of the session cookie. Browsers send a cookie to every port of a host, so the name
    /// contains the port: logging in to one daemon does not end the session of another.
    pub(super) cookie_name: String,
    pub(super) sessions: Sessions,
    pub(super) login_attempts: LoginAttempts,
    pub(super) admin_token: AdminToken,
    pub(super) query_permits: Semaphore,
    pub(super) explain_limiter: ExplainLimiter,
    pub(super) preview_limiter: OnDemand,
    pub(super) undo_limiter: OnDemand,
    pub(super) row_reports: RowReports,
    /// A permit to send a large body.
    pub(super) upload_permit: Semaphore,
}

impl AppState {
    pub(super) fn new(config: ServerConfig, address: SocketAddr) -> Self {
        Self {
            is_local: address.ip().is_loopback(),
            cookie_name: format!("omni_user_sync_session_{}", address.port()),
            sessions: Sessions::new(),
            login_attempts: LoginAttempts::new(),
            admin_token: AdminToken::new(config.admin_token.clone()),
            query_permits: Semaphore::new(MAX_QUERIES),
            explain_limiter: ExplainLimiter::new(),
            preview_limiter: OnDemand::new(),
            undo_limiter: OnDemand::new(),
            row_reports: RowReports::new(config.row_reports.clone()),
            upload_permit: Semaphore::new(1),
            config,
        }
    }
}
