//! `pause` and `resume`, and what a daemon makes of them.

use super::daemon::{Daemon, eventually};
use super::example;
use crate::support::command as run;
use serde_json::{Value, json};

fn free_address() -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    free.local_addr().expect("an address").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_daemon_starts_no_run() {
    let address = free_address();
    let world = example()
        .await
        .set("serve.listen", &address)
        .set("schedule.cron", "");
    let paused = run(&world, &["pause"]).await;
    assert_eq!(paused.code, 0, "{}", paused.err);
    assert!(
        paused.err.contains("No daemon is running"),
        "{}",
        paused.err
    );
    let log = tempfile::NamedTempFile::new().expect("a file");
    let _daemon = Daemon::logging_to(&world, log.reopen().expect("opens"));
    let said = |text: &str| {
        let log = std::fs::read_to_string(log.path()).expect("is read");
        log.contains(text)
    };
    eventually("it is paused", || said("the daemon is paused since")).await;
    // Later in its start than the first run would be.
    eventually("it knows the roster", || said("watching")).await;
    let status = run(&world, &["status", "--json"]).await.out;
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["daemon_is_running"], json!(true), "{status}");
    assert!(status["paused"]["since"].is_string(), "{status}");
    assert_eq!(status["runs"], json!([]), "{status}");
    assert_eq!(world.writes().len(), 0);
    for ready in [&["health"][..], &["health", "--live"]] {
        let ended = run(&world, ready).await;
        assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    }
    let page = |path: &str| reqwest::get(format!("http://{address}{path}"));
    let metrics = page("/metrics").await.expect("an answer").text().await;
    let metrics = metrics.expect("text");
    assert!(metrics.contains("\nomni_user_sync_paused 1\n"), "{metrics}");
    let overview = page("/").await.expect("an answer").text().await;
    assert!(
        overview
            .expect("text")
            .contains(">Paused: the daemon starts no runs.")
    );
    let resumed = run(&world, &["resume"]).await;
    assert_eq!(resumed.code, 0, "{}", resumed.err);
    assert!(resumed.err.contains("Within 5 s"), "{}", resumed.err);
    eventually("it works", || world.writes().len() >= 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_ends_by_itself_or_by_resume() {
    let world = example().await;
    for wrong in ["0s", "soon", "-1h"] {
        assert_eq!(run(&world, &["pause", "--for", wrong]).await.code, 64);
    }
    assert!(run(&world, &["resume"]).await.err.contains("is not paused"));
    let paused = run(&world, &["pause", "--for", "1ms"]).await;
    assert!(paused.err.contains(", until 20"), "{}", paused.err);
    let ended = run(&world, &["resume"]).await;
    assert!(ended.err.contains("is not paused"), "{}", ended.err);
    run(&world, &["pause", "--for", "2h"]).await;
    let status = run(&world, &["status"]).await.out;
    assert!(status.contains("\nPAUSED"), "{status}");
    assert_eq!(run(&world, &["apply", "--yes"]).await.code, 0, "by hand");
    assert!(run(&world, &["resume"]).await.err.contains("Resumed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_pauses_and_resumes_a_daemon() {
    let address = free_address();
    let world = example().await;
    let token = world.folder.path().join("token");
    std::fs::write(&token, "hunter2-hunter2-hunter2").expect("written");
    let world = world
        .set("serve.listen", &address)
        .set("serve.admin_token_file", &token.display().to_string());
    let log = tempfile::NamedTempFile::new().expect("a file");
    let _daemon = Daemon::logging_to(&world, log.reopen().expect("opens"));
    let said = |text: &str| {
        let log = std::fs::read_to_string(log.path()).expect("is read");
        log.contains(text)
    };
    eventually("a run", || said("run ended")).await;
    let post = async |path: &str| {
        let request = reqwest::Client::new().post(format!("http://{address}/api/v1/{path}"));
        let answer = request.bearer_auth("hunter2-hunter2-hunter2").send().await;
        let answer = answer.expect("an answer").text().await.expect("text");
        serde_json::from_str::<Value>(&answer).expect("JSON")
    };
    let paused = post("pause?for=2h").await;
    assert_eq!(paused["paused"]["by"], "web from 127.0.0.1");
    eventually("it is paused", || said("the daemon is paused since")).await;
    let status = run(&world, &["status", "--json"]).await.out;
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["paused"], paused["paused"]);
    assert_eq!(post("resume").await, json!({ "resumed": true }));
    eventually("it is resumed", || said("the daemon is resumed")).await;
}
