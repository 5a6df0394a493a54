//! The guard, and what an approval lets past it.

use super::{approve, deleting, held, hundred, on, status, user};
use crate::support::{World, assert_converged};
use chrono::Utc;
use omni_user_sync::model::{ChangeOutcome, RunNumber, RunRef, Trigger};
use omni_user_sync::run::Stop;
use omni_user_sync::sandbox::{Fault, Inactive, Options, What, When};
use omni_user_sync::state::{Access, StateDb};
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

    // They pass and don't count; the others are held if they alone are too many.
    world.roster(&deleting(1..=31));
    let run = world.run().await;
    assert_eq!((held(&run), world.org().users().len()), (11, 80));
    world.roster(&deleting(21..=28));
    assert_converged(&world.run().await);

    // Once: a user who comes back with the same email is a different user.
    world.user(&user(2), "Back", json!({}));
    world.roster(&deleting([1, 2, 29, 30, 31, 32, 33]));
    assert_eq!(held(&world.run().await), 6);
    let changes = world.state_db().changes(RunNumber(2)).await.expect("read");
    assert!(
        changes.iter().all(|change| change.intent.approved),
        "it says who was approved"
    );
}

#[tokio::test]
async fn an_approval_survives_an_interrupted_run() {
    let options = Options {
        users: 100,
        ..Options::with_full_lists()
    };
    let world = World::with(options).await.set("omni.max_in_flight", "1");
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

/// Each 200 shows the state from before, so that nothing seems to have happened.
#[tokio::test]
async fn removals_count_whatever_omni_answers() {
    let world = World::with(Options {
        users: 100,
        inactive: Inactive::Keep,
        ..Options::default()
    })
    .await
    .set("policy.removal", "deactivate");
    let stale = on("PATCH", What::StaleAnswer, 99);
    world.org().fault(stale);
    for round in 0..5 {
        world.roster(&deleting(1..=10 * (round + 1)));
        world.run().await;
    }
    let is_active = |user: &serde_json::Value| user["active"] == json!(true);
    let left = world
        .org()
        .users()
        .iter()
        .filter(|user| is_active(user))
        .count();
    assert_eq!(left, 90);
    world.org().clear_faults();

    // They are remembered as ours, so an upsert gives them their access back.
    world.roster(&deleting(1..=10).replace("delete", "upsert"));
    assert_converged(&world.run().await);
    assert!(world.org().users().iter().all(is_active));
}

#[tokio::test]
async fn clears_count_over_many_runs() {
    let world = World::new().await;
    for number in 0..100 {
        world.user(
            &format!("u{number}@x.co"),
            "U",
            json!({ "department": "a" }),
        );
    }
    for most in (10..=100).step_by(10) {
        let rows = (0..100).map(|number| {
            let department = if number < most { "" } else { "a" };
            format!("u{number}@x.co,{department}\n")
        });
        world.roster(&format!("email,department\n{}", rows.collect::<String>()));
        world.run().await;
    }
    let cleared = (0..100).filter(|number| {
        let email = format!("u{number}@x.co");
        world.attribute(&email, "department").is_null()
    });
    assert_eq!(cleared.count(), 10);
}

/// A spreadsheet rewrote a column of everybody.
#[tokio::test]
async fn updates_of_most_users_are_held() {
    let world = World::new().await;
    let mut roster = "email,department\n".to_owned();
    for number in 0..40 {
        let email = format!("u{number}@x.co");
        world.user(&email, "U", json!({ "department": "true" }));
        writeln!(roster, "{email},TRUE").expect("a String takes every write");
    }
    world.roster(&roster);
    let run = world.run().await;
    assert_eq!(
        (held(&run), run.held()[0].rule.as_str()),
        (40, "max_updates")
    );
    assert_eq!(world.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn an_approval_ends_with_its_mistake() {
    let world = hundred().await;
    let wrong = deleting(1..=20);
    world.roster(&wrong);
    assert_eq!(held(&world.run().await), 20);
    approve(&world, RunRef::Latest).await;
    world.roster("op,email\nupsert,user0050@example.com\n");
    assert_converged(&world.run().await);
    world.roster(&wrong);
    assert_eq!(held(&world.run().await), 20);

    // A file that only memberships depend on makes no difference.
    approve(&world, RunRef::Latest).await;
    world.roster("op,email\nupsert,user0050@example.com\n");
    let missing = world.folder.path().join("groups.csv");
    let world = world.set("source.groups", &missing.display().to_string());
    world.run().await;
    let world = world.set("source.groups", "");
    world.roster(&wrong);
    assert_eq!(held(&world.run().await), 20);

    // Approving again approves nothing twice.
    approve(&world, RunRef::Latest).await;
    approve(&world, RunRef::Latest).await;
    let dir = world.settings().state.dir;
    let db = StateDb::open(&world.sandbox.url(), Access::Approve(&dir)).expect("a state database");
    let revoked = db.revoke(RunRef::Latest, Utc::now()).await;
    assert_eq!(revoked.expect("revoked").1, 20);
    assert_eq!(held(&world.run().await), 20);
    assert_eq!(world.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_run_can_approve_what_it_holds() {
    let world = hundred().await;
    world.roster(&deleting(1..=20));
    let (reconciler, stop) = (world.reconciler(), Stop::default());
    let run = reconciler.begin(Trigger::Command, world.target()).await;
    let mut run = run.expect("begins");
    let held = reconciler.prepare(&mut run, &stop).await.expect("a plan");
    assert!(held.assessment.verdict.passed().is_empty());
    let approved = reconciler.approve_held(&mut run, held, "ann", &stop).await;
    let prepared = approved.expect("a plan");
    let (applied, _) = reconciler.apply(&run, &prepared, &stop, |_| {}).await;
    let number = run.number();
    assert_converged(&reconciler.finish(run, Some(&prepared), applied).await);
    assert_eq!(world.org().users().len(), 80);
    let db = reconciler.observer().state();
    assert!(db.approvals(Utc::now()).await.expect("read").is_empty());
    let by = db.approvals_of(number).await.expect("read");
    assert_eq!(by[0].0, "ann");
}

#[tokio::test]
async fn creations_in_a_misspelt_domain_are_held() {
    let world = hundred().await;
    let rows = (1..=9).map(|number| format!("user{number:04}@exmaple.com,U\n"));
    world.roster(&format!("email,display_name\n{}", rows.collect::<String>()));
    let run = world.run().await;
    assert_eq!((held(&run), run.held()[0].rule.as_str()), (9, "new_domain"));
    assert!(
        run.held()[0].reason.contains("resembles example.com"),
        "{run:?}"
    );
    assert_eq!(approve(&world, RunRef::Latest).await, 9);
    assert_converged(&world.run().await);
    assert_eq!(world.org().users().len(), 109);
}

/// Four accounts too many are still four.
#[tokio::test]
async fn few_creations_in_a_misspelt_domain_are_a_lint() {
    let world = hundred().await;
    world.roster("email,display_name\nnew@other.org,N\nann@Exmaple.com,A\nbob@exmaple.com,B\n");
    let run = world.run().await;
    assert_converged(&run);
    let lint = "users.csv:3: 2 users would be created in exmaple.com, a domain that no user in Omni has; \
                write example.com if that is meant";
    let lints = run
        .warnings
        .iter()
        .filter(|warning| warning.contains("domain"));
    assert_eq!(lints.collect::<Vec<_>>(), [lint]);
    let again = world.run().await;
    assert_eq!(again.warnings, Vec::<String>::new(), "they are there now");
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
