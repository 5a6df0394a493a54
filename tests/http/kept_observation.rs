//! What a run has read of Omni is stored for later runs, also after a restart or a kill.
use crate::support::{World, assert_converged, at_any_time, outcomes_of, started_by};
use chrono::Utc;
use omni_user_sync::model::{Readings, Trigger};
use omni_user_sync::run::Stop;
use omni_user_sync::sandbox::{Fault, Lists, Options, What, When};
use rusqlite::Connection;
use serde_json::json;
use std::fmt::Write;

pub(crate) async fn org(users: usize, lists: Lists) -> World {
    let options = Options {
        users,
        lists,
        ..Options::default()
    };
    let world = World::with(options).await.set("policy.max_updates", "");
    world.set("omni.requests_per_minute", "100000")
}

/// All users of an organisation. The first ones have another name.
pub(crate) fn roster(users: usize, renamed: usize) -> String {
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
        world.take_requests();
        world.roster(&roster(300, 10));
        assert_converged(&started_by(Trigger::File, &world.reconciler()).await);
        assert_eq!(world.take_requests(), (10, 10), "{lists:?}");
        world.roster(&roster(299, 10));
        assert_converged(&started_by(Trigger::File, &world.reconciler()).await);
        assert_eq!(
            world.take_requests(),
            (4, 1),
            "{lists:?}: the removed user is read, and what this user owns"
        );
        assert_converged(&started_by(Trigger::File, &world.reconciler()).await);
        assert_eq!(world.take_requests(), (0, 0), "{lists:?}: nothing is left");
    }
}

#[tokio::test]
async fn read_attributes_outlast_a_restart() {
    let world = org(200, Lists::OmitAttributes).await;
    world.roster(&roster(200, 0));
    assert_converged(&world.run().await);
    world.take_requests();
    assert_converged(&world.run().await);
    assert_eq!(
        world.take_requests(),
        (1 + 2 + 10, 0),
        "the pages and a part"
    );
    let plan = world.plan().await.expect("a plan");
    assert_eq!(plan.assessment.pending.total(), 0);
    assert_eq!(world.take_requests(), (1 + 2 + 10, 0), "so does a plan");
}

#[tokio::test]
async fn an_interrupted_reading_goes_on_where_it_was() {
    let world = org(300, Lists::OmitAttributes).await;
    world.roster(&roster(300, 0));
    let reconciler = world.reconciler();
    let stop = Stop::default();
    let interrupt = stop.now.clone();
    world.org().before(200, move |_| interrupt.cancel());
    let outcome = reconciler
        .run(at_any_time(Trigger::Schedule), None, &stop)
        .await;
    assert!(!outcome.is_success(), "{outcome:?}");
    assert!(world.writes().is_empty());
    drop(reconciler);
    world.take_requests();
    assert_converged(&world.run().await);
    let (all, writes) = world.take_requests();
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
    world.take_requests();
    let outcome = started_by(Trigger::File, &world.reconciler()).await;
    assert_eq!(outcomes_of(&outcome), [format!("update {email} applied")]);
    assert_eq!(world.take_requests(), (2 + 1, 1), "both are read by id");
}

/// Makes the stored observation older.
pub(crate) fn age(world: &World, hours: i64) {
    let db = Connection::open(world.state_db().path()).expect("the database");
    let sql =
        "UPDATE observation SET observed = observed - ?1, definitions_read = definitions_read - ?1";
    assert_eq!(db.execute(sql, [hours * 3_600_000]), Ok(1));
}

/// The pages of the list that were requested since the last call, by their first user.
pub(crate) fn pages(world: &World) -> Vec<usize> {
    let requests = world.org().requests();
    world.org().clear_requests();
    let starts = requests.iter().filter_map(|request| {
        let (_, start) = request.query.split_once("startIndex=")?;
        Some(start.parse().expect("a number"))
    });
    starts.collect()
}

