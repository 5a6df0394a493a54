//! `status`: what the state database knows.

use super::example;
use crate::support::{World, command as run};
use serde_json::{Value, json};

/// Without numbers and times that vary.
fn steady(text: &str, world: &World) -> String {
    let text = text.replace(&world.sandbox.url(), "URL");
    let words = |line: &str| {
        let words = line.split(' ').map(|word| match word.split_once("-") {
            Some((year, rest)) if year.len() == 4 && rest.ends_with('Z') => "TIME",
            _ => word,
        });
        words.collect::<Vec<_>>().join(" ")
    };
    let lines: Vec<_> = text.lines().map(words).collect();
    lines.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn status_needs_no_key_and_no_daemon() {
    let world = example().await.without("OMNI_API_KEY");
    let new = run(&world, &["status"]).await;
    assert_eq!(new.code, 0, "{}", new.err);
    assert!(!world.folder.path().join("state").exists(), "it only reads");
    insta::assert_snapshot!(steady(&new.out, &world), @r#"
    organisation  URL
    daemon        not running
    last success  none
    pending       not known
    held          0 changes
    quarantine    0 users
    cache         none
    next run      none
    last runs     none
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_runs_held_changes_and_cache() {
    let world = example().await.set("policy.max_removals", "0");
    assert_eq!(run(&world, &["apply", "--yes"]).await.code, 4);
    world.org().clear_requests();
    let ended = run(&world, &["status"]).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    let text = steady(&ended.out, &world);
    let lines = text.lines().filter(|line| !line.starts_with("cache"));
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @r#"
    organisation  URL
    daemon        not running
    last success  TIME
    pending       1
    held          1 change (run 1); review with `omni-user-sync history 1`
    quarantine    0 users
    next run      none
    last runs
         1  TIME  command   held        2 applied, 1 held, 4 requests
    "#);
    assert!(text.contains("4 users, "), "{text}");

    let ended = run(&world, &["status", "--json"]).await;
    let doc: Value = serde_json::from_str(&ended.out).expect("JSON");
    assert_eq!(doc["held"], json!({ "run": 1, "count": 1 }));
    assert_eq!(doc["pending"], json!(1), "{doc}");
    assert_eq!(doc["daemon_is_running"], json!(false));
    let last = &doc["runs"][0];
    assert_eq!(last["result"], "held");
    let count = |name| (&last["planned"][name], &last["pending"][name]);
    assert_eq!(count("create"), (&json!(1), &json!(0)), "{last}");
    assert_eq!(count("update"), (&json!(1), &json!(0)), "{last}");
    assert_eq!(count("delete"), (&json!(1), &json!(1)), "{last}");
    assert_eq!(last["users"], json!(4), "one was created: {last}");
    assert_eq!(doc["cache"]["users"], json!(4));
    assert!(world.org().requests().is_empty());
}
