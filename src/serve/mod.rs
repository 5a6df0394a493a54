//! What is served over HTTP: the probes and the metrics.
//!
//! The rules of the room:
//!
//! - It only reads: the daemon's status and the metrics. No answer names a user.
//! - Whoever connects is bounded: how many, how long, how large a head. A half-sent request holds a
//!   slot for seconds, and never the end of the process.

mod probes;

pub use probes::Probes;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Connections at once; more wait in the operating system's queue.
const MOST_CONNECTIONS: usize = 64;

/// How long a request's head may take, and how long a connection may be idle.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// The largest head of a request.
const MOST_HEAD_BYTES: usize = 16 * 1024;

/// How long a connection may live; a client that wants more makes a new one.
const LIFE: Duration = Duration::from_secs(60);

/// How long an answer under way may take after that, or after the stop.
const LAST_ANSWER: Duration = Duration::from_secs(2);

/// How long to wait after the operating system refused a connection, such as for want of files.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
#[error("serve.listen = \"{address}\": can't listen there")]
pub struct ServeError {
    address: SocketAddr,
    source: std::io::Error,
}

/// A server that has its address and waits to be run.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
}

impl Server {
    /// Takes the address.
    ///
    /// # Errors
    /// When that can't be had, named by its setting.
    pub async fn bind(address: SocketAddr, probes: Probes) -> Result<Self, ServeError> {
        let failed = |source| ServeError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        Ok(Self {
            address: listener.local_addr().map_err(failed)?,
            listener,
            router: probes.router(),
        })
    }

    /// Where it listens: the port too, where any would do.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until it is told to stop, and then a little longer to those who wait for an answer.
    pub async fn run(self, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            // Cancel-safe, all three: a connection is taken from the queue only when it is returned.
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = connections.join_next() => tell(ended),
                taken = self.listener.accept(), if connections.len() < MOST_CONNECTIONS => {
                    match taken {
                        Ok((stream, _)) => {
                            connections.spawn(serve(stream, self.router.clone(), stop.clone()));
                        }
                        Err(error) => {
                            told_refusal(&error);
                            stop.run_until_cancelled(tokio::time::sleep(AFTER_REFUSAL)).await;
                        }
                    }
                }
            }
        }
        drop(self.listener);
        while let Some(ended) = connections.join_next().await {
            tell(ended);
        }
    }
}

fn told_refusal(error: &std::io::Error) {
    let error: &dyn std::error::Error = error;
    warn!(error, "a connection can't be taken");
}

fn tell(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        let error: &dyn std::error::Error = &error;
        warn!(error, "an answer was not finished");
    }
}

/// Serves one connection, for its bounded life.
async fn serve(stream: TcpStream, router: Router, stop: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MOST_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = &mut connection => return told(ended),
        () = stop.cancelled() => {}
        () = tokio::time::sleep(LIFE) => {}
    }
    connection.as_mut().graceful_shutdown();
    if let Ok(ended) = tokio::time::timeout(LAST_ANSWER, connection).await {
        told(ended);
    }
}

fn told(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        let error: &dyn std::error::Error = &error;
        debug!(error, "a connection broke off");
    }
}
