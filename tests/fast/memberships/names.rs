//! Names of groups that Omni does not have.

use super::{
    Pairs, desired, email, group_id, joins, leaves, memory, observed, plan, row, unlimited,
};
use chrono::Utc;
use omni_user_sync::model::{
    Action, Change, ChangeKey, GroupId, GroupMemory, GroupName, ManagedGroup, MembershipChange,
    MembershipRow, Memory, ObservedGroup, ObservedGroups, Policy, ProblemKind, Schema,
};
use omni_user_sync::plan::{Plan, group_contradictions};
use omni_user_sync::roster::read_memory;
use omni_user_sync::settings::{Environment, load};

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
fn unreadable_rows_block_all_leaves() {
    let members: Pairs = [(0, 0), (1, 0)].into();
    let mut roster = desired(&[(0, Some(vec![])), (1, Some(vec![])), (2, Some(vec![0]))]);
    let (observed, memory) = (observed(0..3, &members), memory([0], &members));
    roster.memberships.frozen.insert(ChangeKey {
        subject: email(0).into(),
        group: None,
        scope: None,
        schedule: None,
    });
    let of_one = plan(&roster, &observed, &memory);
    assert_eq!(leaves(&of_one.changes), [(1, 0)].into());
    roster.memberships.unnamed = 2;
    let of_any = plan(&roster, &observed, &memory);
    assert_eq!(leaves(&of_any.changes), Pairs::new());
    assert_eq!(joins(&of_any.changes), [(2, 0)].into());
    let blocked: Vec<_> = of_any.blocked.iter().map(ToString::to_string).collect();
    assert_eq!(
        blocked,
        [
            "1 leave is not planned: 2 rows of source.groups without a readable email may be about any user, \
          so no user leaves a group."
        ]
    );
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

/// The managed group Traders is named Sales by now, and Interns is gone.
fn former_names() -> Memory {
    let managed = |id: &str, name: &str| {
        let group = ManagedGroup {
            name: GroupName::parse(name).expect("a name"),
            is_confirmed: true,
        };
        (GroupId::parse(id).expect("an id"), group)
    };
    let mut memory = Memory::empty(Utc::now());
    memory.groups.managed = [managed("group-0", "Traders"), managed("gone", "Interns")].into();
    memory
}

#[test]
fn former_names_of_groups_are_explained() {
    let memory = former_names();
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

/// A plan with `policy.create_groups` and [`former_names`] for one user, with a cell or row that has this name.
fn created_by(name: &str, row_change: Option<MembershipChange>) -> (Vec<String>, Vec<String>) {
    let memory = former_names();
    let mut roster = desired(&[(0, Some(vec![]))]);
    let name = GroupName::parse(name).expect("a name");
    match row_change {
        None => roster.memberships.cells[0].names.push(name),
        Some(change) => {
            let row = row(0, 0, change);
            roster.memberships.rows = vec![MembershipRow { group: name, ..row }];
        }
    }
    let policy = Policy {
        create_groups: true,
        ..unlimited()
    };
    let observed = observed([0], &Pairs::new());
    let plan = Plan::new(&roster, &observed, &Schema::default(), &memory, &policy);
    let groups = plan.changes.iter().filter_map(Change::group);
    let groups = groups.map(|group| group.name.to_string()).collect();
    let problems = plan.problems.iter().map(|problem| problem.message.clone());
    (groups, problems.collect())
}

#[test]
fn a_list_with_another_separator_creates_no_group() {
    for name in ["Sales;Ops", "Ops | sales"] {
        let (groups, problems) = created_by(name, None);
        assert!(groups.is_empty(), "{groups:?}");
        assert!(
            problems[0].to_lowercase().contains("but it has 'sales'"),
            "{problems:?}"
        );
    }
}

#[test]
fn only_joins_create_groups() {
    let (join, leave) = (Some(MembershipChange::Join), Some(MembershipChange::Leave));
    assert_eq!(created_by("Marketing", join).0, ["Marketing"]);
    let unknown = ["Omni has no group 'Marketing'".to_owned()];
    assert_eq!(created_by("Marketing", leave), (vec![], unknown.into()));
    assert_eq!(created_by("Interns", None).0, ["Interns"]);
    let gone = ["Omni has no group 'Interns': the group was deleted".to_owned()];
    assert_eq!(created_by("Interns", leave), (vec![], gone.into()));
}

#[test]
fn a_renamed_group_is_not_created_again() {
    let renamed = ["Omni has no group 'Traders': the group was renamed to 'Sales'".to_owned()];
    for row_change in [
        None,
        Some(MembershipChange::Join),
        Some(MembershipChange::Leave),
    ] {
        let planned = created_by("Traders", row_change);
        assert_eq!(planned, (vec![], renamed.to_vec()), "{row_change:?}");
    }
}

/// A wrong column used as `groups` has a name in each row.
#[test]
fn too_many_new_groups_are_one_problem() {
    let number = 10_001;
    let users: Vec<_> = (0..number).map(|user| (user, Some(vec![]))).collect();
    let mut roster = desired(&users);
    for user in 0..number {
        let name = GroupName::parse(&format!("{:x}", user * 7_919)).expect("a name");
        roster.memberships.cells[user].names.push(name);
    }
    let policy = Policy {
        create_groups: true,
        ..unlimited()
    };
    let memory = Memory::empty(Utc::now());
    let observed = observed(0..number, &Pairs::new());
    let plan = Plan::new(&roster, &observed, &Schema::default(), &memory, &policy);
    assert_eq!(plan.changes.len(), 0);
    let problems: Vec<_> = plan.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "users.csv:2: the roster names 10001 groups that Omni does not have, and with the 4 that it has there would \
             be more than 10000, so none is created; check that this column has the names of groups"
        ]
    );
}

