//! Roles as commands show them: export.

use crate::support::{World, command};
use omni_user_sync::sandbox::Options;
use serde_json::json;

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
