//! How many requests and seconds a run takes: the real client against the stand-in, over HTTP.
//! `cargo bench --bench requests`; what was measured stands in `benches/README.md`.
//!
//! It fails where a promise is broken: a request over the limit, a second run that writes, or more
//! than 5% above the time that the limit leaves.

#![allow(clippy::print_stdout)] // its output is the table

#[path = "../tests/support/mod.rs"]
mod support;

use omni_user_sync::reconcile::RunOutcome;
use omni_user_sync::sandbox::{Limiter, Options};
use serde_json::json;
use std::fmt::Write;
use std::time::Duration;
use support::{World, assert_converged};

/// A second or so is spent on other things than waiting, however little there is to wait.
const SLACK: f64 = 1.0;
/// How far above the optimum a run may take.
const TOLERANCE: f64 = 1.05;

/// What a scenario is, and what came of it.
struct Measured {
    scenario: &'static str,
    rows: u64,
    limit: u32,
    /// What the original script sends: a look-up for each row, and a write where it finds something
    /// to write to. An upsert it always writes.
    script: u64,
    /// One reading of the organisation, and each change once.
    bound: u64,
    requests: u64,
    seconds: f64,
    refused: usize,
}

impl Measured {
    fn of(
        scenario: &'static str,
        world: &World,
        limit: u32,
        script: u64,
        outcome: &RunOutcome,
    ) -> Self {
        let org = world.org();
        let requests = org.requests().len() as u64;
        assert_eq!(requests, outcome.requests, "both count the same");
        Self {
            scenario,
            rows: outcome.roster.as_ref().expect("it was read").rows,
            limit,
            script,
            // Each of these organisations is read in one page.
            bound: 1 + org.writes().len() as u64,
            requests,
            seconds: outcome.took.as_secs_f64(),
            refused: org.too_many().len(),
        }
    }

    /// The seconds that the limit alone makes so many requests take.
    fn optimum(&self) -> f64 {
        let windows = self.requests.saturating_sub(1) / u64::from(self.limit);
        60.0 * windows as f64
    }

    fn assert_fine(&self) {
        let Self {
            scenario,
            seconds,
            refused,
            ..
        } = self;
        assert_eq!(*refused, 0, "{scenario}: over the limit");
        let most = (self.optimum() * TOLERANCE).max(SLACK);
        assert!(
            *seconds <= most,
            "{scenario}: {seconds:.1} s, {most:.1} s are allowed"
        );
    }

    fn row(&self) -> String {
        let optimum = self.optimum();
        let ratio = if optimum > 0.0 {
            format!("{:.3}", self.seconds / optimum)
        } else {
            "–".to_owned()
        };
        // It waits for two seconds before each row.
        let script = format!("{}, {} s", self.script, 2 * self.rows);
        format!(
            "| {} | {} | {} | {} | {:.2} | {optimum:.0} | {ratio} | {} | {script} |",
            self.scenario, self.rows, self.requests, self.bound, self.seconds, self.refused,
        )
    }
}

/// The example that the original script comes with: 20 present users of whom 2 differ, 10 new ones
/// and 10 deletions, under the usual limit. Twice.
async fn original_example() -> [Measured; 2] {
    let (allowed, sent) = (Options::default().requests_per_minute, "55");
    let world = World::new()
        .await
        .set("omni.requests_per_minute", sent)
        .set("policy.max_removals", "100%");
    let mut roster = "op,email,display_name,region,department\n".to_owned();
    for number in 0..30 {
        let email = format!("u{number}@example.com");
        let attributes = json!({ "region": ["north"], "department": "Sales", "tier": "gold" });
        world.user(&email, "Same", attributes);
        let row = match number {
            0..2 => format!("upsert,{email},Same,\"[north,south]\",Support"),
            2..20 => format!("upsert,{email},Same,[north],Sales"),
            _ => format!("delete,{email},,,"),
        };
        writeln!(roster, "{row}").expect("memory");
    }
    add_new(&mut roster, 10);
    world.roster(&roster);

    let first = world.run().await;
    assert_converged(&first);
    let first = Measured::of("original example", &world, allowed, 80, &first);
    world.org().clear_requests();
    let second = world.run().await;
    assert_converged(&second);
    assert_eq!(world.writes(), Vec::<String>::new());
    let second = Measured::of("the same again", &world, allowed, 70, &second);
    [first, second]
}

/// More than one minute's worth of creations, at a server that takes its time.
async fn creations() -> Measured {
    const LIMIT: u32 = 600;
    let options = Options {
        requests_per_minute: LIMIT,
        limiter: Limiter::Sliding,
        latency: Duration::from_millis(20),
        ..Options::default()
    };
    let world = World::with(options).await;
    let mut roster = "op,email,display_name,region,department\n".to_owned();
    add_new(&mut roster, 700);
    world.roster(&roster);
    let outcome = world.run().await;
    assert_converged(&outcome);
    assert_eq!(world.org().users().len(), 700);
    Measured::of("700 creations", &world, LIMIT, 1400, &outcome)
}

fn add_new(roster: &mut String, count: usize) {
    for number in 0..count {
        let row = format!("upsert,new{number}@example.com,New,[west],Support");
        writeln!(roster, "{row}").expect("memory");
    }
}

#[tokio::main]
async fn main() {
    println!(
        "| scenario | rows | requests | lower bound | seconds | optimum | ratio | 429s | the \
         script |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    let [first, second] = original_example().await;
    for measured in [first, second, creations().await] {
        println!("{}", measured.row());
        measured.assert_fine();
    }
}
