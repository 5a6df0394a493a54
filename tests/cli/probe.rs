//! `check --probe` as a process.

use crate::support::{Ended, World, assert_converged, command};
use omni_user_sync::model::{Email, ProbeUser};
use omni_user_sync::sandbox::{LastModified, Options};
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
    changing an attribute moves lastModified: yes
    maximum users per page:                   100
    attributes are cleared by:                null, an empty value, remove
    attributes are set by:                    PATCH without a path, PATCH with a path
    lists show groups:                        no
    a member can be added again:              no
    an absent member can be removed:          no
    members with other ids can be removed:    unknown
    members per request:                      100
    the group filter ignores case:            no
    28 requests; report: FOLDER/state/probe-report.json
    ");
    assert_eq!(
        (world.org().users(), world.org().groups()),
        (before, Vec::new())
    );
    let report = std::fs::read_to_string(world.folder.path().join("state/probe-report.json"));
    let report = report.expect("a report");
    let secrets = [
        "probe@x.co",
        "department",
        "sandbox-key",
        "127.0.0.1",
        "omni-user-sync",
    ];
    for secret in secrets {
        assert!(!report.contains(secret), "{secret}: {report}");
    }
    let steps: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    let steps = steps["steps"].as_array().expect("a list").iter();
    let steps: Vec<_> = steps
        .map(|step| format!("{} → {}", step["request"], step["answer"]))
        .collect();
    insta::assert_snapshot!(steps.join("\n").replace('"', ""), @"
    POST of a user → accepted
    POST of a group → accepted
    PATCH of an attribute without a path → accepted
    GET of the user → shows the value
    PATCH of an attribute to null → accepted
    PATCH of an attribute to an empty value → accepted
    GET of the user, after null → shows not the value
    GET of the user, after an empty value → shows not the value
    PATCH of an attribute by its path → accepted
    PATCH that removes an attribute → accepted
    GET of the user → shows the value
    GET of the user, after remove → shows not the value
    PATCH that removes a user that is not a member → refused with 400
    PATCH that adds the user to the group → accepted
    GET of the groups with a filter → shows the group, in the same letter case only
    GET of the groups with a filter → shows the membership
    PATCH that adds a member again → refused with 400
    GET of the list → shows not the value
    GET of the list → shows no membership
    PUT without attributes → accepted
    GET of the user → shows not the value
    PATCH that changes a member many times → accepted
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
          ],
          "lists_carry_groups": false,
          "adds_present_member": false,
          "removes_absent_member": false,
          "removes_by_any_id": null,
          "max_members_per_request": 100,
          "group_filter_ignores_case": false
        },
        "requests": 28,
        "report": "FOLDER/state/probe-report.json",
        "error": null
      }
    }
    "#);
}

/// What a probe has learned, and what earlier runs have seen, without another probe.
#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_is_known_of_omni() {
    let world = World::with(Options {
        users: 15,
        last_modified: LastModified::Stays,
        ..Options::default()
    })
    .await
    .set("policy.protect", "boss@example.com,user0001@example.com")
    .set("policy.removal", "deactivate");
    let rows = (1..=15).map(|number| format!("user{number:04}@example.com,\n"));
    world.roster(&format!("email,display_name\n{}", rows.collect::<String>()));
    assert_converged(&world.run().await);
    world.roster("email,display_name\nuser0001@example.com,\nnew@exmaple.com,New\n");
    let probed = run(&world, &["check", "--probe", "probe@x.co", "--yes"]).await;
    assert_eq!(probed.code, 0, "{}", probed.err);
    let checked = run(&world, &["check"]).await;
    let readings = checked.out.split_once("readings").expect("shown").1;
    insta::assert_snapshot!(readings, @r#"
    , as probed:
    lists show attributes:                    no
    PUT resets missing fields:                yes
    deactivation can't be reversed:           yes
    the email filter ignores case:            yes
    changing an attribute moves lastModified: no
    maximum users per page:                   unknown
    attributes are cleared by:                null, an empty value, remove
    attributes are set by:                    PATCH without a path, PATCH with a path
    lists show groups:                        no
    a member can be added again:              no
    an absent member can be removed:          no
    members with other ids can be removed:    unknown
    members per request:                      100
    the group filter ignores case:            no
    roster:     2 rows, 0 problems, 1 lint
    "#);
    insta::assert_snapshot!(checked.err, @r#"
    warning: policy.removal = "deactivate": in this organisation a deactivation can't be reversed; an upsert later creates a new user
    warning: policy.protect: no user in Omni matches boss@example.com; correct or remove the pattern
    warning: Omni does not show when attributes change, so runs notice changes that others make only when they read the users again: 2 of 2 in each run; a full verification takes 1 run, about 15m by the schedule
    warning: 1 user would be created in exmaple.com, a domain that no user in Omni has
     --> users.csv:3:1
      |
    3 | new@exmaple.com,New
      | ^^^^^^^^^^^^^^^^^^^
      |
      = help: write example.com if that is meant
    "#);
    let ended = run(&world, &["check", "--json"]).await;
    let doc: serde_json::Value = serde_json::from_str(&ended.out).expect("JSON");
    assert_eq!(doc["readings"]["last_modified_moves"], json!(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_what_a_broken_probe_left() {
    let world = World::new().await;
    world.roster("email,display_name\nann@x.co,Ann\n");
    let left = ProbeUser {
        email: Email::parse("probe@x.co").expect("an email"),
        display_name: "Probe 7f".into(),
        id: None,
    };
    let reconciler = world.reconciler();
    let state = reconciler.observer().state();
    state.begin_probe(&left).await.expect("stored");
    drop(reconciler);
    let ended = run(&world, &["check", "--offline"]).await;
    assert!(
        ended.err.contains(
            "an interrupted probe may have left the user probe@x.co in Omni, and the group Probe 7f; the next \
             `check --probe EMAIL` deletes them"
        ),
        "{}",
        ended.err
    );
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
