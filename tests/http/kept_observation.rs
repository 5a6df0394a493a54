//! What a run has read of Omni is kept for later runs, also after a restart or a kill.
use crate::support::{World, assert_converged, told};
use omni_user_sync::model::Trigger;
use omni_user_sync::run::{Reconciler, RunOutcome, Stop};
use omni_user_sync::sandbox::{Lists, Options};
use rusqlite::Connection;
use serde_json::json;
use std::fmt::Write;

async fn started_by(trigger: Trigger, reconciler: &Reconciler) -> RunOutcome {
    reconciler.run(trigger, None, &Stop::default()).await
}

/// Requests since the last call, and how many of them are writes.
fn requests(world: &World) -> (usize, usize) {
    let counts = (world.org().requests().len(), world.org().writes().len());
    world.org().clear_requests();
    counts
}

async fn org(users: usize, lists: Lists) -> World {
    let options = Options {
        users,
        lists,
        ..Options::default()
    };
    let world = World::with(options).await.set("policy.max_updates", "");
    world.set("omni.requests_per_minute", "100000")
}

/// All users of an organisation, the first ones of whom have another name.
fn roster(users: usize, renamed: usize) -> String {
    (1..=users).fold(
        "email,display_name,department\n".to_owned(),
        |mut text, number| {
            let name = if number <= renamed { "Other" } else { "Name" };
            writeln!(text, "user{number:04}@example.com,{name} {number},Sales")
                .expect("a string grows");
            text
        },
    )
}

#[tokio::test]
async fn changed_rows_cost_one_request_each_after_a_restart() {
    for lists in [Lists::Full, Lists::OmitAttributes] {
        let world = org(300, lists).await.set("policy.prune", "managed");
        world.roster(&roster(300, 0));
        assert_converged(&world.run().await);
        requests(&world);
        world.roster(&roster(300, 10));
        assert_converged(&started_by(Trigger::File, &world.reconciler()).await);
        assert_eq!(requests(&world), (10, 10), "{lists:?}");
        world.roster(&roster(299, 10));
        assert_converged(&started_by(Trigger::File, &world.reconciler()).await);
        assert_eq!(
            requests(&world),
            (2, 1),
            "{lists:?}: the removed user is read"
        );
        assert_converged(&started_by(Trigger::File, &world.reconciler()).await);
        assert_eq!(requests(&world), (0, 0), "{lists:?}: nothing is left");
    }
}

#[tokio::test]
async fn read_attributes_outlast_a_restart() {
    let world = org(200, Lists::OmitAttributes).await;
    world.roster(&roster(200, 0));
    assert_converged(&world.run().await);
    requests(&world);
    assert_converged(&world.run().await);
    assert_eq!(requests(&world), (1 + 2 + 10, 0), "the pages and a slice");
    let plan = world.plan().await.expect("a plan");
    assert_eq!(plan.assessment.pending.total(), 0);
    assert_eq!(requests(&world), (1 + 2 + 10, 0), "so does a plan");
}

#[tokio::test]
async fn an_interrupted_reading_goes_on_where_it_was() {
    let world = org(300, Lists::OmitAttributes).await;
    world.roster(&roster(300, 0));
    let reconciler = world.reconciler();
    let stop = Stop::default();
    let interrupt = stop.now.clone();
    world.org().before(200, move |_| interrupt.cancel());
    let outcome = reconciler.run(Trigger::Schedule, None, &stop).await;
    assert!(!outcome.is_success(), "{outcome:?}");
    assert!(world.writes().is_empty());
    drop(reconciler);
    requests(&world);
    assert_converged(&world.run().await);
    let (all, writes) = requests(&world);
    let reads = all - writes - 4;
    assert!(reads <= 300 - 150, "{reads} users were read");
}

#[tokio::test]
async fn users_changed_by_a_killed_run_are_looked_up() {
    let world = org(150, Lists::Full).await;
    world.roster(&roster(150, 0));
    assert_converged(&world.run().await);

    // As if killed after the last write.
    world.roster(&roster(150, 2));
    let reconciler = world.reconciler();
    let mut run = reconciler
        .begin(Trigger::File, world.target())
        .await
        .expect("a run");
    let stop = Stop::default();
    let prepared = reconciler.prepare(&mut run, &stop).await.expect("a plan");
    reconciler.accept(&prepared).await.expect("accepted");
    let (applied, _) = reconciler.apply(&run, &prepared, &stop, |_| {}).await;
    assert_eq!(applied.changes.len(), 2);
    drop(prepared);
    drop(reconciler);

    let email = "user0001@example.com";
    world
        .org()
        .set_attribute(email, "department", json!("Finance"));
    requests(&world);
    let outcome = started_by(Trigger::File, &world.reconciler()).await;
    assert_eq!(told(&outcome), [format!("update {email} applied")]);
    assert_eq!(requests(&world), (2 + 1, 1), "both are read by id");
}

#[tokio::test]
async fn an_altered_observation_is_not_used() {
    let world = org(150, Lists::Full).await;
    world.roster(&roster(150, 0));
    for change in [
        "UPDATE observed_users SET user = '{}' WHERE email_key = 'user0002@example.com'",
        "UPDATE observed_users SET email = 'eve@example.com' WHERE email_key = 'user0002@example.com'",
        "UPDATE observation SET summary = '[]'",
        // The clock was set back.
        "UPDATE observation SET observed = observed + 86400000",
    ] {
        assert_converged(&world.run().await);
        let path = world.state_db().path().to_owned();
        let db = Connection::open(path).expect("the database");
        assert_eq!(db.execute(change, []), Ok(1), "{change}");
        drop(db);
        requests(&world);
        assert_converged(&started_by(Trigger::File, &world.reconciler()).await);
        assert_eq!(requests(&world), (3, 0), "{change}: Omni is read anew");
    }
}
