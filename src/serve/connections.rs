//! Open connections: their number, their lifetime, and the requests in progress on each.

use super::response::{ErrorResponse, Format};
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Response, StatusCode};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Connections at the same time. Beyond that, the oldest connection without a complete request is closed.
const MAX_CONNECTIONS: usize = 128;

/// Connections beyond that, on which only probes are answered, so that slow requests can't make the daemon look dead.
const PROBE_CONNECTIONS: usize = 16;

/// The paths of probes.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// The time limit for the head of a request, and again for its body. Also the idle timeout.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest head of a request.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The lifetime of a connection; clients reconnect after that.
const MAX_LIFETIME: Duration = Duration::from_secs(60);

/// The time limit for a response in progress after the lifetime of its connection, and at shutdown.
const GRACE_PERIOD: Duration = Duration::from_secs(2);

/// The open connections, oldest first.
#[derive(Default)]
pub(super) struct Connections {
    tasks: JoinSet<()>,
    open: BTreeMap<u64, Open>,
    accepted: u64,
}

struct Open {
    task: AbortHandle,
    /// The number of requests in progress; 0 for a connection that has not sent a complete request.
    active: Arc<AtomicUsize>,
}

impl Connections {
    /// Whether another connection can be accepted. If all slots are in use, the oldest connection
    /// without a complete request gives way, so that slow clients can't block the server.
    pub(super) fn has_room(&self) -> bool {
        let most = MAX_CONNECTIONS + PROBE_CONNECTIONS;
        self.open.len() < most || self.oldest_idle().is_some()
    }

    fn oldest_idle(&self) -> Option<u64> {
        let is_idle = |open: &Open| open.active.load(Ordering::Relaxed) == 0;
        let mut idle = self.open.iter().filter(|(_, open)| is_idle(open));
        idle.next().map(|(number, _)| *number)
    }

    /// Serves a connection in a task of its own.
    pub(super) fn add(
        &mut self,
        stream: TcpStream,
        peer: SocketAddr,
        router: &Router,
        stop: &CancellationToken,
    ) {
        if self.open.len() >= MAX_CONNECTIONS
            && let Some(open) = self
                .oldest_idle()
                .and_then(|number| self.open.remove(&number))
        {
            open.task.abort();
        }
        let active = Arc::new(AtomicUsize::new(0));
        let connection = Connection {
            peer,
            active: Arc::clone(&active),
            router: router.clone(),
            is_for_probes: self.open.len() >= MAX_CONNECTIONS,
        };
        let task = self.tasks.spawn(connection.serve(stream, stop.clone()));
        self.accepted += 1;
        self.open.insert(self.accepted, Open { task, active });
    }

    /// Waits for a connection to end; `None` if there are none. Cancel-safe.
    pub(super) async fn join_next(&mut self) -> Option<()> {
        let ended = self.tasks.join_next_with_id().await?;
        self.remove(ended);
        Some(())
    }

    fn remove(&mut self, ended: Result<(tokio::task::Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        self.open.retain(|_, open| open.task.id() != id);
        if let Err(error) = ended
            && !error.is_cancelled()
        {
            let error: &dyn std::error::Error = &error;
            warn!(error, "a request handler panicked");
        }
    }
}

struct Connection {
    peer: SocketAddr,
    active: Arc<AtomicUsize>,
    router: Router,
    /// Whether it answers probes only.
    is_for_probes: bool,
}

impl Connection {
    async fn serve(self, stream: TcpStream, stop: CancellationToken) {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(READ_TIMEOUT)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(|request| self.respond(request)),
            );
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = &mut connection => return log_end(ended),
            () = stop.cancelled() => {}
            () = tokio::time::sleep(MAX_LIFETIME) => {}
        }
        connection.as_mut().graceful_shutdown();
        if let Ok(ended) = tokio::time::timeout(GRACE_PERIOD, connection).await {
            log_end(ended);
        }
    }

    async fn respond(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        if self.is_for_probes && !PROBES.contains(&request.uri().path()) {
            return Ok(all_in_use(request.uri().path()));
        }
        let extensions = request.extensions_mut();
        extensions.insert(ConnectInfo(self.peer));
        extensions.insert(ActiveRequests(Arc::clone(&self.active)));
        TowerToHyperService::new(self.router.clone())
            .call(request)
            .await
    }
}

/// Closes the connection too, since the next one may be for any request.
fn all_in_use(path: &str) -> Response<Body> {
    let message = "All connections are in use. Try again in a minute.";
    let error = ErrorResponse::new(Format::of(path), StatusCode::SERVICE_UNAVAILABLE, message);
    let mut response = error.into_response();
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

fn log_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        let error: &dyn std::error::Error = &error;
        debug!(error, "a connection ended with an error");
    }
}

/// The number of requests in progress on a connection.
#[derive(Clone)]
pub(super) struct ActiveRequests(Arc<AtomicUsize>);

impl ActiveRequests {
    /// Counts a complete request until the returned guard is dropped.
    pub(super) fn begin(&self) -> impl Drop + use<> {
        self.0.fetch_add(1, Ordering::Relaxed);
        ActiveRequestGuard(Arc::clone(&self.0))
    }
}

struct ActiveRequestGuard(Arc<AtomicUsize>);

impl Drop for ActiveRequestGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