#[tokio::test]
async fn a_changed_row_does_not_wait_for_a_listing() {
    for trigger in [Trigger::File, Trigger::Start] {
        let world = org(300, Lists::Full).await.set("omni.page_size", "10");
        world.roster(&roster(300, 0));
        assert_converged(&world.run().await);
        age(&world, 1);
        let (drifted, unchanged) = ("user0001@example.com", "user0009@example.com");
        for email in [drifted, unchanged] {
            world
                .org()
                .set_attribute(email, "department", json!("Finance"));
        }
        world.roster(&roster(300, 5));
        world.take_requests();
        let reconciler = world.reconciler();
        let outcome = started_by(trigger, &reconciler).await;
        assert_converged(&outcome);
        assert_eq!(
            world.take_requests(),
            (1 + 5 + 5, 5),
            "{trigger:?}: definitions, users, changes"
        );
        assert_eq!(world.attribute(drifted, "department"), json!("Sales"));
        let plan = outcome.plan.expect("a plan");
        assert!(plan.needs_listing, "the daemon reads all users next");
        let outcome = started_by(Trigger::Schedule, &reconciler).await;
        assert_eq!(
            outcomes_of(&outcome),
            [format!("update {unchanged} applied")]
        );
        assert_eq!(world.take_requests(), (1 + 30 + 1, 1));
        assert!(!outcome.plan.expect("a plan").needs_listing);
    }
}

/// Then Omni shows whether address and keys are still right.
#[tokio::test]
async fn a_listing_follows_each_start_from_a_cache() {
    let world = org(300, Lists::Full).await;
    world.roster(&roster(300, 0));
    let outcome = started_by(Trigger::Start, &world.reconciler()).await;
    assert!(!outcome.plan.expect("a plan").needs_listing, "it lists");
    world.roster(&roster(300, 5));
    world.take_requests();
    let outcome = started_by(Trigger::Start, &world.reconciler()).await;
    assert_converged(&outcome);
    assert_eq!(world.take_requests(), (5, 5));
    assert!(outcome.plan.expect("a plan").needs_listing);
    world.roster(&roster(300, 0));
    let outcome = started_by(Trigger::File, &world.reconciler()).await;
    assert!(!outcome.plan.expect("a plan").needs_listing);
}

#[tokio::test]
async fn users_that_a_list_lacks_are_read_by_id() {
    let world = org(30, Lists::Full).await.set("policy.prune", "managed");
    world.roster(&roster(30, 0));
    assert_converged(&world.run().await);
    world.take_requests();
    world.org().fault(Fault {
        when: When::default(),
        what: What::SkipUser,
        times: 1,
    });
    let outcome = world.run().await;
    assert_eq!(
        outcomes_of(&outcome),
        Vec::<String>::new(),
        "no second user is created"
    );
    world.org().remove_user("user0007@example.com");
    assert_eq!(
        outcomes_of(&world.run().await),
        ["create user0007@example.com applied"],
    );
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
        world.take_requests();
        assert_converged(&started_by(Trigger::File, &world.reconciler()).await);
        assert_eq!(
            world.take_requests(),
            (3, 0),
            "{change}: Omni is read again"
        );
    }
}

#[tokio::test]
async fn a_lagging_list_creates_no_user_twice() {
    let options = Options {
        users: 3,
        list_lag: 10,
        ..Options::with_full_lists()
    };
    let world = World::with(options).await;
    world.roster("email,display_name\nuser0001@example.com,A\nnew@example.com,New\n");
    assert_converged(&world.run().await);
    world.take_requests();
    assert_converged(&world.run().await);
    assert_eq!(world.take_requests(), (3, 0), "the new user is read by id");
    for _ in 0..4 {
        assert_converged(&world.run().await);
    }
    world.take_requests();
    assert_converged(&world.run().await);
    assert_eq!(world.take_requests(), (2, 0), "the list shows the user");
}

/// Without the reading, each user without attributes would be read by id.
#[tokio::test]
async fn a_probed_reading_goes_before_what_a_list_suggests() {
    let world = org(0, Lists::Full).await;
    for number in 1..=30 {
        let email = format!("user{number:04}@example.com");
        world.user(&email, &format!("Name {number}"), json!({}));
    }
    let text = roster(30, 0).replace(",Sales", ",");
    world.roster(&text);
    let readings = Readings {
        lists_carry_attributes: Some(true),
        ..Readings::default()
    };
    assert_converged(&world.run().await);
    assert_eq!(world.take_requests(), (2 + 30, 0));
    let reconciler = world.reconciler();
    let state = reconciler.observer().state();
    let recorded = state.record_readings(&readings, Utc::now()).await;
    recorded.expect("recorded");
    assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
    assert_eq!(world.take_requests(), (2, 0));
}
