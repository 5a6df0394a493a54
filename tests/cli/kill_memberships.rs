//! Killed at any moment, memberships converge after the restart, and no write of one lacks its intent.
//! `KILLS=200 cargo test --test cli kill_memberships::` for a campaign.
#![allow(clippy::print_stdout)] // the seed, for running the same again

use crate::kill::{self, apply, changes_since, kill_at, kills, wait};
use crate::support::World;
use omni_user_sync::model::{ChangeOutcome, ChangeRecord, Operation};
use omni_user_sync::sandbox::Request;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Users who stay in each group, so that the others are few of its members.
const CORE: usize = 60;
/// Users who join and leave.
const OTHERS: usize = 24;
const GROUPS: [&str; 3] = ["Sales", "Board", "Finance"];

type Members = BTreeMap<String, BTreeSet<String>>;

/// The name of the group that a round creates, unlike those of others.
fn new_group(round: usize) -> String {
    let mut random = fastrand::Rng::with_seed(round as u64);
    format!("{:032x}", random.u128(..))
}

/// A roster in which some users join, some leave, and one is created, as is a group; and the members of the groups
/// then.
fn roster(round: usize) -> (String, Members) {
    let mut text = "email,display_name,groups\n".to_owned();
    let mut members = Members::new();
    let mut add = |email: String, name: String, groups: Vec<String>| {
        writeln!(text, "{email},{name},\"[{}]\"", groups.join(",")).expect("a String");
        for group in groups {
            members.entry(group).or_default().insert(email.clone());
        }
    };
    let all = || GROUPS.map(str::to_owned).to_vec();
    for number in 0..CORE {
        add(format!("core{number}@x.co"), "Core".into(), all());
    }
    for number in 0..OTHERS {
        let is_in = |of: &usize| (number + round + of) % 5 < 2;
        let groups = (0..GROUPS.len()).filter(is_in).map(|of| GROUPS[of].into());
        let name = format!("Round {}", (number + round) / 8);
        add(format!("other{number}@x.co"), name, groups.collect());
    }
    for created in 1..=round {
        let mut groups = all();
        if created == round {
            groups.push(new_group(round));
        }
        add(format!("new{created}@y.co"), "New".into(), groups);
    }
    // The groups of earlier rounds stay, without members.
    for round in 1..round {
        members.entry(new_group(round)).or_default();
    }
    (text, members)
}

fn members(world: &World) -> Members {
    let groups = world.org().groups();
    let names = groups.iter().map(|group| group["displayName"].as_str());
    let names = names.map(|name| name.expect("a text").to_owned());
    names
        .map(|name| {
            let members = world.org().members(&name).expect("it exists");
            (name, members.into_iter().collect())
        })
        .collect()
}

/// What a membership is: the path of its group, and the id of its user.
type MembershipKey = (String, String, Operation);

/// The memberships that a write changes.
fn changed_by(write: &Request) -> Vec<MembershipKey> {
    let operations = write
        .body
        .iter()
        .flat_map(|body| body["Operations"].as_array());
    let key = |operation, user: &str| (write.path.clone(), user.to_owned(), operation);
    let of_one = |operation: &Value| match operation["value"].as_array() {
        Some(joining) => {
            let ids = joining.iter().filter_map(|member| member["value"].as_str());
            ids.map(|id| key(Operation::Join, id)).collect::<Vec<_>>()
        }
        None => {
            let path = operation["path"].as_str().expect("a text");
            let id = path.trim_start_matches("members[value eq \"");
            vec![key(Operation::Leave, id.trim_end_matches("\"]"))]
        }
    };
    operations.flatten().flat_map(of_one).collect()
}

/// What a recorded change is, if the group existed.
fn key(change: &ChangeRecord) -> Option<MembershipKey> {
    let intent = &change.intent;
    let group = intent.group.as_ref()?.id.as_ref()?;
    let path = format!("/api/scim/v2/Groups/{}", group.as_str());
    let user = intent.user_id.as_ref()?.as_str().to_owned();
    Some((path, user, intent.operation))
}

/// Each membership that the mock server changed has its intent, and what the state database calls applied was seen.
fn assert_true(changes: &[ChangeRecord], writes: &[Request]) {
    let is_of_groups = |write: &&Request| write.path.starts_with("/api/scim/v2/Groups");
    let writes = writes.iter().filter(is_of_groups).collect::<Vec<_>>();
    let patches = writes.iter().filter(|write| write.method == "PATCH");
    let sent: Vec<MembershipKey> = patches.flat_map(|write| changed_by(write)).collect();
    let meant: Vec<MembershipKey> = changes.iter().filter_map(key).collect();
    let count = |all: &[MembershipKey], one| all.iter().filter(|other| *other == one).count();
    for one in &sent {
        assert!(
            count(&sent, one) <= count(&meant, one),
            "no intent: {one:?}"
        );
    }
    for post in writes.iter().filter(|write| write.method == "POST") {
        let name = post.body.as_ref().map(|body| &body["displayName"]);
        let is_meant = |change: &ChangeRecord| {
            let group = change.intent.group.as_ref();
            group.map(|group| json!(group.name.as_str())).as_ref() == name
        };
        assert!(changes.iter().any(is_meant), "no intent: {post:?}");
    }
    for change in changes {
        let settled = change.settled.as_ref();
        let settled = settled.unwrap_or_else(|| panic!("all is known in the end: {change:?}"));
        if settled.outcome == ChangeOutcome::Applied && change.intent.group.is_some() {
            let key = key(change).expect("the ids are known");
            assert!(sent.contains(&key), "never happened: {change:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memberships_converge_after_a_kill() {
    let (kills, mut random) = kills();
    let world = kill::world()
        .await
        .set("policy.max_leaves", "100%")
        .set("policy.max_joins", "100%")
        .set("policy.max_updates", "")
        .set("policy.create_groups", "true");
    for group in GROUPS {
        world.org().add_group(group, &[]);
    }
    world.roster(&roster(0).0);
    assert_eq!(wait(apply(&world)).await, Some(0));
    let (mut killed, mut round, mut last_run) = (0, 0, 1);
    let mut writes = world.org().writes().len();
    while killed < kills {
        round += 1;
        let (text, expected) = roster(round);
        world.roster(&text);
        let when = if random.bool() { "before" } else { "after" };
        match kill_at(&world, apply(&world), random.usize(1..=18), when).await {
            Some(code) => assert_eq!(code, 0, "round {round}: it was not killed, so it converged"),
            None => killed += 1,
        }
        let code = wait(apply(&world)).await;
        assert_eq!(code, Some(0), "round {round}: one more run converges");
        assert_eq!(members(&world), expected, "round {round}");
        let (changes, now) = changes_since(&world, last_run).await;
        let all = world.org().writes();
        assert_true(&changes, &all[writes..]);
        (last_run, writes) = (now, all.len());
    }
}
