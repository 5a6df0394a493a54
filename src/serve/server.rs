//! The sockets: whoever connects is bounded.

use super::ServerConfig;
use super::router::router;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
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
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Connections at once. When there are more, whoever has waited longest without a whole request goes.
const MOST_CONNECTIONS: usize = 128;

/// How long a request's head may take, and then its body, and how long a connection may be idle.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(5);

/// The largest head of a request.
const MOST_HEAD_BYTES: usize = 16 * 1024;

/// How long a connection may live; a client that wants more makes a new one.
const LIFE: Duration = Duration::from_secs(60);

/// How long an answer under way may take after that, or after the stop.
const LAST_ANSWER: Duration = Duration::from_secs(2);

/// How far the server's thread stands back: a tenth of the time of one that does not, where both want all.
const NICE: i32 = 10;

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
    pub async fn bind(address: SocketAddr, site: ServerConfig) -> Result<Self, ServeError> {
        let failed = |source| ServeError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            address,
            listener,
            router: router(site, address),
        })
    }

    /// Where it listens: the port too, where any would do.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves as [`run`](Self::run) does, on a thread of its own that comes after all others: whoever
    /// asks, however often, takes no time from a run that needs it. Returns when
    /// it has ended.
    ///
    /// # Errors
    /// When the thread can't be had.
    pub async fn run_apart(self, stop: CancellationToken) -> std::io::Result<()> {
        let Self {
            listener,
            address,
            router,
        } = self;
        let listener = listener.into_std()?;
        let (ended, end) = tokio::sync::oneshot::channel();
        let serve = move || {
            // Of this thread alone, and of those that it starts.
            if let Err(error) = rustix::process::nice(NICE) {
                warn!(%error, "the server can't step back: pages and probes may take time from a run");
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener)?;
                let server = Self {
                    listener,
                    address,
                    router,
                };
                server.run(stop).await;
                Ok(())
            })
        };
        std::thread::Builder::new()
            .name("server".into())
            .spawn(move || drop(ended.send(serve())))?;
        end.await
            .unwrap_or_else(|_| Err(std::io::Error::other("the server's thread broke off")))
    }

    /// Serves until it is told to stop, and then a little longer to those who wait for an answer.
    pub async fn run(self, stop: CancellationToken) {
        let mut connections = Connections::default();
        loop {
            // Cancel-safe, all three: a connection is taken from the queue only when it is returned.
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = connections.tasks.join_next_with_id() => connections.forget(ended),
                taken = self.listener.accept(), if connections.make_room() => match taken {
                    Ok((stream, peer)) => connections.add(stream, peer, &self.router, &stop),
                    Err(error) => {
                        told_refusal(&error);
                        stop.run_until_cancelled(tokio::time::sleep(AFTER_REFUSAL)).await;
                    }
                }
            }
        }
        drop(self.listener);
        while let Some(ended) = connections.tasks.join_next_with_id().await {
            connections.forget(ended);
        }
    }
}

/// The connections that are open, in the order in which they came.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    open: BTreeMap<u64, Open>,
    came: u64,
}

struct Open {
    task: AbortHandle,
    /// Requests that are being answered: 0 for one that has sent no whole request.
    answering: Arc<AtomicUsize>,
}

impl Connections {
    /// Whether one more may come. When all are taken, whoever has come first of those that have not sent
    /// a whole request makes way when somebody waits: a thousand slow ones keep nobody out.
    fn make_room(&mut self) -> bool {
        self.open.len() < MOST_CONNECTIONS || self.idle().is_some()
    }

    fn idle(&self) -> Option<u64> {
        let is_idle = |open: &Open| open.answering.load(Ordering::Relaxed) == 0;
        let mut idle = self.open.iter().filter(|(_, open)| is_idle(open));
        idle.next().map(|(number, _)| *number)
    }

    fn add(
        &mut self,
        stream: TcpStream,
        peer: SocketAddr,
        router: &Router,
        stop: &CancellationToken,
    ) {
        if self.open.len() >= MOST_CONNECTIONS
            && let Some(open) = self.idle().and_then(|number| self.open.remove(&number))
        {
            open.task.abort();
        }
        let answering = Arc::new(AtomicUsize::new(0));
        let client = Client {
            peer,
            answering: Arc::clone(&answering),
            router: router.clone(),
        };
        let task = self.tasks.spawn(client.serve(stream, stop.clone()));
        self.came += 1;
        self.open.insert(self.came, Open { task, answering });
    }

    fn forget(&mut self, ended: Result<(tokio::task::Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        self.open.retain(|_, open| open.task.id() != id);
        if let Err(error) = ended
            && !error.is_cancelled()
        {
            let error: &dyn std::error::Error = &error;
            warn!(error, "an answer was not finished");
        }
    }
}

fn told_refusal(error: &std::io::Error) {
    let error: &dyn std::error::Error = error;
    warn!(error, "a connection can't be taken");
}

/// Whoever is at the other end of a connection.
struct Client {
    peer: SocketAddr,
    answering: Arc<AtomicUsize>,
    router: Router,
}

impl Client {
    /// Serves the connection, for its bounded life.
    async fn serve(self, stream: TcpStream, stop: CancellationToken) {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(MOST_HEAD_BYTES)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(|request| self.answer(request)),
            );
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

    async fn answer(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let extensions = request.extensions_mut();
        extensions.insert(ConnectInfo(self.peer));
        extensions.insert(Answering(Arc::clone(&self.answering)));
        TowerToHyperService::new(self.router.clone())
            .call(request)
            .await
    }
}

/// The requests of a connection that are being answered.
#[derive(Clone)]
pub(super) struct Answering(Arc<AtomicUsize>);

impl Answering {
    /// Counts a request, once it is whole, for as long as its answer is made.
    pub(super) fn begin(&self) -> impl Drop + use<> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(&self.0))
    }
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn told(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        let error: &dyn std::error::Error = &error;
        debug!(error, "a connection broke off");
    }
}
