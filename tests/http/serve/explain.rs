//! The current state of a user in the roster and in Omni, and its rate limit.

use super::support::{
    GENEROUS, ServerOptions, TOKEN, TestServer, add_history, server_with, test_server,
};
use insta::assert_snapshot;
use omni_user_sync::sandbox::{Fault, Options, Sandbox, What};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const ANN: &str = "/api/v1/users/ann@x.co/explain";

/// A server, and a mock Omni with one user.
async fn server_with_omni() -> (Sandbox, TestServer) {
    let sandbox = Sandbox::start(Options::with_full_lists())
        .await
        .expect("starts");
    sandbox.org().add_user(json!({
        "userName": "ann@x.co",
        "displayName": "<Ann>",
        "urn:omni:params:1.0:UserAttribute": { "region": ["north"], "department": "sales" },
    }));
    let server = server_with(ServerOptions {
        omni: sandbox.url(),
        ..ServerOptions::default()
    })
    .await;
    (sandbox, server)
}

fn roster(server: &TestServer, text: &str) {
    std::fs::write(server.folder.path().join("users.csv"), text).expect("written");
}

/// Sends a request from this machine, without the token.
async fn ask(server: &TestServer, path: &str) -> super::support::Answer {
    let post = format!("POST {path}");
    server.ask(&post, &["Host: localhost"], "").await
}

