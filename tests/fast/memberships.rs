//! Memberships as functions of values: the planner and the limits, by properties and examples.

use crate::support::cases;
use chrono::Utc;
use omni_user_sync::model::{
    AcceptedRoster, Action, Attributes, ByEmail, Change, Desired, DesiredMemberships, DesiredUser,
    Email, Entry, FileRead, Fingerprint, GroupId, GroupName, GroupsCell, GuardRule, Limit,
    Location, ManagedGroup, Membership, MembershipChange, MembershipRow, Memory, Observed,
    ObservedGroup, ObservedGroups, ObservedUser, Operation, Policy, Problem, ProblemKind, Protect,
    Prune, Removal, Schema, UserId, UserIds, UserSpec,
};
use omni_user_sync::plan::{Assessment, Plan};
use omni_user_sync::settings::{self, Environment};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::SystemTime;

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

#[derive(Clone, Debug)]
struct Case {
    users: Vec<usize>,
    members: Pairs,
    desired: Desired,
    rows: Vec<(usize, usize, MembershipChange)>,
    memory: Memory,
}

impl Case {
    fn observed(&self, members: &Pairs) -> Observed {
        observed(self.users.clone(), members)
    }

    fn plan(&self) -> Plan {
        plan(&self.desired, &self.observed(&self.members), &self.memory)
    }

    fn cell(&self, user: usize) -> Option<Vec<GroupName>> {
        let cells = &self.desired.memberships.cells;
        cells.get(&email(user)).map(|cell| cell.names.clone())
    }
}

fn pairs() -> impl Strategy<Value = Pairs> {
    prop::collection::btree_set((0..USERS, 0..GROUPS.len()), 0..12)
}

fn case() -> impl Strategy<Value = Case> {
    let groups = || prop::collection::btree_set(0..GROUPS.len(), 0..GROUPS.len());
    let cell = prop::option::of(prop::option::weighted(0.8, groups()));
    let change = prop::sample::select(MembershipChange::ALL.to_vec());
    let row = (0..USERS, 0..GROUPS.len(), change);
    (
        prop::collection::btree_set(0..USERS, 1..=USERS),
        pairs(),
        prop::collection::vec(cell, USERS),
        prop::collection::vec(row, 0..4),
        (groups(), pairs()),
    )
        .prop_map(|(users, members, cells, rows, (managed, stated))| {
            let cells = cells.into_iter().enumerate();
            let cells: Vec<_> = cells
                .filter_map(|(user, cell)| {
                    let cell = cell?.map(|groups| groups.into_iter().collect());
                    Some((user, cell))
                })
                .collect();
            let mut desired = desired(&cells);
            let mut seen = BTreeSet::new();
            let rows: Vec<_> = rows
                .into_iter()
                .filter(|(user, group, _)| seen.insert((*user, *group)))
                .collect();
            let stated_rows = rows.iter();
            desired.memberships.rows = stated_rows
                .map(|(user, group, change)| self::row(*user, *group, *change))
                .collect();
            let members = members.into_iter();
            Case {
                members: members.filter(|(user, _)| users.contains(user)).collect(),
                users: users.into_iter().collect(),
                desired,
                rows,
                memory: memory(managed, &stated),
            }
        })
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn applied_memberships_converge(case in case()) {
        let changes = case.plan().changes;
        let after = carry_out(&case.members, &changes);
        let users = case.users.iter().copied().chain(changes.iter().filter_map(|change| {
            let user = (0..USERS).find(|number| change.subject == email(*number))?;
            (change.operation() == Operation::Create).then_some(user)
        }));
        let observed = observed(users, &after);
        let again = plan(&case.desired, &observed, &case.memory).changes;
        prop_assert_eq!(memberships(&again).collect::<Vec<_>>(), vec![]);
    }

    #[test]
    fn only_stated_memberships_change(case in case()) {
        let changes = case.plan().changes;
        let in_any_cell = |group: usize| (0..USERS)
            .filter_map(|user| case.cell(user))
            .any(|names| names.contains(&group_name(group)));
        for ((user, group), change) in memberships(&changes) {
            let by_row = case.rows.contains(&(user, group, change));
            let cell = case.cell(user);
            let names = cell.as_ref().is_some_and(|names| names.contains(&group_name(group)));
            let is_stated = case.memory.groups.states(&email(user), &group_id(group));
            let is_managed = case.memory.groups.managed.contains_key(&group_id(group));
            match change {
                MembershipChange::Join => prop_assert!(by_row || names),
                MembershipChange::Leave => prop_assert!(
                    by_row && !names
                        || cell.is_some() && !names && (in_any_cell(group) || is_managed && is_stated)
                ),
            }
        }
    }

    #[test]
    fn no_user_leaves_if_a_file_is_unreadable(case in case(), is_roster in any::<bool>()) {
        let mut case = case;
        let problem = Problem {
            kind: ProblemKind::File,
            location: location(0),
            message: "it can't be read".into(),
            remedy: "check it".into(),
            email: None,
        };
        match is_roster {
            true => case.desired.rejected.push(problem),
            false => case.desired.memberships.unreadable = Some(problem),
        }
        prop_assert_eq!(leaves(&case.plan().changes), Pairs::new());
    }

    #[test]
    fn the_first_leaves_of_a_group_are_held(case in case()) {
        let observed = case.observed(&case.members);
        let assessment = assess(&case.desired, &observed, &case.memory, &unlimited());
        let by_row: Pairs = case.rows.iter().map(|(user, group, _)| (*user, *group)).collect();
        for (user, group) in leaves(assessment.verdict.passed()) {
            let is_managed = case.memory.groups.managed.contains_key(&group_id(group));
            prop_assert!(is_managed || by_row.contains(&(user, group)));
        }
    }

    #[test]
    fn leaves_stay_within_the_limit(case in case(), limit in 0u64..4) {
        let policy = Policy { max_leaves: Limit::Count(limit), ..unlimited() };
        let observed = case.observed(&case.members);
        let assessment = assess(&case.desired, &observed, &case.memory, &policy);
        prop_assert!(leaves(assessment.verdict.passed()).len() as u64 <= limit);
    }

    #[test]
    fn frozen_users_keep_their_memberships(case in case(), user in 0..USERS) {
        let mut case = case;
        case.desired.users.swap_remove(&email(user));
        case.desired.frozen.insert(email(user), location(2));
        let changes = case.plan().changes;
        prop_assert!(memberships(&changes).all(|((of, _), _)| of != user));
    }

    #[test]
    fn protected_users_never_leave(case in case()) {
        let policy = Policy { protect: Protect::new(&["*"]), ..unlimited() };
        let observed = case.observed(&case.members);
        let assessment = assess(&case.desired, &observed, &case.memory, &policy);
        prop_assert_eq!(leaves(assessment.verdict.passed()), Pairs::new());
    }
}

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

