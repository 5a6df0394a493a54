//! How many requests and seconds a run takes: the real client against the mock server, over HTTP.
//! `cargo bench --bench requests`; what was measured stands in `benches/README.md`.
//!
//! It fails where a promise is broken: a request over the limit, more requests than promised, a second
//! run that writes, or more than 5% above the time that the limit leaves.

#![allow(clippy::print_stdout)] // its output is the table

#[path = "../tests/support/mod.rs"]
mod support;

use omni_user_sync::model::Trigger;
use omni_user_sync::run::{Reconciler, RunOutcome, Stop};
use omni_user_sync::sandbox::{Burst, LargerCount, Limiter, Options};
use serde_json::json;
use std::fmt::Write;
use std::ops::Range;
use std::time::Duration;
use support::{World, assert_converged};

/// A second or so is spent on other things than waiting, however little there is to wait.
const SLACK: f64 = 1.0;
/// How far above the optimum a run may take.
const TOLERANCE: f64 = 1.05;
/// Where requests alone are counted, nothing is to wait.
const UNLIMITED: u32 = 1_000_000;

/// What is promised of a scenario.
struct Promise {
    scenario: &'static str,
    /// The minimum number of requests of any client.
    bound: u64,
    /// The maximum number of requests.
    most: u64,
    /// Requests in any 60 seconds.
    limit: u32,
    /// The maximum duration in seconds, if it does not depend on the limit.
    seconds: Option<f64>,
    /// The requests of the original script: a lookup for each row, and a write for each upsert and each user found.
    script: u64,
}

impl Promise {
    /// The minimum duration of this many requests under the limit, in seconds.
    fn optimum(&self, requests: u64) -> f64 {
        60.0 * (requests.saturating_sub(1) / u64::from(self.limit)) as f64
    }

    /// Prints the result, and fails if the promise is broken.
    fn check(&self, world: &World, outcome: &RunOutcome) {
        assert_converged(outcome);
        let Self {
            scenario,
            bound,
            most,
            script,
            ..
        } = self;
        let (requests, seconds) = (outcome.requests, outcome.duration.as_secs_f64());
        let refused = world.org().too_many().len();
        assert_eq!(requests, world.take_requests().0 as u64, "{scenario}");
        let rows = outcome.roster().expect("it was read").rows;
        let optimum = self.optimum(requests);
        let ratio = match optimum > 0.0 {
            true => format!("{:.3}", seconds / optimum),
            false => "–".to_owned(),
        };
        // It waits for two seconds before each row.
        let wait = 2 * rows;
        println!(
            "| {scenario} | {rows} | {bound} | {most} | {requests} | {seconds:.2} | {optimum:.0} | \
             {ratio} | {refused} | {script}, {wait} s |"
        );
        assert!(requests <= *most, "{scenario}: {requests} requests");
        assert_eq!(refused, 0, "{scenario}: over the limit");
        let allowed = (optimum * TOLERANCE).max(self.seconds.unwrap_or(SLACK));
        let is_counted_alone = self.limit == UNLIMITED;
        assert!(
            is_counted_alone || seconds <= allowed,
            "{scenario}: {seconds:.1} s"
        );
    }
}

/// The example of the original script: 20 present users, 2 of them different, 10 new ones and 10 deletions, under the
/// default limit. Twice.
async fn original_example() {
    let (limit, sent) = (Options::default().requests_per_minute, "55");
    let world = World::with_limit(Options::with_full_lists())
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
    let first = Promise {
        scenario: "original example",
        bound: 23,
        most: 26,
        limit,
        seconds: None,
        script: 80,
    };
    first.check(&world, &world.run().await);
    let again = Promise {
        scenario: "the same again",
        bound: 1,
        most: 2,
        script: 70,
        ..first
    };
    again.check(&world, &world.run().await);
    assert_eq!(world.writes(), Vec::<String>::new());
}

