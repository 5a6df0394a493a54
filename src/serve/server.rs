//! The server: it listens, accepts connections and shuts down.

use super::ServerConfig;
use super::connections::Connections;
use super::router::router;
use axum::Router;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// The nice value of the server's thread. On a fully used core, the thread gets about a tenth of the time of one with
/// nice value 0.
const NICE: i32 = 10;

/// The wait after the operating system refuses a connection, for example for lack of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_secs(1);

/// The server can't listen on its address.
#[derive(Debug, thiserror::Error)]
#[error("serve.listen = \"{address}\": can't listen on this address")]
pub struct ServeError {
    address: SocketAddr,
    source: std::io::Error,
}

/// A bound address. Servers that follow each other share it, so that no client is refused in between.
#[derive(Debug)]
pub struct Listener {
    socket: std::net::TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds an address.
    ///
    /// # Errors
    /// If the address is not available.
    pub fn bind(address: SocketAddr) -> Result<Self, ServeError> {
        let failed = |source| ServeError { address, source };
        let socket = std::net::TcpListener::bind(address).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address })
    }
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
}

impl Server {
    /// Binds the server to an address.
    ///
    /// # Errors
    /// If the address is not available.
    pub async fn bind(address: SocketAddr, config: ServerConfig) -> Result<Self, ServeError> {
        Self::on(&Listener::bind(address)?, config)
    }

    /// A server on a bound address.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn on(listener: &Listener, config: ServerConfig) -> Result<Self, ServeError> {
        let Listener { socket, address } = listener;
        let address = *address;
        let listener = socket.try_clone().and_then(TcpListener::from_std);
        Ok(Self {
            address,
            listener: listener.map_err(|source| ServeError { address, source })?,
            router: router(config, address),
        })
    }

    /// The address that it listens on, with the actual port if the configured port is 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Like [`run`](Self::run), on a thread of its own with a lower priority, so that HTTP requests take
    /// no CPU time from a run. Returns at the end of the thread.
    ///
    /// # Errors
    /// If the thread can't be started.
    pub async fn run_on_thread(self, stop: CancellationToken) -> std::io::Result<()> {
        let Self {
            listener,
            address,
            router,
        } = self;
        let listener = listener.into_std()?;
        let (sender, result) = tokio::sync::oneshot::channel();
        let serve = move || {
            // Applies to this thread, and to threads that it starts.
            if let Err(error) = rustix::process::nice(NICE) {
                warn!(%error, "can't lower the priority of the server; HTTP requests may slow down runs");
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
            .spawn(move || drop(sender.send(serve())))?;
        result
            .await
            .unwrap_or_else(|_| Err(std::io::Error::other("the server thread panicked")))
    }

    /// Serves until `stop`, and then finishes the requests in progress.
    pub async fn run(self, stop: CancellationToken) {
        let mut connections = Connections::default();
        loop {
            // All three branches are cancel-safe: `accept` takes a connection from the queue only when
            // it returns it.
            tokio::select! {
                () = stop.cancelled() => break,
                Some(()) = connections.join_next() => {}
                accepted = self.listener.accept(), if connections.has_room() => match accepted {
                    Ok((stream, peer)) => connections.add(stream, peer, &self.router, &stop),
                    Err(error) => {
                        log_accept_error(&error);
                        stop.run_until_cancelled(tokio::time::sleep(ACCEPT_RETRY_DELAY)).await;
                    }
                }
            }
        }
        drop(self.listener);
        while connections.join_next().await.is_some() {}
    }
}

fn log_accept_error(error: &std::io::Error) {
    let error: &dyn std::error::Error = error;
    warn!(error, "can't accept a connection");
}
