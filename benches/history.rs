//! How long looking back takes with a large organisation:
//! `cargo test --release --test large -- --ignored --nocapture`
#![cfg(feature = "sandbox")]
#![allow(clippy::print_stdout)] // the figures

mod support;

use chrono::Utc;
use futures_util::future::join_all;
use omni_user_sync::desired;
use omni_user_sync::journal::{
    Access, ChangeIntent, Journal, Kind, Outcome, RosterNote, RunEnd, RunNumber, RunStart, Settled,
    StateLock, Trigger,
};
use omni_user_sync::omni::Observed;
use omni_user_sync::user::{Email, Schema, UserId};
use serde_json::json;
use std::fmt::Write;
use std::time::Instant;
use support::{World, command};

const USERS: usize = 100_000;
const RUNS: usize = 1_000;
const CHANGES: usize = 100;

fn email(number: usize) -> Email {
    Email::parse(&format!("u{number}@x.co")).expect("an email")
}

async fn change(journal: &Journal, run: RunNumber, number: usize) {
    let intent = ChangeIntent {
        intended: Utc::now(),
        email: email(number),
        user_id: UserId::parse(&format!("id-{number}")),
        kind: Kind::Update,
        fields: Vec::new(),
        approved: false,
    };
    let change = journal.intend(run, &intent).await.expect("written");
    let settled = Settled {
        at: Utc::now(),
        outcome: Outcome::Done,
        detail: String::new(),
    };
    journal.settle(change, &settled).await.expect("written");
}

async fn fill(world: &World) {
    let settings = world.settings();
    let lock = StateLock::acquire(&settings.state.dir, "test").expect("free");
    let journal = Journal::open(&world.sandbox.url(), Access::Write(lock)).expect("a journal");
    let roster = desired::read(
        &settings.source,
        &world.roster_path(),
        true,
        &Schema::unknown(),
    );
    let note = RosterNote {
        now: Utc::now(),
        desired: &roster.expect("read"),
        observed: &Observed::of_some([], 0),
        is_accepted: true,
    };
    journal.note_roster(note).await.expect("written");
    for _ in 0..RUNS {
        let start = RunStart {
            trigger: Trigger::Schedule,
            started: Utc::now(),
            is_source: true,
        };
        let run = journal.begin(start).await.expect("written");
        join_all((0..CHANGES).map(|number| change(&journal, run, number))).await;
        let end = RunEnd {
            ended: Utc::now(),
            outcome: "converged".into(),
            fingerprint: None,
            rows: Some(USERS as u64),
            users: Some(USERS as u64),
            needed: None,
            done: CHANGES as u64,
            failed: 0,
            held: 0,
            bad_rows: 0,
            requests: 1_101,
            detail: String::new(),
        };
        journal.finish(run, &end).await.expect("written");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures, not a test"]
async fn looking_back() {
    let world = World::new().await;
    world.user("u7@x.co", "U", json!({ "department": "a" }));
    let rows = (0..USERS).fold("email,display_name\n".to_owned(), |mut text, number| {
        writeln!(text, "u{number}@x.co,U").expect("a String takes every write");
        text
    });
    world.roster(&rows);
    fill(&world).await;
    for arguments in [
        &["history"][..],
        &["history", "500"],
        &["explain", "u7@x.co"],
    ] {
        let begun = Instant::now();
        let ended = command(&world, arguments).await;
        println!("{:>10.3?}  {}", begun.elapsed(), arguments.join(" "));
        assert_eq!(ended.code, 0, "{}", ended.err);
    }
}
