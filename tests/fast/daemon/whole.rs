//! The whole daemon without a roster, keys or Omni: it keeps running, reports the problem, and stops on a
//! signal.

use omni_user_sync::daemon;
use omni_user_sync::settings::{KeySource, RawSettings, Settings};
use omni_user_sync::shutdown::Signals;
use rustix::process::{Signal, getpid, kill_process};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// An upper bound for each step.
const GENEROUS: Duration = Duration::from_secs(30);

fn settings(listen: SocketAddr, state: &TempDir) -> Settings {
    let mut raw = RawSettings::default();
    raw.set("omni.base_url", "http://127.0.0.1:9");
    raw.set("source.path", "/no/such/users.csv");
    raw.set("serve.listen", listen);
    raw.set("state.dir", state.path().display());
    raw.set(
        "notify.webhook_url_file",
        state.path().join("webhook").display(),
    );
    Settings::check(raw, KeySource::default()).expect("valid")
}

fn no_reload() -> anyhow::Result<Settings> {
    anyhow::bail!("there is no settings file")
}

fn free_address() -> SocketAddr {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    taken.local_addr().expect("has one")
}

async fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

/// Requests until the answer contains a text.
async fn eventually(address: SocketAddr, path: &str, text: &str) {
    let asking = async {
        while !get(address, path)
            .await
            .is_some_and(|answer| answer.contains(text))
        {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let found = timeout(GENEROUS, asking).await;
    assert!(
        found.is_ok(),
        "{path} never says {text}: {:?}",
        get(address, path).await
    );
}

/// A webhook for one message: its URL, and the request it gets.
async fn webhook() -> (String, tokio::task::JoinHandle<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("has one");
    let receive = async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let (mut said, mut bytes) = (String::new(), [0; 4096]);
        // The request ends with the closing brace of the body.
        while !said.ends_with('}') {
            let count = stream.read(&mut bytes).await.expect("is sent");
            said.push_str(std::str::from_utf8(&bytes[..count]).expect("is text"));
        }
        let taken = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(taken).await.expect("is answered");
        said
    };
    (format!("http://{address}/hook"), tokio::spawn(receive))
}

/// A single test, because signals concern the whole process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn survives_failures_and_stops_on_signals() {
    // Under `nohup` it would be ignored.
    let _handled = signal(SignalKind::hangup()).expect("a handler");
    let address = free_address();
    let (state, other) = (
        TempDir::new().expect("a folder"),
        TempDir::new().expect("a folder"),
    );
    let (hook, request) = webhook().await;
    std::fs::write(state.path().join("webhook"), hook).expect("written");
    let running = tokio::spawn(daemon::run(settings(address, &state), no_reload));
    eventually(address, "/readyz", "can't be read").await;
    eventually(address, "/healthz", "HTTP/1.1 200").await;
    eventually(
        address,
        "/metrics",
        r#"runs_total{result="failed",trigger="start"} 1"#,
    )
    .await;

    let request = timeout(GENEROUS, request).await.expect("is sent in time");
    let request = request.expect("does not panic");
    assert!(
        request.starts_with("POST /hook ") && request.contains("run 1 failed"),
        "{request}"
    );

    let taken = daemon::run(settings(address, &other), no_reload)
        .await
        .expect_err("the address is taken");
    assert!(taken.to_string().starts_with("serve.listen = "), "{taken}");

    kill_process(getpid(), Signal::HUP).expect("is sent");
    eventually(
        address,
        "/metrics",
        r#"runs_total{result="failed",trigger="signal"} 1"#,
    )
    .await;

    kill_process(getpid(), Signal::TERM).expect("is sent");
    let ended = timeout(GENEROUS, running).await.expect("ends in time");
    ended.expect("does not panic").expect("ends well");
    assert!(
        get(address, "/healthz").await.is_none(),
        "the server is gone"
    );

    a_second_signal_does_not_wait().await;
}

async fn a_second_signal_does_not_wait() {
    let mut signals = Signals::listen().expect("are taken over");
    let stop = CancellationToken::new();
    let told_twice = async {
        kill_process(getpid(), Signal::TERM).expect("is sent");
        stop.cancelled().await;
        kill_process(getpid(), Signal::INT).expect("is sent");
    };
    let both = async { tokio::join!(signals.follow(&stop, || {}), told_twice) };
    timeout(GENEROUS, both)
        .await
        .expect("returns at the second");
}
