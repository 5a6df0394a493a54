//! Groups as commands show them: export, check, plan, apply, explain, history.

use crate::support::{World, command};
use omni_user_sync::sandbox::{Fault, Options, What, When};
use serde_json::{Value, json};

/// Ann and Bob in Sales, Bob and a user that no list shows in the board.
async fn world() -> World {
    let world = World::with(Options::with_full_lists()).await;
    world.user("ann@x.co", "Ann", json!({}));
    world.user("bob@x.co", "Bob", json!({}));
    world.org().add_group("Sales", &["ann@x.co", "bob@x.co"]);
    world.org().add_group("The, board", &["bob@x.co"]);
    let embedded = "0b9d31d1-51b5-4d0a-a3f9-0d9a6a1c2b55";
    world.org().join_embed_user("The, board", embedded);
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_with_groups_states_them_unchanged() {
    let world = world().await;
    let export = command(&world, &["export", "--groups"]).await;
    assert_eq!(export.code, 0, "{}", export.err);
    assert_eq!(
        export.out,
        "op,email,display_name,groups\n\
         upsert,ann@x.co,Ann,[Sales]\n\
         upsert,bob@x.co,Bob,\"[\"\"Sales\"\",\"\"The, board\"\"]\"\n"
    );
    world.roster(&export.out);
    let plan = command(&world, &["plan"]).await;
    assert_eq!(plan.code, 0, "{}{}", plan.out, plan.err);
    let plain = command(&world, &["export"]).await;
    assert!(!plain.out.contains("groups"), "{}", plain.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_gives_reasons_for_missing_groups() {
    let world = world().await;
    let long = "x".repeat(65);
    world.org().add_group(&long, &["ann@x.co"]);
    world.org().add_group(" Edges", &["ann@x.co"]);
    let export = command(&world, &["export", "--groups"]).await;
    assert_eq!(export.code, 0, "{}", export.err);
    let too_long =
        format!("can't name the group {long}: the name of a group has at most 64 characters");
    let edges = "a cell can't name the group  Edges: it has blanks at its ends";
    for reason in [&format!("a cell {too_long}"), edges] {
        assert!(export.err.contains(reason), "{}", export.err);
    }
    let export = command(&world, &["export", "--roles"]).await;
    assert_eq!(export.code, 0, "{}", export.err);
    let reason = format!("a row {too_long}");
    assert!(export.err.contains(&reason), "{}", export.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_the_nearest_group() {
    let world = world().await;
    world.roster("email,display_name,groups\nann@x.co,Ann,[Slaes]\nbob@x.co,Bob,[Slaes]\n");
    let check = command(&world, &["check", "--json"]).await;
    assert_eq!(check.code, 1, "{}{}", check.out, check.err);
    let doc: Value = serde_json::from_str(&check.out).expect("JSON");
    let problems = doc["roster"]["problems"].as_array().expect("problems");
    assert_eq!(problems.len(), 1, "{}", check.out);
    assert_eq!(problems[0]["kind"], "group");
    assert_eq!(problems[0]["remedy"], "did you mean 'Sales'?");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_covers_the_files_and_patterns_of_groups() {
    let world = world().await;
    let path = world.folder.path().join("groups.csv");
    let world = world
        .set("source.groups", &path.display().to_string())
        .set("policy.managed_groups", "the*,Team *,sales");
    world.roster("email,display_name,groups\nann@x.co,Ann,[Sales]\nbob@x.co,Bob,[]\n");
    let rows = "op,email,group_name\n-,ann@x.co,SALES\n-,bob@x.co,Sales\n";
    std::fs::write(&path, rows).expect("it is written");
    let pattern =
        "policy.managed_groups: no group in Omni matches Team *; correct or remove the pattern";
    let contradiction = "the row contradicts the groups cell of ann@x.co, which names 'Sales'";
    for arguments in [&["check"][..], &["check", "--offline"]] {
        let check = command(&world, arguments).await;
        assert_eq!(check.code, 1, "{}{}", check.out, check.err);
        assert!(check.out.ends_with("groups:     2 rows\n"), "{}", check.out);
        assert!(check.err.contains(contradiction), "{}", check.err);
        let is_offline = arguments.len() > 1;
        assert_eq!(check.err.contains(pattern), !is_offline, "{}", check.err);
    }
    let plan = command(&world, &["plan"]).await;
    assert_eq!(plan.code, 4, "{}{}", plan.out, plan.err);
    assert!(plan.err.contains(pattern), "{}", plan.err);
    assert!(plan.err.contains(contradiction), "{}", plan.err);
    std::fs::remove_file(&path).expect("it is there");
    let check = command(&world, &["check"]).await;
    assert!(check.out.ends_with("groups:     failed\n"), "{}", check.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_rows_beside_the_roster() {
    let world = world().await;
    let path = world.folder.path().join("groups.csv");
    let world = world.set("source.groups", &path.display().to_string());
    world.roster("email,display_name\nann@x.co,Ann\n");
    std::fs::write(&path, "op,email,group_name\n-,bob@x.co,Sales\n").expect("it is written");
    let explain = command(&world, &["explain", "bob@x.co"]).await;
    let shown = "bob@x.co\nroster: no row\nsource.groups: - Sales (groups.csv:2)\n";
    assert!(explain.out.starts_with(shown), "{}", explain.out);
    std::fs::remove_file(&path).expect("it is there");
    let explain = command(&world, &["explain", "bob@x.co"]).await;
    let shown = "roster: no row\nsource.groups: groups.csv: there is no such file";
    assert!(explain.out.contains(shown), "{}", explain.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn memberships_are_planned_applied_and_undone() {
    let world = world().await;
    world.roster("email,display_name,groups\nann@x.co,Ann,\"[\"\"Sales\"\",\"\"The, board\"\"]\"\nbob@x.co,Bob,[Sales]\n");
    let plan = command(&world, &["plan", "--json"]).await;
    assert_eq!(plan.code, 4, "{}{}", plan.out, plan.err);
    let doc: Value = serde_json::from_str(&plan.out).expect("JSON");
    let changes = doc["changes"].as_array().expect("changes");
    assert_eq!(changes.len(), 1);
    assert_eq!(
        (
            &changes[0]["operation"],
            &changes[0]["email"],
            &changes[0]["group"]["name"]
        ),
        (&json!("join"), &json!("ann@x.co"), &json!("The, board"))
    );
    assert_eq!(doc["held"][0]["rule"], "new_groups");
    assert_eq!(doc["pending"]["leave"], 1);

    let apply = command(&world, &["apply", "--yes"]).await;
    assert_eq!(apply.code, 4, "{}{}", apply.out, apply.err);
    assert_eq!(
        world.org().members("The, board"),
        Some(vec![
            "0b9d31d1-51b5-4d0a-a3f9-0d9a6a1c2b55".into(),
            "ann@x.co".into(),
            "bob@x.co".into()
        ])
    );
    let explain = command(&world, &["explain", "bob@x.co"]).await;
    assert!(
        explain.out.contains("groups: Sales, The, board"),
        "{}",
        explain.out
    );
    assert!(
        explain.out.contains("held by the rule new_groups"),
        "{}",
        explain.out
    );

    let undo = ["history", "latest", "--undo", "--groups"];
    let undone = command(&world, &undo).await;
    let rows = "op,email,group_name\n-,ann@x.co,\"The, board\"\n";
    assert_eq!(undone.out, rows);
    assert!(!undone.err.contains("protected"), "{}", undone.err);
    let world = world.set("policy.protect", "ann@x.co");
    let undone = command(&world, &undo).await;
    assert_eq!(undone.out, rows);
    let note = "ann@x.co: the user is protected, so no run takes the user out of a group";
    assert!(undone.err.contains(note), "{}", undone.err);

    // After the approval, Bob leaves; the user that no list shows stays.
    assert_eq!(
        command(&world, &["approve", "latest", "--yes"]).await.code,
        0
    );
    let apply = command(&world, &["apply", "--yes"]).await;
    assert_eq!(apply.code, 0, "{}{}", apply.out, apply.err);
    assert_eq!(
        world.org().members("The, board"),
        Some(vec![
            "0b9d31d1-51b5-4d0a-a3f9-0d9a6a1c2b55".into(),
            "ann@x.co".into()
        ])
    );
}

/// A plan says which groups it creates.
#[tokio::test(flavor = "multi_thread")]
async fn new_groups_are_shown() {
    let world = world().await.set("policy.create_groups", "true");
    world.roster("email,display_name,groups\nann@x.co,Ann,\"[Sales,Explorers]\"\nbob@x.co,Bob,\"[Sales,Explorers]\"\n");
    let plan = command(&world, &["plan"]).await;
    assert_eq!(plan.code, 2, "{}{}", plan.out, plan.err);
    assert!(
        plan.out
            .contains("+ join       ann@x.co: Explorers (new group)  (users.csv:2)")
            && plan.out.contains("\ngroups to create: Explorers\n"),
        "{}",
        plan.out
    );
    let plan = command(&world, &["plan", "--json"]).await;
    let doc: Value = serde_json::from_str(&plan.out).expect("JSON");
    assert_eq!(doc["new_groups"], json!(["Explorers"]));
}

/// The limits count the changes of all users, so an explanation of one evaluates none.
#[tokio::test(flavor = "multi_thread")]
async fn explain_holds_no_leave_by_limits() {
    let world = world().await.set("policy.max_leaves", "0");
    world.roster("email,display_name,groups\nann@x.co,Ann,[Sales]\nbob@x.co,Bob,\"[\"\"Sales\"\",\"\"The, board\"\"]\"\n");
    let apply = command(&world, &["apply", "--yes"]).await;
    assert_eq!(apply.code, 0, "{}{}", apply.out, apply.err);
    world.roster(
        "email,display_name,groups\nann@x.co,Ann,\"[\"\"The, board\"\"]\"\nbob@x.co,Bob,[Sales]\n",
    );
    let world = world.set("policy.max_joins", "0");
    for (email, change) in [
        ("ann@x.co", "- leave      ann@x.co: Sales"),
        ("ann@x.co", "+ join       ann@x.co: The, board"),
        ("bob@x.co", "- leave      bob@x.co: The, board"),
    ] {
        let explain = command(&world, &["explain", email]).await;
        assert!(explain.out.contains(change), "{}", explain.out);
        assert!(!explain.out.contains("held by"), "{}", explain.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_only_takes_users_of_other_files() {
    let world = world().await;
    let [groups, roles] = ["groups.csv", "roles.csv"].map(|name| world.folder.path().join(name));
    let world = world
        .set("source.groups", &groups.display().to_string())
        .set("source.roles", &roles.display().to_string());
    let warehouse = world.org().add_connection("Warehouse", "NO_ACCESS");
    world.org().add_model(&warehouse, "Sales", "SHARED");
    world.user("cy@x.co", "Cy", json!({}));
    world.roster("email,display_name\nann@x.co,Ann\n");
    std::fs::write(&groups, "op,email,group_name\n+,cy@x.co,Sales\n").expect("it is written");
    let rows = "subject,connection,model,role\nbob@x.co,Warehouse,Sales,VIEWER\n";
    std::fs::write(&roles, rows).expect("it is written");
    for email in ["bob@x.co", "cy@x.co"] {
        let only = command(&world, &["apply", "--yes", "--only", email]).await;
        assert_eq!(only.code, 0, "{}{}", only.out, only.err);
        assert!(only.err.contains("1 applied"), "{}", only.err);
    }
    let only = command(&world, &["apply", "--yes", "--only", "dan@x.co"]).await;
    assert_eq!(only.code, 1, "{}{}", only.out, only.err);
    let error = "error: the roster has no row for dan@x.co";
    assert!(only.err.contains(error), "{}", only.err);
}

/// What can't be read is a warning beside the results of the other checks.
#[tokio::test(flavor = "multi_thread")]
async fn check_shows_its_results_without_groups() {
    let world = world().await;
    world.roster("email,display_name,groups\nann@x.co,Ann,[Sales]\nbob@x.co,Bob\n");
    let list = |code| Fault {
        when: When {
            path: Some("/api/scim/v2/Groups".into()),
            ..When::default()
        },
        what: What::Status {
            code,
            retry_after: None,
            body: Some(r#"{"Resources":[],"totalResults":7}"#.into()),
        },
        times: 10,
    };
    for (code, warning) in [
        (
            200,
            "the groups can't be read (Omni's list of groups is unreliable: 0 groups were listed",
        ),
        (
            422,
            "the groups can't be read (Omni rejected the request (422",
        ),
        (403, "this key can't read groups (Omni responded with 403"),
    ] {
        world.org().clear_faults();
        world.org().fault(list(code));
        let check = command(&world, &["check"]).await;
        assert_eq!(check.code, 1, "{}{}", check.out, check.err);
        let roster = "roster:     2 rows, 1 problem";
        assert!(check.out.contains(roster), "{}{}", check.out, check.err);
        assert!(check.err.contains(warning), "{}", check.err);
        let not_checked = "so their names were not checked";
        assert!(check.err.contains(not_checked), "{}", check.err);
    }
}