/// A user that the roster does not name, with a row of `source.groups`, under a policy that prunes all users.
fn pruned_with_a_row(active: bool, policy: Policy) -> Plan {
    let mut roster = desired(&[(0, None)]);
    roster.memberships.rows = vec![row(1, 0, MembershipChange::Join)];
    let users = observed([0, 1], &Pairs::new());
    let groups = users.groups().clone();
    let users = users.users().map(|user| {
        let mut user = (**user).clone();
        user.active = Some(active || user.email == email(0));
        user
    });
    let mut observed = Observed::new(users.collect::<Vec<_>>(), 0);
    *observed.groups_mut() = groups;
    let policy = Policy {
        prune: Prune::All,
        removal: Removal::Deactivate,
        ..policy
    };
    let memory = Memory::empty(Utc::now());
    Plan::new(&roster, &observed, &Schema::default(), &memory, &policy)
}

#[test]
fn users_deactivated_by_pruning_join_no_group() {
    let planned = |active| {
        let plan = pruned_with_a_row(active, unlimited());
        let operations = plan.changes.iter().map(Change::operation);
        operations.collect::<Vec<_>>()
    };
    assert_eq!(planned(true), [Operation::Deactivate]);
    assert_eq!(planned(false), [], "the same once it is done");
}

#[test]
fn protected_users_join_though_the_roster_lacks_them() {
    let policy = Policy {
        protect: Protect::new(&["u1@x.co"]),
        ..unlimited()
    };
    let plan = pruned_with_a_row(true, policy);
    assert_eq!(joins(&plan.changes), [(1, 0)].into());
}

#[test]
fn users_created_by_the_plan_join() {
    let roster = desired(&[(0, Some(vec![0, 1]))]);
    let plan = plan(
        &roster,
        &observed([], &Pairs::new()),
        &Memory::empty(Utc::now()),
    );
    let operations: Vec<_> = plan.changes.iter().map(Change::operation).collect();
    assert_eq!(
        operations,
        [Operation::Create, Operation::Join, Operation::Join]
    );
    let joins = plan.changes.iter().filter_map(Change::membership);
    assert!(
        joins
            .into_iter()
            .all(|membership| membership.user.is_none())
    );
}

#[test]
fn unknown_groups_are_problems_with_the_nearest_name() {
    let mut roster = desired(&[(0, Some(vec![0]))]);
    let name = GroupName::parse("Slaes").expect("a name");
    roster.memberships.cells[0].names.push(name);
    let plan = plan(
        &roster,
        &observed([0], &Pairs::new()),
        &Memory::empty(Utc::now()),
    );
    assert_eq!(plan.changes, []);
    let problem = &plan.problems[0];
    assert_eq!(
        (problem.kind, problem.to_string().as_str()),
        (
            ProblemKind::Group,
            "users.csv:2: Omni has no group 'Slaes'; did you mean 'Sales'?"
        )
    );
}