/// An organisation of 10,000, all of them in the roster: at rest, and when few rows change.
async fn ten_thousand() {
    let world = org_of(10_000)
        .await
        .set("policy.prune", "managed")
        .set("policy.max_removals", "100%")
        .set("policy.max_updates", "");
    let same = |number: usize| format!("Name {number}");
    let roster = |rows: &str| format!("op,email,display_name\n{rows}");
    world.roster(&roster(&rows(1..10_001, same)));
    let reconciler = world.reconciler();
    assert_converged(&on(Trigger::Schedule, &reconciler).await);
    world.org().clear_requests();
    let steady = Promise {
        scenario: "steady state, org of 10,000, full run",
        bound: 101,
        most: 102,
        limit: UNLIMITED,
        seconds: None,
        script: 20_000,
    };
    steady.check(&world, &on(Trigger::Schedule, &reconciler).await);

    let changed = |number| match number {
        1..=10 => format!("Other {number}"),
        number => same(number),
    };
    world.roster(&roster(&rows(1..10_001, changed)));
    let ten = Promise {
        scenario: "10 rows of 10,000 changed, file event",
        bound: 10,
        most: 10,
        ..steady
    };
    ten.check(&world, &on(Trigger::File, &reconciler).await);

    let changed = |number| match number {
        1..=5 => format!("Third {number}"),
        number => changed(number),
    };
    let mut text = roster(&rows(1..9_996, changed));
    add_new_named(&mut text, 5);
    world.roster(&text);
    let fifteen = Promise {
        scenario: "5 new, 5 changed, 5 removed, file event",
        bound: 15,
        most: 22,
        ..ten
    };
    fifteen.check(&world, &on(Trigger::File, &reconciler).await);
}

/// An organisation of 10,000 whose lists omit attributes, all of them in the roster.
async fn omitted_attributes() {
    let options = Options {
        users: 10_000,
        requests_per_minute: UNLIMITED,
        ..Options::default()
    };
    let world = World::with(options).await.set("policy.max_updates", "");
    let roster = |changed: usize| {
        let head = "email,display_name,department\n".to_owned();
        (1..10_001).fold(head, |mut rows, number| {
            let name = if number <= changed { "Other" } else { "Name" };
            writeln!(rows, "user{number:04}@example.com,{name} {number},Sales").expect("memory");
            rows
        })
    };
    world.roster(&roster(0));
    assert_converged(&world.run().await);
    world.org().clear_requests();
    let second = Promise {
        scenario: "lists omit attributes, 10,000, second run",
        bound: 101,
        most: 202,
        limit: UNLIMITED,
        seconds: None,
        script: 20_000,
    };
    second.check(&world, &world.run().await);
    assert_eq!(world.writes(), Vec::<String>::new());
    world.roster(&roster(10));
    let restarted = Promise {
        scenario: "the same, restarted, 10 rows changed, file event",
        bound: 10,
        most: 10,
        ..second
    };
    restarted.check(&world, &on(Trigger::File, &world.reconciler()).await);
}

/// Pages of up to 1,000 users, of at most 100, and larger ones refused.
async fn page_sizes() {
    for (scenario, max_page, larger_count, most) in [
        ("10,000, pages of 1,000", 1_000, LargerCount::Capped, 12),
        (
            "10,000, pages of at most 100",
            100,
            LargerCount::Capped,
            102,
        ),
        (
            "10,000, larger pages refused",
            100,
            LargerCount::Refused,
            103,
        ),
    ] {
        let options = Options {
            users: 10_000,
            requests_per_minute: UNLIMITED,
            max_page,
            larger_count,
            ..Options::with_full_lists()
        };
        let world = World::with(options)
            .await
            .set("policy.prune", "managed")
            .set("policy.max_updates", "");
        world.roster(&format!(
            "op,email,display_name\n{}",
            rows(1..10_001, |number| format!("Name {number}"))
        ));
        assert_converged(&world.run().await);
        world.org().clear_requests();
        let promise = Promise {
            scenario,
            bound: most - 1,
            most,
            limit: UNLIMITED,
            seconds: None,
            script: 20_000,
        };
        promise.check(&world, &world.run().await);
    }
}

async fn few_of_many() {
    let world = org_of(20_000).await;
    let roster = rows(1..11, |number| format!("Other {number}"));
    world.roster(&format!("op,email,display_name\n{roster}"));
    let promise = Promise {
        scenario: "10 rows, all change, org of 20,000, cold",
        bound: 22,
        most: 23,
        limit: UNLIMITED,
        seconds: None,
        script: 20,
    };
    promise.check(&world, &world.run().await);
}

