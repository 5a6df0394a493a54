//! Properties of all memberships that are planned.

use super::{
    GROUPS, Pairs, USERS, assess, carry_out, desired, email, group_id, group_name, leaves,
    location, memberships, memory, observed, plan, unlimited,
};
use crate::support::cases;
use omni_user_sync::model::{
    Desired, GroupName, Limit, MembershipChange, Memory, Observed, Operation, Policy, Problem,
    ProblemKind, Protect,
};
use omni_user_sync::plan::Plan;
use proptest::prelude::*;
use std::collections::BTreeSet;

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
                .map(|(user, group, change)| super::row(*user, *group, *change))
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
        let cells = (0..USERS).filter_map(|user| case.cell(user));
        let named: Vec<_> = cells.flatten().collect();
        for (_, group) in leaves(assessment.verdict.passed()) {
            let is_managed = case.memory.groups.managed.contains_key(&group_id(group));
            prop_assert!(is_managed || !named.contains(&group_name(group)));
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
