//! A kill at any moment loses no schedule: each of a leaver's schedules is transferred before the removal.
//! `KILLS=200 cargo test --test cli kill_leavers::` for a campaign.
#![allow(clippy::print_stdout)] // the seed, for running the same again

use crate::kill::{self, apply, assert_recorded, changes_since, kill_at, kills, wait};
use omni_user_sync::model::{ChangeRecord, FieldChange, Operation};
use omni_user_sync::sandbox::Request;
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write;

const LEAVERS: usize = 4;
const SCHEDULES: usize = 2;
const HEIR: &str = "heir@x.co";

/// The leavers of a round, who are new users in each.
fn leavers(round: usize) -> Vec<String> {
    let name = |number| format!("round{round}leaver{number}@x.co");
    (0..LEAVERS).map(name).collect()
}

fn roster(round: usize) -> String {
    let mut text = format!("op,email,display_name,successor\nupsert,{HEIR},Heir,\n");
    for email in leavers(round) {
        writeln!(text, "delete,{email},,{HEIR}").expect("a String");
    }
    text
}

/// Whether an intent is that of a write.
fn is_of(change: &ChangeRecord, write: &Request) -> bool {
    let intent = &change.intent;
    let schedule = intent.fields.iter().find_map(FieldChange::schedule);
    match (intent.operation, schedule, &intent.user_id) {
        (Operation::Transfer, Some(id), _) => {
            let path = format!("/schedules/{}/transfer-ownership", id.as_str());
            write.path.ends_with(&path)
        }
        (Operation::Delete, _, Some(id)) => {
            write.method == "DELETE" && write.path.ends_with(id.as_str())
        }
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_schedule_is_lost_by_a_kill() {
    let (kills, mut random) = kills();
    let world = kill::world()
        .await
        .set("policy.owned_schedules", "transfer")
        .set("policy.max_removals", "100%");
    world.user(HEIR, "Heir", json!({}));
    world.roster(&format!("op,email,display_name\nupsert,{HEIR},Heir\n"));
    assert_eq!(wait(apply(&world)).await, Some(0));
    let (mut killed, mut round, mut last_run) = (0, 0, 1);
    let (mut writes, mut made) = (world.org().writes().len(), 0);
    while killed < kills {
        round += 1;
        for email in leavers(round) {
            world.user(&email, "Leaver", json!({}));
            for _ in 0..SCHEDULES {
                made += 1;
                let name = format!("report {made}");
                world.org().add_schedule(&email, &name, None);
            }
        }
        world.roster(&roster(round));
        let when = if random.bool() { "before" } else { "after" };
        match kill_at(&world, apply(&world), random.usize(1..=28), when).await {
            Some(code) => assert_eq!(code, 0, "round {round}: it was not killed, so it converged"),
            None => killed += 1,
        }
        let lost = world.org().lost_schedules();
        assert!(lost.is_empty(), "round {round}: {lost:?}");
        let code = wait(apply(&world)).await;
        assert_eq!(code, Some(0), "round {round}: one more run converges");
        let lost = world.org().lost_schedules();
        assert!(lost.is_empty(), "round {round}: {lost:?}");
        let schedules = world.org().schedules();
        let owners: BTreeSet<_> = schedules.iter().map(|one| one.2.as_str()).collect();
        assert_eq!((schedules.len(), owners), (made, BTreeSet::from([HEIR])));
        assert_eq!(world.org().users().len(), 1, "round {round}");
        let (changes, now) = changes_since(&world, last_run).await;
        let all = world.org().writes();
        assert_recorded(&changes, &all[writes..], is_of);
        (last_run, writes) = (now, all.len());
    }
}