#[test]
fn a_misspelt_row_freezes_the_memberships() {
    let members: Pairs = [(0, 0)].into();
    let mut roster = desired(&[(0, Some(vec![]))]);
    let observed = observed([0], &members);
    let memory = memory([0], &members);
    let before = plan(&roster, &observed, &memory);
    assert_eq!(leaves(&before.changes), members, "without the row");
    roster.memberships.rows = vec![MembershipRow {
        group: GroupName::parse("Slaes").expect("a name"),
        ..row(0, 0, MembershipChange::Join)
    }];
    let plan = plan(&roster, &observed, &memory);
    assert_eq!(plan.changes, []);
    assert_eq!(plan.problems.len(), 1);
}

#[test]
fn new_groups_are_created_unless_misspelt() {
    let policy = Policy {
        create_groups: true,
        ..unlimited()
    };
    let planned = |name: &str| {
        let mut roster = desired(&[(0, Some(vec![]))]);
        let name = GroupName::parse(name).expect("a name");
        roster.memberships.cells[0].names.push(name);
        let observed = observed([0], &Pairs::new());
        let memory = Memory::empty(Utc::now());
        let plan = Plan::new(&roster, &observed, &Schema::default(), &memory, &policy);
        let group = plan
            .changes
            .first()
            .and_then(|change| match &change.action {
                Action::Membership(membership) => Some(membership.group.clone()),
                _ => None,
            });
        (group.map(|group| group.id), plan.problems.len())
    };
    assert_eq!(planned("Marketing"), (Some(None), 0));
    assert_eq!(planned("Slaes"), (None, 1));
    assert_eq!(planned("sales"), (Some(Some(group_id(0))), 0));
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

/// A plan with `policy.create_groups` for users whose cells have these names.
fn created(cells: &[&str]) -> Plan {
    let users: Vec<_> = (0..cells.len()).map(|user| (user, Some(vec![]))).collect();
    let mut roster = desired(&users);
    for (user, name) in cells.iter().enumerate() {
        let name = GroupName::parse(name).expect("a name");
        roster.memberships.cells[user].names.push(name);
    }
    let policy = Policy {
        create_groups: true,
        ..unlimited()
    };
    let memory = Memory::empty(Utc::now());
    let observed = observed(0..cells.len(), &Pairs::new());
    Plan::new(&roster, &observed, &Schema::default(), &memory, &policy)
}

#[test]
fn new_names_near_each_other_are_problems() {
    let plan = created(&["Marketing", "marketing", "Marketting", "Warehouse"]);
    let groups = plan.changes.iter().filter_map(Change::group);
    let groups: Vec<_> = groups.map(|group| group.name.as_str()).collect();
    assert_eq!(groups, ["Warehouse"]);
    let problems: Vec<_> = plan.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "users.csv:2: Omni has no group 'Marketing'; did you mean 'Marketting', which is new too? If not, create the group in Omni",
            "users.csv:3: Omni has no group 'marketing'; did you mean 'Marketting', which is new too? If not, create the group in Omni",
            "users.csv:4: Omni has no group 'Marketting'; did you mean 'Marketing', which is new too? If not, create the group in Omni",
        ]
    );
    let plan = created(&["Sales Europe", "Sales America", "Slaes"]);
    assert_eq!((plan.changes.len(), plan.problems.len()), (2, 1));
    assert!(
        plan.problems[0]
            .to_string()
            .ends_with("did you mean 'Sales'? If not, create the group in Omni")
    );
}

#[test]
fn former_names_of_groups_say_what_happened() {
    let managed = |id: &str, name: &str| {
        let group = ManagedGroup {
            name: GroupName::parse(name).expect("a name"),
            is_confirmed: true,
        };
        (GroupId::parse(id).expect("an id"), group)
    };
    let mut memory = Memory::empty(Utc::now());
    memory.groups.managed = [managed("group-0", "Traders"), managed("gone", "Interns")].into();
    for (name, problem) in [
        (
            "traders",
            "Omni has no group 'traders': the group was renamed to 'Sales'; write the new name, or rename the group back in Omni",
        ),
        (
            "Interns",
            "Omni has no group 'Interns': the group was deleted; remove the name, or create the group in Omni",
        ),
    ] {
        let mut roster = desired(&[(0, Some(vec![]))]);
        let name = GroupName::parse(name).expect("a name");
        roster.memberships.cells[0].names.push(name);
        let plan = plan(&roster, &observed([0], &Pairs::new()), &memory);
        let problems: Vec<_> = plan.problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, [format!("users.csv:2: {problem}")]);
    }
}
