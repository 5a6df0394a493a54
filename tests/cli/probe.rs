//! `check --probe` as a process.

use crate::support::{Ended, World, command};
use omni_user_sync::sandbox::Options;
use omni_user_sync::state::StateLock;
use serde_json::json;

async fn world() -> World {
    World::with(Options {
        users: 120,
        ..Options::default()
    })
    .await
    .with_history()
    .await
}

async fn run(world: &World, arguments: &[&str]) -> Ended {
    let mut ended = command(world, arguments).await;
    let folder = world.folder.path().display().to_string();
    for text in [&mut ended.out, &mut ended.err] {
        *text = text.replace(&folder, "FOLDER");
    }
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_are_printed_and_reported() {
    let world = world().await;
    let before = world.org().users();
    let ended = run(&world, &["check", "--probe", "probe@x.co", "--yes"]).await;
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    insta::assert_snapshot!(ended.out, @"
    lists show attributes:                    no
    PUT resets missing fields:                yes
    deactivation can't be reversed:           yes
    the email filter ignores case:            yes
    an attribute's change moves lastModified: yes
    users on a page, at most:                 100
    attributes are cleared by:                null, an empty value, remove
    attributes are set by:                    PATCH without a path, PATCH with a path
    25 requests; report: FOLDER/state/probe-report.json
    ");
    assert_eq!(world.org().users(), before);
    let report = std::fs::read_to_string(world.folder.path().join("state/probe-report.json"));
    let report = report.expect("a report");
    for secret in ["probe@x.co", "department", "sandbox-key", "127.0.0.1"] {
        assert!(!report.contains(secret), "{secret}: {report}");
    }
    let steps: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    let steps = steps["steps"].as_array().expect("a list").iter();
    let steps: Vec<_> = steps
        .map(|step| format!("{} → {}", step["request"], step["answer"]))
        .collect();
    insta::assert_snapshot!(steps.join("\n").replace('"', ""), @"
    POST of a user → accepted
    PATCH of an attribute without a path → accepted
    GET of the user → shows the value
    PATCH of an attribute to null → accepted
    GET of the user → shows not the value
    PATCH of an attribute by its path → accepted
    GET of the user → shows the value
    PATCH of an attribute to an empty value → accepted
    GET of the user → shows not the value
    PATCH of an attribute without a path → accepted
    PATCH that removes an attribute → accepted
    GET of the user → shows not the value
    PATCH of an attribute without a path → accepted
    GET of the list → shows not the value
    PUT without attributes → accepted
    GET of the user → shows not the value
    GET of the list with a filter → shows the user, in another letter case
    PATCH of active to false → accepted
    GET of the user → shows no user
    ");
    let ended = run(
        &world,
        &["check", "--probe", "probe@x.co", "--yes", "--json"],
    )
    .await;
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    insta::assert_snapshot!(ended.out, @r#"
    {
      "ok": true,
      "probe": {
        "readings": {
          "lists_carry_attributes": false,
          "put_replaces": true,
          "inactive_revokes": true,
          "filter_ignores_case": true,
          "last_modified_moves": true,
          "max_page": 100,
          "clears_by": [
            "null",
            "empty",
            "remove"
          ],
          "patch_forms": [
            "no_path",
            "path"
          ]
        },
        "requests": 25,
        "report": "FOLDER/state/probe-report.json",
        "error": null
      }
    }
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_needs_consent_and_a_free_email() {
    let world = world().await;
    let ended = run(&world, &["check", "--probe", "probe@x.co"]).await;
    assert_eq!(ended.code, 64);
    insta::assert_snapshot!(ended.err, @"error: a probe needs confirmation: run it on a terminal, or add --yes");
    let ended = run(&world, &["check", "--probe", "probe", "--yes"]).await;
    assert_eq!(ended.code, 64);
    assert_eq!(world.org().requests(), []);

    let lock = StateLock::acquire(&world.settings().state.dir, "run").expect("it is free");
    let ended = run(&world, &["check", "--probe", "probe@x.co", "--yes"]).await;
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("in use by"), "{}", ended.err);
    drop(lock);
    assert_eq!(world.org().requests(), []);

    world.user("ann@x.co", "Ann", json!({}));
    let ended = run(&world, &["check", "--probe", "Ann@x.co", "--yes"]).await;
    assert_eq!(ended.code, 1);
    insta::assert_snapshot!(ended.err, @"error: Omni has a user with the email Ann@x.co; choose an email that no user has");
    assert_eq!(world.org().writes(), []);
}
