//! The user that a proxy names (`serve.user_header`).

use super::support::{ServerOptions, TOKEN, TestServer, add_history, server_with};

const PROXY: &str = "X-Forwarded-For: 192.0.2.7";

async fn server() -> TestServer {
    let server = server_with(ServerOptions {
        user_header: Some("x-forwarded-user"),
        ..ServerOptions::default()
    })
    .await;
    add_history(&server).await;
    server
}

/// Pauses the daemon with these headers, and returns who has paused it.
async fn paused_by(server: &TestServer, headers: &[&str]) -> String {
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let headers = [&["Host: localhost", &bearer], headers].concat();
    let answer = server.ask("POST /api/v1/pause", &headers, "").await;
    let doc = answer.json();
    let by = doc["paused"]["by"].as_str();
    by.unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

#[tokio::test]
async fn a_proxy_names_the_approver() {
    let server = server().await;
    let user = "X-Forwarded-User: ann@example.com";
    assert_eq!(
        paused_by(&server, &[PROXY, user]).await,
        "ann@example.com via proxy from 127.0.0.1 for 192.0.2.7"
    );
    assert_eq!(
        paused_by(&server, &["Via: 1.1 proxy", "x-forwarded-USER: Zoë Lee "]).await,
        "Zoë Lee via proxy from 127.0.0.1"
    );
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let headers = ["Host: localhost", PROXY, user, &bearer];
    let path = "POST /api/v1/runs/2/approve";
    let approved = server.ask(path, &headers, "").await;
    assert_eq!(approved.status, 200, "{approved:?}");
    let run = server.get("/api/v1/runs/2").await.json();
    let by = "ann@example.com via proxy from 127.0.0.1 for 192.0.2.7";
    assert_eq!(run["approvals"][0]["by"], by, "{run}");
}

#[tokio::test]
async fn the_user_header_requires_a_proxy() {
    let server = server().await;
    // A client on this machine can send what it likes.
    assert_eq!(
        paused_by(&server, &["X-Real-User: b@x.co", "X-Remote-User: c@x.co"]).await,
        "web from 127.0.0.1"
    );
    for direct in ["X-User: ann@example.com", "X_Forwarded_User: a@x.co"] {
        assert_eq!(paused_by(&server, &[direct]).await, "web from 127.0.0.1");
    }
    let unnamed = "web from 127.0.0.1 for 192.0.2.7";
    assert_eq!(paused_by(&server, &[PROXY]).await, unnamed);
    assert_eq!(
        paused_by(&server, &[PROXY, "X-Forwarded-User:"]).await,
        unnamed
    );
}

#[tokio::test]
async fn a_user_gives_no_permission() {
    let server = server().await;
    let headers = ["Host: localhost", PROXY, "X-Forwarded-User: admin"];
    for (request, code) in [
        ("GET /", 303),
        ("GET /api/v1/status", 401),
        ("POST /api/v1/pause", 401),
        ("POST /resume", 303),
    ] {
        let answer = server.ask(request, &headers, "").await;
        assert_eq!(answer.status, code, "{request}: {answer:?}");
    }
}

#[tokio::test]
async fn an_ambiguous_user_is_refused() {
    let server = server().await;
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let long = format!("X-Forwarded-User: {}", "a".repeat(201));
    for users in [
        // The proxy has added its header to that of the client.
        &["X-Forwarded-User: ann", "X-Forwarded-User: mallory"][..],
        &[&long],
        &["X-Forwarded-User: ann\tfor boss"],
        &["X-Forwarded-User: ann\u{202e}ssob"],
    ] {
        let headers = [&["Host: localhost", PROXY, &bearer], users].concat();
        let answer = server.ask("POST /api/v1/pause", &headers, "").await;
        assert_eq!(answer.status, 400, "{users:?}: {answer:?}");
        assert!(answer.body.contains("serve.user_header"), "{answer:?}");
    }
    let status = server.get("/api/v1/status").await.json();
    assert_eq!(status["paused"], serde_json::json!(null));
}

#[tokio::test]
async fn without_the_setting_no_header_names_a_user() {
    let server = server_with(ServerOptions::default()).await;
    let by = paused_by(&server, &[PROXY, "X-Forwarded-User: ann"]).await;
    assert_eq!(by, "web from 127.0.0.1 for 192.0.2.7");
}