async fn two_keys() {
    let options = Options {
        requests_per_minute: 60,
        keys: vec!["one".into(), "two".into()],
        ..Options::with_full_lists()
    };
    let mut world = World::with_limit(options).await;
    let keys = world.folder.path().join("keys");
    std::fs::write(&keys, "one\ntwo\n").expect("the keys are written");
    world = world
        .set("omni.api_key_file", &keys.display().to_string())
        .without("OMNI_API_KEY");
    let mut roster = "op,email,display_name,region,department\n".to_owned();
    add_new(&mut roster, 110);
    world.roster(&roster);
    let promise = Promise {
        scenario: "110 creations, two keys at 60/min",
        bound: 111,
        most: 112,
        limit: 2 * 60,
        seconds: Some(20.0),
        script: 220,
    };
    promise.check(&world, &world.run().await);
}

/// More than one minute's worth of creations, at a server that takes its time.
async fn creations() {
    const LIMIT: u32 = 600;
    let options = Options {
        requests_per_minute: LIMIT,
        limiter: Limiter::Sliding,
        latency: Duration::from_millis(20),
        ..Options::with_full_lists()
    };
    let world = World::with(options).await;
    let mut roster = "op,email,display_name,region,department\n".to_owned();
    add_new(&mut roster, 700);
    world.roster(&roster);
    let promise = Promise {
        scenario: "700 creations at 600/min, 20 ms each",
        bound: 701,
        most: 702,
        limit: LIMIT,
        seconds: None,
        script: 1400,
    };
    promise.check(&world, &world.run().await);
    assert_eq!(world.org().users().len(), 700);
}

/// A server with a lower limit than configured, over shorter periods, that does not say how long to wait.
async fn lower_limit() {
    let burst = Burst {
        requests: 20,
        span: Duration::from_secs(10),
    };
    let options = Options {
        requests_per_minute: UNLIMITED,
        burst: Some(burst),
        retry_after: false,
        ..Options::with_full_lists()
    };
    let world = World::with_limit(options)
        .await
        .set("omni.requests_per_minute", "600");
    let mut roster = "op,email,display_name,region,department\n".to_owned();
    add_new(&mut roster, 150);
    world.roster(&roster);
    let outcome = world.run().await;
    assert_converged(&outcome);
    let refused = world.org().too_many().len();
    world.org().clear_requests();
    let (requests, seconds) = (outcome.requests, outcome.duration.as_secs_f64());
    // Twenty at once, and twenty more every ten seconds.
    let optimum = 10.0 * (151_u64 / 20) as f64;
    println!(
        "| 150 creations, server 20 per 10 s, 600/min configured | 150 | 151 | 182 | {requests} | {seconds:.2} | \
         {optimum:.0} | {:.3} | {refused} | 300, 300 s |",
        seconds / optimum
    );
    assert!(refused <= 30, "{refused} refused");
    assert!(seconds <= 2.0 * optimum, "{seconds:.1} s");
}

async fn org_of(users: usize) -> World {
    let options = Options {
        users,
        requests_per_minute: UNLIMITED,
        ..Options::with_full_lists()
    };
    World::with(options).await
}

async fn on(trigger: Trigger, reconciler: &Reconciler) -> RunOutcome {
    reconciler.run(trigger, None, &Stop::default()).await
}

/// Rows for the mock server's made-up users with these numbers.
fn rows(numbers: Range<usize>, name: impl Fn(usize) -> String) -> String {
    numbers.fold(String::new(), |mut rows, number| {
        let name = name(number);
        writeln!(rows, "upsert,user{number:04}@example.com,{name}").expect("memory");
        rows
    })
}

fn add_new(roster: &mut String, count: usize) {
    for number in 0..count {
        let row = format!("upsert,new{number}@example.com,New,[west],Support");
        writeln!(roster, "{row}").expect("memory");
    }
}

fn add_new_named(roster: &mut String, count: usize) {
    for number in 0..count {
        writeln!(roster, "upsert,new{number}@example.com,New").expect("memory");
    }
}

#[tokio::main]
async fn main() {
    println!(
        "| scenario | rows | lower bound | at most | requests | seconds | optimum | ratio | 429s | the \
         script |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    original_example().await;
    ten_thousand().await;
    omitted_attributes().await;
    page_sizes().await;
    few_of_many().await;
    two_keys().await;
    creations().await;
    lower_limit().await;
}
