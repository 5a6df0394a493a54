//! What reading takes of the rate limit, in simulated time. The organisation has 1,000 pages, like one of 100,000 users
//! at 100 per page: the limit counts requests, and small pages take little of this machine's time.

use crate::support::paused::HeldClock;
use crate::support::{World, assert_converged, outcomes_of};
use omni_user_sync::model::{ReadingTime, RunOptions, Trigger};
use omni_user_sync::run::{Reconciler, RunOutcome, Stop};
use omni_user_sync::sandbox::Options;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::sleep;

const USERS: usize = 2_000;
const PAGE: usize = 2;
const INTERVAL: Duration = Duration::from_secs(15 * 60);
/// Half of 15 minutes at 60 requests per minute.
const BUDGET: usize = 450;

/// All users as Omni has them. The first ones get another name.
fn roster(world: &World, renamed: usize) -> String {
    let users = world.org().users();
    let named = users.iter().enumerate();
    named.fold(
        "email,display_name\n".to_owned(),
        |mut text, (number, user)| {
            let email = user["userName"].as_str().expect("an email");
            let name = user["displayName"].as_str().expect("a name");
            let name = if number < renamed { "Other" } else { name };
            writeln!(text, "{email},{name}").expect("a string grows");
            text
        },
    )
}

/// An organisation that was read once, with few requests.
async fn org() -> World {
    let options = Options {
        users: USERS,
        ..Options::with_full_lists()
    };
    let world = World::with(options).await.set("policy.max_updates", "");
    world.roster(&roster(&world, 0));
    assert_converged(&world.apply().await);
    let world = world.set("omni.page_size", &PAGE.to_string());
    world.set("omni.requests_per_minute", "60")
}

async fn scheduled(reconciler: &Reconciler, stop: &Stop) -> RunOutcome {
    let options = RunOptions {
        reading_time: ReadingTime::Within(INTERVAL),
        ..Trigger::Schedule.into()
    };
    reconciler.run(options, None, stop).await
}

/// The first users of the pages that were requested.
fn pages(world: &World) -> BTreeSet<usize> {
    let requests = world.org().requests();
    let starts = requests.iter().filter_map(|request| {
        let (_, start) = request.query.split_once("startIndex=")?;
        start.parse().ok()
    });
    starts.collect()
}

/// 45 minutes with the usual limit: a run of 450 requests ends within 8 of its 15 minutes. The clock does not show
/// that, because paused time also advances while a run waits for another thread.
#[tokio::test(start_paused = true)]
async fn all_users_are_seen_in_three_runs() {
    let world = org().await;
    let reconciler = world.reconciler();
    let mut read = BTreeSet::new();
    for _ in 0..3 {
        world.org().clear_requests();
        assert_converged(&scheduled(&reconciler, &Stop::default()).await);
        let requests = world.org().requests().len();
        assert!(requests <= BUDGET, "{requests}");
        read.extend(pages(&world));
        sleep(INTERVAL).await;
    }
    let all: BTreeSet<_> = (1..=USERS).step_by(PAGE).collect();
    assert!(read.is_superset(&all), "{} of {}", read.len(), all.len());
}

/// The clock stands still from the change of the file on, so nothing may wait for the rate limit or for a page.
#[tokio::test(start_paused = true)]
async fn a_new_roster_is_written_during_a_listing() {
    let world = org().await;
    let reconciler = Arc::new(world.reconciler());
    // The cache is old, so that changed users are looked up.
    tokio::time::advance(2 * INTERVAL).await;
    let sent = world.org().requests().last().map_or(0, |one| one.number);
    world.org().clear_requests();
    let stop = Stop::default();
    let (path, text, interrupt) = (
        world.roster_path(),
        roster(&world, 2),
        stop.for_next.clone(),
    );
    let (changed, change) = oneshot::channel();
    // The second burst has used all that a listing may use in a minute.
    let number = sent + 2 * 54;
    world.org().before(number, move |_| {
        std::fs::write(path, text).expect("a new roster");
        interrupt.cancel();
        changed.send(()).expect("the test waits");
    });
    let run = reconciler.clone();
    let run = tokio::spawn(async move { scheduled(&run, &stop).await });
    change.await.expect("the file changes");
    let clock = HeldClock::new();
    clock.until(|| run.is_finished()).await;
    let first = run.await.expect("no panic");
    let run = reconciler.clone();
    let file = async move { run.run(Trigger::File, None, &Stop::default()).await };
    let run = tokio::spawn(file);
    clock.until(|| run.is_finished()).await;
    let second = run.await.expect("no panic");
    let done: BTreeSet<_> = [first, second].iter().flat_map(outcomes_of).collect();
    for number in 1..=2 {
        let applied = format!("update user{number:04}@example.com applied");
        assert!(done.contains(&applied), "{done:?}");
    }
    let writes = world.writes().len();
    assert_eq!(writes, 2);
    let others = world.org().requests().len() - writes;
    assert!(
        others <= 2 * 54 + 8,
        "definitions, pages, two users: {others}"
    );
}
