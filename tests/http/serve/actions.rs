//! Actions: request a run, and approve held changes.

use super::support::{REMOVED, TOKEN, add_history, begin, end, finish, test_server};
use chrono::{TimeDelta, Utc};
use omni_user_sync::model::{
    ConnectionId, GroupRef, GuardRule, HeldChange, HeldRecord, NamedScope, Operation, RoleBases,
    RoleChange, RoleName, RoleScope, RunNumber, RunResult, Subject, Trigger,
};
use omni_user_sync::state::APPROVAL_VALID;
use std::collections::BTreeSet;

#[tokio::test]
async fn run_request_wakes_the_run_loop() {
    let server = test_server().await;
    let asked = server.post("/api/v1/reconcile").await;
    assert_eq!(asked.status, 202);
    let expected = serde_json::json!({ "requested": true, "after_current_run": false });
    assert_eq!(asked.json(), expected);
    let page = server.post("/reconcile").await;
    assert_eq!(
        (page.status, page.header("location")),
        (303, Some("/?notice=run_requested"))
    );
    assert_eq!(server.wake.wait().await, BTreeSet::from([Trigger::Request]));
    let said = server.get("/?notice=run_requested").await;
    assert!(said.body.contains("Run requested."), "{}", said.body);
    let odd = server.get("/?notice=%3Cb%3E").await;
    assert!(!odd.body.contains("class=\"notice\""), "{}", odd.body);
    assert_eq!(server.get("/reconcile").await.status, 405);
}

#[tokio::test]
async fn a_stop_needs_a_run() {
    let server = test_server().await;
    let refused = server.post("/api/v1/stop").await;
    assert_eq!(
        (refused.status, refused.json()["stopping"].as_bool()),
        (409, Some(false))
    );
    assert!(!server.wake.take_stop());
    server.status.run_starts(Trigger::Schedule);
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let page = server.ask("GET /", &["Host: localhost", &bearer], "").await;
    assert!(page.body.contains(">Stop</button>"), "{}", page.body);
    let accepted = server.post("/api/v1/stop").await;
    assert_eq!(
        (accepted.status, accepted.json()["stopping"].as_bool()),
        (202, Some(true))
    );
    assert!(server.wake.take_stop());
    let page = server.post("/stop").await;
    assert_eq!(
        (page.status, page.header("location")),
        (303, Some("/?notice=stopping"))
    );
}

#[tokio::test]
async fn approval_is_recorded_for_one_run() {
    let server = test_server().await;
    add_history(&server).await;
    let dry = server.post("/api/v1/runs/2/approve?dry_run=true").await;
    assert_eq!(
        (dry.status, dry.json()["approved"].as_bool()),
        (200, Some(false))
    );
    assert_eq!(server.db.approval_mark().await.expect("is read"), 0);
    for misspelt in ["dryrun=true", "dry_run=yes", "dry=true&Dry=true", "only=x"] {
        let path = format!("/api/v1/runs/2/approve?{misspelt}");
        let refused = server.post(&path).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.json()["error"].is_string(), "{refused:?}");
    }
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let (path, headers) = ("POST /api/v1/runs/2/approve", ["Host: localhost", &bearer]);
    let refused = server.ask(path, &headers, r#"{"dry":true}"#).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert_eq!(server.db.approval_mark().await.expect("is read"), 0);
    let approved = server.post("/api/v1/runs/2/approve").await;
    assert_eq!(approved.status, 200, "{approved:?}");
    let doc = approved.json();
    assert_eq!(doc["by"], "web from 127.0.0.1");
    assert_eq!(doc["users"].as_array().map(Vec::len), Some(REMOVED.len()));
    let now = Utc::now();
    let good = server.db.approvals(now).await.expect("is read");
    assert_eq!(good.iter().count(), REMOVED.len());
    let late = now + APPROVAL_VALID + TimeDelta::seconds(1);
    assert!(server.db.approvals(late).await.expect("is read").is_empty());
    let by = server.db.approvals_of(RunNumber(2)).await.expect("is read");
    assert_eq!(by[0].0, "web from 127.0.0.1");
    // The daemon finds it in the state database. A second wake would cause a second run.
    assert!(!server.wake.is_requested(Trigger::Approval));
    let page = server.get("/").await;
    assert!(
        page.body.contains("Approved by web from 127.0.0.1"),
        "{}",
        page.body
    );
    assert!(!page.body.contains("Log in to approve"), "{}", page.body);
}

#[tokio::test]
async fn proxied_client_is_recorded() {
    let server = test_server().await;
    add_history(&server).await;
    let bearer = format!("Authorization: Bearer {TOKEN}");
    for (forwarded, who) in [
        (
            "192.0.2.1, 198.51.100.7",
            "web from 127.0.0.1 for 198.51.100.7",
        ),
        ("<script>", "web from 127.0.0.1"),
    ] {
        let header = format!("X-Forwarded-For: {forwarded}");
        let headers = ["Host: localhost", &bearer, &header];
        let answer = server
            .ask("POST /api/v1/runs/2/approve", &headers, "")
            .await;
        assert_eq!(answer.json()["by"], who);
    }
}

