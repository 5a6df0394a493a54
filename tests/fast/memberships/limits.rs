//! Leaves that are held or blocked, over several runs.

use super::{
    Pairs, USERS, assess, carry_out, desired, email, group_id, group_name, id, joins, leaves,
    memory, observed, plan, policy, row, unlimited,
};
use chrono::Utc;
use omni_user_sync::model::{
    AcceptedRoster, AttributeName, ChangeKey, Desired, DesiredUser, FileRead, Fingerprint, GroupId,
    GroupName, GuardRule, Limit, ManagedGroup, MembershipChange, Memory, Observed, Policy,
    UserMatch,
};
use omni_user_sync::plan::Assessment;
use std::time::SystemTime;

/// Runs over the same roster, each approved or not, until nothing changes.
fn run(desired: &Desired, members: &mut Pairs, memory: &mut Memory, policy: &Policy) -> Assessment {
    let observed = observed(0..USERS, members);
    let assessment = assess(desired, &observed, memory, policy);
    *members = carry_out(members, assessment.verdict.passed());
    let update = &assessment.groups;
    memory.groups.managed.extend(update.managed.iter().cloned());
    for (group, user) in &update.stated {
        memory.groups.state(user.clone(), group.clone());
    }
    assessment
}

#[test]
fn one_cell_does_not_take_over_a_group() {
    let (sales, board) = (0, 1);
    let mut members: Pairs = (0..USERS).map(|user| (user, board)).collect();
    let mut memory = Memory::empty(Utc::now());
    let cells: Vec<_> = (0..USERS)
        .map(|user| (user, Some(vec![if user == 0 { board } else { sales }])))
        .collect();
    for _ in 0..3 {
        let assessment = run(&desired(&cells), &mut members, &mut memory, &policy());
        let held: Vec<_> = assessment
            .verdict
            .held()
            .iter()
            .map(|held| held.rule)
            .collect();
        assert_eq!(held, [GuardRule::NewGroups]);
    }
    assert!((0..USERS).all(|user| members.contains(&(user, board))));
    assert!((1..USERS).all(|user| members.contains(&(user, sales))));
}

#[test]
fn a_group_without_strangers_is_managed_at_once() {
    let mut members = Pairs::new();
    let mut memory = Memory::empty(Utc::now());
    let all: Vec<_> = (0..USERS).map(|user| (user, Some(vec![0]))).collect();
    run(&desired(&all), &mut members, &mut memory, &policy());
    assert_eq!(members.len(), USERS);
    let mut one_less = all;
    one_less[3].1 = Some(Vec::new());
    run(&desired(&one_less), &mut members, &mut memory, &policy());
    assert!(!members.contains(&(3, 0)));
}

#[test]
fn a_renamed_group_loses_no_member() {
    let mut members: Pairs = [(0, 0), (1, 0)].into();
    let mut memory = memory([0], &members);
    let known = memory
        .groups
        .managed
        .get_mut(&group_id(0))
        .expect("managed");
    known.name = GroupName::parse("Selling").expect("a name");
    let roster = desired(&[(0, Some(vec![0])), (1, Some(vec![]))]);
    let assessment = run(&roster, &mut members, &mut memory, &policy());
    assert!(members.contains(&(1, 0)));
    let warnings = assessment.warnings.join("\n");
    assert!(
        warnings.contains("the group Selling is named Sales by now"),
        "{warnings}"
    );
}

/// The hold stays until it is approved, and so does the reason.
#[test]
fn a_recreated_group_is_named_in_each_run() {
    let mut members: Pairs = [(0, 0), (1, 0)].into();
    let mut memory = memory([], &members);
    let former = ManagedGroup {
        name: group_name(0),
        is_confirmed: true,
    };
    let gone = GroupId::parse("former").expect("an id");
    memory.groups.managed.insert(gone, former);
    let roster = desired(&[(0, Some(vec![0])), (1, Some(vec![]))]);
    for _ in 0..3 {
        let assessment = run(&roster, &mut members, &mut memory, &policy());
        let warnings = assessment.warnings.join("\n");
        let says = "the group Sales was recreated; leaves from it are held";
        assert!(warnings.contains(says), "{warnings}");
    }
    let roster = desired(&[(0, Some(vec![0])), (1, Some(vec![0]))]);
    run(&roster, &mut members, &mut memory, &policy());
    let assessment = run(&roster, &mut members, &mut memory, &policy());
    assert!(
        assessment
            .warnings
            .iter()
            .all(|one| !one.contains("recreated"))
    );
}

