//! A strict mock server of Omni's API for users, groups, roles and schedules.
//!
//! - It rejects every request that Omni may reject, under the strictest reading of each rule: a request
//!   that passes here passes at Omni under every reading of its documentation.
//! - It does not use our client's types. It is built from `serde_json`, strings and std, so that it
//!   can't repeat a mistake of the client.
//! - It records every request ([`Org::requests`]), and separately every request that a correct client
//!   never sends ([`Org::unexpected`]). It never records a key, only its index.
//! - The rules (`rules.rs`) only read: they return an answer and at most one change, which [`Org`]
//!   applies. So a rejected request changes nothing, and a fault can answer without applying the change,
//!   or apply it without answering.
//! - The lock is never held across an await.
//!
//! The order of processing, and so of rejections:
//! `faults → key → rate limit → rules → effect of the fault on the answer`.

mod admin;
mod answer;
mod attributes;
mod call;
mod done;
mod faults;
mod group;
mod group_write;
mod history;
mod json;
mod key;
mod limiter;
mod list;
mod log;
mod options;
mod org;
mod org_groups;
mod org_owned;
mod org_roles;
mod owned;
mod owned_rules;
mod pages;
mod role_rules;
mod roles;
mod rules;
mod scheduled;
mod seed;
mod server;
mod signals;
mod store;
mod user;
mod world;
mod write;

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use admin::ROUTES as ADMIN_ROUTES;
pub use faults::{Fault, What, When};
pub use history::Changed;
pub use limiter::{Burst, InvalidBurst, Limiter, UnknownLimiter};
pub use log::Request;
pub use options::{
    BadKey, ClearBy, ClearMode, Endpoint, Filter, Ids, Inactive, LargerCount, LastModified,
    ListedGroups, Lists, Options, Origins, OtherIds, PatchAnswer, PatchForms, PutMode, Repeated,
    ScheduleOwners,
};
pub use org::Org;
pub use rules::ROUTES;
pub use server::REQUESTS;

/// A running mock server. It stops when dropped.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    org: Org,
    server: JoinHandle<()>,
    stopping: DropGuard,
}

impl Sandbox {
    /// Binds the address and starts serving.
    ///
    /// # Errors
    /// If the address can't be bound, or the options have no keys, a rate limit of 0 or a page size of 0.
    pub async fn start(options: Options) -> io::Result<Self> {
        options.check()?;
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let org = Org::new(&options);
        let stop = CancellationToken::new();
        let router = server::router(&options, address, org.clone(), stop.clone());
        let until = stop.clone();
        let server = tokio::spawn(async move {
            tokio::select! {
                // Dropping `serve` closes the listener and all idle connections. Active connections
                // watch the same token.
                () = until.cancelled() => {}
                _ = axum::serve(listener, router).into_future() => {}
            }
        });
        let stopping = stop.drop_guard();
        Ok(Self {
            address,
            org,
            server,
            stopping,
        })
    }

    /// The base URL for clients: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The listen address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The organisation and the recorded requests. Clones are cheap.
    #[must_use]
    pub fn org(&self) -> &Org {
        &self.org
    }

    /// Closes the listener and all connections. Requests in progress get no answer.
    pub async fn stop(self) {
        let Self {
            server, stopping, ..
        } = self;
        drop(stopping);
        // An error only means that the server panicked, which its clients have noticed.
        let _ = server.await;
    }
}
