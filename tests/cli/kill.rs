//! Killed at any moment, it converges after the restart: `apply` is killed at requests chosen at
//! random, before they are carried out or after. `KILLS=200 cargo test --test cli kill::` for a campaign.
#![allow(clippy::print_stdout)] // the seed, for running the same again

use crate::support::World;
use chrono::Utc;
use omni_user_sync::model::{ChangeOutcome, ChangeRecord, Operation, RunNumber, RunRef};
use omni_user_sync::sandbox::{Options, Request};
use omni_user_sync::state::{Access, StateDb};
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::{Child, Command, Stdio};

const USERS: usize = 24;

/// The program itself, so that a kill is a kill.
pub(crate) fn apply(world: &World) -> Child {
    start(world, &["apply", "--yes"])
}

/// A process that begins once its standard input is closed, which [`wait`] does: it has sent nothing before.
fn start(world: &World, arguments: &[&str]) -> Child {
    Command::new("/bin/sh")
        .args(["-c", r#"read _; exec "$0" "$@" </dev/null"#])
        .arg(env!("CARGO_BIN_EXE_omni-user-sync"))
        .args(arguments)
        .stdin(Stdio::piped())
        .env_clear()
        .envs(world.variables())
        .current_dir(world.folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it runs")
}

pub(crate) async fn wait(mut child: Child) -> Option<i32> {
    let ended = tokio::task::spawn_blocking(move || child.wait()).await;
    ended.expect("no panic").expect("it ends").code()
}

/// A roster in which every user changes in one way or another, and what Omni is to be then.
fn roster(round: usize) -> (String, BTreeSet<(String, String)>) {
    let mut text = "op,email,display_name\n".to_owned();
    let mut expected = BTreeSet::new();
    for number in 0..USERS {
        // Different enough not to count as misspellings of each other.
        let email = format!("u{number}{number}{number}@x.co");
        if (number + round).is_multiple_of(3) {
            writeln!(text, "delete,{email},").expect("a String takes every write");
        } else {
            let name = format!("Round {round}");
            writeln!(text, "upsert,{email},{name}").expect("a String takes every write");
            expected.insert((email, name));
        }
    }
    (text, expected)
}

fn users(world: &World) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let users = world.org().users();
    users
        .iter()
        .map(|user| (text(&user["userName"]), text(&user["displayName"])))
        .collect()
}

/// The changes of the runs after this one, and the number of the last run.
pub(crate) async fn changes_since(world: &World, before: u64) -> (Vec<ChangeRecord>, u64) {
    let db = world.state_db();
    let last = db
        .runs(1)
        .await
        .expect("read")
        .first()
        .map_or(0, |run| run.number.0);
    let mut all = Vec::new();
    for run in before + 1..=last {
        all.extend(db.changes(RunNumber(run)).await.expect("read"));
    }
    (all, last)
}

/// Each write that the mock server saw has its intent, and what the state database calls done was seen: both
/// counted, round by round.
fn assert_true(changes: &[ChangeRecord], writes: &[Request]) {
    for write in writes {
        let seen = writes.iter().filter(|other| is_same(other, write)).count();
        let meant = changes.iter().filter(|change| is_of(change, write)).count();
        assert!(
            seen <= meant,
            "{seen} writes and {meant} intents: {write:?}"
        );
    }
    for change in changes {
        assert!(
            change.settled.is_some(),
            "all is known in the end: {change:?}"
        );
        let is_done = change
            .settled
            .as_ref()
            .is_some_and(|settled| settled.outcome == ChangeOutcome::Applied);
        let seen = writes.iter().any(|write| is_of(change, write));
        assert!(!is_done || seen, "never happened: {change:?}");
    }
}

fn is_same(a: &Request, b: &Request) -> bool {
    (&a.method, &a.path, &a.body) == (&b.method, &b.path, &b.body)
}

/// Whether a change in the state database is of this write.
fn is_of(change: &ChangeRecord, write: &Request) -> bool {
    let intent = &change.intent;
    let is_path = || {
        let id = intent.user_id.as_ref().map(|id| id.as_str());
        id.is_some_and(|id| write.path.ends_with(id))
    };
    match intent.operation {
        Operation::Create => {
            let name = write.body.as_ref().map(|body| body["userName"].clone());
            write.method == "POST" && name == Some(json!(intent.subject.to_string()))
        }
        Operation::Delete => write.method == "DELETE" && is_path(),
        Operation::Leave | Operation::Join | Operation::Assign | Operation::Transfer => {
            panic!("the roster names no groups, and no user owns a schedule")
        }
        Operation::Update | Operation::Deactivate => write.method == "PATCH" && is_path(),
    }
}

/// An organisation whose mock server can kill a process.
pub(crate) async fn world() -> World {
    let options = Options {
        admin: true,
        ..Options::with_full_lists()
    };
    World::with(options).await.set("source.reports", "")
}

/// Each write has its intent, and what the state database calls applied was sent. `is_of` says whether an intent is that
/// of a write.
pub(crate) fn assert_recorded(
    changes: &[ChangeRecord],
    writes: &[Request],
    is_of: fn(&ChangeRecord, &Request) -> bool,
) {
    let shape = |write: &Request| (write.method.clone(), write.path.clone(), write.body.clone());
    for write in writes {
        let intents = changes.iter().filter(|change| is_of(change, write)).count();
        let same = writes.iter().filter(|other| shape(other) == shape(write));
        assert!(same.count() <= intents, "no intent: {write:?}");
    }
    for change in changes {
        let settled = change.settled.as_ref();
        let settled = settled.unwrap_or_else(|| panic!("all is known in the end: {change:?}"));
        if settled.outcome == ChangeOutcome::Applied {
            let was_seen = writes.iter().any(|write| is_of(change, write));
            assert!(was_seen, "never happened: {change:?}");
        }
    }
}

/// How often to kill, and when: `KILLS` and `SEED`, which are printed.
pub(crate) fn kills() -> (usize, fastrand::Rng) {
    let kills: usize = std::env::var("KILLS").map_or(4, |kills| kills.parse().expect("a number"));
    let seed = std::env::var("SEED").map_or_else(
        |_| fastrand::u64(..),
        |seed| seed.parse().expect("a number"),
    );
    println!("SEED={seed} KILLS={kills}");
    (kills, fastrand::Rng::with_seed(seed))
}

#[tokio::test(flavor = "multi_thread")]
async fn converges_after_a_kill_at_any_request() {
    let (kills, mut random) = kills();
    let world = World::with(Options {
        admin: true,
        ..Options::default()
    })
    .await
    .set("policy.max_removals", "100%")
    .set("policy.max_updates", "")
    .set("source.reports", "");
    let http = reqwest::Client::new();
    let (mut killed, mut round, mut last_run, mut writes) = (0, 0, 0, 0);
    while killed < kills {
        round += 1;
        let (text, expected) = roster(round);
        world.roster(&text);
        let sent = world.org().requests().len();
        let child = apply(&world);
        let at = sent + random.usize(1..=USERS + 2);
        let when = if random.bool() { "before" } else { "after" };
        let order = json!({ "pid": child.id(), "signal": "KILL", "at_request": at, "when": when });
        let url = format!("{}/sandbox/signal", world.sandbox.url());
        let response = http
            .post(url)
            .json(&order)
            .send()
            .await
            .expect("the mock server hears");
        assert!(response.status().is_success(), "{response:?}");
        match wait(child).await {
            Some(code) => assert_eq!(code, 0, "round {round}: it was not killed, so it converged"),
            None => killed += 1,
        }
        assert_eq!(
            wait(apply(&world)).await,
            Some(0),
            "round {round}: one more run converges"
        );
        let now = users(&world);
        let unique: BTreeSet<_> = now.iter().cloned().collect();
        assert_eq!(
            unique.len(),
            now.len(),
            "round {round}: no user is created twice"
        );
        assert_eq!(unique, expected, "round {round}");
        let (changes, now) = changes_since(&world, last_run).await;
        let all = world.org().writes();
        assert_true(&changes, &all[writes..]);
        (last_run, writes) = (now, all.len());
    }
}

/// Kills an `apply` at the request of this number from now on.
async fn apply_and_kill(world: &World, at: usize, when: &str) {
    let code = kill_at(world, apply(world), at, when).await;
    assert_eq!(code, None, "it was killed");
}

/// Kills a process at the request of this number from now on. Returns its exit code if it has ended before.
pub(crate) async fn kill_at(world: &World, child: Child, at: usize, when: &str) -> Option<i32> {
    let at = world.org().requests().len() + at;
    let order = json!({ "pid": child.id(), "signal": "KILL", "at_request": at, "when": when });
    let url = format!("{}/sandbox/signal", world.sandbox.url());
    let response = reqwest::Client::new().post(url).json(&order).send().await;
    assert!(
        response
            .expect("the mock server hears")
            .status()
            .is_success()
    );
    wait(child).await
}

/// Each probe removes the user and the group of the one before, which was killed one request earlier.
#[tokio::test(flavor = "multi_thread")]
async fn a_probe_killed_at_any_request_leaves_nothing() {
    for when in ["before", "after"] {
        let world = World::with(Options {
            users: 3,
            admin: true,
            ..Options::default()
        })
        .await;
        let before = world.org().users();
        let mut at = 1;
        loop {
            let probe = start(&world, &["check", "--probe", "probe@x.co", "--yes"]);
            let code = kill_at(&world, probe, at, when).await;
            let others = world.org().users();
            assert_eq!(others[..3], before, "{when} {at}");
            let groups = world.org().groups();
            assert!(others.len() <= 4 && groups.len() <= 1, "{when} {at}");
            if let Some(code) = code {
                assert_eq!(code, 0, "{when} {at}");
                break;
            }
            at += 1;
        }
        assert!(at > 20, "{at}");
        assert_eq!(
            (world.org().users(), world.org().groups()),
            (before, Vec::new())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_survives_a_kill() {
    for when in ["before", "after"] {
        let world = World::with(Options {
            users: 100,
            admin: true,
            ..Options::default()
        })
        .await;
        let rows: String = (1..=20)
            .map(|number| format!("delete,user{number:04}@example.com\n"))
            .collect();
        world.roster(&format!("op,email\n{rows}"));
        assert_eq!(wait(apply(&world)).await, Some(4), "held");
        let dir = world.settings().state.dir;
        let db = StateDb::open(&world.sandbox.url(), Access::Approve(&dir)).expect("there");
        let approval = db.approve(RunRef::Latest, "ann", Utc::now(), false).await;
        assert_eq!(approval.expect("approved").changes().len(), 20);
        apply_and_kill(&world, 12, when).await;
        assert!(world.org().users().len() > 80, "it was killed midway");
        assert_eq!(wait(apply(&world)).await, Some(0), "{when}");
        assert_eq!(world.org().users().len(), 80);
        // Recreated users are not the approved ones.
        let back = rows.lines().filter_map(|row| row.strip_prefix("delete,"));
        back.for_each(|email| world.user(email, "Back", json!({})));
        assert_eq!(wait(apply(&world)).await, Some(4), "{when}: held again");
    }
}
