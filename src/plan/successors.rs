//! The successors of users to be removed, who get their schedules (`policy.owned_schedules = "transfer"`).

use super::{Plan, ownership};
use crate::model::{
    AttributeName, Change, Desired, Email, Leaving, Memory, Observed, ObservedUser,
    OwnedSchedulesPolicy, Policy, Problem, ProblemKind, Schema, SuccessorCell, UserId, UserMatch,
};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// The user who gets the schedules of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Successor {
    /// The user.
    pub user: Arc<ObservedUser>,
    /// The parts of the two users' access that differ or are unknown.
    pub differences: Vec<String>,
}

/// The successor of each user to be removed, or why there can't be one. A user without an entry has no successor in the
/// roster or in `policy.transfer_to`.
pub type Successors = HashMap<UserId, Result<Successor, String>>;

/// The address of the successor of a user: the one in the row, or `policy.transfer_to`.
pub(crate) fn successor_of<'a>(
    desired: &'a Desired,
    policy: &'a Policy,
    owner: &Email,
) -> Option<&'a Email> {
    let named = cell(desired, owner).map(|cell| &cell.email);
    named.or(policy.transfer_to.as_ref())
}

/// Finds the successors of the removals of a plan. A successor that the roster names and that can't be one is a problem
/// of its row.
pub(super) fn plan(
    desired: &Desired,
    observed: &Observed,
    schema: &Schema,
    memory: &Memory,
    policy: &Policy,
    plan: &mut Plan,
) {
    if policy.owned_schedules != OwnedSchedulesPolicy::Transfer {
        return;
    }
    let removals = plan
        .changes
        .iter()
        .filter(|change| change.operation().is_removal());
    let removals: Vec<_> = removals.filter_map(Change::removed).collect();
    let finder = Finder {
        desired,
        observed,
        memory,
        policy,
        leaving: removals.iter().map(|user| &user.email).collect(),
    };
    let (mut successors, mut problems) = (Successors::new(), Vec::new());
    for owner in removals {
        let Some(email) = successor_of(desired, policy, &owner.email) else {
            continue;
        };
        let found = finder.find(email);
        // Successors are looked up only for users with schedules.
        let is_known = observed.is_whole_listing() || !owner.schedules().is_empty();
        if let (Err(why), true, Some(cell)) = (&found, is_known, cell(desired, &owner.email)) {
            problems.push(problem(owner, cell, why));
        }
        let found = found.map(|user| Successor {
            differences: differences(owner, user, desired, observed, schema),
            user: user.clone(),
        });
        successors.insert(owner.id.clone(), found);
    }
    plan.successors = successors;
    plan.problems.extend(problems);
}

/// What the row of a user states about the removal.
fn leaving<'a>(desired: &'a Desired, email: &Email) -> Option<&'a Leaving> {
    desired.users.get(email)?.want.leaving()
}

/// The cell that names the successor of a user.
fn cell<'a>(desired: &'a Desired, owner: &Email) -> Option<&'a SuccessorCell> {
    leaving(desired, owner)?.successor.as_deref()
}

struct Finder<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    memory: &'a Memory,
    policy: &'a Policy,
    /// The users that the plan removes.
    leaving: HashSet<&'a Email>,
}

impl<'a> Finder<'a> {
    /// The user with an email, or why this user can't be a successor, as a clause.
    fn find(&self, email: &Email) -> Result<&'a Arc<ObservedUser>, String> {
        let user = match self.observed.get(email) {
            Some(UserMatch::One(user)) => user,
            Some(UserMatch::Several(_)) => {
                return Err(format!(
                    "several users have the email of the successor {email}"
                ));
            }
            None => return Err(format!("the successor {email} is not in Omni")),
        };
        if self.desired.frozen.contains_key(email) {
            Err(format!("the successor {email} has an invalid row"))
        } else if self.leaves(user) {
            Err(format!("the successor {email} is to be removed as well"))
        } else if user.active != Some(true) {
            Err(format!("the successor {email} is not active"))
        } else {
            Ok(user)
        }
    }
}

impl Finder<'_> {
    /// Whether a user is to be removed, now or later. A protected user is never pruned.
    fn leaves(&self, user: &ObservedUser) -> bool {
        let is_named = || self.desired.users.contains_key(&user.email);
        let may_prune = || ownership::may_prune(user, self.memory, self.policy);
        let is_pruned = self.leaving.contains(&user.email)
            || self.desired.is_source && !is_named() && may_prune();
        leaving(self.desired, &user.email).is_some()
            || is_pruned && !self.policy.protects(user, &self.memory.key_users)
    }
}

fn problem(owner: &ObservedUser, cell: &SuccessorCell, why: &str) -> Problem {
    Problem {
        kind: ProblemKind::Successor,
        location: cell.location.clone(),
        message: why.to_owned(),
        remedy: "name an active user who stays".into(),
        email: Some(owner.email.clone()),
    }
}

/// The parts of two users' access that differ or are unknown, now or after the changes of the successor's row.
fn differences(
    owner: &ObservedUser,
    successor: &ObservedUser,
    desired: &Desired,
    observed: &Observed,
    schema: &Schema,
) -> Vec<String> {
    let mut differences = Vec::new();
    match (&owner.attributes, &successor.attributes) {
        (Some(_), Some(_)) => {
            let row = desired.users.get(&successor.email);
            let stated = row.and_then(|row| row.want.spec());
            let stated = || stated.into_iter().flat_map(|spec| &spec.attributes);
            let names = owner.values().chain(successor.values());
            let names = names.map(|(name, _)| name);
            let names = names.chain(stated().map(|(name, _)| name));
            let names: BTreeSet<&AttributeName> = names
                .filter(|name| !schema.get(name).is_some_and(|one| one.system))
                .collect();
            let differs = |name: &&AttributeName| {
                let has = |value| schema.converged(name, owner.value(name), value);
                let mut planned = stated().filter(|(other, _)| other == name);
                !has(successor.value(name)) || !planned.all(|(_, value)| has(value.as_ref()))
            };
            differences.extend(names.into_iter().filter(differs).map(ToString::to_string));
        }
        _ => differences.push("attributes that were not read".to_owned()),
    }
    let groups = observed.groups();
    let of = |user: &ObservedUser| {
        groups
            .of_user(&user.id)
            .map(|group| group.id.clone())
            .collect::<HashSet<_>>()
    };
    if !groups.is_known() {
        differences.push("groups that were not read".to_owned());
    } else if of(owner) != of(successor) {
        differences.push("groups".to_owned());
    }
    differences
}
