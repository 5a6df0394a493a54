//! What can be done: a run is asked for, and what was held is approved.

use super::support::{GOING, TOKEN, happened, served};
use chrono::{TimeDelta, Utc};
use omni_user_sync::model::{RunNumber, Trigger};
use omni_user_sync::state::APPROVAL_VALID;
use std::collections::BTreeSet;

#[tokio::test]
async fn asking_for_a_run_wakes_the_loop() {
    let served = served().await;
    let asked = served.post("/api/v1/reconcile").await;
    assert_eq!(asked.status, 202);
    let expected = serde_json::json!({ "requested": true, "after_the_one_under_way": false });
    assert_eq!(asked.json(), expected);
    let page = served.post("/reconcile").await;
    assert_eq!(
        (page.status, page.header("location")),
        (303, Some("/?said=asked"))
    );
    assert_eq!(served.wake.wait().await, BTreeSet::from([Trigger::Request]));
    let said = served.get("/?said=asked").await;
    assert!(said.body.contains("A run is asked for"), "{}", said.body);
    let odd = served.get("/?said=%3Cb%3E").await;
    assert!(!odd.body.contains("class=\"notice\""), "{}", odd.body);
    assert_eq!(served.get("/reconcile").await.status, 405);
}

#[tokio::test]
async fn an_approval_is_written_with_who_and_wakes_the_loop() {
    let served = served().await;
    happened(&served).await;
    let dry = served.post("/api/v1/runs/2/approve?dry=true").await;
    assert_eq!(
        (dry.status, dry.json()["approved"].as_bool()),
        (200, Some(false))
    );
    assert_eq!(served.journal.approval_mark().await.expect("is read"), 0);
    for misspelt in ["dry_run=true", "dry=yes", "dry=true&Dry=true"] {
        let path = format!("/api/v1/runs/2/approve?{misspelt}");
        let refused = served.post(&path).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.json()["error"].is_string(), "{refused:?}");
    }
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let (path, headers) = ("POST /api/v1/runs/2/approve", ["Host: localhost", &bearer]);
    let refused = served.ask(path, &headers, r#"{"dry":true}"#).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert_eq!(served.journal.approval_mark().await.expect("is read"), 0);
    let approved = served.post("/api/v1/runs/2/approve").await;
    assert_eq!(approved.status, 200, "{approved:?}");
    let doc = approved.json();
    assert_eq!(doc["by"], "web from 127.0.0.1");
    assert_eq!(doc["users"].as_array().map(Vec::len), Some(GOING.len()));
    let now = Utc::now();
    let good = served.journal.approvals(now).await.expect("is read");
    assert_eq!(good.len(), GOING.len());
    let late = now + APPROVAL_VALID + TimeDelta::seconds(1);
    assert!(
        served
            .journal
            .approvals(late)
            .await
            .expect("is read")
            .is_empty()
    );
    let by = served
        .journal
        .approvals_of(RunNumber(2))
        .await
        .expect("is read");
    assert_eq!(by[0].0, "web from 127.0.0.1");
    assert_eq!(
        served.wake.wait().await,
        BTreeSet::from([Trigger::Approval])
    );
    let page = served.get("/").await;
    assert!(
        page.body.contains("Approved by web from 127.0.0.1"),
        "{}",
        page.body
    );
    assert!(!page.body.contains("Log in to approve"), "{}", page.body);
}

#[tokio::test]
async fn a_proxy_says_for_whom_it_asks() {
    let served = served().await;
    happened(&served).await;
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
        let answer = served
            .ask("POST /api/v1/runs/2/approve", &headers, "")
            .await;
        assert_eq!(answer.json()["by"], who);
    }
}

#[tokio::test]
async fn what_can_not_be_approved_is_said() {
    let served = served().await;
    happened(&served).await;
    for (run, code, said) in [
        (
            "1",
            409,
            "nothing is held in run 1; the last run that holds something is 2",
        ),
        ("9", 404, "there is no such run"),
        ("latest", 400, "by its number"),
    ] {
        let answer = served.post(&format!("/api/v1/runs/{run}/approve")).await;
        assert_eq!(answer.status, code, "{run}");
        assert!(
            answer.json()["error"].to_string().contains(said),
            "{answer:?}"
        );
    }
    let page = served.post("/runs/1/approve").await;
    assert_eq!(page.status, 409);
    assert!(page.body.contains("nothing is held in run 1"), "{page:?}");
    let done = served.post("/runs/2/approve").await;
    assert_eq!(done.header("location"), Some("/runs/2?said=approved"));
}
