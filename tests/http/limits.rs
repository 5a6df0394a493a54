//! The safety limits: the messages for held changes, and changes that a run finds only while applying.

use crate::support::{World, outcomes_of};
use omni_user_sync::sandbox::{Fault, What};
use serde_json::json;
use std::fmt::Write;

/// A run whose listing misses an existing user, so that it plans to create that user.
async fn missed_by_the_listing(max_updates: Option<&str>) -> (World, Vec<String>) {
    let mut world = World::new().await;
    if let Some(limit) = max_updates {
        world = world.set("policy.max_updates", limit);
    }
    world.user("a@x.co", "Old", json!({}));
    world.org().fault(Fault::next(What::SkipUser));
    world.roster("email,display_name\na@x.co,New\n");
    let outcomes = outcomes_of(&world.run().await);
    (world, outcomes)
}

#[tokio::test]
async fn an_unexpected_update_respects_max_updates() {
    let (world, first) = missed_by_the_listing(Some("0")).await;
    assert_eq!(first, ["create a@x.co failed"]);
    assert_eq!(world.write_counts().get("PATCH"), None);
    // The guard did not see this update; the next run plans it.
    assert_eq!(world.run().await.held_count(), 1);

    let (_, free) = missed_by_the_listing(None).await;
    assert_eq!(free, ["update a@x.co applied"]);
}

/// The guard's reason for holding the changes of a roster with 20 users.
async fn why(world: World, header: &str, row: &str) -> String {
    let mut roster = format!("{header}\n");
    for number in 0..20 {
        let user = format!("u{number}@x.co");
        world.user(&user, "Old", json!({ "department": "a" }));
        writeln!(roster, "{}", row.replace("USER", &user)).expect("a String takes every write");
    }
    world.roster(&roster);
    let run = world.run().await;
    assert_eq!(run.held().len(), 1, "{run:?}");
    run.held()[0].reason.clone()
}

#[tokio::test]
async fn held_changes_name_their_limit() {
    let removals = why(World::new().await, "op,email", "delete,USER").await;
    assert_eq!(
        removals,
        "20 removals exceed the limit of 5 (max_removals_floor, since max_removals = 10% of 20 users is 2)"
    );
    let clears = why(World::new().await, "email,department", "USER,").await;
    assert_eq!(
        clears,
        "20 updates that clear a value exceed the limit of 5 (max_removals_floor, since max_clears = 10% of 20 upserted users is 2)"
    );
    let world = World::new().await.set("policy.max_updates", "5");
    let updates = why(world, "email,display_name", "USER,New").await;
    assert_eq!(updates, "20 updates exceed the limit of 5 (max_updates)");
}
