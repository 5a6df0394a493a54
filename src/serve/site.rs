//! What the server is made of.

use super::Probes;
use super::asking::{Asked, none_asked};
use super::session::{Attempts, Sessions};
use super::token::AdminToken;
use crate::model::Protect;
use crate::run::Observer;
use crate::settings::SecretFile;
use crate::state::StateDb;
use crate::trigger::Wake;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Who may look into the journal at once; others wait for their turn.
const MOST_LOOKS: usize = 4;

/// What the server tells from, and what it may do.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// What the probes tell from.
    pub probes: Probes,
    /// The journal, opened to read: what is looked at holds up nobody who writes.
    pub reader: StateDb,
    /// The journal in which approvals are written.
    pub writer: StateDb,
    /// Reads roster and Omni for whoever asks for one user. Not the one that carries out runs: its journal is
    /// open to read, and which keys it uses is its own affair.
    pub explainer: Arc<Observer>,
    /// Wakes the loop.
    pub wake: Wake,
    /// Further names under which pages may be asked for (`serve.hosts`).
    pub hosts: Vec<String>,
    /// What actions take; without it there are none.
    pub admin_token: Option<SecretFile>,
    /// Whether a change of the roster starts a run (`source.watch`).
    pub is_watched: bool,
    /// Who is never removed (`policy.protect`).
    pub protect: Protect,
}

/// The site, and what lasts from one request to the next.
#[derive(Debug)]
pub(super) struct AppState {
    pub(super) site: ServerConfig,
    /// Whether it listens where only this machine can connect.
    pub(super) is_local: bool,
    /// The cookie that holds a session's id. Browsers send a cookie to every port of a host, so that the
    /// port stands in its name: logging in to one daemon ends no session of another beside it.
    pub(super) cookie_name: String,
    pub(super) sessions: Sessions,
    pub(super) attempts: Attempts,
    pub(super) admin_token: AdminToken,
    pub(super) looks: Semaphore,
    pub(super) asked: Asked,
}

impl AppState {
    pub(super) fn new(site: ServerConfig, address: SocketAddr) -> Self {
        Self {
            is_local: address.ip().is_loopback(),
            cookie_name: format!("omni_user_sync_session_{}", address.port()),
            sessions: Sessions::new(),
            attempts: Attempts::default(),
            admin_token: AdminToken::new(site.admin_token.clone()),
            looks: Semaphore::new(MOST_LOOKS),
            asked: none_asked(),
            site,
        }
    }
}
