//! How long a refused change stays in quarantine, and what ends it.
use crate::support::{World, outcomes_of};
use chrono::{DateTime, TimeDelta, Utc};
use omni_user_sync::model::{Memory, Observed, Quarantined};
use omni_user_sync::plan::{Plan, evaluate};
use omni_user_sync::sandbox::{Fault, What, When};
use serde_json::json;

/// One user whose name is to change, and an Omni that refuses all such changes.
async fn refusing() -> World {
    let world = World::new().await;
    world.user("a@x.co", "A", json!({}));
    world.roster("email,display_name\na@x.co,New\n");
    let when = When {
        method: Some("PATCH".into()),
        ..When::default()
    };
    let what = What::Status {
        code: 400,
        retry_after: None,
        body: None,
    };
    let times = 99;
    world.org().fault(Fault { when, what, times });
    world
}

async fn memory(world: &World, now: DateTime<Utc>) -> Memory {
    world.state_db().memory(now).await.expect("read")
}

/// Of the only one who is in it.
async fn quarantined(world: &World) -> Quarantined {
    let memory = memory(world, Utc::now()).await;
    let mut all = memory.quarantined.into_values();
    all.next().expect("a user is in quarantine")
}

#[tokio::test]
async fn quarantine_lasts_one_then_four_then_24_hours() {
    let world = refusing().await;
    for (failures, hours) in [(1, 1), (2, 4), (3, 24), (4, 24)] {
        let wait = TimeDelta::hours(hours);
        let begun = Utc::now() - TimeDelta::seconds(1);
        // A command does not wait for its end.
        assert_eq!(outcomes_of(&world.apply().await), ["update a@x.co failed"]);
        let is = quarantined(&world).await;
        assert_eq!(is.failures, failures);
        assert!(
            is.until > begun + wait && is.until <= Utc::now() + wait,
            "the {failures}. failure is waited for until {}",
            is.until
        );
    }
}

#[tokio::test]
async fn changes_not_kept_wait_longer_each_time() {
    let world = refusing().await;
    world.org().clear_faults();
    world.org().fault(Fault {
        when: When {
            method: Some("PATCH".into()),
            ..When::default()
        },
        what: What::IgnoreWrite,
        times: 99,
    });
    assert_eq!(outcomes_of(&world.apply().await), ["update a@x.co applied"]);
    assert_eq!(quarantined(&world).await.failures, 0, "Omni says so");
    for failures in 1..4 {
        assert_eq!(
            outcomes_of(&world.apply().await),
            ["update a@x.co not_kept"]
        );
        assert_eq!(quarantined(&world).await.failures, failures);
    }
}

#[tokio::test]
async fn quarantine_ends_at_the_stated_time() {
    let world = refusing().await;
    world.run().await;
    let until = quarantined(&world).await.until;
    let change = world
        .plan()
        .await
        .expect("a plan")
        .assessment
        .verdict
        .quarantined()[0]
        .clone();
    for (now, is_held) in [
        (until - TimeDelta::milliseconds(1), true),
        (until, false),
        (until + TimeDelta::milliseconds(1), false),
    ] {
        let plan = Plan {
            changes: vec![change.clone()],
            ..Plan::default()
        };
        let memory = memory(&world, now).await;
        let verdict = evaluate(
            plan,
            &Observed::default(),
            1,
            &memory,
            &world.settings().policy,
        );
        assert_eq!(verdict.quarantined().len(), usize::from(is_held), "{now}");
        assert_eq!(verdict.passed().is_empty(), is_held, "{now}");
    }
}

/// A clock that ran ahead when a change failed, or was done, and is right again.
#[tokio::test]
async fn a_clock_set_back_does_not_extend_quarantine() {
    let world = refusing().await;
    world.run().await;
    let until = quarantined(&world).await.until;
    let change = world
        .plan()
        .await
        .expect("a plan")
        .assessment
        .verdict
        .quarantined()[0]
        .clone();
    let is_held = async |now| {
        let plan = Plan {
            changes: vec![change.clone()],
            ..Plan::default()
        };
        let memory = memory(&world, now).await;
        let verdict = evaluate(
            plan,
            &Observed::default(),
            1,
            &memory,
            &world.settings().policy,
        );
        !verdict.quarantined().is_empty()
    };
    assert!(is_held(until - TimeDelta::hours(24)).await);
    assert!(!is_held(until - TimeDelta::days(365)).await);
    world.org().clear_faults();
    assert_eq!(outcomes_of(&world.apply().await), ["update a@x.co applied"]);
    assert!(
        !is_held(Utc::now() - TimeDelta::hours(2)).await,
        "it was done"
    );
}

/// Paused, since what may pass is tried several times first.
#[tokio::test(start_paused = true)]
async fn the_next_run_retries_temporary_failures() {
    let world = refusing().await;
    world.org().clear_faults();
    let when = When {
        method: Some("PATCH".into()),
        ..When::default()
    };
    let what = What::Status {
        code: 503,
        retry_after: None,
        body: None,
    };
    let times = 99;
    world.org().fault(Fault { when, what, times });
    assert_eq!(outcomes_of(&world.run().await), ["update a@x.co failed"]);
    world.org().clear_faults();
    assert_eq!(outcomes_of(&world.run().await), ["update a@x.co applied"]);
}

/// A run with a user in quarantine has not converged.
#[tokio::test]
async fn a_run_with_quarantined_users_is_partial() {
    let world = refusing().await;
    for failed in [vec!["update a@x.co failed".to_owned()], vec![]] {
        let run = world.run().await;
        assert_eq!(
            (outcomes_of(&run), run.result().as_str()),
            (failed, "partial"),
            "{run:?}"
        );
        assert!(run.is_success());
    }
}
