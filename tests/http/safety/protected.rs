//! Users that are never removed.
use crate::support::{World, assert_converged, outcomes_of};
use omni_user_sync::sandbox::Options;
use serde_json::json;

#[tokio::test]
async fn organisation_admins_are_protected() {
    for (setting, left) in [("true", 1), ("false", 0)] {
        let world = World::new()
            .await
            .set("policy.protect_admins", setting)
            .set("policy.protect", "nobody@x.co")
            .set("policy.max_removals", "100%");
        let admin = json!({ "omni_is_org_admin": "true" });
        world.org().add_user(json!({
            "userName": "boss@x.co",
            "displayName": "Boss",
            "urn:omni:params:1.0:UserAttribute": admin,
        }));
        world.user("ann@x.co", "Ann", json!({}));
        world.roster("op,email\ndelete,boss@x.co\ndelete,ann@x.co\n");
        let outcome = world.run().await;
        assert_eq!(world.org().users().len(), left, "{outcome:#?}");
    }
}

#[tokio::test]
async fn patterns_that_match_no_user_are_named() {
    let world = World::new()
        .await
        .set("policy.prune", "managed")
        .set("policy.protect", "ann@*, bosss@x.co");
    world.user("ann@x.co", "Ann", json!({}));
    world.roster("email\nann@x.co\n");
    let outcome = world.run().await;
    let says = "policy.protect: no user in Omni matches bosss@x.co";
    let named = outcome
        .warnings
        .iter()
        .filter(|warning| warning.starts_with(says));
    assert_eq!(named.count(), 1, "{outcome:#?}");
}

/// A world with the admin `boss@x.co` and the user `ann@x.co`, both in `Board` and `MODELER`. The roster needs no
/// attributes, and lists omit them unless said.
async fn world_of_admin(options: Options, protect_admins: bool) -> World {
    let world = World::with(options).await;
    let at = |name| world.roster_path().with_file_name(name);
    let (groups, roles) = (at("groups.csv"), at("roles.csv"));
    let world = world
        .set("source.groups", &groups.to_string_lossy())
        .set("source.roles", &roles.to_string_lossy())
        .set("policy.protect", "nobody@x.co")
        .set("policy.protect_admins", &protect_admins.to_string());
    let org = world.org();
    // The API key belongs to the first admin.
    for (email, name) in [("key@x.co", "Key"), ("boss@x.co", "Boss")] {
        world.user(email, name, json!({ "omni_is_org_admin": true }));
    }
    world.user("ann@x.co", "Ann", json!({}));
    org.add_group("Board", &["ann@x.co", "boss@x.co"]);
    let warehouse = org.add_connection("Warehouse", "NO_ACCESS");
    let sales = org.add_model(&warehouse, "Sales", "SHARED");
    for email in ["ann@x.co", "boss@x.co"] {
        org.set_role(email, &sales, "MODELER");
    }
    write(
        &world,
        "groups.csv",
        "op,email,group_name\n+,ann@x.co,Board\n",
    );
    write(&world, "roles.csv", "subject,connection,model,role\n");
    world
}

fn write(world: &World, name: &str, text: &str) {
    let path = world.roster_path().with_file_name(name);
    std::fs::write(path, text).expect("the file is written");
}

#[tokio::test]
async fn unread_admins_keep_their_groups() {
    for (protect_admins, left) in [(true, vec!["boss@x.co"]), (false, vec![])] {
        let world = world_of_admin(Options::default(), protect_admins).await;
        let row = |groups| {
            format!(
                "email,display_name,groups\nann@x.co,Ann,[{groups}]\nboss@x.co,Boss,[{groups}]\n"
            )
        };
        world.roster(&row("Board"));
        assert_converged(&world.run().await);
        world.roster(&row(""));
        write(
            &world,
            "groups.csv",
            "op,email,group_name\n-,ann@x.co,Board\n",
        );
        let outcome = world.run().await;
        assert_eq!(
            world.org().members("Board").expect("there"),
            left,
            "{outcome:#?}"
        );
    }
}

/// The roster does not name the users of `source.groups` and `source.roles`.
#[tokio::test]
async fn admins_keep_access_against_single_rows() {
    let world = world_of_admin(Options::default(), true).await;
    world.roster("email,display_name\nann@x.co,Ann\n");
    write(
        &world,
        "groups.csv",
        "op,email,group_name\n-,ann@x.co,Board\n-,boss@x.co,Board\n",
    );
    write(
        &world,
        "roles.csv",
        "subject,connection,model,role\nann@x.co,Warehouse,Sales,VIEWER\nboss@x.co,Warehouse,Sales,VIEWER\n",
    );
    let outcome = world.run().await;
    let expected = ["assign ann@x.co applied", "leave ann@x.co applied"];
    assert_eq!(outcomes_of(&outcome), expected, "{outcome:#?}");
}

/// Only users who lose access are read, and only if their attributes are not known.
#[tokio::test]
async fn users_are_read_before_they_lose_access() {
    let reads = async |options, protect_admins| {
        let world = world_of_admin(options, protect_admins).await;
        world.roster("email,display_name\nann@x.co,Ann\n");
        assert_converged(&world.run().await);
        let rows = "op,email,group_name\n-,ann@x.co,Board\n-,boss@x.co,Board\n";
        write(&world, "groups.csv", rows);
        world.org().clear_requests();
        world.run().await;
        let requests = world.org().requests().into_iter();
        let reads = requests.filter(|one| one.path.starts_with("/api/scim/v2/Users/"));
        let first = reads.count();
        world.org().join("Board", "ann@x.co");
        world.org().clear_requests();
        world.run().await;
        let requests = world.org().requests().into_iter();
        let reads = requests.filter(|one| one.path.starts_with("/api/scim/v2/Users/"));
        (first, reads.count())
    };
    // Each run verifies those that were read before.
    assert_eq!(reads(Options::default(), true).await, (2, 1));
    assert_eq!(reads(Options::default(), false).await, (0, 0));
    assert_eq!(reads(Options::with_full_lists(), true).await, (0, 0));
}