#[tokio::test]
async fn user_explanation_matches_the_command() {
    let (sandbox, server) = server_with_omni().await;
    roster(&server, "email,display_name,region\nann@x.co,Ann,[south]\n");
    sandbox
        .org()
        .add_schedule("ann@x.co", "daily revenue", Some(4));
    sandbox.org().add_document("ann@x.co", "<Sales>");
    let mut doc = ask(&server, ANN).await.json();
    for id in ["/omni/id", "/change/id", "/owned/schedules/0/id"] {
        *doc.pointer_mut(id).expect("an id") = "…".into();
    }
    assert_snapshot!(format!("{doc:#}"), @r#"
    {
      "change": {
        "email": "ann@x.co",
        "fields": [
          {
            "field": "display_name",
            "from": "<Ann>",
            "to": "Ann"
          },
          {
            "field": "region",
            "from": [
              "north"
            ],
            "to": [
              "south"
            ]
          }
        ],
        "file": "users.csv",
        "id": "…",
        "line": 2,
        "operation": "update"
      },
      "email": "ann@x.co",
      "groups": [],
      "leaving": null,
      "memberships": [],
      "next": "a run would apply, unless a safety limit holds it (`plan` counts the changes of all users)\n~ update     ann@x.co  (users.csv:2)\n    display_name: '<Ann>' => 'Ann'\n    region: ['north'] => ['south']",
      "omni": {
        "active": true,
        "attributes": {
          "department": "sales",
          "region": [
            "north"
          ]
        },
        "display_name": "<Ann>",
        "email": "ann@x.co",
        "id": "…"
      },
      "owned": {
        "documents": {
          "count": 1,
          "names": [
            "<Sales>"
          ]
        },
        "personal_tokens": [],
        "schedules": [
          {
            "id": "…",
            "name": "daily revenue",
            "recipients": 4
          }
        ],
        "unread": []
      },
      "present_roles": [],
      "roles": [],
      "roster": [
        "users.csv:2"
      ],
      "stated": [],
      "transfers": []
    }
    "#);
    assert_eq!(sandbox.org().requests().len(), 5);

    let page = ask(&server, "/users/ann@x.co").await;
    assert_eq!(page.status, 200);
    for part in [
        "A run would update this user, unless a safety limit holds the change.",
        "users.csv:2",
        "&#60;Ann&#62;, active",
        "<dt><code>department</code></dt><dd>&#39;sales&#39;</dd>",
        "<code>region</code>: <del>[&#39;north&#39;]</del> → <ins>[&#39;south&#39;]</ins>",
        "<dt>Schedules</dt><dd>daily revenue</dd>",
        "<dt>Personal tokens</dt><dd>none</dd>",
        "<dt>Documents</dt><dd>&#60;Sales&#62;</dd>",
        "Check again",
    ] {
        assert!(page.body.contains(part), "{part}\n{}", page.body);
    }
    let count = server.get("/metrics").await.body;
    let line = r#"omni_user_sync_requests_total{method="GET",status="200"} 10"#;
    assert!(count.contains(line), "{count}");
    assert_eq!(sandbox.org().writes().len(), 0);
}

#[tokio::test]
async fn next_change_is_summarised() {
    let (_sandbox, server) = server_with_omni().await;
    for (rows, severity, text) in [
        (
            "upsert,ann@x.co,<Ann>,[north]",
            "ok",
            "In sync: no change needed.",
        ),
        (
            "upsert,bob@x.co,Bob,",
            "idle",
            "No change: the roster does not name the user, and policy.prune does not remove it.",
        ),
        (
            "delete,ann@x.co,,",
            "busy",
            "A run would delete this user, unless a safety limit holds the change.",
        ),
        (
            "upsrt,ann@x.co,Ann,",
            "idle",
            "No change: frozen: the row users.csv:2 is invalid",
        ),
    ] {
        roster(&server, &format!("op,email,display_name,region\n{rows}\n"));
        let page = ask(&server, "/users/ann@x.co").await.body;
        let next = format!("<li class=\"{severity}\" id=\"next\" role=\"status\">{text}");
        assert!(page.contains(&next), "{next}\n{page}");
    }
    roster(&server, "email,department\nann@x.co,sales\n");
    let page = ask(&server, "/users/nobody@x.co").await.body;
    assert!(page.contains("no row for this user"), "{page}");
    assert!(page.contains("no user has this email"), "{page}");
}

/// The schedules of a leaver are listed as what they own, and their transfers as what a run would do.
#[tokio::test]
async fn user_page_shows_transfers() {
    let sandbox = Sandbox::start(Options::with_full_lists()).await;
    let sandbox = sandbox.expect("starts");
    for email in ["ann@x.co", "bob@x.co"] {
        let user = json!({ "userName": email, "displayName": "A user" });
        sandbox.org().add_user(user);
    }
    sandbox
        .org()
        .add_schedule("ann@x.co", "daily revenue", None);
    let server = server_with(ServerOptions {
        omni: sandbox.url(),
        settings: &[
            ("OMNI_USER_SYNC__POLICY__OWNED_SCHEDULES", "transfer"),
            ("OMNI_USER_SYNC__POLICY__TRANSFER_TO", "bob@x.co"),
        ],
        ..ServerOptions::default()
    })
    .await;
    roster(&server, "op,email,display_name\ndelete,ann@x.co,\n");
    let page = ask(&server, "/users/ann@x.co").await.body;
    let transfer = "schedule daily revenue: to bob@x.co";
    assert!(page.contains(transfer), "{page}");
    let doc = ask(&server, ANN).await.json();
    assert_eq!(doc["transfers"][0]["change"]["operation"], "transfer");
    assert_eq!(doc["transfers"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn page_views_send_no_requests_to_omni() {
    let (sandbox, server) = server_with_omni().await;
    roster(&server, "email\nann@x.co\n");
    add_history(&server).await;
    for path in ["/", "/users/ann@x.co", "/api/v1/users/ann@x.co"] {
        assert_eq!(server.get(path).await.status, 200);
    }
    assert_eq!(server.get(ANN).await.status, 405);
    assert_eq!(sandbox.org().requests().len(), 0);
}

#[tokio::test]
async fn lookups_are_rate_limited() {
    let (sandbox, server) = server_with_omni().await;
    roster(&server, "email\nann@x.co\n");
    for _ in 0..6 {
        assert_eq!(ask(&server, ANN).await.status, 200);
    }
    for path in [ANN, "/users/ann@x.co"] {
        let refused = ask(&server, path).await;
        assert_eq!(refused.status, 429, "{refused:?}");
        let wait: u64 = refused
            .header("retry-after")
            .expect("a time")
            .parse()
            .expect("seconds");
        assert!((1..=60).contains(&wait), "{wait}");
        assert!(
            refused.body.contains("At most 6 users a minute"),
            "{}",
            refused.body
        );
    }
    assert_eq!(sandbox.org().requests().len(), 30);
}

#[tokio::test]
async fn failed_lookup_gives_the_reason() {
    let (_sandbox, server) = server_with_omni().await;
    let away = ask(&server, ANN).await;
    assert_eq!(away.status, 503);
    let said = away.json()["error"]
        .as_str()
        .expect("a sentence")
        .to_owned();
    assert!(
        said.starts_with("Check failed: ") && said.contains("users.csv"),
        "{said}"
    );
    let page = ask(&server, "/users/ann@x.co").await;
    assert_eq!(page.status, 503);
    assert!(
        page.body.contains("role=\"alert\">Check failed: "),
        "{}",
        page.body
    );
    assert!(
        page.body.contains("Recent changes"),
        "the rest is there: {}",
        page.body
    );
    let wrong = ask(&server, "/api/v1/users/ann/explain").await;
    assert_eq!(wrong.status, 400);
}

/// A lookup only reads, so it needs the permission to read.
#[tokio::test]
async fn lookup_requires_permission_to_read() {
    let server = test_server().await;
    let through = "X-Forwarded-For: 192.0.2.1";
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let asked = async |path: &str, headers: &[&str]| {
        let headers = [&["Host: localhost"], headers].concat();
        server
            .ask(&format!("POST {path}"), &headers, "")
            .await
            .status
    };
    for path in [ANN, "/users/ann@x.co"] {
        // There is no roster, so an accepted request fails with 503.
        assert_eq!(asked(path, &[]).await, 503, "{path}");
        assert_eq!(asked(path, &[through, &bearer]).await, 503, "{path}");
        assert_eq!(
            asked(path, &["Origin: https://evil.example"]).await,
            403,
            "{path}"
        );
    }
    assert_eq!(asked(ANN, &[through]).await, 401);
    assert_eq!(asked("/users/ann@x.co", &[through]).await, 303);
}

#[tokio::test]
async fn lookups_leave_connections_for_probes() {
    let sandbox = Sandbox::start(Options::default()).await.expect("starts");
    let hang = What::Hang(Duration::from_secs(60));
    sandbox.org().fault(Fault {
        times: usize::MAX,
        ..Fault::next(hang)
    });
    let server = server_with(ServerOptions {
        omni: sandbox.url(),
        ..ServerOptions::default()
    })
    .await;
    let roster = "email,display_name\nann@x.co,Ann\n";
    std::fs::write(server.folder.path().join("users.csv"), roster).expect("written");
    let mut lookups = Vec::new();
    for _ in 0..140 {
        let mut stream = TcpStream::connect(server.address).await.expect("connects");
        let head = b"POST /api/v1/users/ann@x.co/explain HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(head).await.expect("is sent");
        lookups.push(stream);
    }
    for _ in 0..10 {
        let probe = timeout(Duration::from_secs(5), server.get("/healthz")).await;
        assert_eq!(probe.expect("answers in time").status, 200);
    }
    // The look-ups beyond the limit were refused, not forgotten.
    let mut answer = Vec::new();
    let last = lookups.last_mut().expect("140 of them");
    let read = timeout(GENEROUS, last.read_to_end(&mut answer));
    read.await.expect("is closed in time").expect("is read");
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains("All connections are in use"), "{text}");
}
