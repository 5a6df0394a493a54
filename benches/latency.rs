//! How long it takes from a finished roster to the first write: the daemon as it is deployed, with a
//! roster of 10,000 rows. `cargo bench --bench latency`; what was measured stands in
//! `benches/README.md`.
//!
//! It fails where the median is more than 150 ms above `source.settle`.

#![allow(clippy::print_stdout)] // its output is the table

mod daemon;
#[path = "../tests/support/mod.rs"]
mod support;

use daemon::{Daemon, replace_roster};
use omni_user_sync::sandbox::Options;
use std::fmt::Write;
use std::time::{Duration, Instant};
use support::World;

const SETTLE: Duration = Duration::from_secs(2);
const ALLOWED: Duration = Duration::from_millis(150);
const ROUNDS: usize = 9;
const USERS: usize = 10_000;

/// A roster that appears whole; when it did.
fn drop_roster(world: &World, round: usize) -> Instant {
    let mut text = "email,display_name\n".to_owned();
    for number in 1..USERS {
        writeln!(text, "user{number:04}@example.com,").expect("memory");
    }
    writeln!(text, "user{USERS:04}@example.com,Name {round}").expect("memory");
    replace_roster(world, &text);
    Instant::now()
}

/// Waits for this number of writes. Returns the time.
async fn writes(world: &World, count: usize) -> Instant {
    let since = Instant::now();
    while world.org().writes().len() < count {
        assert!(since.elapsed() < Duration::from_secs(120), "no write");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Instant::now()
}

#[tokio::main]
async fn main() {
    let options = Options {
        users: USERS,
        requests_per_minute: 1_000_000,
        ..Options::with_full_lists()
    };
    let settle = humantime::format_duration(SETTLE).to_string();
    let world = World::with(options)
        .await
        .set("source.settle", &settle)
        .set("serve.listen", "");
    drop_roster(&world, 0);
    let _daemon = Daemon::start(&world);
    writes(&world, 1).await;
    let mut over = Vec::new();
    for round in 1..=ROUNDS {
        // The run before is over, and its report is written.
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.org().clear_requests();
        let dropped = drop_roster(&world, round);
        let first = writes(&world, 1).await;
        over.push((first - dropped).saturating_sub(SETTLE));
        assert_eq!(
            world.org().requests().len(),
            1,
            "one changed row, one request"
        );
    }
    over.sort();
    let (median, most) = (over[ROUNDS / 2], over[ROUNDS - 1]);
    println!(
        "| rows | rounds | settle | above it, median | at most |\n| --- | --- | --- | --- | --- |"
    );
    println!("| {USERS} | {ROUNDS} | {settle} | {median:.0?} | {most:.0?} |");
    assert!(median <= ALLOWED, "{median:.0?} above source.settle");
}
