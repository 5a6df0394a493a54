//! Memberships as functions of values: the planner and the limits, by properties and examples.

mod limits;
mod names;
mod properties;
mod users;

use chrono::Utc;
use omni_user_sync::model::{
    Attributes, ByEmail, Change, Desired, DesiredMemberships, DesiredUser, Email, Entry,
    Fingerprint, GroupId, GroupName, GroupsCell, Limit, Location, ManagedGroup, Membership,
    MembershipChange, MembershipRow, Memory, Observed, ObservedGroup, ObservedGroups, ObservedUser,
    Policy, Schema, UserId, UserIds, UserSpec,
};
use omni_user_sync::plan::{Assessment, Plan};
use omni_user_sync::settings::{self, Environment};
use std::collections::BTreeSet;

const USERS: usize = 5;
const GROUPS: [&str; 4] = ["Sales", "Board", "Finance", "Zürich"];

/// A membership: a user and a group, by number.
type Pair = (usize, usize);
type Pairs = BTreeSet<Pair>;

fn policy() -> Policy {
    let example: Environment = [("OMNI_USER_SYNC_CONFIG", "config/example.toml")]
        .into_iter()
        .collect();
    settings::load(None, &example)
        .expect("the example is fine")
        .policy
}

/// A policy whose limits hold nothing.
fn unlimited() -> Policy {
    Policy {
        max_leaves: Limit::Count(u64::MAX),
        max_joins: Limit::Count(u64::MAX),
        ..policy()
    }
}

fn email(number: usize) -> Email {
    Email::parse(&format!("u{number}@x.co")).expect("an email")
}

fn id(number: usize) -> UserId {
    UserId::parse(&format!("id-{number}")).expect("an id")
}

fn group_id(number: usize) -> GroupId {
    GroupId::parse(&format!("group-{number}")).expect("an id")
}

fn group_name(number: usize) -> GroupName {
    GroupName::parse(GROUPS[number]).expect("a name")
}

fn location(line: u64) -> Location {
    Location {
        file: "users.csv".into(),
        line,
        column: None,
    }
}

/// Omni: these users, and the groups with these members. Each group has a member that no list of users shows.
fn observed(users: impl IntoIterator<Item = usize>, members: &Pairs) -> Observed {
    let user = |number| ObservedUser {
        id: id(number),
        email: email(number),
        display_name: "Ann".into(),
        active: Some(true),
        attributes: Some(Attributes::default()),
        modified: None,
        owned: None,
    };
    let mut observed = Observed::new(users.into_iter().map(user), 0);
    let group = |number: usize| {
        let users = members.iter().filter(|(_, group)| *group == number);
        let mut members: UserIds = users.map(|(user, _)| id(*user)).collect();
        members.insert(UserId::parse("embedded").expect("an id"));
        ObservedGroup {
            id: group_id(number),
            name: GROUPS[number].into(),
            members: Some(members),
        }
    };
    *observed.groups_mut() = ObservedGroups::new((0..GROUPS.len()).map(group));
    observed
}

/// A roster that upserts these users and names these groups in their cells; `None` for no cell.
fn desired(cells: &[(usize, Option<Vec<usize>>)]) -> Desired {
    let mut users = ByEmail::default();
    let mut memberships = DesiredMemberships::default();
    for (number, cell) in cells {
        let spec = UserSpec {
            display_name: Some("Ann".into()),
            attributes: Attributes::default(),
        };
        let want = DesiredUser::Upsert(spec);
        let location = location(2 + *number as u64);
        if let Some(groups) = cell {
            let names = groups.iter().map(|group| group_name(*group)).collect();
            let location = location.clone();
            let cell = GroupsCell { names, location };
            memberships.cells.insert(email(*number), cell);
        }
        users.insert(email(*number), Entry { want, location });
    }
    Desired {
        rows: users.len() as u64,
        users,
        doubtful: Vec::new(),
        leavers: ByEmail::default(),
        frozen: ByEmail::default(),
        bad_rows: Vec::new(),
        unnamed: 0,
        memberships,
        roles: None,
        rejected: Vec::new(),
        lints: Vec::new(),
        files: Vec::new(),
        folder: Vec::new(),
        fingerprint: Fingerprint([0; 32]),
        is_source: true,
        only: None,
    }
}

fn row(user: usize, group: usize, change: MembershipChange) -> MembershipRow {
    MembershipRow {
        email: email(user),
        group: group_name(group),
        change,
        location: location(50 + user as u64),
    }
}

/// A memory in which these groups are managed and confirmed.
fn memory(managed: impl IntoIterator<Item = usize>, stated: &Pairs) -> Memory {
    let mut memory = Memory::empty(Utc::now());
    memory.groups.managed = managed
        .into_iter()
        .map(|number| {
            let group = ManagedGroup {
                name: group_name(number),
                is_confirmed: true,
            };
            (group_id(number), group)
        })
        .collect();
    for (user, group) in stated {
        memory.groups.state(email(*user), group_id(*group));
    }
    memory
}

fn plan(desired: &Desired, observed: &Observed, memory: &Memory) -> Plan {
    Plan::new(desired, observed, &Schema::default(), memory, &unlimited())
}

fn assess(desired: &Desired, observed: &Observed, memory: &Memory, policy: &Policy) -> Assessment {
    Assessment::new(desired, observed, &Schema::default(), memory, policy)
}

fn memberships(changes: &[Change]) -> impl Iterator<Item = (Pair, MembershipChange)> + '_ {
    changes.iter().filter_map(|change| {
        let Membership {
            change: what,
            group,
            ..
        } = change.membership()?;
        let user = (0..USERS).find(|number| change.subject == email(*number))?;
        let group = (0..GROUPS.len()).find(|number| group_name(*number) == group.name)?;
        Some(((user, group), *what))
    })
}

fn of(changes: &[Change], what: MembershipChange) -> Pairs {
    let memberships = memberships(changes).filter(|(_, change)| *change == what);
    memberships.map(|(pair, _)| pair).collect()
}

fn joins(changes: &[Change]) -> Pairs {
    of(changes, MembershipChange::Join)
}

fn leaves(changes: &[Change]) -> Pairs {
    of(changes, MembershipChange::Leave)
}

/// The members after the changes.
fn carry_out(members: &Pairs, changes: &[Change]) -> Pairs {
    let mut members = members.clone();
    for (pair, change) in memberships(changes) {
        let changed = match change {
            MembershipChange::Join => members.insert(pair),
            MembershipChange::Leave => members.remove(&pair),
        };
        assert!(
            changed,
            "Omni refuses to add a member or to remove an absent one"
        );
    }
    members
}
