//! The documents of users: shown to people who ask about them, and never read by runs.

use crate::support::{World, command};
use omni_user_sync::sandbox::{Endpoint, Fault, Options, What, When};
use serde_json::{Value, json};

const DOCUMENTS: &str = "/api/v1/documents";

/// An organisation with eight users `u0@x.co`… The roster deletes three of them: the removal of `u1@x.co` passes, that
/// of `u2@x.co` is held because of a schedule, and `u3@x.co` is protected.
async fn world_with(options: Options) -> World {
    let world = World::with(options).await;
    let world = world.set("policy.protect", "u3@x.co");
    for number in 0..8 {
        world.user(&format!("u{number}@x.co"), "A user", json!({}));
    }
    let row = |number: usize| {
        let op = match number {
            1..=3 => "delete",
            _ => "upsert",
        };
        format!("{op},u{number}@x.co,A user\n")
    };
    let rows: String = (0..8).map(row).collect();
    world.roster(&format!("op,email,display_name\n{rows}"));
    let org = world.org();
    org.add_schedule("u2@x.co", "daily revenue", Some(4));
    org.add_personal_token("u1@x.co", "laptop");
    for name in ["Sales overview", "Churn"] {
        org.add_document("u1@x.co", name);
    }
    for number in 1..=12 {
        org.add_document("u2@x.co", &format!("Report {number}"));
    }
    world
}

async fn world() -> World {
    world_with(Options::with_full_lists()).await
}

/// The number of requests for documents since the last call.
fn take_requests(world: &World) -> usize {
    let requests = world.org().requests();
    world.org().clear_requests();
    requests.iter().filter(|one| one.path == DOCUMENTS).count()
}

/// Fails every request for documents.
fn refuse(world: &World, code: u16) {
    let when = When {
        path: Some(DOCUMENTS.into()),
        ..When::default()
    };
    let what = What::Status {
        code,
        retry_after: None,
        body: None,
    };
    world.org().fault(Fault {
        when,
        what,
        times: 100,
    });
}

