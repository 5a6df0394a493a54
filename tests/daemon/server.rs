//! The server, over real HTTP.

use omni_user_sync::daemon::Status;
use omni_user_sync::metrics::Metrics;
use omni_user_sync::serve::{Probes, Server};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// More than any of this should take.
const GENEROUS: Duration = Duration::from_secs(30);

struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn served() -> Served {
    let probes = Probes {
        status: Status::new(None),
        metrics: Metrics::new(),
    };
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::bind(any, probes).await.expect("a free port");
    let stop = CancellationToken::new();
    Served {
        address: server.address(),
        task: tokio::spawn(server.run(stop.clone())),
        stop,
    }
}

impl Served {
    /// Sends bytes, and returns all that is answered until the connection is closed.
    async fn say(&self, bytes: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        stream.write_all(bytes.as_bytes()).await.expect("is sent");
        let mut answer = String::new();
        let read = timeout(GENEROUS, stream.read_to_string(&mut answer));
        read.await.expect("is answered in time").expect("is text");
        answer
    }

    async fn get(&self, path: &str) -> String {
        let host = "some.other.name";
        self.say(&format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        ))
        .await
    }
}

#[tokio::test]
async fn answers_the_probes_and_nothing_else() {
    let served = served().await;
    let metrics = served.get("/metrics").await;
    assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
    assert!(
        metrics.contains("content-type: text/plain; version=0.0.4\r\n"),
        "{metrics}"
    );
    assert!(metrics.contains("omni_user_sync_build_info"), "{metrics}");
    let alive = served.get("/healthz").await;
    assert!(alive.starts_with("HTTP/1.1 200"), "{alive}");
    let ready = served.get("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(ready.contains("no run has read the roster"), "{ready}");
    let other = served.get("/").await;
    assert!(other.starts_with("HTTP/1.1 404"), "{other}");
    let post = served
        .say("POST /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert!(post.starts_with("HTTP/1.1 405"), "{post}");
}

#[tokio::test]
async fn refuses_a_head_without_end() {
    let served = served().await;
    let head = format!(
        "GET /healthz HTTP/1.1\r\nHost: a\r\nX: {}",
        "x".repeat(64 * 1024)
    );
    let mut stream = TcpStream::connect(served.address).await.expect("connects");
    // The server may close before it has read all.
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let read = timeout(GENEROUS, stream.read_to_end(&mut answer));
    let _ = read.await.expect("is closed in time");
    let text = String::from_utf8_lossy(&answer);
    assert!(
        text.is_empty() || text.starts_with("HTTP/1.1 431"),
        "{text}"
    );
}

#[tokio::test]
async fn half_sent_heads_hold_neither_slots_nor_the_end() {
    let served = served().await;
    let mut slow = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(served.address).await.expect("connects");
        stream.write_all(b"GET /hea").await.expect("is sent");
        slow.push(stream);
    }
    let alive = timeout(GENEROUS, served.get("/healthz")).await;
    assert!(alive.expect("gets a slot").starts_with("HTTP/1.1 200"));
    served.stop.cancel();
    let ended = timeout(GENEROUS, served.task).await;
    ended.expect("ends in time").expect("does not panic");
    drop(slow);
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_by_its_setting() {
    let served = served().await;
    let probes = Probes {
        status: Status::new(None),
        metrics: Metrics::new(),
    };
    let error = Server::bind(served.address, probes)
        .await
        .expect_err("is taken");
    let expected = format!("serve.listen = \"{}\": can't listen there", served.address);
    assert_eq!(error.to_string(), expected);
}
