//! Users that the plan removes, creates or protects.

use super::{Pairs, desired, email, joins, observed, plan, row, unlimited};
use chrono::Utc;
use omni_user_sync::model::{
    Change, MembershipChange, Memory, Observed, Operation, Policy, Protect, Prune, Removal, Schema,
};
use omni_user_sync::plan::Plan;

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
