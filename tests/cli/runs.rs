//! `plan` and `apply`: output, effect and exit code.

use super::example;
use crate::support::{World, command as run, on};
use omni_user_sync::sandbox::{Fault, Options, What, When};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn plan_shows_a_diff_and_writes_nothing() {
    let world = example().await;
    let ended = run(&world, &["plan"]).await;
    assert_eq!(ended.code, 2, "{}", ended.err);
    insta::assert_snapshot!(ended.out, @r"
    - delete     bob@x.co  (users.csv:3)
    ~ update     ann@x.co  (users.csv:2)
        display_name: 'Ann' => 'Ann Lee'
        region: ['north'] => ['north', 'south']
        tier: 'gold' => (none) (the default 'standard' applies)
    + create     eve@x.co  (users.csv:5)
        display_name: 'Eve'
        region: ['east']
        tier: 'gold'

    4 rows, 3 users in Omni: 1 to delete, 1 to update, 1 to create, 1 unchanged
    to send: 3 requests, less than 2s
    ");
    assert_eq!(world.writes(), Vec::<String>::new());

    let ended = run(&world, &["plan", "--json"]).await;
    assert_eq!(ended.code, 2);
    let plan: serde_json::Value = serde_json::from_str(&ended.out).expect("JSON");
    assert_eq!(
        plan["pending"],
        json!({ "delete": 1, "deactivate": 0, "update": 1, "create": 1 })
    );
    assert_eq!(
        plan["changes"][1]["fields"][1]["to"],
        json!(["north", "south"])
    );
    assert_eq!(
        (&plan["requests"], &plan["unchanged"]),
        (&json!(3), &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_markdown_for_pull_requests() {
    let world = example().await.set("policy.max_removals", "0");
    let ended = run(&world, &["plan", "--markdown"]).await;
    assert_eq!(ended.code, 4, "{}", ended.err);
    insta::assert_snapshot!(ended.out, @r#"
    ### Plan: 1 to update, 1 to create

    4 rows, 3 users in Omni, 1 unchanged; 2 requests, less than 2s

    | operation | user | field | from | to |
    | --- | --- | --- | --- | --- |
    | update | `ann@x.co` | `display_name` | `'Ann'` | `'Ann Lee'` |
    | | | `region` | `['north']` | `['north', 'south']` |
    | | | `tier` | `'gold'` |  |
    | create | `eve@x.co` | `display_name` |  | `'Eve'` |
    | | | `region` |  | `['east']` |
    | | | `tier` |  | `'gold'` |

    #### Held by `policy.max_removals`: 1 change

    `1 removal exceeds the limit of 0 (max_removals)`

    | operation | user | field | from | to |
    | --- | --- | --- | --- | --- |
    | delete | `bob@x.co` | | | |
    "#);
    assert_eq!(world.writes(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_converges() {
    let world = example().await;
    let ended = run(&world, &["apply", "--yes"]).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    // The duration varies.
    let (done, _time) = ended.err.rsplit_once(" in ").expect("says how long");
    let (announced, done) = done.split_once('\n').expect("several lines");
    assert!(
        announced.contains("created a new state database"),
        "{announced}"
    );
    insta::assert_snapshot!(done, @r"
    delete bob@x.co: applied
    update ann@x.co: applied
    create eve@x.co: applied
    3 applied; 5 requests
    ");
    assert_eq!(world.writes().len(), 3);
    world.org().clear_requests();

    let again = run(&world, &["apply", "--yes"]).await;
    assert_eq!((again.code, world.writes().len()), (0, 0), "{}", again.err);
    assert!(world.org().requests().len() <= 3);
    assert_eq!(run(&world, &["plan"]).await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn held_and_failed_changes_have_exit_codes() {
    let world = World::with(Options {
        users: 3,
        ..Options::default()
    })
    .await;
    let world = world.set("policy.max_removals", "0");
    world.roster(
        "op,email,display_name\ndelete,user0001@example.com,\nupsert,user0002@example.com,New\n\
         upsert,bad row,\n",
    );
    assert_eq!(run(&world, &["plan"]).await.code, 4);
    let ended = run(&world, &["apply", "--yes"]).await;
    assert_eq!(ended.code, 4, "{}", ended.err);
    assert!(
        ended.out.contains("held by policy.max_removals"),
        "{}",
        ended.out
    );
    assert_eq!(world.write_counts(), [("PATCH".to_owned(), 1)].into());

    let refused = What::Status {
        code: 400,
        retry_after: None,
        body: None,
    };
    let when = When {
        method: Some("DELETE".into()),
        ..When::default()
    };
    world.org().fault(Fault {
        when,
        ..Fault::next(refused)
    });
    let world = world.set("policy.max_removals", "1");
    let ended = run(&world, &["apply", "--yes"]).await;
    assert_eq!(ended.code, 3, "{}", ended.err);
    assert!(
        ended.err.contains("delete user0001@example.com: failed"),
        "{}",
        ended.err
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_source_prunes() {
    let world = World::with(Options {
        users: 3,
        ..Options::default()
    })
    .await;
    let world = world
        .set("policy.prune", "all")
        .set("policy.max_removals", "100%")
        .with_history()
        .await;
    let other = world.folder.path().join("other.csv");
    std::fs::write(&other, "email,display_name\nuser0001@example.com,New\n").expect("written");
    assert_eq!(run(&world, &["apply", "--yes", "other.csv"]).await.code, 0);
    assert_eq!(world.org().users().len(), 3);
    std::fs::copy(&other, world.roster_path()).expect("copied");
    assert_eq!(
        run(&world, &["apply", "--yes", "./users.csv"]).await.code,
        0
    );
    assert_eq!(
        world.org().users().len(),
        1,
        "the same file by another name is the source"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_example_needs_few_requests() {
    let world = World::with(Options::with_full_lists())
        .await
        .set("policy.max_removals", "100%");
    let mut roster = "op,email,display_name,region,department\n".to_owned();
    for number in 0..30 {
        let email = format!("u{number}@x.co");
        world.user(
            &email,
            "Same",
            json!({ "region": ["north"], "department": "a", "tier": "gold" }),
        );
        match number {
            0..2 => roster.push_str(&format!("upsert,{email},Same,\"[north,south]\",b\n")),
            2..20 => roster.push_str(&format!("upsert,{email},Same,[north],a\n")),
            _ => roster.push_str(&format!("delete,{email},,,\n")),
        }
    }
    for number in 0..10 {
        roster.push_str(&format!("upsert,new{number}@x.co,New,[east],c\n"));
    }
    world.roster(&roster);
    let ended = run(&world, &["apply", "--yes"]).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(world.org().requests().len(), 24, "the script needs 80");
    assert_eq!(world.attribute("u0@x.co", "tier"), json!("gold"));
    world.org().clear_requests();
    assert_eq!(run(&world, &["apply", "--yes"]).await.code, 0);
    assert_eq!((world.org().requests().len(), world.writes().len()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_json_contains_the_error() {
    let world = World::new().await;
    world.roster("email,nonsense\nann@x.co,1\n");
    let ended = run(&world, &["plan", "--json"]).await;
    assert_eq!(ended.code, 1, "{}", ended.err);
    let doc: serde_json::Value = serde_json::from_str(&ended.out).expect("JSON");
    assert!(
        doc["error"]
            .as_str()
            .is_some_and(|text| text.contains("nonsense")),
        "{doc}"
    );
    assert_eq!(doc["problems"][0]["column"], 2, "{doc}");
    assert!(ended.err.contains("nonsense"), "standard error has it too");
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_retries_quarantined_changes_only_on_request() {
    let world = World::new().await;
    world.roster("email,display_name\nann@x.co,Ann\n");
    let refused = What::Status {
        code: 422,
        retry_after: None,
        body: None,
    };
    world.org().fault(on("POST", refused));
    assert_eq!(run(&world, &["apply", "--yes"]).await.code, 3);
    let ended = run(&world, &["apply", "--yes"]).await;
    assert_eq!(ended.code, 3, "{}", ended.out);
    assert!(
        ended.err.contains("the first is retried after 20"),
        "{}",
        ended.err
    );
    assert_eq!(world.writes().len(), 1, "it is in quarantine");
    let ended = run(&world, &["apply", "--yes", "--retry"]).await;
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    assert!(world.org().user("ann@x.co").is_some());
}
