//! What a run has read of Omni is stored for later runs, also after a restart or a kill.
use crate::support::{World, assert_converged, at_any_time, outcomes_of};
use chrono::Utc;
use omni_user_sync::model::{ChangeOutcome, ReadingTime, Readings, RunOptions, Trigger};
use omni_user_sync::run::{Reconciler, RunOutcome, Stop};
use omni_user_sync::sandbox::{Fault, Lists, Options, What, When};
use rusqlite::Connection;
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

async fn started_by(trigger: Trigger, reconciler: &Reconciler) -> RunOutcome {
    reconciler
        .run(at_any_time(trigger), None, &Stop::default())
        .await
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

/// All users of an organisation. The first ones have another name.
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
        world.take_requests();
        world.roster(&roster(300, 10));
        assert_converged(&started_by(Trigger::File, &world.reconciler()).await);
        assert_eq!(world.take_requests(), (10, 10), "{lists:?}");
        world.roster(&roster(299, 10));
        assert_converged(&started_by(Trigger::File, &world.reconciler()).await);
        assert_eq!(
            world.take_requests(),
            (2, 1),
            "{lists:?}: the removed user is read"
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
fn age(world: &World, hours: i64) {
    let db = Connection::open(world.state_db().path()).expect("the database");
    let sql =
        "UPDATE observation SET observed = observed - ?1, definitions_read = definitions_read - ?1";
    assert_eq!(db.execute(sql, [hours * 3_600_000]), Ok(1));
}

/// The pages of the list that were requested since the last call, by their first user.
fn pages(world: &World) -> Vec<usize> {
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

/// An organisation of 200 users on 40 pages, of which a run of [`run_in_part`] reads 15.
async fn org_in_parts() -> World {
    let world = org(200, Lists::Full).await.set("omni.page_size", "5");
    world.set("observe.budget", "1%")
}

/// A run of a new process that has a budget of 16 requests: 1% of those of one second.
async fn run_in_part(world: &World) -> RunOutcome {
    let options = RunOptions {
        reading_time: ReadingTime::Within(Duration::from_secs(1)),
        ..Trigger::Schedule.into()
    };
    let reconciler = world.reconciler();
    reconciler.run(options, None, &Stop::default()).await
}

/// Runs until this many changes were sent. Returns the pages that were read, and the changes.
async fn runs_in_parts(world: &World, changes: usize) -> (Vec<usize>, Vec<String>) {
    world.org().clear_requests();
    let (mut read, mut done) = (Vec::new(), Vec::new());
    for _ in 0..12 {
        let outcome = run_in_part(world).await;
        let pages = pages(world);
        assert!(pages.len() <= 15, "{pages:?}");
        read.extend(pages);
        done.extend(outcomes_of(&outcome));
        if done.len() >= changes {
            break;
        }
    }
    done.sort();
    (read, done)
}

/// The first users of all pages.
fn all_pages() -> BTreeSet<usize> {
    (1..=196).step_by(5).collect()
}

#[tokio::test]
async fn a_listing_beyond_the_budget_takes_several_runs() {
    let world = org_in_parts().await;
    world.roster(&roster(200, 0));
    assert_converged(&world.apply().await);
    let (drifted, removed) = ("user0150@example.com", "user0003@example.com");
    world
        .org()
        .set_attribute(drifted, "department", json!("Finance"));
    world.org().remove_user(removed);
    let (read, done) = runs_in_parts(&world, 2).await;
    let expected = [
        format!("create {removed} applied"),
        format!("update {drifted} applied"),
    ];
    assert_eq!(done, expected);
    let read: BTreeSet<_> = read.into_iter().collect();
    assert!(read.is_superset(&all_pages()), "{read:?}");
}

#[tokio::test]
async fn pruning_waits_for_a_whole_cycle_of_parts() {
    let world = org_in_parts().await.set("policy.prune", "managed");
    world.roster(&roster(200, 0));
    assert_converged(&world.apply().await);
    world.org().clear_requests();
    assert_converged(&run_in_part(&world).await);
    assert!(pages(&world).contains(&1), "a cycle begins");

    // It ends after the change of the roster, and began before.
    world.roster(&roster(199, 0));
    let plan = world.plan().await.expect("a plan");
    assert_eq!(plan.assessment.pending.total(), 1, "a plan lists whole");
    let (read, done) = runs_in_parts(&world, 1).await;
    assert_eq!(done, ["delete user0200@example.com applied"]);
    let begins = read
        .iter()
        .position(|page| *page == 1)
        .expect("a new cycle");
    assert!(begins > 20, "{read:?}");
    let cycle: BTreeSet<_> = read[begins..].iter().copied().collect();
    assert!(cycle.is_superset(&all_pages()), "{read:?}");
    assert_eq!(world.writes(), Vec::<String>::new(), "the log was cleared");
}

#[tokio::test]
async fn a_file_event_prunes_after_a_cycle_only() {
    let world = org_in_parts().await.set("policy.prune", "managed");
    world.roster(&roster(200, 0));
    assert_converged(&world.apply().await);
    assert_converged(&run_in_part(&world).await);
    world.roster(&roster(199, 1));
    world.org().clear_requests();
    let outcome = started_by(Trigger::File, &world.reconciler()).await;
    assert_eq!(
        outcomes_of(&outcome),
        ["update user0001@example.com applied"]
    );
    assert_eq!(pages(&world), Vec::<usize>::new(), "no listing");
    let (_, done) = runs_in_parts(&world, 1).await;
    assert_eq!(done, ["delete user0200@example.com applied"]);
}

#[tokio::test]
async fn a_doubtful_list_stays_within_the_budget() {
    let world = org_in_parts().await.set("policy.prune", "managed");
    world.roster(&roster(200, 0));
    assert_converged(&world.apply().await);
    let db = Connection::open(world.state_db().path()).expect("the database");
    let sql = "UPDATE observation SET summary = json_set(summary, '$.extent', json(?1))";
    assert_eq!(
        db.execute(sql, [r#"{"doubtful":"a user is missing"}"#]),
        Ok(1)
    );
    drop(db);
    world.roster(&roster(199, 0));
    let (_, done) = runs_in_parts(&world, 1).await;
    assert_eq!(
        done,
        ["delete user0200@example.com applied"],
        "the doubt is gone"
    );
}

/// Two users with one email are on different parts of the list. Neither may be changed.
#[tokio::test]
async fn several_users_with_one_email_stay_several_in_parts() {
    let world = org(0, Lists::Full).await.set("omni.page_size", "5");
    let world = world.set("policy.max_removals", "100%");
    world.user("ANN@example.com", "Ann", json!({}));
    for number in 1..=99 {
        let attributes = json!({ "department": "Sales" });
        let email = format!("user{number:04}@example.com");
        world.user(&email, &format!("Name {number}"), attributes);
    }
    world.user("ann@example.com", "Ann", json!({}));
    world.roster(&roster(99, 0));
    assert_converged(&world.apply().await);
    let leaver = "op,email,display_name,department\ndelete,ann@example.com,,\n";
    let rest = roster(99, 0).replace("user", "upsert,user");
    let (_, rest) = rest.split_once('\n').expect("a header");
    world.roster(&format!("{leaver}{rest}"));
    let world = world.set("observe.budget", "1%");
    let mut listed = 0;
    while listed < 60 {
        world.org().clear_requests();
        let outcome = run_in_part(&world).await;
        assert!(
            outcomes_of(&outcome)
                .iter()
                .all(|one| !one.starts_with("delete")),
            "{outcome:?}"
        );
        listed += pages(&world).len();
    }
    let users = world.org().users();
    let is_ann = |user: &&serde_json::Value| user["displayName"] == json!("Ann");
    assert_eq!(users.iter().filter(is_ann).count(), 2);
}

#[tokio::test]
async fn a_listing_makes_way_for_a_new_roster_and_goes_on() {
    let world = org(300, Lists::Full).await.set("omni.page_size", "10");
    world.roster(&roster(300, 0));
    assert_converged(&world.run().await);
    let drifted = "user0299@example.com";
    world
        .org()
        .set_attribute(drifted, "department", json!("Finance"));
    age(&world, 1);

    let stop = Stop::default();
    let (path, text) = (world.roster_path(), roster(300, 5));
    let (interrupt, number) = (
        stop.for_next.clone(),
        world.org().requests().len() as u64 + 8,
    );
    world.org().clear_requests();
    world.org().before(number, move |_| {
        std::fs::write(path, text).expect("a new roster");
        interrupt.cancel();
    });
    let reconciler = world.reconciler();
    let outcome = reconciler
        .run(at_any_time(Trigger::Schedule), None, &stop)
        .await;
    assert!(outcome.count(ChangeOutcome::Applied) > 0, "{outcome:?}");
    let first = pages(&world);
    assert!(first.len() < 15, "{first:?}");

    let rest: Vec<_> = [
        started_by(Trigger::File, &reconciler).await,
        started_by(Trigger::Schedule, &reconciler).await,
    ]
    .iter()
    .flat_map(outcomes_of)
    .collect();
    assert!(
        rest.contains(&format!("update {drifted} applied")),
        "{rest:?}"
    );
    let second = pages(&world);
    assert_eq!(second.first(), first.iter().max(), "{first:?} {second:?}");
    for number in 1..=5 {
        let email = format!("user{number:04}@example.com");
        let user = world.org().user(&email).expect("there");
        assert_eq!(user["displayName"], json!(format!("Other {number}")));
    }
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
