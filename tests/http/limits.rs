//! The limits of the policy: what is said of what they hold, and what a run may do that has not been
//! before them.
use omni_user_sync::sandbox::{Fault, What};
use serde_json::json;
use std::fmt::Write;
use crate::support::{World, told};

/// A run that takes somebody who is there for somebody to be made.
async fn overlooking(max_updates: Option<&str>) -> (World, Vec<String>) {
    let mut world = World::new().await;
    if let Some(limit) = max_updates {
        world = world.set("policy.max_updates", limit);
    }
    world.user("a@x.co", "Old", json!({}));
    world.org().fault(Fault::next(What::SkipUser));
    world.roster("email,display_name\na@x.co,New\n");
    let told = told(&world.run().await);
    (world, told)
}

#[tokio::test]
async fn who_turns_out_to_exist_is_not_updated_where_updates_are_counted() {
    let (world, first) = overlooking(Some("1")).await;
    assert_eq!(first, ["create a@x.co failed"]);
    assert_eq!(world.write_counts().get("PATCH"), None);
    // It was not before the guard; the next run's is.
    assert_eq!(told(&world.run().await), ["update a@x.co done"]);

    let (_, free) = overlooking(None).await;
    assert_eq!(free, ["update a@x.co done"]);
}

/// Why the guard holds what a roster of 20 users asks for.
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
    let why = &run.held()[0].why;
    why.split("; look")
        .next()
        .expect("the beginning")
        .to_owned()
}

#[tokio::test]
async fn what_is_held_says_how_many_would_what_and_by_which_limit() {
    let removals = why(World::new().await, "op,email", "delete,USER").await;
    assert_eq!(
        removals,
        "20 of 20 users would be removed, more than policy.max_removals = \"10%\""
    );
    let clears = why(World::new().await, "email,department", "USER,").await;
    assert_eq!(
        clears,
        "20 of 20 users would lose a value, more than policy.max_clears = \"10%\""
    );
    let world = World::new().await.set("policy.max_updates", "5");
    let updates = why(world, "email,display_name", "USER,New").await;
    assert_eq!(
        updates,
        "20 of 20 users would be updated, more than policy.max_updates = 5"
    );
}
