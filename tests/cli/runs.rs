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
        json!({ "transfer": 0, "delete": 1, "deactivate": 0, "leave": 0, "update": 1, "create": 1, "join": 0, "assign": 0 })
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
async fn markdown_lists_each_problem_once() {
    let world = example().await;
    world.roster("op,email,display_name\nupsert,new@x.co,\nupsert,bad\n");
    let ended = run(&world, &["plan", "--markdown"]).await;
    assert_eq!(ended.code, 3, "{}", ended.err);
    for problem in ["the row has no display_name", "users.csv:3"] {
        assert_eq!(ended.out.matches(problem).count(), 1, "{}", ended.out);
    }
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
    3 applied; 7 requests
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

/// The rest of the run goes on, and other rosters have nothing to do with the file.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_groups_file_fails_the_command() {
    let world = World::new().await;
    let groups = world.roster_path().with_file_name("groups.csv");
    let world = world.set("source.groups", &groups.to_string_lossy());
    world.roster("email,display_name\nnew@x.co,New\n");
    let other = world.roster_path().with_file_name("other.csv");
    std::fs::write(&other, "email,display_name\nnew@x.co,New\n").expect("written");
    assert_eq!(run(&world, &["plan"]).await.code, 1);
    let other = other.to_string_lossy();
    assert_eq!(run(&world, &["plan", &other]).await.code, 2);
    let checked = run(&world, &["check"]).await;
    assert_eq!(checked.code, 1);
    assert!(
        checked.err.contains("there is no such file"),
        "{}",
        checked.err
    );
    let applied = run(&world, &["apply", "--yes"]).await;
    assert_eq!(applied.code, 1, "{}", applied.err);
    assert_eq!(world.write_counts(), [("POST".to_owned(), 1)].into());
    let said = applied.out + &applied.err;
    let expected = "source.groups can't be read, so no users left a group";
    assert!(said.contains(expected), "{said}");
    std::fs::write(&groups, "op,email,group_name\n?,new@x.co,Sales\n").expect("written");
    assert_eq!(run(&world, &["plan"]).await.code, 3);
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
    assert_eq!(world.take_requests(), (26, 22), "the script needs 80");
    assert_eq!(world.attribute("u0@x.co", "tier"), json!("gold"));
    assert_eq!(run(&world, &["apply", "--yes"]).await.code, 0);
    assert_eq!(world.take_requests(), (2, 0));
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

#[tokio::test(flavor = "multi_thread")]
async fn apply_json_has_plan_and_outcomes() {
    let world = example().await;
    let ended = run(&world, &["apply", "--yes", "--json"]).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    let doc: serde_json::Value = serde_json::from_str(&ended.out).expect("only JSON");
    assert_eq!(
        (&doc["run"], &doc["result"], &doc["applied"]),
        (&json!(1), &json!("converged"), &json!(3))
    );
    assert_eq!(
        doc["changes"][0],
        json!({ "operation": "delete", "email": "bob@x.co", "outcome": "applied", "detail": "" })
    );
    assert_eq!(doc["plan"]["changes"].as_array().map(Vec::len), Some(3));
    assert!(ended.err.contains("~ update     ann@x.co"), "{}", ended.err);

    world.roster("email,nonsense\nann@x.co,1\n");
    let ended = run(&world, &["apply", "--yes", "--json"]).await;
    assert_eq!(ended.code, 1);
    let doc: serde_json::Value = serde_json::from_str(&ended.out).expect("only JSON");
    assert_eq!(
        (&doc["plan"], &doc["result"]),
        (&json!(null), &json!("failed"))
    );
    assert_eq!(doc["problems"][0]["column"], 2, "{doc}");
}

/// The roster is not accepted, and nobody else is looked up.
#[tokio::test(flavor = "multi_thread")]
async fn apply_only_changes_one_user() {
    let world = example().await.set("policy.prune", "all");
    world.user("extra@x.co", "Extra", json!({}));
    let ended = run(&world, &["apply", "--yes", "--only", "ANN@x.co"]).await;
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    assert_eq!(world.write_counts(), [("PATCH".to_owned(), 1)].into());
    assert!(
        world.org().requests().len() <= 4,
        "{:?}",
        world.org().requests()
    );
    insta::assert_snapshot!(ended.out, @r#"
    ~ update     ann@x.co  (users.csv:2)
        display_name: 'Ann' => 'Ann Lee'
        region: ['north'] => ['north', 'south']
        tier: 'gold' => (none) (the default 'standard' applies)

    4 rows, 1 user looked up in Omni: 1 to update, 0 unchanged
    to send: 1 request, less than 2s
    "#);
    let doc = run(&world, &["explain", "ann@x.co", "--json"]).await.out;
    let doc: serde_json::Value = serde_json::from_str(&doc).expect("JSON");
    assert_eq!(doc["managed"], json!(false), "the roster is not accepted");
    assert!(!world.folder.path().join("reports").exists());

    let held = world.set("policy.max_removals", "0");
    let ended = run(&held, &["apply", "--yes", "--only", "bob@x.co"]).await;
    assert_eq!(ended.code, 4, "the limits hold: {}{}", ended.out, ended.err);
    let ended = run(&held, &["apply", "--yes", "--only", "extra@x.co"]).await;
    assert_eq!(ended.code, 1, "{}{}", ended.out, ended.err);
    assert!(ended.err.contains("no row for extra@x.co"), "{}", ended.err);
    assert!(held.org().user("extra@x.co").is_some(), "it is not pruned");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roster_from_standard_input_prunes_nobody() {
    let world = example().await.set("policy.prune", "all");
    let csv = "email,display_name\nann@x.co,Ann Lee\nbad row,x\n";
    let with_input = |arguments: &'static [&str]| {
        let mut command = assert_cmd::Command::cargo_bin("omni-user-sync").expect("the program");
        command
            .env_clear()
            .envs(world.variables())
            .current_dir(world.folder.path())
            .args(arguments)
            .write_stdin(csv);
        tokio::task::spawn_blocking(move || command.output().expect("it runs"))
    };
    let plan = with_input(&["plan", "-"]).await.expect("no panic");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    assert_eq!(plan.status.code(), Some(3));
    let err = text(plan.stderr);
    assert!(err.contains("stdin:3:1 (email)"), "{err}");
    insta::assert_snapshot!(text(plan.stdout), @r#"
    ~ update     ann@x.co  (stdin:2)
        display_name: 'Ann' => 'Ann Lee'

    2 rows, 3 users in Omni: 1 to update, 0 unchanged
    not changed: 2 not in the roster
    to send: 1 request, less than 2s
    "#);
    let check = with_input(&["check", "-"]).await.expect("no panic");
    assert!(text(check.stderr).contains("stdin:3:1"));
    let apply = with_input(&["apply", "-", "--yes"])
        .await
        .expect("no panic");
    assert_eq!(apply.status.code(), Some(3));
    assert_eq!(world.write_counts(), [("PATCH".to_owned(), 1)].into());
    assert_eq!(
        with_input(&["apply", "-"])
            .await
            .expect("no panic")
            .status
            .code(),
        Some(64)
    );
}

/// The limits count the users of the last whole listing, not the one that was looked up.
#[tokio::test(flavor = "multi_thread")]
async fn apply_only_knows_the_size_of_the_organisation() {
    let options = Options {
        users: 40,
        ..Options::with_full_lists()
    };
    let world = World::with(options).await;
    let user = |number: usize| format!("user{number:04}@example.com");
    let rows = |op: &str, numbers: std::ops::RangeInclusive<usize>| -> String {
        numbers
            .map(|number| format!("{op},{}\n", user(number)))
            .collect()
    };
    world.roster(&format!("op,email\n{}", rows("upsert", 1..=40)));
    assert_eq!(run(&world, &["apply", "--yes"]).await.code, 0);
    world.roster(&format!("op,email\n{}", rows("delete", 1..=6)));
    for number in 1..=5 {
        let ended = run(&world, &["apply", "--yes", "--only", &user(number)]).await;
        assert_eq!(ended.code, 0, "{number}: {}{}", ended.out, ended.err);
    }
    let ended = run(&world, &["apply", "--yes", "--only", &user(6)]).await;
    let limit = "(plus 5 in the last 24 h) exceeds the limit of 5 (max_removals_floor, since max_removals = 10% of 40 users";
    assert!(ended.out.contains(limit), "{}{}", ended.out, ended.err);
}
