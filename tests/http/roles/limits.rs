//! Roles that are held, protected or waiting.

use super::{RoleWorld, role};
use crate::support::{assert_converged, outcomes_of};
use omni_user_sync::model::{GuardRule, RunRef};

/// 20 ordinary assignments pass, or four risky ones. If there are more, all are held until they are approved.
#[tokio::test]
async fn more_role_changes_than_allowed_are_held() {
    let world = RoleWorld::new().await.set("policy.max_role_changes", "6");
    world.rows("ann@x.co,Warehouse,Sales,MODELER\nben@x.co,Warehouse,Sales,VIEWER\n");
    assert_converged(&world.run().await);
    world.rows(
        "ann@x.co,Warehouse,Sales,VIEWER\nben@x.co,Warehouse,Sales,QUERIER\ncy@x.co,Warehouse,Sales,VIEWER\n",
    );
    let outcome = world.run().await;
    let held: Vec<_> = outcome
        .held()
        .iter()
        .map(|held| (held.rule, held.count))
        .collect();
    assert_eq!(held, [(GuardRule::MaxRoleChanges, 3)]);
    insta::assert_snapshot!(outcome.held()[0].reason, @"3 assignments (1 of them may lower a role, or grants MODELER or CONNECTION_ADMIN, and counts fivefold) exceed the limit of 6 (max_role_changes)");
    assert_eq!(world.roles("ann@x.co"), [role("Sales", "MODELER")]);
    let run = outcome.number.expect("it is recorded");
    let reconciler = world.world.reconciler();
    let scope = omni_user_sync::model::RunRef::Number(run);
    let approved = reconciler
        .observer()
        .state()
        .approve(scope, "me", chrono::Utc::now(), false);
    assert_eq!(approved.await.expect("approved").changes().len(), 3);
    drop(reconciler);
    assert_converged(&world.run().await);
    assert_eq!(world.roles("ann@x.co"), [role("Sales", "VIEWER")]);
}

#[tokio::test]
async fn a_protected_user_gets_no_lower_role() {
    let world = RoleWorld::new().await.set("policy.protect", "ann@x.co");
    let org = world.world.org();
    org.set_role("ann@x.co", &world.sales, "MODELER");
    org.set_role("ben@x.co", &world.sales, "MODELER");
    world.rows("ann@x.co,Warehouse,Sales,VIEWER\nben@x.co,Warehouse,Sales,VIEWER\nann@x.co,Warehouse,Finance,VIEWER\n");
    let outcome = world.run().await;
    assert_eq!(
        outcomes_of(&outcome),
        ["assign ann@x.co applied", "assign ben@x.co applied"]
    );
    assert_eq!(
        world.roles("ann@x.co"),
        [role("Finance", "VIEWER"), role("Sales", "MODELER")]
    );
}

/// The roles of a user wait while the user's own change is held.
#[tokio::test]
async fn roles_wait_for_the_held_user() {
    let world = RoleWorld::new().await.set("policy.max_updates", "0");
    world
        .world
        .roster("email,display_name\nann@x.co,Anna\nben@x.co,Ben\ncy@x.co,Cy\n");
    world.rows("ann@x.co,Warehouse,Sales,VIEWER\nben@x.co,Warehouse,Sales,VIEWER\n");
    let outcome = world.run().await;
    assert_eq!(outcomes_of(&outcome), ["assign ben@x.co applied"]);
    assert_eq!(world.roles("ann@x.co"), []);
}

/// A new group is created by a join. Until one passes, its roles wait.
#[tokio::test]
async fn roles_wait_for_the_joins_of_their_group() {
    let world = RoleWorld::new().await;
    let world = world
        .set("policy.create_groups", "true")
        .set("policy.max_joins", "0");
    world.world.roster(
        "email,display_name,groups\nann@x.co,Ann,[Explorers]\nben@x.co,Ben,[]\ncy@x.co,Cy,[]\n",
    );
    world.rows("group:Explorers,Warehouse,Sales,QUERIER\n");
    let outcome = world.run().await;
    assert_eq!(outcomes_of(&outcome), [""; 0]);
    assert!(
        outcome
            .warnings
            .iter()
            .any(|one| one.starts_with("1 role is waiting") && one.contains("group:Explorers")),
        "{:#?}",
        outcome.warnings
    );
    let reports = world.world.reports();
    let report = &reports.last().expect("one").1;
    assert!(
        report.contains("waits for the new group, because all its joins are held or in quarantine"),
        "{report}"
    );
    let run = RunRef::Number(outcome.number.expect("it is recorded"));
    {
        let reconciler = world.world.reconciler();
        let state = reconciler.observer().state();
        let approved = state.approve(run, "me", chrono::Utc::now(), false);
        assert_eq!(approved.await.expect("approved").changes().len(), 1);
    }
    assert_eq!(
        outcomes_of(&world.run().await),
        ["assign group:Explorers applied", "join ann@x.co applied"]
    );
}
