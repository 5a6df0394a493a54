//! Roles as commands show them.

use crate::support::{World, command};
use omni_user_sync::sandbox::Options;
use serde_json::{Value, json};

/// Two connections with the same name, roles of two groups, and one of Ann.
async fn world() -> World {
    let world = World::with(Options::with_full_lists()).await;
    world.user("ann@x.co", "Ann", json!({}));
    let org = world.org();
    org.add_group("Analysts", &["ann@x.co"]);
    org.add_group("Admins, all", &[]);
    let warehouse = org.add_connection("Warehouse", "NO_ACCESS");
    let sales = org.add_model(&warehouse, "Sales", "SHARED");
    let finance = org.add_model(&warehouse, "Finance", "SHARED");
    org.add_role("Reader", "VIEWER");
    org.set_role("Analysts", &sales, "QUERIER");
    org.set_role("Analysts", &finance, "Reader");
    org.set_role("Admins, all", &warehouse, "CONNECTION_ADMIN");
    org.set_role("ann@x.co", &sales, "MODELER");
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_the_direct_roles() {
    let world = world().await;
    let export = command(&world, &["export", "--roles"]).await;
    assert_eq!(export.code, 0, "{}", export.err);
    assert_eq!(
        export.out,
        "subject,connection,model,role\n\
         \"group:Admins, all\",Warehouse,,CONNECTION_ADMIN\n\
         group:Analysts,Warehouse,Finance,Reader\n\
         group:Analysts,Warehouse,Sales,QUERIER\n"
    );
    let export = command(&world, &["export", "--roles=users"]).await;
    assert_eq!(export.code, 0, "{}", export.err);
    assert!(
        export.out.contains("\nann@x.co,Warehouse,Sales,MODELER\n"),
        "{}",
        export.out
    );
    assert!(
        export
            .err
            .contains("reading the roles of 1 user: 1 request"),
        "{}",
        export.err
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_with_equal_names_are_exported_by_id() {
    let world = world().await;
    let other = world.org().add_connection("Warehouse", "NO_ACCESS");
    let export = command(&world, &["export", "--roles"]).await;
    assert_eq!(export.code, 0, "{}", export.err);
    assert!(
        !export.out.contains("Warehouse") && !export.out.contains(&other),
        "{}",
        export.out
    );
    assert!(export.out.contains(",Sales,QUERIER"), "{}", export.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_and_groups_are_exported_apart() {
    let world = world().await;
    let export = command(&world, &["export", "--roles", "--groups"]).await;
    assert_eq!(export.code, 64, "{}", export.err);
}

/// An export states what is there; changes of it are planned, applied, explained and undone.
#[tokio::test(flavor = "multi_thread")]
async fn roles_are_planned_applied_and_undone() {
    let world = world().await;
    let path = world.folder.path().join("roles.csv");
    let world = world.set("source.roles", &path.display().to_string());
    world.roster("email,display_name\nann@x.co,Ann\n");
    let export = command(&world, &["export", "--roles=users"]).await;
    std::fs::write(&path, &export.out).expect("it is written");
    let plan = command(&world, &["plan"]).await;
    assert_eq!(plan.code, 0, "{}{}", plan.out, plan.err);
    let rows = "subject,connection,model,role\n\
                group:Analysts,Warehouse,Sales,VIEWER\n\
                ann@x.co,Warehouse,Finance,MODELER\n";
    std::fs::write(&path, rows).expect("it is written");
    let plan = command(&world, &["plan"]).await;
    assert_eq!(plan.code, 2, "{}", plan.err);
    let lines: Vec<_> = plan.out.lines().take(2).collect();
    assert_eq!(
        lines,
        [
            "~ assign     ann@x.co: Warehouse / Finance: (none) => MODELER (grants MODELER)  (roles.csv:3)",
            "~ assign     group:Analysts: Warehouse / Sales: QUERIER => VIEWER (lowers the role)  (roles.csv:2)",
        ]
    );
    let other = world.folder.path().join("other.csv");
    std::fs::write(&other, "email,display_name\nann@x.co,Ann\n").expect("it is written");
    let ignored = command(&world, &["plan", &other.display().to_string()]).await;
    assert_eq!(ignored.code, 0, "{}{}", ignored.out, ignored.err);
    let explained = command(&world, &["explain", "ann@x.co"]).await;
    for shown in [
        "~ assign     ann@x.co: Warehouse / Finance",
        "\nsource.roles: Warehouse / Finance: MODELER (roles.csv:3)\n",
        "\nrole: Warehouse / Finance: Reader (from the group 'Analysts')\n",
        "\nrole: Warehouse / Sales: MODELER\n",
    ] {
        assert!(explained.out.contains(shown), "{}", explained.out);
    }
    let json = command(&world, &["explain", "ann@x.co", "--json"]).await;
    let doc: Value = serde_json::from_str(&json.out).expect("JSON");
    let sales =
        json!({ "connection": "Warehouse", "model": "Sales", "role": "MODELER", "source": null });
    let present = doc["present_roles"].as_array().expect("roles");
    assert!(present.contains(&sales), "{}", json.out);
    let applied = command(&world, &["apply", "--yes"]).await;
    assert_eq!(applied.code, 0, "{}{}", applied.out, applied.err);
    let history = command(&world, &["history", "latest"]).await;
    assert!(
        history.out.contains("group:Analysts: applied")
            && history.out.contains("Warehouse / Sales: QUERIER => VIEWER"),
        "{}",
        history.out
    );
    let world = world.set("policy.protect", "ann@x.co");
    let undo = command(&world, &["history", "latest", "--undo", "--roles"]).await;
    assert_eq!(
        undo.out,
        "subject,connection,model,role\n\
         ann@x.co,Warehouse,Finance,NO_ACCESS\n\
         group:Analysts,Warehouse,Sales,QUERIER\n"
    );
    let note =
        "ann@x.co on Warehouse / Finance: the user is protected, so no run assigns a lower role";
    assert!(undo.err.contains(note), "{}", undo.err);
    let world = world.set("policy.protect", "");
    std::fs::write(&path, &undo.out).expect("it is written");
    assert!(
        undo.err.contains("NO_ACCESS grants nothing"),
        "{}",
        undo.err
    );
    let applied = command(&world, &["apply", "--yes"]).await;
    assert_eq!(applied.code, 0, "{}{}", applied.out, applied.err);
    assert!(
        world
            .org()
            .roles("Analysts")
            .iter()
            .any(|(_, role)| role == "QUERIER"),
        "{:?}",
        world.org().roles("Analysts")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_the_nearest_connection_model_and_group() {
    let world = world().await;
    let path = world.folder.path().join("roles.csv");
    let world = world.set("source.roles", &path.display().to_string());
    world.roster("email,display_name\nann@x.co,Ann\n");
    let rows = "subject,connection,model,role\n\
                group:Analysts,Warehouse,Sales,VIEWER\n\
                group:Analyst,Warehouse,Sales,VIEWER\n\
                ann@x.co,Warehuose,Sales,VIEWER\n\
                ann@x.co,Warehouse,Finanse,VIEWER\n";
    std::fs::write(&path, rows).expect("it is written");
    let check = command(&world, &["check", "--json"]).await;
    assert_eq!(check.code, 1, "{}{}", check.out, check.err);
    let doc: serde_json::Value = serde_json::from_str(&check.out).expect("JSON");
    let problems = doc["roster"]["problems"].as_array().expect("problems");
    let messages: Vec<_> = problems.iter().map(|one| &one["message"]).collect();
    assert_eq!(
        messages,
        [
            "Omni has no group 'Analyst' (did you mean 'Analysts'?)",
            "Omni has no connection 'Warehuose' (did you mean 'Warehouse'?)",
            "this connection has no shared model 'Finanse' (did you mean 'Finance'?)",
        ]
    );
    assert!(problems.iter().all(|one| one["kind"] == "role"));
    let check = command(&world, &["check"]).await;
    assert!(check.err.contains("roles.csv:3:"), "{}", check.err);
}

/// Held assignments that lower a role or grant much are marked, and listed first.
#[tokio::test(flavor = "multi_thread")]
async fn held_roles_are_marked_and_sorted() {
    let world = world().await;
    let path = world.folder.path().join("roles.csv");
    let world = world
        .set("source.roles", &path.display().to_string())
        .set("policy.max_role_changes", "0");
    world.roster("email,display_name\nann@x.co,Ann\n");
    let rows = "subject,connection,model,role\n\
                ann@x.co,Warehouse,Finance,VIEWER\n\
                group:Analysts,Warehouse,Sales,VIEWER\n";
    std::fs::write(&path, rows).expect("it is written");
    let held = "  assign     group:Analysts\n      Warehouse / Sales: QUERIER => VIEWER (lowers the role)\n  \
                assign     ann@x.co\n      Warehouse / Finance: (none) => VIEWER\n";
    let plan = command(&world, &["plan"]).await;
    assert_eq!(plan.code, 4, "{}{}", plan.out, plan.err);
    let at = |text: &str| plan.out.find(text).expect(text);
    assert!(at("=> VIEWER (lowers the role)") < at("(none) => VIEWER"));
    assert_eq!(command(&world, &["apply", "--yes"]).await.code, 4);
    let shown = command(&world, &["approve", "latest", "--dry-run"]).await;
    assert!(shown.out.contains(held), "{}{}", shown.out, shown.err);
    let history = command(&world, &["history", "latest"]).await;
    assert!(history.out.contains(held), "{}", history.out);
    let history = command(&world, &["history", "latest", "--json"]).await;
    let doc: serde_json::Value = serde_json::from_str(&history.out).expect("JSON");
    let changes = doc["held"][0]["users"].as_array().expect("changes");
    let risks: Vec<_> = changes.iter().map(|one| &one["role"]["risk"]).collect();
    assert!(risks.contains(&&json!("lowers")), "{risks:?}");
}

/// The JSON of a plan names groups in quarantine as well as users.
#[tokio::test(flavor = "multi_thread")]
async fn groups_in_quarantine_are_listed() {
    let world = world().await;
    let path = world.folder.path().join("roles.csv");
    let world = world.set("source.roles", &path.display().to_string());
    world.roster("email,display_name\nann@x.co,Ann\n");
    let rows = "subject,connection,model,role\ngroup:Analysts,Warehouse,Sales,Unheard\n";
    std::fs::write(&path, rows).expect("it is written");
    let apply = command(&world, &["apply", "--yes"]).await;
    assert_eq!(apply.code, 3, "{}{}", apply.out, apply.err);
    let plan = command(&world, &["plan", "--json"]).await;
    let doc: serde_json::Value = serde_json::from_str(&plan.out).expect("JSON");
    assert_eq!(doc["quarantined"], json!(["group:Analysts"]));
}

/// Both read what Omni has now, not what an earlier run has stored.
#[tokio::test(flavor = "multi_thread")]
async fn check_and_plan_agree_on_ambiguous_names() {
    let world = world().await;
    let path = world.folder.path().join("roles.csv");
    let world = world.set("source.roles", &path.display().to_string());
    world.roster("email,display_name\nann@x.co,Ann\n");
    let rows = "subject,connection,model,role\nann@x.co,Warehouse,Sales,MODELER\n";
    std::fs::write(&path, rows).expect("it is written");
    let applied = command(&world, &["apply", "--yes"]).await;
    assert_eq!(applied.code, 0, "{}{}", applied.out, applied.err);
    world.org().add_connection("Warehouse", "NO_ACCESS");
    let message = "Omni has 2 connections with the name 'Warehouse'";
    for (arguments, code) in [(&["check"][..], 1), (&["plan"], 3)] {
        let ended = command(&world, arguments).await;
        assert_eq!(
            ended.code, code,
            "{arguments:?}: {}{}",
            ended.out, ended.err
        );
        assert!(ended.err.contains(message), "{arguments:?}: {}", ended.err);
    }
    let check = command(&world, &["check"]).await;
    assert!(check.out.ends_with("roles:      1 row\n"), "{}", check.out);
}

/// A user who was created again, one who is gone, and a role that was changed since.
#[tokio::test(flavor = "multi_thread")]
async fn an_undo_of_roles_knows_later_changes() {
    let world = world().await;
    let path = world.folder.path().join("roles.csv");
    let world = world.set("source.roles", &path.display().to_string());
    world.user("bob@x.co", "Bob", json!({}));
    world.user("cy@x.co", "Cy", json!({}));
    world.roster("email,display_name\nann@x.co,Ann\nbob@x.co,Bob\ncy@x.co,Cy\n");
    let rows = |ann: &str| {
        let rows = format!(
            "subject,connection,model,role\nann@x.co,Warehouse,Sales,{ann}\n\
             bob@x.co,Warehouse,Sales,VIEWER\ncy@x.co,Warehouse,Sales,VIEWER\n"
        );
        std::fs::write(&path, rows).expect("it is written");
    };
    rows("VIEWER");
    let applied = command(&world, &["apply", "--yes"]).await;
    assert_eq!(applied.code, 0, "{}{}", applied.out, applied.err);
    rows("QUERIER");
    let applied = command(&world, &["apply", "--yes"]).await;
    assert_eq!(applied.code, 0, "{}{}", applied.out, applied.err);
    world.org().remove_user("bob@x.co");
    world.org().remove_user("cy@x.co");
    world.user("cy@x.co", "Another Cy", json!({}));
    let undo = command(&world, &["history", "1", "--undo", "--roles"]).await;
    assert_eq!(
        undo.out, "subject,connection,model,role\nann@x.co,Warehouse,Sales,MODELER\n",
        "{}",
        undo.err
    );
    for note in [
        "ann@x.co on Warehouse / Sales: the role was changed since, to QUERIER",
        "bob@x.co on Warehouse / Sales: is no longer in Omni; skipped",
        "cy@x.co on Warehouse / Sales: was recreated since; skipped",
    ] {
        assert!(undo.err.contains(note), "{}", undo.err);
    }
    world.org().remove_user("ann@x.co");
    world.user("ann@x.co", "Another Ann", json!({}));
    let undo = command(&world, &["history", "1", "--undo", "--roles"]).await;
    assert_eq!(undo.out, "", "{}", undo.err);
}
