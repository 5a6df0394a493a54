//! Pause and resume, on the page and by the API.

use super::support::{TOKEN, TestServer, add_history, test_server};
use chrono::{TimeDelta, Utc};
use omni_user_sync::model::Pause;
use serde_json::json;

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

async fn paused(server: &TestServer) -> Option<Pause> {
    server.db.paused(Utc::now()).await.expect("is read")
}

/// Submits a form as an admin.
async fn submit(server: &TestServer, path: &str, form: &str) -> (u16, Option<String>) {
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let headers = ["Host: localhost", FORM, &bearer];
    let answer = server.ask(&format!("POST {path}"), &headers, form).await;
    (answer.status, answer.header("location").map(Into::into))
}

#[tokio::test]
async fn the_page_pauses_and_resumes() {
    let server = test_server().await;
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let admin = async || {
        let page = server.ask("GET /", &["Host: localhost", &bearer], "").await;
        page.body
    };
    assert!(admin().await.contains(">Pause</button>"));
    let answer = submit(&server, "/pause", "for=4h").await;
    assert_eq!(answer, (303, Some("/?notice=paused".into())));
    let pause = paused(&server).await.expect("it is paused");
    assert_eq!(pause.by, "web from 127.0.0.1");
    let length = pause.until.expect("an end") - pause.since;
    assert_eq!(length, TimeDelta::hours(4));

    assert!(server.status.is_paused(), "no run starts from now on");
    // At once, although the daemon has not polled yet.
    let page = admin().await;
    for part in [
        "<h1 id=\"state\">Paused: the daemon starts no runs. No run has finished yet.</h1>",
        "By <b>web from 127.0.0.1</b>, since <time",
        "Paused until <time",
        "<dt>Next run</dt><dd>after the pause</dd>",
        "id=\"resume\">Resume</button>",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert!(!page.contains(">Pause</button>"), "{page}");
    let reader = server.get("/").await.body;
    assert!(reader.contains("Log in to resume"), "{reader}");
    assert!(!reader.contains("action=\"/resume\""), "{reader}");

    let answer = submit(&server, "/resume", "").await;
    assert_eq!(answer, (303, Some("/?notice=resumed".into())));
    assert_eq!(paused(&server).await, None);
    assert!(!admin().await.contains("id=\"paused\""));

    // The first choice of the form.
    submit(&server, "/pause", "for=").await;
    assert_eq!(paused(&server).await.expect("it is paused").until, None);
    assert!(admin().await.contains("Paused until it is resumed"));
}

#[tokio::test]
async fn the_api_pauses_and_resumes() {
    let server = test_server().await;
    add_history(&server).await;
    for wrong in ["for=soon", "for=0s", "for=", "fro=1h", "for=40000d"] {
        let refused = server.post(&format!("/api/v1/pause?{wrong}")).await;
        assert_eq!(refused.status, 400, "{wrong}: {refused:?}");
        assert!(refused.json()["error"].is_string(), "{refused:?}");
    }
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let headers = ["Host: localhost", &bearer];
    let body = server
        .ask("POST /api/v1/pause", &headers, r#"{"for":"1h"}"#)
        .await;
    assert_eq!(body.status, 400, "{body:?}");
    assert_eq!(submit(&server, "/pause", "for=soon").await.0, 400);
    assert_eq!(paused(&server).await, None);

    let answer = server.post("/api/v1/pause?for=90m").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let status = server.get("/api/v1/status").await.json();
    assert_eq!(status["paused"], answer.json()["paused"], "{status}");
    assert_eq!(status["paused"]["by"], "web from 127.0.0.1");
    assert_eq!(status["state"], "warning");
    for was_paused in [true, false] {
        let answer = server.post("/api/v1/resume").await;
        assert_eq!(answer.json(), json!({ "resumed": was_paused }));
    }
    let status = server.get("/api/v1/status").await.json();
    assert_eq!(status["paused"], json!(null));
}
