//! The contents of pages.

use super::support::{
    HOSTILE, REMOVED, ServerOptions, add_history, begin, change, end, finish, outcome_with,
    server_with, test_server,
};
use chrono::{TimeDelta, Utc};
use insta::assert_snapshot;
use omni_user_sync::model::{
    ChangeOutcome, Email, LeaveState, Leaver, Operation, RunEnd, RunResult,
};
use omni_user_sync::omni::OmniError;
use omni_user_sync::run::{Completion, RunError, RunOutcome};
use omni_user_sync::trigger::watch::SourceState;

const PAGES: [&str; 10] = [
    "/",
    "/runs",
    "/changes",
    "/runs/1",
    "/runs/2",
    "/users",
    "/users/%3Cb%3E@x.co",
    "/settings",
    "/login",
    "/nothing",
];

#[tokio::test]
async fn pages_forbid_inline_code_and_caching() {
    let server = test_server().await;
    add_history(&server).await;
    for path in PAGES {
        let page = server.get(path).await;
        let header = |name| {
            page.header(name)
                .unwrap_or_else(|| panic!("{path}: no {name}"))
        };
        let policy = header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; "),
            "{path}: {policy}"
        );
        assert!(
            policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "same-origin");
        assert_eq!(header("cache-control"), "no-store");
        assert!(header("content-type").starts_with("text/html"), "{path}");
        for inline in ["<style", "style=\"", "onclick", "javascript:", "<script>"] {
            assert!(!page.body.contains(inline), "{path}: {inline}");
        }
        for part in [
            "<html lang=\"en\">",
            "<title>",
            "<main id=\"main\"",
            "<h1",
            "class=\"skip\"",
        ] {
            assert!(page.body.contains(part), "{path}: no {part}");
        }
    }
}

