//! The API's documents, whole: fields may come, and none may go or change.

use super::support::{Served, TOKEN, begin, change, happened, outcome_with, problem, served};
use insta::assert_snapshot;
use omni_user_sync::model::{ChangeOutcome, Operation};
use serde_json::Value;

const FINE: &str = "Nothing stands in the way of what the roster says of them.";

/// A document without what is another one each time.
async fn told(served: &Served, path: &str, volatile: &[&str]) -> String {
    let answer = served.get(path).await;
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
    let served = served().await;
    happened(&served).await;
    let volatile = [
        "/started",
        "/now",
        "/version",
        "/roster/read",
        "/last_success",
        "/quarantined/users/0/until",
    ];
    assert_snapshot!(told(&served, "/api/v1/status", &volatile).await, @r#"
    {
      "drift": {
        "create": 1,
        "deactivate": 0,
        "delete": 6,
        "update": 1
      },
      "held": {
        "approved": null,
        "count": 6,
        "rules": [
          {
            "count": 6,
            "rule": "max_removals",
            "why": "6 of 20 users would be removed"
          }
        ],
        "run": 2
      },
      "last_run": {
        "bad_rows": 1,
        "detail": "",
        "done": 0,
        "ended": "2027-01-15T08:01:03Z",
        "failed": 0,
        "held_changes": 6,
        "needed": {
          "create": 1,
          "deactivate": 0,
          "delete": 6,
          "update": 1
        },
        "outcome": "held",
        "requests": 7,
        "roster": null,
        "rows": 20,
        "run": 2,
        "started": "2027-01-15T08:01:00Z",
        "trigger": "schedule",
        "users": 21
      },
      "last_success": "…",
      "next_due": null,
      "not_ready_because": null,
      "now": "…",
      "quarantined": {
        "count": 1,
        "users": [
          {
            "email": "ann@x.co",
            "reason": "Omni says no",
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
            "file": "users.csv",
            "line": 22,
            "remedy": "write upsert, delete or deactivate",
            "message": "there is no op '<script>alert(\"x\")</script>&''"
          }
        ],
        "read": "…",
        "rows": 20
      },
      "running": null,
      "sentence": "6 changes are held and wait for somebody to approve.",
      "started": "…",
      "state": "warn",
      "version": "…",
      "warnings": [
        "a row stands twice"
      ],
      "blocked": []
    }
    "#);
}

#[tokio::test]
async fn every_refusal_is_an_error_with_a_sentence() {
    let served = served().await;
    happened(&served).await;
    let long = "x".repeat(20 * 1024);
    for (request, body, code) in [
        ("GET /api/v1/runs?limit=many", "", 400),
        ("GET /api/v1/runs?before=-1", "", 400),
        ("GET /api/v1/runs?limit=1&limit=2", "", 400),
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
        let answer = served.ask(request, &headers, body).await;
        assert_eq!(answer.status, code, "{request}: {answer:?}");
        let doc = answer.json();
        let said = doc["error"].as_str().expect("a sentence");
        assert!(said.len() > 10 && said.ends_with('.'), "{request}: {said}");
    }
    let page = served.get("/runs?before=x").await;
    assert_eq!(page.status, 400);
    assert!(page.body.contains("<main id=\"main\""), "{}", page.body);
}

#[tokio::test]
async fn runs() {
    let served = served().await;
    happened(&served).await;
    assert_snapshot!(told(&served, "/api/v1/runs?limit=1", &[]).await, @r#"
    {
      "next_before": 2,
      "runs": [
        {
          "bad_rows": 1,
          "detail": "",
          "done": 0,
          "ended": "2027-01-15T08:01:03Z",
          "failed": 0,
          "held_changes": 6,
          "needed": {
            "create": 1,
            "deactivate": 0,
            "delete": 6,
            "update": 1
          },
          "outcome": "held",
          "requests": 7,
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
    let rest = served.get("/api/v1/runs?before=2").await.json();
    assert_eq!(
        (&rest["runs"][0]["run"], &rest["next_before"]),
        (&1.into(), &Value::Null)
    );
}

#[tokio::test]
async fn one_run() {
    let served = served().await;
    happened(&served).await;
    assert_snapshot!(told(&served, "/api/v1/runs/1?limit=1", &[]).await, @r#"
    {
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
              "from": null,
              "name": "display_name",
              "to": "<script>alert(\"x\")</script>&'"
            }
          ],
          "id": null,
          "operation": "create",
          "outcome": "done",
          "run": 1
        }
      ],
      "changes_total": 2,
      "detail": "",
      "done": 1,
      "ended": "2027-01-15T08:00:02Z",
      "failed": 1,
      "held": [],
      "held_changes": 0,
      "needed": {
        "create": 1,
        "deactivate": 0,
        "delete": 0,
        "update": 1
      },
      "outcome": "partial",
      "requests": 7,
      "roster": null,
      "rows": 20,
      "run": 1,
      "started": "2027-01-15T08:00:00Z",
      "trigger": "schedule",
      "users": 21
    }
    "#);
    let latest = served
        .get("/api/v1/runs/latest?operation=delete")
        .await
        .json();
    assert_eq!(
        (&latest["run"], &latest["changes_total"]),
        (&2.into(), &0.into())
    );
    assert_eq!(latest["held"][0]["users"].as_array().map(Vec::len), Some(6));
    assert_eq!(served.get("/api/v1/runs/1?outcome=odd").await.status, 400);
    assert_eq!(served.get("/api/v1/runs/9").await.status, 404);
}

#[tokio::test]
async fn one_user() {
    let served = served().await;
    happened(&served).await;
    let volatile = ["/quarantined/until", "/standing/0"];
    assert_snapshot!(told(&served, "/api/v1/users/ann@x.co", &volatile).await, @r#"
    {
      "changes": [
        {
          "approved": false,
          "at": "2027-01-15T08:00:01Z",
          "detail": "Omni says no",
          "email": "ann@x.co",
          "fields": [],
          "id": "id-annxco",
          "operation": "update",
          "outcome": "failed",
          "run": 1
        }
      ],
      "deactivated": [],
      "email": "ann@x.co",
      "held": null,
      "managed": null,
      "problems": [],
      "problems_complete": true,
      "protected": false,
      "quarantined": {
        "failures": 2,
        "reason": "Omni says no",
        "until": "…"
      },
      "standing": [
        "…"
      ]
    }
    "#);
    let held = served.get("/api/v1/users/a@x.co").await.json();
    assert_eq!(
        (&held["held"]["run"], &held["held"]["operation"]),
        (&2.into(), &"delete".into())
    );
    let boss = served.get("/api/v1/users/boss@x.co").await.json();
    assert_eq!(boss["protected"], true, "{boss}");
    assert_eq!(served.get("/api/v1/users/ann").await.status, 400);
}

#[tokio::test]
async fn a_user_of_whom_not_all_is_known_is_not_called_fine() {
    let served = served().await;
    let told = async |said: &str| {
        let doc = served.get("/api/v1/users/ann@x.co").await.json();
        let is_complete = said == FINE || said.starts_with("As far as");
        assert_eq!(doc["problems_complete"], is_complete, "{doc}");
        assert!(
            doc["standing"][0]
                .as_str()
                .is_some_and(|is| is.starts_with(said)),
            "{doc}"
        );
        let page = served.get("/users/ann@x.co").await.body;
        assert!(page.contains(said), "{page}");
    };
    told("No run has read the roster since the start").await;
    served.status.run_ended(&outcome_with(Vec::new()), None);
    told("As far as the last run that read roster and Omni tells, no row asks for them").await;
    let run = begin(&served.journal, 0).await;
    let done = (Operation::Create, ChangeOutcome::AppliedChange);
    change(&served.journal, run, done.0, "ann@x.co", Vec::new(), done.1).await;
    told(FINE).await;
    let of = |number: usize| problem(Some(&format!("u{number}@x.co")));
    served
        .status
        .run_ended(&outcome_with((0..1000).map(of).collect()), None);
    told(FINE).await;
    served
        .status
        .run_ended(&outcome_with((0..1001).map(of).collect()), None);
    told("The roster has 1001 problems, more than are kept here").await;
    served
        .status
        .run_ended(&outcome_with(vec![problem(None)]), None);
    told("A problem of the roster names nobody and may concern them.").await;
    served.status.run_ended(
        &outcome_with(vec![problem(None), problem(Some("ann@x.co"))]),
        None,
    );
    let doc = served.get("/api/v1/users/ann@x.co").await.json();
    assert_eq!(
        doc["standing"][0],
        "The roster's row is bad, so nothing is written to them."
    );
}
