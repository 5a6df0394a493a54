//! Pages: what they say, and how they say it.

use super::support::{
    GOING, HOSTILE, Wanted, begin, change, end, finish, happened, outcome_with, served, serving,
};
use chrono::{TimeDelta, Utc};
use omni_user_sync::model::{ChangeOutcome, Operation, RunEnd};
use omni_user_sync::omni::OmniError;
use omni_user_sync::run::{Completion, RunError, RunOutcome};
use omni_user_sync::trigger::watch::SourceState;

const PAGES: [&str; 7] = [
    "/",
    "/runs",
    "/runs/1",
    "/runs/2",
    "/users/%3Cb%3E@x.co",
    "/login",
    "/nothing",
];

#[tokio::test]
async fn every_page_refuses_what_is_inline_and_is_kept_by_nobody() {
    let served = served().await;
    happened(&served).await;
    for path in PAGES {
        let page = served.get(path).await;
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
async fn assets_are_asked_for_anew_and_seldom_sent() {
    let served = served().await;
    for (file, operation) in [
        ("style.css", "text/css; charset=utf-8"),
        ("live.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ] {
        let path = format!("GET /assets/{file}");
        let first = served.ask(&path, &["Host: localhost"], "").await;
        assert_eq!(
            (first.status, first.header("content-type")),
            (200, Some(operation))
        );
        assert_eq!(first.header("cache-control"), Some("no-cache"));
        let known = format!("If-None-Match: {}", first.header("etag").expect("a tag"));
        let again = served.ask(&path, &["Host: localhost", &known], "").await;
        assert_eq!((again.status, again.body.as_str()), (304, ""));
    }
    assert_eq!(served.get("/assets/..%2Fmod.rs").await.status, 404);
}

#[tokio::test]
async fn what_others_wrote_is_escaped() {
    let served = served().await;
    happened(&served).await;
    for path in ["/", "/runs/1", "/users/%3Cb%3E@x.co", "/users/bad@x.co"] {
        let page = served.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(
            !page.body.contains(HOSTILE) && !page.body.contains("<script>"),
            "{path}"
        );
        assert!(!page.body.contains("<b>@x.co"), "{path}");
    }
    let page = served.get("/runs/1").await;
    assert!(
        page.body.contains("&#60;script&#62;alert("),
        "{}",
        page.body
    );
    let sought = served.get("/runs/1?text=%22%3E%3Cscript%3E").await;
    assert!(!sought.body.contains("<script>"), "{}", sought.body);
    let found = served.get("/users?email=%3Cb%3E/%22@x.co").await;
    assert_eq!(
        found.header("location"),
        Some("/users/%3cb%3e%2f%22%40x.co")
    );
}

#[tokio::test]
async fn the_overview_says_it_in_a_sentence_with_its_numbers() {
    let served = served().await;
    let before = served.get("/").await;
    assert!(
        before.body.contains("No run has ended yet."),
        "{}",
        before.body
    );
    happened(&served).await;
    let page = served.get("/").await.body;
    for part in [
        "6 changes are held and wait for somebody to approve.",
        "users.csv:22",
        "1 <span class=\"soft\">(op)</span>",
        "write upsert, delete or deactivate",
        "a row stands twice",
        "/users/ann%40x.co",
        "Log in to approve",
        r#"data-run="2" data-done="0" data-failed="0" data-held="6""#,
        r#"data-run="1" data-done="1" data-failed="1" data-held="0""#,
        "The picture as a table",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    for user in GOING {
        assert!(page.contains(user), "{user}");
    }
}

#[tokio::test]
async fn that_all_is_well_is_said_only_of_a_daemon_that_is_ready_and_has_its_roster() {
    let served = served().await;
    let run = begin(&served.journal, 0).await;
    finish(&served.journal, run, end(9, "converged", [1, 0, 0])).await;
    let says = async |state: &str, sentence: &str| {
        let told = served.get("/api/v1/status").await.json();
        assert_eq!(told["state"], state, "{told}");
        let said = told["sentence"].as_str().expect("a sentence").to_owned();
        assert!(said.contains(sentence), "{said}");
        let page = served.get("/").await.body;
        assert!(page.contains(&format!("class=\"hero {state}\"")), "{page}");
        assert!(
            page.contains(&said.replace('\'', "&#39;")),
            "{said}: {page}"
        );
    };
    // As it is after a restart.
    says(
        "warn",
        "No run has read the roster and listed Omni's users yet.",
    )
    .await;
    served.status.run_ended(&outcome_with(Vec::new()), None);
    says("good", "Omni is as the roster says.").await;
    for (condition, state, sentence) in [
        (
            SourceState::Changing,
            "busy",
            "The roster is being written since ",
        ),
        (
            SourceState::Unavailable,
            "bad",
            "The roster can't be read since ",
        ),
        (
            SourceState::Unresponsive,
            "bad",
            "The roster's file system does not answer since ",
        ),
        (SourceState::Stable, "good", "Omni is as the roster says."),
    ] {
        served.status.roster(condition);
        says(state, sentence).await;
    }
    // What somebody has to do stays said.
    happened(&served).await;
    served.status.roster(SourceState::Changing);
    says(
        "warn",
        "6 changes are held and wait for somebody to approve.",
    )
    .await;
}

#[tokio::test]
async fn no_next_run_is_promised_that_nothing_starts() {
    for (is_watched, next) in [(true, "when the roster changes"), (false, "none is due: ")] {
        let served = serving(Wanted {
            is_watched,
            ..Wanted::default()
        })
        .await;
        let page = served.get("/").await.body;
        assert!(
            page.contains(&format!("<dt>Next run</dt><dd>{next}")),
            "{page}"
        );
    }
}

/// What the script writes when it gets no more answers; it stands there for those who hear the page.
#[tokio::test]
async fn every_page_has_a_place_for_the_word_that_it_may_be_old() {
    let served = served().await;
    happened(&served).await;
    for path in PAGES {
        let page = served.get(path).await.body;
        let place = "<p class=\"notice bad\" role=\"alert\" id=\"stale\" hidden></p>";
        assert_eq!(page.matches(place).count(), 1, "{path}");
    }
}

#[tokio::test]
async fn changes_are_filtered_by_what_the_address_says() {
    let served = served().await;
    happened(&served).await;
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
        let page = served.get(&format!("/runs/1{query}")).await;
        assert_eq!(page.status, 200, "{query}");
        for user in ["&#60;b&#62;@x.co", "ann@x.co"] {
            let is_there = page.body.contains(&format!("\">{user}</a>"));
            assert_eq!(is_there, shown.contains(&user), "{query} {user}");
        }
    }
    let odd = served.get("/runs/1?operation=destroy").await;
    assert_eq!(odd.status, 400);
    assert!(
        odd.body.contains("delete, deactivate, update, create"),
        "{}",
        odd.body
    );
}

#[tokio::test]
async fn many_changes_stand_on_several_pages() {
    let served = served().await;
    let run = begin(&served.journal, 0).await;
    for number in 0..230 {
        let user = format!("user{number:03}@x.co");
        change(
            &served.journal,
            run,
            Operation::Update,
            &user,
            Vec::new(),
            ChangeOutcome::AppliedChange,
        )
        .await;
    }
    finish(&served.journal, run, end(9, "converged", [230, 0, 0])).await;
    let mut path = "/runs/1?text=user".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = served.get(&path).await.body;
        let rows = page
            .matches("<th scope=\"row\" role=\"rowheader\">")
            .count();
        seen.push(rows);
        let Some((before, _)) = page.split_once("\">Those after</a>") else {
            break;
        };
        let link = before.rsplit_once("href=\"").expect("a link").1;
        path = link.replace("&#38;", "&").replace("#changes", "");
    }
    assert_eq!(seen, [100, 100, 30]);
}

#[tokio::test]
async fn a_user_is_told_as_far_as_is_known() {
    let served = served().await;
    happened(&served).await;
    for (user, said) in [
        (
            "a@x.co",
            "To delete them is held: run 2 held it by policy.max_removals",
        ),
        ("A@X.co", "To delete them is held"),
        ("ann@x.co", "In quarantine until"),
        (
            "bad@x.co",
            "The roster&#39;s row is bad, so nothing is written to them.",
        ),
        (
            "nobody@x.co",
            "<li class=\"plain\">As far as the last run that read roster and Omni tells, no row asks for them",
        ),
        (
            "boss@x.co",
            "<li class=\"plain\">They are protected (policy.protect)",
        ),
    ] {
        let page = served.get(&format!("/users/{user}")).await;
        assert!(page.body.contains(said), "{user}: {}", page.body);
        assert!(page.body.contains("omni-user-sync explain"), "{user}");
    }
    let known = served.get("/users/%3Cb%3E@x.co").await.body;
    let well = "<li class=\"good\">Nothing stands in the way";
    assert!(known.contains(well), "{known}");
    let none = served.get("/users?email=ann").await;
    assert_eq!(none.status, 400);
    assert!(none.body.contains("local@domain"), "{}", none.body);
}

#[tokio::test]
async fn what_is_not_there_is_said_in_words() {
    let served = served().await;
    for path in [
        "/runs/9",
        "/runs/latest",
        "/runs/x",
        "/nothing",
        "/users/a@x.co/more",
    ] {
        let page = served.get(path).await;
        assert_eq!(page.status, 404, "{path}");
        assert!(page.body.contains("There is nothing here"), "{path}");
    }
    let wrong = served.ask("DELETE /runs", &["Host: localhost"], "").await;
    assert_eq!(wrong.status, 405);
    let api = served.get("/api/v1/nothing").await;
    assert_eq!((api.status, api.json()["error"].is_string()), (404, true));
}

/// A journal that is damaged while the server runs.
#[tokio::test]
async fn a_journal_that_can_not_be_read_is_told_and_the_rest_goes_on() {
    let served = served().await;
    happened(&served).await;
    let path = served.journal.path().to_owned();
    for ending in ["", "-wal"] {
        let mut name = path.clone().into_os_string();
        name.push(ending);
        let size = std::fs::metadata(&name).expect("is there").len();
        let noise = vec![0xa5; usize::try_from(size).expect("small")];
        std::fs::write(name, noise).expect("written");
    }
    let page = served.get("/").await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(
        page.body.contains("What is remembered can&#39;t be read"),
        "{}",
        page.body
    );
    assert!(
        page.body.contains("users.csv:22"),
        "what the daemon itself knows is told"
    );
    for path in ["/runs", "/runs/1", "/users/a@x.co"] {
        let page = served.get(path).await;
        assert_eq!(page.status, 503, "{path}");
        assert!(
            page.body.contains("can&#39;t be read"),
            "{path}: {}",
            page.body
        );
    }
    let status = served.get("/api/v1/status").await;
    assert_eq!(status.status, 200);
    assert!(status.json()["journal_error"].is_string(), "{status:?}");
    assert_eq!(served.get("/api/v1/runs").await.status, 503);
    assert_eq!(served.get("/healthz").await.status, 200);
}

/// As on a disk that is full: the run has failed, and that could not be written down.
#[tokio::test]
async fn a_run_that_failed_without_a_trace_is_told_all_the_same() {
    let served = served().await;
    let run = begin(&served.journal, 0).await;
    let before = RunEnd {
        ended: Utc::now() - TimeDelta::minutes(15),
        ..end(9, "converged", [1, 0, 0])
    };
    finish(&served.journal, run, before).await;
    served.status.run_ended(&outcome_with(Vec::new()), None);
    let failed = RunOutcome {
        end: Completion::Failed(RunError::Omni(OmniError::Throttled)),
        ..outcome_with(Vec::new())
    };
    served.status.run_ended(&failed, None);
    let told = served.get("/api/v1/status").await.json();
    assert_eq!(told["state"], "bad", "{told}");
    let said = "The last run could not be done: Omni answers that there are too many requests.";
    assert_eq!(told["sentence"], said, "{told}");
}