/// Omni may have two groups whose names differ in letter case alone.
#[test]
fn names_in_other_letter_case_are_distinct() {
    let members: Pairs = [(0, 0)].into();
    let mut observed = observed([0], &members);
    let upper = ObservedGroup {
        id: GroupId::parse("upper").expect("an id"),
        name: "SALES".into(),
        members: Some([super::id(0)].into_iter().collect()),
    };
    observed.groups_mut().put(upper);
    let mut memory = memory([0], &members);
    let known = ManagedGroup {
        name: GroupName::parse("SALES").expect("a name"),
        is_confirmed: true,
    };
    let upper = GroupId::parse("upper").expect("an id");
    memory.groups.managed.insert(upper.clone(), known);
    memory.groups.state(email(0), upper);
    let planned = |cell: &str| {
        let source = load(None, &Environment::default());
        let source = source.expect("the defaults are fine").source;
        let csv = format!("email,display_name,groups\nu0@x.co,Ann,\"{cell}\"\n");
        let roster = read_memory(&source, "users.csv", csv.as_bytes(), &Schema::default());
        let planned = plan(&roster.expect("a roster"), &observed, &memory);
        assert_eq!(planned.problems, []);
        let groups = planned.changes.iter().filter_map(Change::group);
        let groups: Vec<_> = groups.map(|group| group.name.to_string()).collect();
        groups
    };
    assert_eq!(planned("[Sales,SALES]"), [""; 0]);
    assert_eq!(planned("[Sales]"), ["SALES"]);
    assert_eq!(planned("[SALES]"), ["Sales"]);
}

/// Rows that turn out to be about one membership.
#[test]
fn rows_in_other_letter_case_are_merged() {
    let lower = |change| MembershipRow {
        group: GroupName::parse("sales").expect("a name"),
        location: super::location(60),
        ..row(0, 0, change)
    };
    let planned = |change| {
        let mut roster = desired(&[(0, None)]);
        roster.memberships.rows = vec![row(0, 0, MembershipChange::Join), lower(change)];
        let planned = plan(
            &roster,
            &observed([0], &Pairs::new()),
            &memory([0], &Pairs::new()),
        );
        let groups = ObservedGroups::new(observed([0], &Pairs::new()).groups().iter().cloned());
        let policy = unlimited();
        let found = group_contradictions(&roster, &groups, &GroupMemory::default(), &policy);
        assert_eq!(found.len(), planned.problems.len(), "check says the same");
        (joins(&planned.changes).len(), planned.problems)
    };
    assert_eq!(planned(MembershipChange::Join), (1, vec![]));
    let (joins, problems) = planned(MembershipChange::Leave);
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(joins, 0);
    assert_eq!(
        problems,
        [
            "users.csv:50: conflicts with users.csv:60, which has the opposite op for 'u0@x.co' and the group 'Sales'; \
             keep only the correct row; until then this membership is not changed",
            "users.csv:60: conflicts with users.csv:50, which has the opposite op for 'u0@x.co' and the group 'sales'; \
             keep only the correct row; until then this membership is not changed",
        ]
    );
}
