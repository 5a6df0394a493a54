//! Texts in invalid answers of Omni or the webhook appear only where values may appear, never in logs, metrics, health
//! checks or webhook messages.

use super::canaries::{Captured, EMAIL, KEY, NAME, SECRETS, VALUE};
use super::secrets::{echo, is_chosen, left_behind, says};
use super::world::{Daemon, EVERYTHING, heard, webhook, webhook_that_says, world};
use crate::support::World;
use futures_util::stream::{self, StreamExt};
use omni_user_sync::sandbox::{Fault, Request, What, When};

const USERS: &str = "/api/scim/v2/Users";

/// The requests of a run in the world of canaries, as conditions of faults.
fn requests() -> Vec<(&'static str, When)> {
    let when = |method: &str, path: &str, query: Option<&str>| When {
        method: Some(method.into()),
        path: Some(path.into()),
        query: query.map(Into::into),
        ..When::default()
    };
    vec![
        ("definitions", when("GET", "/api/v1/user-attributes", None)),
        ("list", when("GET", USERS, Some("startIndex="))),
        ("creation", when("POST", USERS, None)),
        // A user is looked up if the answer to its creation was lost.
        ("lookup", when("GET", USERS, Some("filter="))),
    ]
}

/// Invalid answers that contain secrets and values.
fn answers() -> Vec<(&'static str, What)> {
    let page = format!("<p>{KEY} {VALUE} {NAME} {EMAIL}@x.co</p>");
    vec![
        ("400", says(400, echo())),
        ("404", says(404, echo())),
        ("500", says(500, echo())),
        ("html 200", says(200, page.clone())),
        ("html 403", says(403, page)),
        (
            "no users",
            says(200, format!("{{\"Resources\": \"{VALUE} {NAME}\"}}")),
        ),
        (
            "no user",
            says(
                200,
                format!("{{\"Resources\": [{{\"id\": [\"{VALUE}\"], \"userName\": 7}}]}}"),
            ),
        ),
        ("cut", What::CutJson),
    ]
}

/// The log of a daemon, and its responses that need no token.
async fn public_output(daemon: &Daemon) -> Vec<Captured> {
    let mut captured = Vec::new();
    for path in ["/metrics", "/healthz", "/readyz"] {
        captured.push(daemon.ask(&format!("GET {path}"), "", "").await);
    }
    captured
}

/// A daemon whose first run meets one such answer.
async fn met(world: &World, name: &str, when: When, what: What) {
    let sent = webhook(world).await;
    let (times, post) = (
        1,
        When {
            method: Some("POST".into()),
            ..When::default()
        },
    );
    if name.starts_with("lookup") {
        let what = What::LostReply;
        world.org().fault(Fault {
            when: post,
            what,
            times,
        });
    }
    world.org().fault(Fault {
        when: when.clone(),
        what,
        times,
    });
    let daemon = Daemon::start(world, EVERYTHING).await;
    heard(&sent, "event").await;
    let is_met = |asked: &Request| {
        let queried = when.query.as_deref().unwrap_or_default();
        asked.fault.is_some()
            && when.method.as_ref() == Some(&asked.method)
            && asked.query.contains(queried)
    };
    assert!(world.org().requests().iter().any(is_met), "{name}");

    let status = daemon.ask("GET /api/v1/status", "", "").await;
    let mut open = public_output(&daemon).await;
    open.push(heard(&sent, "event").await);
    for one in &open {
        one.assert_without(&[VALUE, NAME, EMAIL]);
    }
    let log = daemon.log();
    assert!(log.has("idle connection"), "all is logged");
    log.assert_without(&[VALUE, NAME]);
    open.extend([log, status]);
    open.extend(left_behind(world.folder.path()));
    for one in &open {
        one.assert_without(&SECRETS);
    }
}

/// In parallel, because some are retried after a pause.
#[tokio::test(flavor = "multi_thread")]
async fn error_details_of_omni_are_not_published() {
    let requests = requests();
    let mut cases = Vec::new();
    for (row, (answer, what)) in answers().into_iter().enumerate() {
        for (column, (request, when)) in requests.iter().enumerate() {
            if is_chosen(row, column, requests.len()) {
                let (name, when, what) =
                    (format!("{request}, {answer}"), when.clone(), what.clone());
                cases.push(async move { met(&world().await, &name, when, what).await });
            }
        }
    }
    let mut cases = stream::iter(cases).buffer_unordered(4);
    while cases.next().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn webhook_address_and_responses_are_not_published() {
    let body = format!("saidcanary {VALUE} {EMAIL}@x.co");
    let answer = |head: &str| {
        let length = body.len();
        format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    for head in [
        "404 saidcanary",
        "302 Found\r\nLocation: http://127.0.0.1:9/saidcanary",
        "307 Go\r\nLocation: /saidcanary",
    ] {
        let world = world().await;
        let _sent = webhook_that_says(&world, answer(head)).await;
        let daemon = Daemon::start(&world, EVERYTHING).await;
        daemon
            .until(
                "GET /metrics",
                "",
                "notifications_total{outcome=\"failed\"} 1",
            )
            .await;
        let mut captured = public_output(&daemon).await;
        for path in [
            "GET /",
            "GET /runs/1",
            "GET /api/v1/status",
            "GET /api/v1/runs/1",
        ] {
            captured.push(daemon.ask(path, "", "").await);
        }
        captured.push(daemon.log());
        captured.extend(left_behind(world.folder.path()));
        for one in &captured {
            one.assert_without(&SECRETS);
            one.assert_without(&["saidcanary"]);
        }
        daemon.log().assert_without(&[VALUE]);
    }
}
