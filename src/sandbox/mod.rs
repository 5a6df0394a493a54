//! A strict stand-in for Omni's user API. It is a witness, not a friend.
//!
//! - It refuses whatever Omni would refuse, each rule in its strictest reading: what passes here
//!   passes at Omni under every reading of its documents.
//! - It knows nothing of our client. It is built from `serde_json`, strings and std, so that a
//!   mistake of the client can't be mirrored in it.
//! - It remembers: every request ([`Org::requests`]), and apart from those whatever a correct
//!   client never sends ([`Org::unexpected`]). It never records a key, only its place in the list.
//! - The rules (`rules.rs`) only read: they give an answer and at most one change, and the change
//!   is made in one place ([`Org`]). So a refused request has changed nothing, and a fault can
//!   answer without doing or do without answering.
//! - The lock is held between two awaits, never over one.
//!
//! The way of a request, and so the order of refusals:
//! `faults → key → rate limit → rules → what the fault does to the answer`.

mod acts;
mod admin;
mod answer;
mod attributes;
mod call;
mod faults;
mod history;
mod json;
mod limiter;
mod list;
mod log;
mod options;
mod org;
mod rules;
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

pub use faults::{Fault, What, When};
pub use history::Changed;
pub use limiter::{Limiter, UnknownLimiter};
pub use log::Request;
pub use options::{ClearMode, Filter, Options, PatchAnswer, PutMode};
pub use org::Org;

/// A running stand-in. It stops when dropped.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    org: Org,
    server: JoinHandle<()>,
    stopping: DropGuard,
}

impl Sandbox {
    /// Binds the address and starts answering.
    ///
    /// # Errors
    /// When the address can't be bound, or the options allow no request, no key or no user on a page.
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
                // Ending `serve` closes the listener and every idle connection; those at work
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

    /// `http://127.0.0.1:PORT`, as a client's base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the stand-in holds and remembers; clone it freely.
    #[must_use]
    pub fn org(&self) -> &Org {
        &self.org
    }

    /// Closes the listener and every connection. Requests under way get no answer.
    pub async fn stop(self) {
        let Self {
            server, stopping, ..
        } = self;
        drop(stopping);
        // An error would only say that the server panicked, which its connections have shown.
        let _ = server.await;
    }
}
