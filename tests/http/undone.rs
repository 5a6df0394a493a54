//! Changes that something else undoes: after three consecutive runs, they go to quarantine.

use crate::support::{World, assert_converged};
use omni_user_sync::model::Operation;
use omni_user_sync::sandbox::{Options, Org};
use serde_json::json;

const ROSTER: &str = "email,display_name,groups\nann@x.co,Ann,[Sales]\nben@x.co,Ben,[]\n";

/// Ann in `Sales` and Ben outside of it, as the roster states.
async fn world() -> World {
    let world = World::with(Options::with_full_lists()).await;
    let world = world
        .set("policy.max_leaves", "100%")
        .set("observe.budget", "100%");
    world.user("ann@x.co", "Ann", json!({}));
    world.user("ben@x.co", "Ben", json!({}));
    world.org().add_group("Sales", &["ann@x.co"]);
    world.roster(ROSTER);
    assert_converged(&world.run().await);
    world
}

/// Undoes a change before each run: four runs apply it, three of which find it undone.
async fn undo_each_run(operation: Operation, undo: impl Fn(&Org)) {
    let world = world().await;
    for _ in 0..4 {
        undo(world.org());
        let outcome = world.run().await;
        assert_converged(&outcome);
        let operations: Vec<_> = outcome.changes.iter().map(|one| one.operation).collect();
        assert_eq!(operations, [operation]);
    }
    undo(world.org());
    world.org().clear_requests();
    let outcome = world.run().await;
    assert_eq!((outcome.quarantined(), world.writes().len()), (1, 0));
    let (_, some) = world
        .state_db()
        .quarantined(chrono::Utc::now(), 9)
        .await
        .expect("read");
    assert!(
        some[0].1.reason.contains("something else manages it"),
        "{some:?}"
    );
}

#[tokio::test]
async fn a_join_undone_goes_to_quarantine() {
    undo_each_run(Operation::Join, |org| org.leave("Sales", "ann@x.co")).await;
}

#[tokio::test]
async fn a_leave_undone_goes_to_quarantine() {
    undo_each_run(Operation::Leave, |org| org.join("Sales", "ben@x.co")).await;
}

#[tokio::test]
async fn a_value_undone_goes_to_quarantine() {
    undo_each_run(Operation::Update, |org| {
        org.set_display_name("ann@x.co", "Anna");
    })
    .await;
}

/// A run that finds the change in place starts the count over.
#[tokio::test]
async fn a_run_in_sync_starts_the_count_over() {
    let world = world().await;
    for undone in [true, true, true, false, true, true, true] {
        if undone {
            world.org().leave("Sales", "ann@x.co");
        }
        let outcome = world.run().await;
        assert_converged(&outcome);
        assert_eq!(outcome.changes.len(), usize::from(undone));
    }
}
