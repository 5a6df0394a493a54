//! A list that exceeds `observe.budget` is read in parts, over several runs.
use crate::kept_observation::{age, org, pages, roster};
use crate::support::{World, assert_converged, at_any_time, outcomes_of, started_by};
use omni_user_sync::model::{ChangeOutcome, ReadingTime, RunOptions, Trigger};
use omni_user_sync::run::{RunOutcome, Stop};
use omni_user_sync::sandbox::Lists;
use rusqlite::Connection;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

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
async fn partial_lists_keep_duplicate_emails() {
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
async fn a_new_roster_interrupts_a_listing() {
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