/// A row names one membership, but not the purpose that a renamed or recreated group has by now.
#[test]
fn rows_take_no_user_out_of_new_groups() {
    let (board, other) = (1, 2);
    let members: Pairs = [(0, board), (1, board), (1, other)].into();
    let named = |id: &str, name: &str| {
        let mut memory = Memory::empty(Utc::now());
        let group = ManagedGroup {
            name: GroupName::parse(name).expect("a name"),
            is_confirmed: true,
        };
        let id = GroupId::parse(id).expect("an id");
        memory.groups.managed.insert(id, group);
        memory
    };
    let confirmed = named("group-1", "Board");
    let mut unconfirmed = confirmed.clone();
    for group in unconfirmed.groups.managed.values_mut() {
        group.is_confirmed = false;
    }
    let (cell, no_cell) = (Some(vec![board]), None);
    for (memory, cell, is_held) in [
        (Memory::empty(Utc::now()), cell.clone(), true),
        (Memory::empty(Utc::now()), no_cell.clone(), false),
        (named("group-1", "Committee"), cell.clone(), true),
        (named("group-1", "Committee"), no_cell, true),
        (named("gone", "Board"), cell.clone(), true),
        (unconfirmed.clone(), cell.clone(), true),
        (unconfirmed, None, false),
        (confirmed, cell, false),
    ] {
        let mut roster = desired(&[(0, cell.clone())]);
        roster.memberships.rows = [board, other]
            .map(|group| row(1, group, MembershipChange::Leave))
            .into();
        let (mut after, mut memory) = (members.clone(), memory);
        let assessment = run(&roster, &mut after, &mut memory, &policy());
        let is_member = after.contains(&(1, board));
        assert_eq!(is_member, is_held, "{cell:?} {:?}", assessment.warnings);
        assert!(!after.contains(&(1, other)), "nothing manages this group");
        assert_eq!(assessment.verdict.held().len(), usize::from(is_held));
    }
}

/// Users who were not looked up are members too.
#[test]
fn leaves_of_one_user_count_against_all_members() {
    let users = 200;
    let sales: Pairs = (0..users).map(|user| (user, 0)).collect();
    let mut memory = memory([0], &sales);
    let left = 1..6;
    memory.recent.left = left.clone().map(|user| (id(user), group_id(0))).collect();
    let members = sales.iter().filter(|(user, _)| !left.contains(user));
    let everybody = observed(0..users, &members.copied().collect());
    let looked_up = match everybody.get(&email(0)) {
        Some(UserMatch::One(user)) => (**user).clone(),
        found => panic!("{found:?}"),
    };
    let mut some = Observed::of_some([looked_up], users);
    *some.groups_mut() = everybody.groups().clone();
    let roster = desired(&[(0, Some(vec![]))]);
    let assessment = assess(&roster, &some, &memory, &policy());
    assert_eq!(assessment.verdict.held(), []);
    assert_eq!(leaves(assessment.verdict.passed()), [(0, 0)].into());
}

/// A first contact over users of whom the first one is compared, and the second one only in the second run.
fn first_contact(hidden: impl Fn(&mut Desired, &mut Observed)) -> (Vec<GuardRule>, Pairs) {
    let mut members: Pairs = [(0, 0), (1, 0)].into();
    let mut memory = Memory::empty(Utc::now());
    let roster = desired(&[(0, Some(vec![0])), (1, Some(vec![]))]);
    let (mut first, mut users) = (roster.clone(), observed(0..2, &members));
    hidden(&mut first, &mut users);
    let assessment = assess(&first, &users, &memory, &policy());
    assert_eq!(leaves(assessment.verdict.passed()), Pairs::new());
    let managed = assessment.groups.managed.iter().cloned();
    memory.groups.managed.extend(managed);
    let assessment = run(&roster, &mut members, &mut memory, &policy());
    let held = assessment.verdict.held().iter();
    (held.map(|held| held.rule).collect(), members)
}

