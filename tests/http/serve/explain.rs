//! Looking at a user as they are now: what roster and Omni say, for two requests and not too often.

use super::support::{Served, TOKEN, Wanted, happened, served, serving};
use insta::assert_snapshot;
use omni_user_sync::sandbox::{Options, Sandbox};
use serde_json::json;

const ANN: &str = "/api/v1/users/ann@x.co/explain";

/// A server beside a stand-in that has Ann.
async fn beside_omni() -> (Sandbox, Served) {
    let sandbox = Sandbox::start(Options::default()).await.expect("starts");
    sandbox.org().add_user(json!({
        "userName": "ann@x.co",
        "displayName": "<Ann>",
        "urn:omni:params:1.0:UserAttribute": { "region": ["north"], "department": "sales" },
    }));
    let served = serving(Wanted {
        omni: sandbox.url(),
        ..Wanted::default()
    })
    .await;
    (sandbox, served)
}

fn roster(served: &Served, text: &str) {
    std::fs::write(served.folder.path().join("users.csv"), text).expect("written");
}

/// Asks as somebody on this machine, without the token.
async fn ask(served: &Served, path: &str) -> super::support::Answer {
    let post = format!("POST {path}");
    served.ask(&post, &["Host: localhost"], "").await
}

#[tokio::test]
async fn a_user_is_told_as_explain_tells_them() {
    let (sandbox, served) = beside_omni().await;
    roster(&served, "email,display_name,region\nann@x.co,Ann,[south]\n");
    let mut doc = ask(&served, ANN).await.json();
    for id in ["/omni/id", "/change/id"] {
        *doc.pointer_mut(id).expect("an id") = "…".into();
    }
    assert_snapshot!(format!("{doc:#}"), @r#"
    {
      "change": {
        "email": "ann@x.co",
        "fields": [
          {
            "from": "<Ann>",
            "name": "display_name",
            "to": "Ann"
          },
          {
            "from": [
              "north"
            ],
            "name": "region",
            "to": [
              "south"
            ]
          }
        ],
        "file": "users.csv",
        "id": "…",
        "operation": "update",
        "line": 2
      },
      "email": "ann@x.co",
      "next": "a run would\n~ update     ann@x.co  (users.csv:2)\n    display_name: '<Ann>' => 'Ann'\n    region: ['north'] => ['south']",
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
      "roster": [
        "users.csv:2"
      ]
    }
    "#);
    assert_eq!(sandbox.org().requests().len(), 2);

    let page = ask(&served, "/users/ann@x.co").await;
    assert_eq!(page.status, 200);
    for part in [
        "A run would update them.",
        "users.csv:2",
        "&#60;Ann&#62;, active",
        "<dt><code>department</code></dt><dd>&#39;sales&#39;</dd>",
        "<code>region</code>: <del>[&#39;north&#39;]</del> → <ins>[&#39;south&#39;]</ins>",
        "Look again",
    ] {
        assert!(page.body.contains(part), "{part}\n{}", page.body);
    }
    let count = served.get("/metrics").await.body;
    let line = r#"omni_user_sync_requests_total{method="GET",status="200"} 4"#;
    assert!(count.contains(line), "{count}");
    assert_eq!(sandbox.org().writes().len(), 0);
}

#[tokio::test]
async fn what_a_run_would_do_is_said_in_a_sentence() {
    let (_sandbox, served) = beside_omni().await;
    for (rows, tone, said) in [
        (
            "upsert,ann@x.co,<Ann>,[north]",
            "good",
            "A run has nothing to do with them.",
        ),
        (
            "upsert,bob@x.co,Bob,",
            "plain",
            "A run would do nothing: policy.prune leaves them.",
        ),
        (
            "delete,ann@x.co,,",
            "busy",
            "A run would delete them, unless the guard holds that",
        ),
        (
            "upsrt,ann@x.co,Ann,",
            "plain",
            "A run would do nothing: frozen, because of users.csv:2",
        ),
    ] {
        roster(&served, &format!("op,email,display_name,region\n{rows}\n"));
        let page = ask(&served, "/users/ann@x.co").await.body;
        let next = format!("<li class=\"{tone}\" id=\"next\" role=\"status\">{said}");
        assert!(page.contains(&next), "{next}\n{page}");
    }
    roster(&served, "email,department\nann@x.co,sales\n");
    let page = ask(&served, "/users/nobody@x.co").await.body;
    assert!(page.contains("does not name them"), "{page}");
    assert!(
        page.contains("nobody has this email, or several have"),
        "{page}"
    );
}

#[tokio::test]
async fn nothing_is_asked_of_omni_unless_somebody_presses_for_it() {
    let (sandbox, served) = beside_omni().await;
    roster(&served, "email\nann@x.co\n");
    happened(&served).await;
    for path in ["/", "/users/ann@x.co", "/api/v1/users/ann@x.co"] {
        assert_eq!(served.get(path).await.status, 200);
    }
    assert_eq!(served.get(ANN).await.status, 405);
    assert_eq!(sandbox.org().requests().len(), 0);
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let (sandbox, served) = beside_omni().await;
    roster(&served, "email\nann@x.co\n");
    for _ in 0..6 {
        assert_eq!(ask(&served, ANN).await.status, 200);
    }
    for path in [ANN, "/users/ann@x.co"] {
        let refused = ask(&served, path).await;
        assert_eq!(refused.status, 429, "{refused:?}");
        let wait: u64 = refused
            .header("retry-after")
            .expect("a time")
            .parse()
            .expect("seconds");
        assert!((1..=60).contains(&wait), "{wait}");
        assert!(
            refused.body.contains("6 users a minute at most"),
            "{}",
            refused.body
        );
    }
    assert_eq!(sandbox.org().requests().len(), 12);
}

#[tokio::test]
async fn why_it_can_not_be_told_is_said() {
    let (_sandbox, served) = beside_omni().await;
    let away = ask(&served, ANN).await;
    assert_eq!(away.status, 503);
    let said = away.json()["error"]
        .as_str()
        .expect("a sentence")
        .to_owned();
    assert!(
        said.starts_with("It can't be told: ") && said.contains("users.csv"),
        "{said}"
    );
    let page = ask(&served, "/users/ann@x.co").await;
    assert_eq!(page.status, 503);
    assert!(
        page.body.contains("role=\"alert\">It can&#39;t be told: "),
        "{}",
        page.body
    );
    assert!(
        page.body.contains("Last changes"),
        "the rest is there: {}",
        page.body
    );
    let wrong = ask(&served, "/api/v1/users/ann/explain").await;
    assert_eq!(wrong.status, 400);
}

/// It reads, so that it is open to whom the pages are open.
#[tokio::test]
async fn who_may_read_may_look() {
    let served = served().await;
    let through = "X-Forwarded-For: 192.0.2.1";
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let asked = async |path: &str, headers: &[&str]| {
        let headers = [&["Host: localhost"], headers].concat();
        served
            .ask(&format!("POST {path}"), &headers, "")
            .await
            .status
    };
    for path in [ANN, "/users/ann@x.co"] {
        // There is no roster: whoever is let in hears of that.
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