#[tokio::test]
async fn failed_approval_gives_the_reason() {
    let server = test_server().await;
    add_history(&server).await;
    for (run, code, said) in [
        (
            "1",
            409,
            "run 1 has no held changes; the latest run that has any is 2",
        ),
        ("9", 404, "no such run"),
        ("latest", 400, "needs the number of a run"),
    ] {
        let answer = server.post(&format!("/api/v1/runs/{run}/approve")).await;
        assert_eq!(answer.status, code, "{run}");
        assert!(
            answer.json()["error"].to_string().contains(said),
            "{answer:?}"
        );
    }
    let page = server.post("/runs/1/approve").await;
    assert_eq!(page.status, 409);
    assert!(page.body.contains("run 1 has no held changes"), "{page:?}");
}

#[tokio::test]
async fn removals_take_a_second_step() {
    let server = test_server().await;
    add_history(&server).await;
    let approved = async || {
        let approved = server.db.approvals(Utc::now()).await.expect("is read");
        let users = approved.iter().map(|one| one.change.subject.clone());
        users.collect::<BTreeSet<_>>().len()
    };
    let first = server.post("/runs/2/approve").await;
    assert_eq!(first.header("location"), Some("/runs/2/approve"));
    let one = server.post("/runs/2/approve?only=a%40x.co").await;
    assert_eq!(
        one.header("location"),
        Some("/runs/2/approve?only=a%40x.co")
    );
    assert_eq!(approved().await, 0);
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let headers = ["Host: localhost", &bearer];
    let asked = server.ask("GET /runs/2/approve", &headers, "").await;
    for part in [
        "Approve 6 changes of run 2?",
        "Approve: 6 to delete in acme.omniapp.co",
        "class=\"danger\"",
        "action=\"/runs/2/approve?confirmed=true\"",
    ] {
        assert!(asked.body.contains(part), "{part}: {}", asked.body);
    }
    let path = "/runs/2/approve?only=a%40x.co&confirmed=true";
    let done = server.post(path).await;
    assert_eq!(done.header("location"), Some("/runs/2?notice=approved"));
    assert_eq!(approved().await, 1);
    // The others still wait, and can be approved.
    let page = server.ask("GET /runs/2", &headers, "").await.body;
    assert!(page.contains("Approve all changes of run 2"), "{page}");
    server.post("/runs/2/approve?confirmed=true").await;
    assert_eq!(approved().await, REMOVED.len());
    assert_eq!(server.get("/runs/2/approve").await.status, 303);
}

/// The page marks a role that grants much, and approves the roles of one group.
#[tokio::test]
async fn roles_of_one_group_are_approved_alone() {
    let server = test_server().await;
    let held = |name: &str| {
        let subject = Subject::known(&format!("group:{name}")).expect("a group");
        let group = subject.group().map(|name| GroupRef {
            id: None,
            name: name.clone(),
        });
        let scope = NamedScope {
            connection: "Warehouse".into(),
            model: None,
            ids: RoleScope {
                connection: ConnectionId::parse("c").expect("an id"),
                model: None,
            },
        };
        let to = RoleName::CONNECTION_ADMIN;
        HeldChange {
            user_id: None,
            operation: Operation::Assign,
            subject,
            group,
            role: Some(RoleChange::new(scope, None, to, &RoleBases::default())),
            successor: None,
            fields: Vec::new(),
        }
    };
    let run = begin(&server.db, 0).await;
    let held = HeldRecord {
        rule: GuardRule::MaxRoleChanges,
        reason: "too many".into(),
        changes: vec![held("R & D"), held("Sales")],
    };
    server.db.hold(run, &[held]).await.expect("written");
    finish(&server.db, run, end(1, RunResult::Held, [0, 0, 2])).await;
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let headers = ["Host: localhost", &bearer];
    let page = server.ask("GET /runs/1", &headers, "").await.body;
    let path = "/runs/1/approve?only=group%3AR%20%26%20D";
    assert!(page.contains(path), "{page}");
    assert!(
        page.contains("role on Warehouse (grants CONNECTION_ADMIN)"),
        "{page}"
    );
    let done = server.post(path).await;
    assert_eq!(done.header("location"), Some("/runs/1?notice=approved"));
    let api = server
        .post("/api/v1/runs/1/approve?dry_run=true&only=group:sales")
        .await;
    assert_eq!(api.json()["users"].as_array().map(Vec::len), Some(1));
    let approved = server.db.approvals(Utc::now()).await.expect("is read");
    assert_eq!(approved.iter().count(), 1);
}
