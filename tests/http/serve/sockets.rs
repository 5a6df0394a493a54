//! Limits on connections and requests.

use super::support::{GENEROUS, ServerOptions, server_with, test_server};
use omni_user_sync::serve::Server;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

#[tokio::test]
async fn probes_accept_any_host() {
    let server = test_server().await;
    let probe = async |path: &str| {
        let headers = [
            "Host: some.other.name",
            "Origin: https://other.example",
            "Via: 1.1 a",
        ];
        server.ask(&format!("GET {path}"), &headers, "").await
    };
    let metrics = probe("/metrics").await;
    assert_eq!(metrics.status, 200, "{metrics:?}");
    assert_eq!(
        metrics.header("content-type"),
        Some("text/plain; version=0.0.4")
    );
    assert!(
        metrics.body.contains("omni_user_sync_build_info"),
        "{metrics:?}"
    );
    assert_eq!(probe("/healthz").await.status, 200);
    let ready = probe("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(
        ready.body.contains("no run has read the roster"),
        "{ready:?}"
    );
    let post = server.ask("POST /metrics", &["Host: a"], "").await;
    assert_eq!(post.status, 405, "{post:?}");
}

#[tokio::test]
async fn endless_head_is_refused() {
    let server = test_server().await;
    let head = format!(
        "GET /healthz HTTP/1.1\r\nHost: a\r\nX: {}",
        "x".repeat(64 * 1024)
    );
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    // The server may close the connection before it has read everything.
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
async fn incomplete_heads_block_no_clients_or_shutdown() {
    let server = test_server().await;
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(server.address).await.expect("connects");
        stream.write_all(b"GET /hea").await.expect("is sent");
        slow.push(stream);
    }
    assert_eq!(server.get("/healthz").await.status, 200);
    let ready = server.get("/readyz").await;
    assert_eq!(ready.status, 503);
    server.stop.cancel();
    // Before the time limit of a head.
    let ended = timeout(Duration::from_secs(3), server.task).await;
    ended.expect("ends in time").expect("does not panic");
    drop(slow);
}

#[tokio::test]
async fn incomplete_bodies_block_no_clients() {
    let server = test_server().await;
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(server.address).await.expect("connects");
        let head = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n";
        stream.write_all(head).await.expect("is sent");
        slow.push(stream);
    }
    let soon = timeout(Duration::from_secs(4), server.get("/healthz")).await;
    assert_eq!(
        soon.expect("before the time limit of the bodies").status,
        200
    );
    drop(slow);
}

/// Sends part of a request. Returns the response, and the time until the connection was closed.
async fn unfinished(part: &str) -> (String, Duration) {
    let server = test_server().await;
    let began = Instant::now();
    let answer = server.say(part).await;
    (answer, began.elapsed())
}

#[tokio::test]
async fn incomplete_heads_and_bodies_time_out() {
    let head = "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\ntok";
    let (of_head, of_body) = tokio::join!(unfinished("GET /hea"), unfinished(head));
    assert!(
        of_head.0.is_empty() || of_head.0.starts_with("HTTP/1.1 408"),
        "{of_head:?}"
    );
    assert!(of_body.0.starts_with("HTTP/1.1 408"), "{of_body:?}");
    assert!(
        of_body
            .0
            .contains("The request body took too long to arrive."),
        "{of_body:?}"
    );
    for (_, took) in [of_head, of_body] {
        // The time limit, with room for a busy machine; the lifetime of a connection is a minute.
        let expected = Duration::from_millis(4900)..GENEROUS;
        assert!(expected.contains(&took), "{took:?}");
    }
}

#[tokio::test]
async fn address_in_use_names_the_setting() {
    let server = test_server().await;
    let error = Server::bind(server.address, server.config.clone())
        .await
        .expect_err("is taken");
    let expected = format!(
        "serve.listen = \"{}\": can't listen on this address",
        server.address
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn large_body_is_refused() {
    let server = test_server().await;
    let answer = server.log_in(&"x".repeat(64 * 1024), &[]).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    assert!(
        answer.body.contains("<nav aria-label=\"Pages\">"),
        "{answer:?}"
    );
}

/// The name and the nice value of a thread, from its `stat` in `/proc`.
fn name_and_nice(stat: &str) -> Option<(String, i32)> {
    let (before, after) = stat.rsplit_once(") ")?;
    let name = before.split_once('(')?.1.to_owned();
    // Field 19; the first two are the id and the name.
    Some((name, after.split(' ').nth(16)?.parse().ok()?))
}

#[tokio::test]
async fn server_thread_has_low_priority() {
    let server = server_with(ServerOptions {
        on_thread: true,
        ..ServerOptions::default()
    })
    .await;
    assert_eq!(server.get("/healthz").await.status, 200);
    let read = |path: PathBuf| name_and_nice(&std::fs::read_to_string(path).ok()?);
    let (_, own) = read("/proc/thread-self/stat".into()).expect("is there");
    let tasks = std::fs::read_dir("/proc/self/task").expect("is there");
    // A thread may end meanwhile.
    let threads = tasks.filter_map(|task| read(task.ok()?.path().join("stat")));
    let servers: Vec<_> = threads.filter(|(name, _)| name == "server").collect();
    // The tests may run with a nice value themselves; the maximum is 19.
    assert_eq!(servers, [("server".to_owned(), (own + 10).min(19))]);
    server.stop.cancel();
    let ended = timeout(GENEROUS, server.task).await;
    ended.expect("ends in time").expect("does not panic");
}
