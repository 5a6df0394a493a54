//! How long the plan of many memberships takes, and how much memory: `cargo bench --bench groups`. It fails if planning
//! takes more than [`LIMIT`].

#![allow(clippy::print_stdout)] // its output is the result

use omni_user_sync::model::{
    Attributes, Email, GroupId, GroupName, ManagedGroup, Memory, Observed, ObservedGroup,
    ObservedGroups, ObservedUser, Operation, Schema, UserId,
};
use omni_user_sync::plan::Assessment;
use omni_user_sync::roster;
use omni_user_sync::settings::{KeySource, RawSettings, Settings};
use std::fmt::Write;
use std::fs;
use std::time::{Duration, Instant};

const GROUPS: usize = 300;
const USERS: usize = 5_000;
/// Each group has one member in this many that its cell does not name, and lacks one that a cell names.
const DIFFERS: usize = 100;
/// The maximum duration of a plan with the verdict on it.
const LIMIT: Duration = Duration::from_secs(1);

fn group_id(group: usize) -> GroupId {
    GroupId::parse(&format!("group-{group}")).expect("an id")
}

fn group_name(group: usize) -> String {
    format!("Group {group}")
}

fn user_id(user: usize) -> UserId {
    UserId::parse(&format!("{user:08}-0000-4000-8000-000000000000")).expect("an id")
}

fn email(user: usize) -> String {
    format!("user{user}@example.com")
}

/// Whether Omni has a membership.
fn is_member(user: usize, group: usize) -> bool {
    !(user + group).is_multiple_of(DIFFERS)
}

/// Whether the roster states a membership.
fn is_stated(user: usize, group: usize) -> bool {
    (user + group) % DIFFERS != 1
}

fn observed() -> Observed {
    let user = |user| ObservedUser {
        id: user_id(user),
        email: Email::parse(&email(user)).expect("an email"),
        display_name: "Ann".into(),
        active: Some(true),
        attributes: Some(Attributes::default()),
        modified: None,
        owned: None,
    };
    let group = |group| {
        let members = (0..USERS).filter(|user| is_member(*user, group));
        ObservedGroup {
            id: group_id(group),
            name: group_name(group).into(),
            members: Some(members.map(user_id).collect()),
        }
    };
    let mut observed = Observed::new((0..USERS).map(user), 0);
    *observed.groups_mut() = ObservedGroups::new((0..GROUPS).map(group));
    observed
}

/// A memory in which all groups are managed and confirmed.
fn memory() -> Memory {
    let mut memory = Memory::empty(chrono::Utc::now());
    let managed = (0..GROUPS).map(|group| {
        let name = GroupName::parse(&group_name(group)).expect("a name");
        let is_confirmed = true;
        (group_id(group), ManagedGroup { name, is_confirmed })
    });
    memory.groups.managed = managed.collect();
    memory
}

fn csv() -> String {
    let mut text = "email,display_name,groups\n".to_owned();
    for user in 0..USERS {
        let groups = (0..GROUPS).filter(|group| is_stated(user, *group));
        let groups: Vec<_> = groups.map(group_name).collect();
        let row = writeln!(text, "{},Ann,\"[{}]\"", email(user), groups.join(","));
        row.expect("writing to a String can't fail");
    }
    text
}

/// The largest memory of this process so far, in MiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kibibytes.expect("a peak").parse::<u64>().expect("a number") / 1024
}

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("users.csv");
    fs::write(&path, csv()).expect("written");
    let raw = RawSettings::default();
    let settings = Settings::check(raw, KeySource::default()).expect("the defaults are valid");
    let (schema, observed, memory) = (Schema::default(), observed(), memory());
    let desired = roster::read(&settings.source, &path, true, &schema);
    let desired = desired.expect("a roster without a mistake");
    let before = peak();
    let begun = Instant::now();
    let assessment = Assessment::new(&desired, &observed, &schema, &memory, &settings.policy);
    let took = begun.elapsed();
    let differ = USERS * GROUPS / DIFFERS;
    for operation in [Operation::Leave, Operation::Join] {
        assert_eq!(assessment.pending.get(operation), differ, "{operation}");
    }
    println!(
        "{GROUPS} groups, {USERS} users: {} memberships to change in {took:.3?}; peak {} MiB, before the plan {before} MiB",
        2 * differ,
        peak()
    );
    assert!(took <= LIMIT, "more than {LIMIT:?}");
}