#[test]
fn a_group_with_hidden_leaves_is_not_confirmed() {
    let expected = (vec![GuardRule::NewGroups], [(0, 0), (1, 0)].into());
    let unread = first_contact(|roster, users| {
        // The roster states attributes, and Omni has not shown those of the second user.
        for entry in roster.users.values_mut() {
            if let DesiredUser::Upsert(spec) = &mut entry.want {
                spec.attributes = [(AttributeName::new("tier"), None)].into_iter().collect();
            }
        }
        let Some(UserMatch::One(user)) = users.get(&email(1)) else {
            panic!("the user is known");
        };
        let mut user = (**user).clone();
        user.attributes = None;
        users.put(user);
    });
    assert_eq!(unread, expected);
    let misspelt = first_contact(|roster, _| {
        let name = GroupName::parse("Slaes").expect("a name");
        roster.memberships.cells[1].names.push(name);
    });
    assert_eq!(misspelt, expected);
    let unknown_members = first_contact(|_, users| users.groups_mut().forget_members(&group_id(0)));
    assert_eq!(unknown_members, expected);
    let invalid_row = first_contact(|roster, _| {
        roster.memberships.frozen.insert(ChangeKey {
            subject: email(1).into(),
            group: Some(group_name(0)),
            scope: None,
            schedule: None,
        });
    });
    assert_eq!(invalid_row, expected);
}

/// A user who stays in the group hides no leave.
#[test]
fn unread_members_that_stay_hide_no_leave() {
    let (rules, members) = first_contact(|roster, _| {
        let name = GroupName::parse("Slaes").expect("a name");
        roster.memberships.cells[1].names = vec![group_name(0), name];
    });
    assert_eq!((rules, members), (vec![], [(0, 0)].into()));
}

#[test]
fn memberships_wait_for_their_held_user() {
    let roster = desired(&[(0, Some(vec![0]))]);
    let mut users = observed([0], &Pairs::new());
    let mut user = match users.get(&email(0)) {
        Some(omni_user_sync::model::UserMatch::One(user)) => (**user).clone(),
        found => panic!("{found:?}"),
    };
    user.display_name = "Ben".into();
    let groups = users.groups().clone();
    users = Observed::new([user], 0);
    *users.groups_mut() = groups;
    let policy = Policy {
        max_updates: Some(Limit::Count(0)),
        ..unlimited()
    };
    let assessment = assess(&roster, &users, &Memory::empty(Utc::now()), &policy);
    assert_eq!(assessment.verdict.passed(), []);
    assert_eq!(joins(assessment.verdict.waiting()), [(0, 0)].into());
}

#[test]
fn no_leaves_when_a_file_is_first_missing() {
    let members: Pairs = [(0, 0), (1, 0)].into();
    let roster = desired(&[(0, Some(vec![0])), (1, Some(vec![]))]);
    let mut memory = memory([0], &members);
    memory.last_accepted = Some(AcceptedRoster {
        fingerprint: Fingerprint([1; 32]),
        rows: 3,
        files: vec![FileRead {
            name: "support.csv".into(),
            modified: SystemTime::UNIX_EPOCH,
        }],
    });
    let first = plan(&roster, &observed(0..2, &members), &memory);
    assert_eq!(leaves(&first.changes), Pairs::new());
    let blocked: Vec<_> = first.blocked.iter().map(ToString::to_string).collect();
    assert_eq!(
        blocked,
        [
            "1 leave is not planned: support.csv is missing (it was part of the last accepted roster), \
          so no user leaves a group in this run."
        ]
    );
    memory.last_read = Some(roster.fingerprint);
    let second = plan(&roster, &observed(0..2, &members), &memory);
    assert_eq!(leaves(&second.changes), [(1, 0)].into());
}
