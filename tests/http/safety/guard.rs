//! The guard, and what an approval lets past it.

use super::{approve, deleting, held, hundred, status, user};
use crate::support::{World, assert_converged};
use omni_user_sync::model::{ChangeOutcome, RunNumber, RunRef};
use omni_user_sync::sandbox::{Fault, When};
use serde_json::json;
use std::fmt::Write;

#[tokio::test]
async fn many_small_runs_do_not_bypass_the_guard() {
    let world = hundred().await;
    world.roster(&deleting(1..=8));
    assert_converged(&world.run().await);
    world.roster(&deleting(9..=16));
    let second = world.run().await;
    assert_eq!(
        (
            second.result().as_str(),
            held(&second),
            world.org().users().len()
        ),
        ("held", 8, 92)
    );
    let why = &second.held()[0].reason;
    assert!(
        why.contains("8 removals (plus 8 in the last 24 h) exceed the limit of 10"),
        "{why}"
    );
    // Two more are within 10%, and those that the state database knows are not counted twice.
    world.roster(&deleting(9..=10));
    assert_converged(&world.run().await);
    assert_eq!(world.org().users().len(), 90);
}

#[tokio::test]
async fn an_approval_covers_the_shown_users_once() {
    let world = hundred().await;
    world.roster(&deleting(1..=20));
    let first = world.run().await;
    assert_eq!((held(&first), world.writes().len()), (20, 0));
    assert_eq!(approve(&world, RunRef::Latest).await, 20);

    // With anyone else, all are held.
    world.roster(&deleting(1..=21));
    assert_eq!(held(&world.run().await), 21);
    // Within the set, they pass, and don't count for what comes after.
    world.roster(&deleting(2..=20));
    assert_converged(&world.run().await);
    assert_eq!(world.org().users().len(), 81);
    world.roster(&deleting(21..=28));
    assert_converged(&world.run().await);

    // Once: someone who came back under the same email is somebody else.
    world.user(&user(2), "Back", json!({}));
    world.roster(&deleting([1, 2, 29, 30, 31, 32, 33]));
    assert_eq!(held(&world.run().await), 7);
    let changes = world.state_db().changes(RunNumber(3)).await.expect("read");
    assert!(
        changes.iter().all(|change| change.intent.approved),
        "it says who was approved"
    );
}

#[tokio::test]
async fn an_approval_survives_an_interrupted_run() {
    let world = hundred().await.set("omni.max_in_flight", "1");
    world.roster(&deleting(1..=20));
    assert_eq!(held(&world.run().await), 20);
    approve(&world, RunRef::Latest).await;
    world.org().fault(Fault {
        when: When {
            method: Some("DELETE".into()),
            from: Some(10),
            ..When::default()
        },
        what: status(401),
        times: 1,
    });
    let cut = world.run().await;
    assert!(
        !cut.is_success() && cut.count(ChangeOutcome::Applied) > 0,
        "{cut:?}"
    );
    assert_converged(&world.run().await);
    assert_eq!(world.org().users().len(), 80);
}

#[tokio::test]
async fn clears_of_an_emptied_column_are_held() {
    let world = World::new().await;
    let mut roster = "email,display_name,department,region\n".to_owned();
    for number in 0..40 {
        world.user(
            &format!("u{number}@x.co"),
            "Old",
            json!({ "department": "a", "region": ["n"] }),
        );
        writeln!(roster, "u{number}@x.co,New,,[n]").expect("a String takes every write");
    }
    world.roster(&roster);
    let run = world.run().await;
    assert_eq!(
        (held(&run), run.held()[0].rule.as_str()),
        (40, "max_clears")
    );
    assert_eq!(world.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_deactivated_user_counts_once() {
    let world = hundred().await.set("policy.removal", "deactivate");
    world.roster(&deleting(1..=10));
    assert_converged(&world.run().await);
    world.roster(&deleting(11..=11));
    let run = world.run().await;
    assert_eq!(held(&run), 1, "10 and 1 of 100 are more than 10%: {run:?}");
}

#[tokio::test]
async fn an_approval_of_updates_does_not_cover_clears() {
    let world = World::new().await.set("policy.max_updates", "5");
    let mut roster = "email,display_name,department\n".to_owned();
    for number in 0..20 {
        world.user(
            &format!("u{number}@x.co"),
            "Old",
            json!({ "department": "a" }),
        );
        writeln!(roster, "u{number}@x.co,New,a").expect("a String takes every write");
    }
    world.roster(&roster);
    assert_eq!(held(&world.run().await), 20);
    approve(&world, RunRef::Latest).await;
    world.roster(&roster.replace(",a\n", ",\n"));
    let run = world.run().await;
    assert_eq!(
        (
            held(&run),
            run.held()[0].rule.as_str(),
            world.writes().len()
        ),
        (20, "max_clears", 0)
    );
    approve(&world, RunRef::Latest).await;
    assert_converged(&world.run().await);
}
