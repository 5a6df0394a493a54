//! The sockets: whoever connects is bounded.

use super::support::{GENEROUS, Wanted, served, serving};
use omni_user_sync::serve::Server;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

#[tokio::test]
async fn probes_answer_to_any_name() {
    let served = served().await;
    let probe = async |path: &str| {
        let headers = [
            "Host: some.other.name",
            "Origin: https://other.example",
            "Via: 1.1 a",
        ];
        served.ask(&format!("GET {path}"), &headers, "").await
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
    let post = served.ask("POST /metrics", &["Host: a"], "").await;
    assert_eq!(post.status, 405, "{post:?}");
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
async fn half_sent_heads_keep_nobody_out_and_do_not_hold_the_end() {
    let served = served().await;
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(served.address).await.expect("connects");
        stream.write_all(b"GET /hea").await.expect("is sent");
        slow.push(stream);
    }
    assert_eq!(served.get("/healthz").await.status, 200);
    let ready = served.get("/readyz").await;
    assert_eq!(ready.status, 503);
    served.stop.cancel();
    // Sooner than the time of a head is up.
    let ended = timeout(Duration::from_secs(3), served.task).await;
    ended.expect("ends in time").expect("does not panic");
    drop(slow);
}

#[tokio::test]
async fn half_sent_bodies_keep_nobody_out() {
    let served = served().await;
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(served.address).await.expect("connects");
        let head = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n";
        stream.write_all(head).await.expect("is sent");
        slow.push(stream);
    }
    let soon = timeout(Duration::from_secs(4), served.get("/healthz")).await;
    assert_eq!(soon.expect("before the bodies' time is up").status, 200);
    drop(slow);
}

/// Sends a part of a request and no more; what is answered until the connection is closed, and how long that
/// took.
async fn unfinished(part: &str) -> (String, Duration) {
    let served = served().await;
    let began = Instant::now();
    let answer = served.say(part).await;
    (answer, began.elapsed())
}

#[tokio::test]
async fn a_head_and_a_body_that_do_not_come_to_an_end_have_their_time() {
    let head = "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\ntok";
    let (of_head, of_body) = tokio::join!(unfinished("GET /hea"), unfinished(head));
    assert!(
        of_head.0.is_empty() || of_head.0.starts_with("HTTP/1.1 408"),
        "{of_head:?}"
    );
    assert!(of_body.0.starts_with("HTTP/1.1 408"), "{of_body:?}");
    assert!(of_body.0.contains("The body took too long."), "{of_body:?}");
    for (_, took) in [of_head, of_body] {
        // Five seconds, and what a busy machine takes; the life of a connection is a minute.
        let expected = Duration::from_millis(4900)..GENEROUS;
        assert!(expected.contains(&took), "{took:?}");
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_by_its_setting() {
    let served = served().await;
    let error = Server::bind(served.address, served.site.clone())
        .await
        .expect_err("is taken");
    let expected = format!("serve.listen = \"{}\": can't listen there", served.address);
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let served = served().await;
    let answer = served.log_in(&"x".repeat(64 * 1024), &[]).await;
    assert_eq!(answer.status, 413, "{answer:?}");
}

/// A thread's name, and how far it steps back, of its `stat` in `/proc`.
fn name_and_nice(stat: &str) -> Option<(String, i32)> {
    let (before, after) = stat.rsplit_once(") ")?;
    let name = before.split_once('(')?.1.to_owned();
    // The 19th value of all, of which the first two are the id and the name.
    Some((name, after.split(' ').nth(16)?.parse().ok()?))
}

#[tokio::test]
async fn the_thread_that_serves_comes_after_all_others() {
    let served = serving(Wanted {
        is_apart: true,
        ..Wanted::default()
    })
    .await;
    assert_eq!(served.get("/healthz").await.status, 200);
    let read = |path: PathBuf| name_and_nice(&std::fs::read_to_string(path).ok()?);
    let (_, own) = read("/proc/thread-self/stat".into()).expect("is there");
    let tasks = std::fs::read_dir("/proc/self/task").expect("is there");
    // One may end meanwhile.
    let threads = tasks.filter_map(|task| read(task.ok()?.path().join("stat")));
    let servers: Vec<_> = threads.filter(|(name, _)| name == "server").collect();
    // As far as there is room, where the tests themselves step back.
    assert_eq!(servers, [("server".to_owned(), (own + 10).min(19))]);
    served.stop.cancel();
    let ended = timeout(GENEROUS, served.task).await;
    ended.expect("ends in time").expect("does not panic");
}