#[tokio::test]
async fn assets_are_revalidated() {
    let server = test_server().await;
    for (file, content_type) in [
        ("style.css", "text/css; charset=utf-8"),
        ("live.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ] {
        let path = format!("GET /assets/{file}");
        let first = server.ask(&path, &["Host: localhost"], "").await;
        assert_eq!(
            (first.status, first.header("content-type")),
            (200, Some(content_type))
        );
        assert_eq!(first.header("cache-control"), Some("no-cache"));
        let known = format!("If-None-Match: {}", first.header("etag").expect("a tag"));
        let again = server.ask(&path, &["Host: localhost", &known], "").await;
        assert_eq!((again.status, again.body.as_str()), (304, ""));
    }
    assert_eq!(server.get("/assets/..%2Fmod.rs").await.status, 404);
}

#[tokio::test]
async fn untrusted_text_is_escaped() {
    let server = test_server().await;
    add_history(&server).await;
    for path in ["/", "/runs/1", "/users/%3Cb%3E@x.co", "/users/bad@x.co"] {
        let page = server.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(
            !page.body.contains(HOSTILE) && !page.body.contains("<script>"),
            "{path}"
        );
        assert!(!page.body.contains("<b>@x.co"), "{path}");
    }
    let page = server.get("/runs/1").await;
    assert!(
        page.body.contains("&#60;script&#62;alert("),
        "{}",
        page.body
    );
    let sought = server.get("/runs/1?text=%22%3E%3Cscript%3E").await;
    assert!(!sought.body.contains("<script>"), "{}", sought.body);
    let found = server.get("/users?email=%3Cb%3E/%22@x.co").await;
    let list = "/users?prefix=%3cb%3e%2f%22%40x.co";
    assert_eq!(found.header("location"), Some(list));
    let list = server.get(list).await.body;
    assert!(list.contains("&#60;b&#62;/&#34;@x.co"), "{list}");
    assert!(!list.contains("<b>/"), "{list}");
}

#[tokio::test]
async fn overview_has_summary_and_numbers() {
    let server = test_server().await;
    let before = server.get("/").await;
    assert!(
        before.body.contains("No run has finished yet."),
        "{}",
        before.body
    );
    add_history(&server).await;
    let page = server.get("/").await.body;
    for part in [
        "6 changes are held and waiting for approval.",
        "users.csv:22",
        "1 <span class=\"soft\">(op)</span>",
        "write upsert, delete or deactivate",
        "a row occurs twice",
        "/users/ann%40x.co",
        "Log in to approve",
        r#"data-run="2" data-applied="0" data-failed="0" data-held="6""#,
        r#"data-run="1" data-applied="1" data-failed="1" data-held="0""#,
        "Show the charts as a table",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    for user in REMOVED {
        assert!(page.contains(user), "{user}");
    }
}

#[tokio::test]
async fn ok_requires_readiness_and_an_available_roster() {
    let server = test_server().await;
    let run = begin(&server.db, 0).await;
    finish(&server.db, run, end(9, RunResult::Converged, [1, 0, 0])).await;
    let says = async |state: &str, sentence: &str| {
        let status = server.get("/api/v1/status").await.json();
        assert_eq!(status["state"], state, "{status}");
        let said = status["summary"].as_str().expect("a sentence").to_owned();
        assert!(said.contains(sentence), "{said}");
        let page = server.get("/").await.body;
        assert!(page.contains(&format!("class=\"hero {state}\"")), "{page}");
        assert!(
            page.contains(&said.replace('\'', "&#39;")),
            "{said}: {page}"
        );
    };
    // After a restart.
    says(
        "warning",
        "No run has read the roster and listed the users in Omni yet.",
    )
    .await;
    server.status.run_ended(&outcome_with(Vec::new()), None);
    says("ok", "Omni is in sync with the roster.").await;
    for (condition, state, sentence) in [
        (
            SourceState::Changing,
            "busy",
            "The roster has been changing since ",
        ),
        (
            SourceState::Unavailable,
            "error",
            "The roster has been unavailable since ",
        ),
        (
            SourceState::Unresponsive,
            "error",
            "The roster's file system has been unresponsive since ",
        ),
        (
            SourceState::Stable,
            "ok",
            "Omni is in sync with the roster.",
        ),
    ] {
        server.status.roster(condition);
        says(state, sentence).await;
    }
    // Held changes have priority over a changing roster.
    add_history(&server).await;
    server.status.roster(SourceState::Changing);
    says("warning", "6 changes are held and waiting for approval.").await;
}

#[tokio::test]
async fn next_run_is_shown_only_if_scheduled() {
    for (is_watched, next) in [(true, "when the roster changes"), (false, "none: ")] {
        let server = server_with(ServerOptions {
            is_watched,
            ..ServerOptions::default()
        })
        .await;
        let page = server.get("/").await.body;
        assert!(
            page.contains(&format!("<dt>Next run</dt><dd>{next}")),
            "{page}"
        );
    }
}

/// The script shows the notice if the server stops responding. It is always present for screen readers.
#[tokio::test]
async fn every_page_has_a_stale_notice() {
    let server = test_server().await;
    add_history(&server).await;
    for path in PAGES {
        let page = server.get(path).await.body;
        let location = "<p class=\"notice error\" role=\"alert\" id=\"stale\" hidden></p>";
        assert_eq!(page.matches(location).count(), 1, "{path}");
    }
}

#[tokio::test]
async fn changes_are_filtered_by_the_query() {
    let server = test_server().await;
    add_history(&server).await;
    for (query, shown) in [
        ("", vec!["&#60;b&#62;@x.co", "ann@x.co"]),
        ("?operation=create", vec!["&#60;b&#62;@x.co"]),
        ("?operation=delete", vec![]),
        ("?outcome=failed", vec!["ann@x.co"]),
        ("?outcome=unknown", vec![]),
        ("?operation=&outcome=&text=ANN", vec!["ann@x.co"]),
        ("?text=SCRIPT", vec!["&#60;b&#62;@x.co"]),
        ("?text=says+no", vec!["ann@x.co"]),
    ] {
        let page = server.get(&format!("/runs/1{query}")).await;
        assert_eq!(page.status, 200, "{query}");
        for user in ["&#60;b&#62;@x.co", "ann@x.co"] {
            let is_there = page.body.contains(&format!("\">{user}</a>"));
            assert_eq!(is_there, shown.contains(&user), "{query} {user}");
        }
    }
    let odd = server.get("/runs/1?operation=destroy").await;
    assert_eq!(odd.status, 400);
    assert!(
        odd.body
            .contains("delete, deactivate, leave, update, create, join"),
        "{}",
        odd.body
    );
}

#[tokio::test]
async fn changes_are_paginated() {
    let server = test_server().await;
    let run = begin(&server.db, 0).await;
    for number in 0..230 {
        let user = format!("user{number:03}@x.co");
        change(
            &server.db,
            run,
            Operation::Update,
            &user,
            Vec::new(),
            ChangeOutcome::Applied,
        )
        .await;
    }
    finish(&server.db, run, end(9, RunResult::Converged, [230, 0, 0])).await;
    let mut path = "/runs/1?text=user".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = server.get(&path).await.body;
        let rows = page
            .matches("<th scope=\"row\" role=\"rowheader\">")
            .count();
        seen.push(rows);
        let Some((before, _)) = page.split_once("\">Next</a>") else {
            break;
        };
        let link = before.rsplit_once("href=\"").expect("a link").1;
        path = link.replace("&#38;", "&").replace("#changes", "");
    }
    assert_eq!(seen, [vec![25; 9], vec![5]].concat());
}

#[tokio::test]
async fn user_page_summarises_known_state() {
    let server = test_server().await;
    add_history(&server).await;
    let summary = async |user: &str| {
        let page = server.get(&format!("/users/{user}")).await.body;
        assert!(page.contains("omni-user-sync explain"), "{user}");
        let (_, list) = page
            .split_once("<ul class=\"summary\">")
            .expect("a summary");
        let (list, _) = list.split_once("</ul>").expect("its end");
        format!("{user}: {list}\n")
    };
    let mut shown = String::new();
    for user in [
        "a@x.co",
        "A@X.co",
        "bad@x.co",
        "nobody@x.co",
        "boss@x.co",
        "%3Cb%3E@x.co",
    ] {
        shown += &summary(user).await;
    }
    assert_snapshot!(shown, @r#"
    a@x.co: <li class="warning">The operation delete is held by policy.max_removals (run 2): 6 of 20 users would be removed</li>
    A@X.co: <li class="warning">The operation delete is held by policy.max_removals (run 2): 6 of 20 users would be removed</li>
    bad@x.co: <li class="error">The row in the roster is invalid, so this user is not changed.</li>
    nobody@x.co: <li class="idle">Not in the roster, as of the last run that read the roster and Omni, and never changed by omni-user-sync.</li>
    boss@x.co: <li class="idle">Not in the roster, as of the last run that read the roster and Omni, and never changed by omni-user-sync.</li><li class="idle">Protected (policy.protect, policy.protect_admins): never deleted or deactivated.</li>
    %3Cb%3E@x.co: <li class="ok">No known problems.</li>
    "#);
    // It has the time of the next attempt.
    let quarantined = summary("ann@x.co").await;
    assert!(quarantined.contains("In quarantine until"), "{quarantined}");
    let none = server.get("/users/ann").await;
    assert_eq!(none.status, 400);
    assert!(none.body.contains("local@domain"), "{}", none.body);
}

#[tokio::test]
async fn missing_pages_are_not_found() {
    let server = test_server().await;
    for path in [
        "/runs/9",
        "/runs/latest",
        "/runs/x",
        "/nothing",
        "/users/a@x.co/more",
    ] {
        let page = server.get(path).await;
        assert_eq!(page.status, 404, "{path}");
        assert!(page.body.contains("Not found"), "{path}");
    }
    let wrong = server.ask("DELETE /runs", &["Host: localhost"], "").await;
    assert_eq!(wrong.status, 405);
    let api = server.get("/api/v1/nothing").await;
    assert_eq!((api.status, api.json()["error"].is_string()), (404, true));
}

/// The navigation names the organisation, so only clients that may read pages see it.
#[tokio::test]
async fn error_pages_have_the_navigation() {
    let server = test_server().await;
    let remote = "X-Forwarded-For: 192.0.2.1";
    for request in [
        "GET /nothing",
        "GET /runs/9",
        "GET /runs?before=x",
        "GET /users/ann",
        "DELETE /runs",
        "GET /assets/nothing",
    ] {
        let page = server.ask(request, &["Host: localhost"], "").await;
        for part in [
            "<nav aria-label=\"Pages\">",
            "acme.omniapp.co",
            "action=\"/users\"",
            "<a class=\"button\" href=\"/\">Overview</a>",
        ] {
            assert!(page.body.contains(part), "{request}: {part}\n{}", page.body);
        }
        let length = page.header("content-length").and_then(|it| it.parse().ok());
        assert_eq!(length, Some(page.body.len()), "{request}");
        let stranger = server.ask(request, &["Host: localhost", remote], "").await;
        assert!(!stranger.body.contains("acme"), "{request}: {stranger:?}");
        assert!(!stranger.body.contains("<nav"), "{request}: {stranger:?}");
    }
    let forged = server.ask("GET /", &["Host: evil.example"], "").await;
    assert_eq!(forged.status, 421);
    assert!(!forged.body.contains("acme"), "{forged:?}");
    // After a log-in, a browser can't repeat an action.
    let origin = "Origin: http://localhost";
    let refused = server
        .ask("POST /nothing", &["Host: localhost", origin], "")
        .await;
    assert!(refused.body.contains("/login?next=%2F\""), "{refused:?}");
}

/// The state database is damaged while the server runs.
#[tokio::test]
async fn unreadable_state_database_is_reported() {
    let server = test_server().await;
    add_history(&server).await;
    let path = server.db.path().to_owned();
    for ending in ["", "-wal"] {
        let mut name = path.clone().into_os_string();
        name.push(ending);
        let size = std::fs::metadata(&name).expect("is there").len();
        let noise = vec![0xa5; usize::try_from(size).expect("small")];
        std::fs::write(name, noise).expect("written");
    }
    let page = server.get("/").await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(
        page.body.contains("The state database can&#39;t be read"),
        "{}",
        page.body
    );
    assert!(
        page.body.contains("users.csv:22"),
        "the status of the daemon is still shown"
    );
    for path in ["/runs", "/runs/1", "/users/a@x.co"] {
        let page = server.get(path).await;
        assert_eq!(page.status, 503, "{path}");
        assert!(
            page.body.contains("can&#39;t be read"),
            "{path}: {}",
            page.body
        );
    }
    let status = server.get("/api/v1/status").await;
    assert_eq!(status.status, 200);
    assert!(status.json()["state_error"].is_string(), "{status:?}");
    assert_eq!(server.get("/api/v1/runs").await.status, 503);
    assert_eq!(server.get("/healthz").await.status, 200);
}

/// The run failed, and a full disk prevented recording it.
#[tokio::test]
async fn unrecorded_failure_is_reported() {
    let server = test_server().await;
    let run = begin(&server.db, 0).await;
    let before = RunEnd {
        ended: Utc::now() - TimeDelta::minutes(15),
        ..end(9, RunResult::Converged, [1, 0, 0])
    };
    finish(&server.db, run, before).await;
    server.status.run_ended(&outcome_with(Vec::new()), None);
    let failed = RunOutcome {
        completion: Completion::Failed(RunError::Omni(OmniError::Throttled)),
        ..outcome_with(Vec::new())
    };
    server.status.run_ended(&failed, None);
    let status = server.get("/api/v1/status").await.json();
    assert_eq!(status["state"], "error", "{status}");
    let said = "The last run failed: Omni keeps responding with 429 (too many requests).";
    assert_eq!(status["summary"], said, "{status}");
}

#[tokio::test]
async fn users_who_leave_soon_are_listed() {
    let server = test_server().await;
    let leaver = |number: u32, state| Leaver {
        email: Email::known(&format!("u{number}@x.co")).expect("an email"),
        date: "2026-12-24".parse().expect("a day"),
        operation: Operation::Delete,
        state,
    };
    let mut outcome = outcome_with(Vec::new());
    let plan = outcome.plan.as_mut().expect("a plan");
    plan.leaving = vec![
        leaver(0, LeaveState::Waiting),
        leaver(1, LeaveState::Upcoming),
    ];
    plan.leaving
        .extend((2..60).map(|number| leaver(number, LeaveState::Upcoming)));
    server.status.run_ended(&outcome, None);
    let page = server.get("/").await.body;
    let (_, list) = page.split_once("Leaving within two weeks").expect("a list");
    for part in [
        "href=\"/users/u0%40x.co\"",
        "delete, due since 2026-12-24, waits for a second run at least 1 h later",
        "href=\"/users/u1%40x.co\"",
        "delete, leaves on 2026-12-24 (and 10 more)",
    ] {
        assert!(list.contains(part), "{part}: {list}");
    }
    let status = server.get("/api/v1/status").await.json();
    assert_eq!(status["leaving_count"], 60);
    let first = &status["leaving"][0];
    let expected = serde_json::json!({
        "email": "u0@x.co", "date": "2026-12-24", "operation": "delete", "state": "waiting",
    });
    assert_eq!(*first, expected);
}
