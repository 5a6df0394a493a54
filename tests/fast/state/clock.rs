//! A wall clock that is wrong in one run neither shortens nor prolongs what counts by time.

use super::support::{
    State, at, change, email, end, id, intent, omni, record_roster, removed, roster, start, upsert,
};
use chrono::TimeDelta;
use omni_user_sync::model::{ChangeOutcome, Operation, RunNumber, RunStart};
use omni_user_sync::state::StateDb;
use std::time::Duration;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const WRONG: [i64; 4] = [25 * HOUR, 100 * DAY, -365 * DAY, -10 * 365 * DAY];

/// A run of a daemon that runs each quarter of an hour.
async fn run(db: &StateDb, seconds: i64) -> RunNumber {
    let start = RunStart {
        max_gap: TimeDelta::hours(1),
        ..start(seconds)
    };
    let run = db.begin(start).await.expect("written");
    db.finish(run, &end(seconds + 60)).await.expect("written");
    run
}

/// Runs from an hour to the hour before another one.
async fn runs(db: &StateDb, hours: std::ops::Range<i64>) {
    for hour in hours {
        run(db, hour * HOUR).await;
    }
}

#[tokio::test]
async fn a_wrong_clock_does_not_change_what_the_guard_counts() {
    for wrong in WRONG {
        let state = State::new();
        let db = state.open();
        let first = run(&db, 0).await;
        change(
            &db,
            first,
            &intent(Operation::Delete, "ann", 1),
            ChangeOutcome::Applied,
        )
        .await;
        runs(&db, 1..5).await;
        let odd = run(&db, 5 * HOUR + wrong).await;
        let bob = intent(Operation::Delete, "bob", 5 * HOUR + wrong + 1);
        change(&db, odd, &bob, ChangeOutcome::Applied).await;
        assert_eq!(removed(&db, 5 * HOUR + wrong + 9).await, (2, 2), "{wrong}");
        runs(&db, 6..23).await;
        assert_eq!(removed(&db, 23 * HOUR).await, (2, 2), "{wrong}");
        runs(&db, 23..26).await;
        assert_eq!(removed(&db, 26 * HOUR).await, (1, 1), "{wrong}");
        runs(&db, 26..32).await;
        assert_eq!(removed(&db, 32 * HOUR).await, (0, 0), "{wrong}");
    }
}

/// A run that lasts for hours sends its last changes hours after its start.
#[tokio::test]
async fn late_changes_of_long_runs_count_for_a_day() {
    let state = State::new();
    let db = state.open();
    let long = run(&db, 0).await;
    let late = intent(Operation::Delete, "ann", 3 * HOUR);
    change(&db, long, &late, ChangeOutcome::Applied).await;
    for hour in 1..26 {
        run(&db, (3 + hour) * HOUR).await;
    }
    // The gap of four hours after the long run counts as one.
    assert_eq!(removed(&db, 28 * HOUR).await, (0, 0));
    let state = State::new();
    let db = state.open();
    let long = run(&db, 0).await;
    let late = intent(Operation::Delete, "ann", HOUR / 2);
    change(&db, long, &late, ChangeOutcome::Applied).await;
    runs(&db, 1..25).await;
    assert_eq!(removed(&db, 24 * HOUR + 60).await, (1, 1));
    assert_eq!(removed(&db, 24 * HOUR + HOUR / 2 + 60).await, (0, 0));
}

#[tokio::test]
async fn a_wrong_clock_does_not_change_graces() {
    for wrong in WRONG {
        let state = State::new();
        let db = state.open();
        let both = roster(&[("ann", upsert()), ("bob", upsert())]);
        let one = roster(&[("ann", upsert())]);
        let everybody = omni(&["ann", "bob"]);
        let missing = async |seconds| {
            let memory = db.memory(at(seconds)).await.expect("read");
            let since = memory.missing_since[&email("bob")];
            memory.run_time.since(since).num_hours()
        };
        runs(&db, 0..2).await;
        record_roster(&db, HOUR, &both, &everybody, false).await;
        // The roster loses a user in the run with the wrong clock.
        run(&db, 2 * HOUR + wrong).await;
        record_roster(&db, 2 * HOUR + wrong, &one, &everybody, false).await;
        runs(&db, 3..10).await;
        let hours = missing(10 * HOUR).await;
        assert!((6..=8).contains(&hours), "{wrong}: {hours}");
        run(&db, 10 * HOUR + wrong).await;
        runs(&db, 11..20).await;
        let hours = missing(20 * HOUR).await;
        assert!((16..=19).contains(&hours), "{wrong}: {hours}");
    }
}

#[tokio::test]
async fn a_wrong_clock_deletes_no_history() {
    let retain = Duration::from_secs(30 * 86_400);
    for wrong in WRONG {
        let state = State::new();
        let db = state.open();
        runs(&db, 0..3).await;
        let odd = 3 * HOUR + wrong;
        run(&db, odd).await;
        db.prune_old(at(odd), retain).await.expect("written");
        runs(&db, 4..6).await;
        db.prune_old(at(6 * HOUR), retain).await.expect("written");
        assert_eq!(db.runs(99).await.expect("read").len(), 6, "{wrong}");
    }
}

/// A clock that was ahead from the first run on must not delete what expires by the wall clock later.
#[tokio::test]
async fn approvals_survive_a_first_run_in_the_future() {
    use omni_user_sync::model::{GuardRule, RunRef};
    let state = State::new();
    let db = state.open();
    run(&db, 3650 * DAY).await;
    let held_in = run(&db, 0).await;
    let held = super::support::held(GuardRule::MaxRemovals, Operation::Delete, &["ann"]);
    db.hold(held_in, &[held]).await.expect("written");
    let approval = db.approve(RunRef::Number(held_in), "root", at(9), false);
    approval.await.expect("approved");
    run(&db, 60).await;
    db.prune_old(at(99), Duration::ZERO).await.expect("written");
    let approved = super::support::approved(&db.approvals(at(99)).await.expect("read"));
    assert!(approved.contains(&(id("ann"), Operation::Delete)));
}

#[tokio::test]
async fn a_clock_a_day_off_is_reported() {
    let state = State::new();
    let db = state.open();
    let step = async |seconds| {
        let memory = db.memory(at(seconds)).await.expect("read");
        memory.clock_step.map(|step| step.gap.num_hours())
    };
    assert_eq!(step(0).await, None, "no run");
    run(&db, 0).await;
    assert_eq!(step(23 * HOUR).await, None);
    assert_eq!(step(25 * HOUR).await, Some(25));
    let open = db.begin(start(-100 * DAY)).await.expect("written");
    assert_eq!(step(-100 * DAY).await, Some(-2400), "this run's clock");
    db.finish(open, &end(-100 * DAY + 60))
        .await
        .expect("written");
    assert_eq!(step(-100 * DAY + 90).await, None);
}
