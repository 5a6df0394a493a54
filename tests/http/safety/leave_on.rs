//! Rows with a day of leaving, over several runs.

use crate::support::{World, assert_converged, outcomes_of, started_by};
use chrono::{Days, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use omni_user_sync::model::{Email, Trigger};
use omni_user_sync::run::Observer;
use serde_json::json;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const ZOE: &str = "zoe@x.co";

/// A world with two users, in which one removal passes.
async fn world() -> World {
    let world = World::new().await.set("policy.max_removals", "100%");
    world.user("ann@x.co", "Ann", json!({}));
    world.user(ZOE, "Zoe", json!({}));
    world
}

/// A roster in which Zoe leaves on a day, some days from today in UTC.
fn leaves_in(world: &World, days: i64, name: &str) -> NaiveDate {
    let date = (Utc::now() + TimeDelta::days(days)).date_naive();
    leaves_on(world, date, name);
    date
}

fn leaves_on(world: &World, date: NaiveDate, name: &str) {
    world.roster(&format!(
        "op,email,display_name,leave_on\nupsert,ann@x.co,Ann,\ndelete,{ZOE},{name},{date}\n"
    ));
}

/// Lets the clock of recorded runs move on by at most an hour.
fn pass(world: &World, time: TimeDelta) {
    let db = rusqlite::Connection::open(world.state_db().path()).expect("a file of the test");
    let millis = time.num_milliseconds();
    let sql = format!("UPDATE runs SET started = started - {millis}");
    db.execute(&sql, []).expect("set");
}

fn report(world: &World) -> String {
    let mut reports = world.reports();
    reports.pop().expect("a report").1
}

async fn explained(world: &World) -> (String, serde_json::Value) {
    let observer = Observer::new(
        Arc::new(world.settings()),
        world.metrics.clone(),
        world.state_db(),
    );
    let zoe = Email::parse(ZOE).expect("an email");
    let explained = observer
        .expect("an observer")
        .explain(&zoe, &CancellationToken::new())
        .await;
    let explained = explained.expect("explained");
    (explained.next.to_string(), explained.doc())
}

#[tokio::test]
async fn a_second_run_after_an_hour_removes() {
    let world = world().await;
    let date = leaves_in(&world, 0, "Zoe");
    let first = world.run().await;
    assert_converged(&first);
    assert_eq!(outcomes_of(&first), [""; 0]);
    let waits = format!("due since {date}, waits for a second run at least 1 h later");
    let row = format!("users.csv,3,{ZOE},delete,unchanged,\"{waits}\"");
    assert!(report(&world).contains(&row), "{}", report(&world));
    let (next, doc) = explained(&world).await;
    assert_eq!(next, format!("nothing: {waits}"));
    assert_eq!(doc["leaving"]["state"], "waiting");
    pass(&world, TimeDelta::minutes(50));
    assert_eq!(outcomes_of(&world.run().await), [""; 0]);
    pass(&world, TimeDelta::minutes(15));
    let last = world.run().await;
    assert_eq!(outcomes_of(&last), [format!("delete {ZOE} applied")]);
    let row = format!("users.csv,3,{ZOE},delete,removed,");
    assert!(report(&world).contains(&row), "{}", report(&world));
    let again = world.run().await;
    assert_converged(&again);
    assert_eq!(outcomes_of(&again), [""; 0]);
    assert_eq!(world.reports().len(), 2);
}

/// As the daemon does it: one process, its schedule, and an unchanged roster.
#[tokio::test]
async fn scheduled_runs_remove_and_report_once() {
    let world = world().await;
    leaves_in(&world, 0, "Zoe");
    let reconciler = world.reconciler();
    let runs = [0, 0, 60, 0, 60].map(|minutes| (minutes, Trigger::Schedule));
    let mut removals = Vec::new();
    for (minutes, trigger) in runs {
        pass(&world, TimeDelta::minutes(minutes));
        removals.push(outcomes_of(&started_by(trigger, &reconciler).await).len());
    }
    assert_eq!(removals, [0, 0, 1, 0, 0]);
    assert_eq!(world.reports().len(), 2);
}

#[tokio::test]
async fn before_the_day_the_user_is_updated() {
    let world = world()
        .await
        .set("policy.prune", "all")
        .with_history()
        .await;
    let date = leaves_in(&world, 3, "Zoe Lee");
    assert_eq!(
        outcomes_of(&world.run().await),
        [format!("update {ZOE} applied")]
    );
    let row = format!("users.csv,3,{ZOE},delete,updated,leaves on {date}");
    assert!(report(&world).contains(&row), "{}", report(&world));
    let (next, doc) = explained(&world).await;
    assert_eq!(next, "nothing to do");
    assert_eq!(doc["roster"][1], format!("delete, leaves on {date}"));
    for _ in 0..3 {
        pass(&world, TimeDelta::hours(1));
        let run = world.run().await;
        assert_converged(&run);
        assert_eq!(outcomes_of(&run), [""; 0]);
        let plan = run.plan.expect("a plan");
        assert_eq!(plan.leaving.len(), 1);
    }
}

#[tokio::test]
async fn a_dry_run_starts_no_wait() {
    let world = world().await;
    leaves_in(&world, 0, "Zoe");
    let world = world.set("policy.mode", "dry-run");
    for _ in 0..3 {
        assert_eq!(world.run().await.result().as_str(), "dry_run");
        pass(&world, TimeDelta::hours(1));
    }
    let plan = world.plan().await.expect("a plan");
    assert_eq!(plan.assessment.waiting_to_leave.len(), 1);
    let world = world.set("policy.mode", "apply");
    assert_eq!(outcomes_of(&world.run().await), [""; 0]);
    pass(&world, TimeDelta::hours(1));
    assert_eq!(
        outcomes_of(&world.run().await),
        [format!("delete {ZOE} applied")]
    );
}

/// Another day, a vanished row and a day that is postponed end the wait.
#[tokio::test]
async fn a_changed_row_waits_again() {
    let world = world().await;
    leaves_in(&world, -1, "Zoe");
    assert_converged(&world.run().await);
    let changes: [&dyn Fn(); 3] = [
        &|| _ = leaves_in(&world, -2, "Zoe"),
        &|| world.roster("op,email\nupsert,ann@x.co\n"),
        &|| _ = leaves_in(&world, 2, "Zoe"),
    ];
    for change in changes {
        change();
        pass(&world, TimeDelta::hours(1));
        assert_eq!(outcomes_of(&world.run().await), [""; 0]);
        leaves_in(&world, -1, "Zoe");
        pass(&world, TimeDelta::hours(1));
        assert_eq!(outcomes_of(&world.run().await), [""; 0]);
    }
    pass(&world, TimeDelta::hours(1));
    assert_eq!(
        outcomes_of(&world.run().await),
        [format!("delete {ZOE} applied")]
    );
}

#[tokio::test]
async fn a_clock_a_day_ahead_starts_no_wait() {
    let world = world().await;
    leaves_in(&world, 3, "Zoe");
    assert_converged(&world.run().await);
    leaves_in(&world, 0, "Zoe");
    pass(&world, TimeDelta::days(3));
    for _ in 0..2 {
        let run = world.run().await;
        assert_eq!(outcomes_of(&run), [""; 0]);
        let in_doubt = run
            .warnings
            .iter()
            .filter(|one| one.starts_with("leave_on: "));
        assert_eq!(in_doubt.count(), 1, "{:?}", run.warnings);
        pass(&world, TimeDelta::days(3));
    }
    pass(&world, TimeDelta::days(-3));
    assert_eq!(
        outcomes_of(&world.run().await),
        [""; 0],
        "the first that counts"
    );
    pass(&world, TimeDelta::hours(1));
    assert_eq!(
        outcomes_of(&world.run().await),
        [format!("delete {ZOE} applied")]
    );
}

/// The time zone in which each day begins first.
const FIRST: Tz = chrono_tz::Pacific::Kiritimati;

#[tokio::test]
async fn the_zone_of_the_schedule_decides_the_day() {
    let world = world().await.set("schedule.timezone", "Etc/GMT+12");
    let today = Utc::now().with_timezone(&FIRST).date_naive();
    leaves_on(&world, today, "Zoe Lee");
    let run = world.run().await;
    assert_eq!(outcomes_of(&run), [format!("update {ZOE} applied")]);
    let world = world.set("schedule.timezone", FIRST.name());
    // The day in this zone may have changed since.
    leaves_on(&world, today - Days::new(1), "Zoe");
    let run = world.run().await;
    assert_eq!(outcomes_of(&run), [""; 0]);
    assert_eq!(run.plan.expect("a plan").leaving.len(), 1);
}

#[tokio::test]
async fn limits_count_a_planned_removal() {
    let world = world().await.set("policy.max_removals", "0");
    leaves_in(&world, 0, "Zoe");
    assert_converged(&world.run().await);
    for _ in 0..2 {
        pass(&world, TimeDelta::hours(1));
        let run = world.run().await;
        assert_eq!(run.result().as_str(), "held", "{run:?}");
        assert_eq!(super::held(&run), 1);
    }
    super::approve(&world, omni_user_sync::model::RunRef::Latest).await;
    assert_eq!(
        outcomes_of(&world.run().await),
        [format!("delete {ZOE} applied")]
    );
}

/// Another roster than that of `source.path` is not accepted.
#[tokio::test]
async fn another_roster_starts_no_wait() {
    let world = world().await;
    let date = leaves_in(&world, 0, "Zoe");
    let other = world.folder.path().join("other.csv");
    std::fs::rename(world.roster_path(), &other).expect("moved");
    world.roster("op,email,display_name\nupsert,ann@x.co,Ann\n");
    for _ in 0..3 {
        let path = other.display().to_string();
        let applied = crate::support::command(&world, &["apply", &path, "--yes"]).await;
        assert_eq!(applied.code, 0, "{}", applied.err);
        let waits = format!("delete, due since {date}, waits for a second run");
        assert!(applied.out.contains(&waits), "{}", applied.out);
        assert!(
            applied.err.contains("leave_on: only runs over"),
            "{}",
            applied.err
        );
        pass(&world, TimeDelta::hours(1));
    }
    assert!(world.org().user(ZOE).is_some());
}
