//! What the server is made of.

use super::Probes;
use super::session::{Attempts, Sessions};
use crate::journal::Journal;
use crate::settings::SecretFile;
use crate::trigger::Wake;
use std::net::SocketAddr;
use tokio::sync::Semaphore;

/// Who may look into the journal at once; others wait for their turn.
const MOST_LOOKS: usize = 4;

/// What the server tells from, and what it may do.
#[derive(Clone, Debug)]
pub struct Site {
    /// What the probes tell from.
    pub probes: Probes,
    /// The journal, opened to read: what is looked at holds up nobody who writes.
    pub reader: Journal,
    /// The journal in which approvals are written.
    pub writer: Journal,
    /// Wakes the loop.
    pub wake: Wake,
    /// Further names under which pages may be asked for (`serve.hosts`).
    pub hosts: Vec<String>,
    /// What actions take; without it there are none.
    pub admin_token: Option<SecretFile>,
}

/// The site, and what lasts from one request to the next.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) site: Site,
    /// Whether it listens where only this machine can connect.
    pub(super) is_local: bool,
    pub(super) sessions: Sessions,
    pub(super) attempts: Attempts,
    pub(super) looks: Semaphore,
}

impl Shared {
    pub(super) fn new(site: Site, address: SocketAddr) -> Self {
        Self {
            site,
            is_local: address.ip().is_loopback(),
            sessions: Sessions::new(),
            attempts: Attempts::default(),
            looks: Semaphore::new(MOST_LOOKS),
        }
    }
}