fn doc(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn documents_are_read_only_on_request() {
    let world = world().await;
    for (arguments, requests) in [
        (&["plan"][..], 0),
        (&["plan", "--json"], 0),
        (&["check"], 0),
        (&["plan", "--details"], 2),
        (&["explain", "u1@x.co"], 1),
        (&["explain", "u0@x.co"], 1),
        (&["explain", "nobody@x.co"], 0),
        (&["apply", "--yes"], 0),
        (&["apply", "--yes", "--only", "u2@x.co"], 0),
    ] {
        let ended = command(&world, arguments).await;
        assert!([0, 3, 4].contains(&ended.code), "{}", ended.err);
        assert_eq!(take_requests(&world), requests, "{arguments:?}");
    }
    world.run().await;
    assert!(world.org().user("u1@x.co").is_none());
    assert_eq!(take_requests(&world), 0);
}

#[tokio::test]
async fn plan_details_name_documents() {
    let world = world().await;
    let without = command(&world, &["plan"]).await;
    let plan = command(&world, &["plan", "--details"]).await;
    assert_eq!(plan.code, without.code);
    let removal = "    owns 1 personal token\n    \
        owns 2 documents: Sales overview, Churn, which stay without their owner\n";
    assert!(plan.out.contains(removal), "{}", plan.out);
    let held = "    owns 1 schedule: daily revenue\n    \
        owns 12 documents: Report 1, Report 2, Report 3, Report 4, Report 5, Report 6, Report 7, Report 8, Report 9, \
        Report 10 and 2 more, which stay without their owner\n";
    assert!(plan.out.contains(held), "{}", plan.out);
    let note = "reading the documents of 2 users: 2 requests, ";
    assert!(plan.err.contains(note), "{}", plan.err);

    let json = doc(&command(&world, &["plan", "--details", "--json"]).await.out);
    let documents = &json["documents"];
    assert_eq!(documents[0]["email"], "u1@x.co", "{documents}");
    assert_eq!(documents[0]["names"], json!(["Sales overview", "Churn"]));
    assert_eq!(documents[0]["unread"], Value::Null);
    assert_eq!(documents[1]["count"], 12);
    assert_eq!(documents.as_array().map(Vec::len), Some(2));
    let json = doc(&command(&world, &["plan", "--json"]).await.out);
    assert!(json.get("documents").is_none(), "{json}");

    let markdown = command(&world, &["plan", "--details", "--markdown"]).await;
    let row =
        "| `u1@x.co` | `owns 2 documents: Sales overview, Churn, which stay without their owner` |";
    assert!(markdown.out.contains(row), "{}", markdown.out);
}

#[tokio::test]
async fn unread_documents_fail_no_command() {
    for (code, said, requests) in [
        (403, "documents not checked", 1),
        (404, "documents not checked", 1),
        (400, "documents can't be read: ", 2),
    ] {
        let world = world().await;
        let without = command(&world, &["plan"]).await;
        refuse(&world, code);
        let plan = command(&world, &["plan", "--details"]).await;
        assert_eq!(plan.code, without.code, "{}", plan.err);
        let line = format!("\n    {said}");
        assert_eq!(plan.out.matches(&line).count(), 2, "{}", plan.out);
        assert_eq!(take_requests(&world), requests, "{code}");
        let json = command(&world, &["plan", "--details", "--json"]).await;
        let unread = &doc(&json.out)["documents"][0];
        assert_eq!(unread["count"], Value::Null, "{unread}");
        let why = unread["unread"].as_str().expect("a clause");
        assert!(why.starts_with(said), "{why}");
        let explained = command(&world, &["explain", "u1@x.co", "--json"]).await;
        assert_eq!(explained.code, 0, "{}", explained.err);
        let owned = &doc(&explained.out)["owned"];
        assert_eq!(owned["documents"], Value::Null);
        assert!(
            owned["unread"][0]
                .as_str()
                .is_some_and(|why| why.starts_with(said))
        );
    }
}

#[tokio::test]
async fn explain_shows_what_a_user_owns() {
    let world = world().await;
    world.org().add_schedule("u1@x.co", "weekly", None);
    let lines = "schedules: weekly\npersonal tokens: laptop\ndocuments: Sales overview, Churn\n";
    let leaver = command(&world, &["explain", "u1@x.co"]).await;
    assert!(leaver.out.contains(lines), "{}", leaver.out);
    let lines = "schedules: none\npersonal tokens: none\ndocuments: none\n";
    let other = command(&world, &["explain", "u0@x.co"]).await;
    assert!(other.out.contains(lines), "{}", other.out);
    let absent = command(&world, &["explain", "nobody@x.co"]).await;
    assert!(!absent.out.contains("schedules"), "{}", absent.out);

    let json = doc(&command(&world, &["explain", "u2@x.co", "--json"]).await.out);
    let owned = &json["owned"];
    assert_eq!(owned["schedules"][0]["name"], "daily revenue");
    assert_eq!(owned["schedules"][0]["recipients"], 4);
    assert_eq!(owned["personal_tokens"], json!([]));
    assert_eq!(owned["documents"]["count"], 12);
    assert_eq!(owned["unread"], json!([]));
    let json = doc(&command(&world, &["explain", "nobody@x.co", "--json"])
        .await
        .out);
    assert_eq!(json["owned"], Value::Null);
}

#[tokio::test]
async fn explain_says_what_omni_hides() {
    let world = world_with(Options {
        schedules: Endpoint::Forbidden,
        personal_tokens: Endpoint::Missing,
        ..Options::with_full_lists()
    })
    .await;
    refuse(&world, 403);
    let explained = command(&world, &["explain", "u0@x.co"]).await;
    assert_eq!(explained.code, 0, "{}", explained.err);
    for things in ["schedules", "personal tokens", "documents"] {
        let line = format!("{things}: not checked: Omni does not show them (403 or 404)\n");
        assert!(explained.out.contains(&line), "{}", explained.out);
    }
    let json = command(&world, &["explain", "u0@x.co", "--json"]).await;
    let owned = &doc(&json.out)["owned"];
    let unread = [
        "schedules not checked",
        "personal tokens not checked",
        "documents not checked",
    ];
    assert_eq!(owned["unread"], json!(unread));
    assert_eq!(owned["schedules"], Value::Null);
}
