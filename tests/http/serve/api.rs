//! The documents of the API. Fields may be added, but not removed or changed.

use super::support::{
    TOKEN, TestServer, add_history, begin, change, outcome_with, problem, test_server,
};
use insta::assert_snapshot;
use omni_user_sync::model::{ChangeOutcome, Operation};
use serde_json::Value;

const NO_PROBLEMS: &str = "No known problems.";

/// A document with its volatile values replaced.
async fn document(server: &TestServer, path: &str, volatile: &[&str]) -> String {
    let answer = server.get(path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let mut doc = answer.json();
    for pointer in volatile {
        *doc.pointer_mut(pointer)
            .unwrap_or_else(|| panic!("no {pointer}")) = Value::from("…");
    }
    format!("{doc:#}")
}

#[tokio::test]
async fn status() {
    let server = test_server().await;
    add_history(&server).await;
    let volatile = [
        "/started",
        "/now",
        "/version",
        "/roster/read",
        "/last_success",
        "/quarantined/users/0/until",
    ];
    assert_snapshot!(document(&server, "/api/v1/status", &volatile).await, @r#"
    {
      "blocked": [],
      "held": {
        "approved": null,
        "count": 6,
        "dry_run": false,
        "rules": [
          {
            "count": 6,
            "reason": "6 of 20 users would be removed",
            "rule": "max_removals"
          }
        ],
        "run": 2,
        "unapproved": 6
      },
      "last_run": {
        "applied": 0,
        "bad_rows": 1,
        "detail": "",
        "ended": "2027-01-15T08:01:03Z",
        "failed": 0,
        "held_changes": 6,
        "pending": {
          "assign": 0,
          "create": 1,
          "deactivate": 0,
          "delete": 6,
          "join": 0,
          "leave": 0,
          "transfer": 0,
          "update": 1
        },
        "planned": {
          "assign": 0,
          "create": 1,
          "deactivate": 0,
          "delete": 6,
          "join": 0,
          "leave": 0,
          "transfer": 0,
          "update": 1
        },
        "requests": 7,
        "result": "held",
        "roster": null,
        "rows": 20,
        "run": 2,
        "started": "2027-01-15T08:01:00Z",
        "trigger": "schedule",
        "users": 21
      },
      "last_success": "…",
      "leaving": [],
      "leaving_count": 0,
      "next_due": null,
      "not_ready_reason": null,
      "now": "…",
      "organisation": "acme.omniapp.co",
      "paused": null,
      "pending": {
        "assign": 0,
        "create": 1,
        "deactivate": 0,
        "delete": 6,
        "join": 0,
        "leave": 0,
        "transfer": 0,
        "update": 1
      },
      "quarantined": {
        "count": 1,
        "users": [
          {
            "email": "ann@x.co",
            "group": null,
            "reason": "Omni says no",
            "role": null,
            "until": "…"
          }
        ]
      },
      "ready": true,
      "retry": null,
      "roster": {
        "problem_count": 1,
        "problems": [
          {
            "column": 1,
            "column_name": "op",
            "email": "bad@x.co",
            "file": "users.csv",
            "kind": "op",
            "line": 22,
            "message": "there is no op '<script>alert(\"x\")</script>&''",
            "remedy": "write upsert, delete or deactivate"
          }
        ],
        "read": "…",
        "rows": 20
      },
      "running": null,
      "started": "…",
      "state": "warning",
      "summary": "6 changes are held and waiting for approval.",
      "version": "…",
      "warnings": [
        "a row occurs twice"
      ]
    }
    "#);
}

#[tokio::test]
async fn every_error_response_has_a_message() {
    let server = test_server().await;
    add_history(&server).await;
    let long = "x".repeat(20 * 1024);
    for (request, body, code) in [
        ("GET /api/v1/runs?limit=many", "", 400),
        ("GET /api/v1/runs?before=-1", "", 400),
        ("GET /api/v1/runs?limit=1&limit=2", "", 400),
        ("GET /api/v1/runs?result=odd", "", 400),
        ("GET /api/v1/runs?trigger=odd", "", 400),
        ("GET /api/v1/runs?with_changes=odd", "", 400),
        ("GET /api/v1/changes?before=-1", "", 400),
        ("GET /api/v1/runs/1?skip=-1", "", 400),
        ("GET /api/v1/runs/1?operation=odd", "", 400),
        ("GET /api/v1/runs/one", "", 400),
        ("GET /api/v1/users/%FF", "", 400),
        ("GET /api/v1/users/ann", "", 400),
        ("GET /api/v1/runs/9", "", 404),
        ("GET /api/v1/nothing", "", 404),
        ("GET /api/v1", "", 404),
        ("GET /api", "", 404),
        ("POST /api/v1/status", "", 405),
        ("DELETE /api/v1/runs/1", "", 405),
        ("GET /api/v1/reconcile", "", 405),
        ("POST /api/v1/runs/2/approve?dri=true", "", 400),
        ("POST /api/v1/runs/2/approve?dry=maybe", "", 400),
        ("POST /api/v1/runs/2/approve", "dry", 400),
        ("POST /api/v1/runs/latest/approve", "", 400),
        ("POST /api/v1/runs/1/approve", "", 409),
        ("POST /api/v1/reconcile", &long, 413),
    ] {
        let headers = ["Host: localhost", &format!("Authorization: Bearer {TOKEN}")];
        let answer = server.ask(request, &headers, body).await;
        assert_eq!(answer.status, code, "{request}: {answer:?}");
        let doc = answer.json();
        let said = doc["error"].as_str().expect("a sentence");
        assert!(said.len() > 10 && said.ends_with('.'), "{request}: {said}");
    }
    let page = server.get("/runs?before=x").await;
    assert_eq!(page.status, 400);
    assert!(page.body.contains("<main id=\"main\""), "{}", page.body);
}

#[tokio::test]
async fn runs() {
    let server = test_server().await;
    add_history(&server).await;
    assert_snapshot!(document(&server, "/api/v1/runs?limit=1", &[]).await, @r#"
    {
      "next_before": 2,
      "runs": [
        {
          "applied": 0,
          "bad_rows": 1,
          "detail": "",
          "ended": "2027-01-15T08:01:03Z",
          "failed": 0,
          "held_changes": 6,
          "pending": {
            "assign": 0,
            "create": 1,
            "deactivate": 0,
            "delete": 6,
            "join": 0,
            "leave": 0,
            "transfer": 0,
            "update": 1
          },
          "planned": {
            "assign": 0,
            "create": 1,
            "deactivate": 0,
            "delete": 6,
            "join": 0,
            "leave": 0,
            "transfer": 0,
            "update": 1
          },
          "requests": 7,
          "result": "held",
          "roster": null,
          "rows": 20,
          "run": 2,
          "started": "2027-01-15T08:01:00Z",
          "trigger": "schedule",
          "users": 21
        }
      ]
    }
    "#);
    let rest = server.get("/api/v1/runs?before=2").await.json();
    assert_eq!(
        (&rest["runs"][0]["run"], &rest["next_before"]),
        (&1.into(), &Value::Null)
    );
}

#[tokio::test]
async fn one_run() {
    let server = test_server().await;
    add_history(&server).await;
    assert_snapshot!(document(&server, "/api/v1/runs/1?limit=1", &[]).await, @r#"
    {
      "applied": 1,
      "approvals": [],
      "bad_rows": 1,
      "changes": [
        {
          "approved": false,
          "at": "2027-01-15T08:00:01Z",
          "detail": "",
          "email": "<b>@x.co",
          "fields": [
            {
              "field": "display_name",
              "from": null,
              "to": "<script>alert(\"x\")</script>&'"
            }
          ],
          "group": null,
          "id": null,
          "operation": "create",
          "outcome": "applied",
          "role": null,
          "run": 1
        }
      ],
      "changes_total": 2,
      "detail": "",
      "ended": "2027-01-15T08:00:02Z",
      "failed": 1,
      "held": [],
      "held_changes": 0,
      "pending": {
        "assign": 0,
        "create": 0,
        "deactivate": 0,
        "delete": 0,
        "join": 0,
        "leave": 0,
        "transfer": 0,
        "update": 1
      },
      "planned": {
        "assign": 0,
        "create": 1,
        "deactivate": 0,
        "delete": 0,
        "join": 0,
        "leave": 0,
        "transfer": 0,
        "update": 1
      },
      "requests": 7,
      "result": "partial",
      "roster": null,
      "rows": 20,
      "run": 1,
      "started": "2027-01-15T08:00:00Z",
      "trigger": "schedule",
      "users": 21
    }
    "#);
    let latest = server
        .get("/api/v1/runs/latest?operation=delete")
        .await
        .json();
    assert_eq!(
        (&latest["run"], &latest["changes_total"]),
        (&2.into(), &0.into())
    );
    assert_eq!(latest["held"][0]["users"].as_array().map(Vec::len), Some(6));
    assert_eq!(server.get("/api/v1/runs/1?outcome=odd").await.status, 400);
    assert_eq!(server.get("/api/v1/runs/9").await.status, 404);
}

#[tokio::test]
async fn one_user() {
    let server = test_server().await;
    add_history(&server).await;
    let volatile = ["/quarantined/until", "/summary/0"];
    assert_snapshot!(document(&server, "/api/v1/users/ann@x.co", &volatile).await, @r#"
    {
      "changes": [
        {
          "approved": false,
          "at": "2027-01-15T08:00:01Z",
          "detail": "Omni says no",
          "email": "ann@x.co",
          "fields": [],
          "group": null,
          "id": "id-annxco",
          "operation": "update",
          "outcome": "failed",
          "role": null,
          "run": 1
        }
      ],
      "deactivated": [],
      "email": "ann@x.co",
      "held": null,
      "managed": null,
      "observed": null,
      "problems": [],
      "problems_complete": true,
      "protected": false,
      "quarantined": {
        "failures": 2,
        "reason": "Omni says no",
        "until": "…"
      },
      "summary": [
        "…"
      ]
    }
    "#);
    let held = server.get("/api/v1/users/a@x.co").await.json();
    assert_eq!(
        (&held["held"]["run"], &held["held"]["operation"]),
        (&2.into(), &"delete".into())
    );
    let boss = server.get("/api/v1/users/boss@x.co").await.json();
    assert_eq!(boss["protected"], true, "{boss}");
    assert_eq!(server.get("/api/v1/users/ann").await.status, 400);
}

#[tokio::test]
async fn an_incomplete_problem_list_is_not_ok() {
    let server = test_server().await;
    let expect = async |text: &str| {
        let doc = server.get("/api/v1/users/ann@x.co").await.json();
        let is_complete = text == NO_PROBLEMS || text.starts_with("Not in the roster");
        assert_eq!(doc["problems_complete"], is_complete, "{doc}");
        assert!(
            doc["summary"][0]
                .as_str()
                .is_some_and(|is| is.starts_with(text)),
            "{doc}"
        );
        let page = server.get("/users/ann@x.co").await.body;
        assert!(page.contains(text), "{page}");
    };
    expect("No run has read the roster since the daemon started").await;
    server.status.run_ended(&outcome_with(Vec::new()), None);
    expect("Not in the roster, as of the last run that read the roster and Omni").await;
    let run = begin(&server.db, 0).await;
    let created = (Operation::Create, ChangeOutcome::Applied);
    change(
        &server.db,
        run,
        created.0,
        "ann@x.co",
        Vec::new(),
        created.1,
    )
    .await;
    expect(NO_PROBLEMS).await;
    let of = |number: usize| problem(Some(&format!("u{number}@x.co")));
    server
        .status
        .run_ended(&outcome_with((0..1000).map(of).collect()), None);
    expect(NO_PROBLEMS).await;
    server
        .status
        .run_ended(&outcome_with((0..1001).map(of).collect()), None);
    expect("The roster has 1001 problems, of which not all are stored").await;
    server
        .status
        .run_ended(&outcome_with(vec![problem(None)]), None);
    expect("1 roster problem without a readable email may concern this user.").await;
    server.status.run_ended(
        &outcome_with(vec![problem(None), problem(Some("ann@x.co"))]),
        None,
    );
    let doc = server.get("/api/v1/users/ann@x.co").await.json();
    assert_eq!(
        doc["summary"][0],
        "The row in the roster is invalid, so this user is not changed."
    );
}
