//! Approved changes that are not planned, although the roster may still ask for them.

use super::Blocked;
use crate::model::{
    Desired, DesiredRole, Email, HeldChange, Operation, Problem, ProblemKind, Subject,
};
use std::collections::HashSet;

/// What a plan could not compare with the roster, apart from problems that name their user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undecided {
    /// Omni does not show its groups.
    pub(super) memberships: bool,
    /// The users and groups, in lower case, whose roles could not be compared.
    roles: HashSet<String>,
}

impl Undecided {
    pub(super) fn add_role(&mut self, subject: &Subject) {
        self.roles.insert(subject.folded());
    }

    pub(super) fn add_roles<'r>(&mut self, rows: impl IntoIterator<Item = &'r DesiredRole>) {
        rows.into_iter().for_each(|row| self.add_role(&row.subject));
    }
}

/// Finds the approved changes that are not planned, although the roster may still ask for them.
pub(super) struct MayBeAskedFor<'a> {
    desired: &'a Desired,
    undecided: &'a Undecided,
    problems: &'a [Problem],
    /// Users without planned changes.
    left_out: HashSet<&'a Email>,
}

impl<'a> MayBeAskedFor<'a> {
    pub(super) fn new(
        desired: &'a Desired,
        undecided: &'a Undecided,
        problems: &'a [Problem],
        blocked: &'a [Blocked],
        others: impl Iterator<Item = &'a Email>,
    ) -> Self {
        let blocked = blocked.iter().flat_map(|one| &one.emails);
        Self {
            desired,
            undecided,
            problems,
            left_out: blocked.chain(others).collect(),
        }
    }

    /// Whether the roster may still ask for a change that is not planned.
    pub(super) fn is_true_of(&self, held: &HeldChange) -> bool {
        let of_user = held.subject.email().is_some_and(|email| {
            self.desired.frozen.contains_key(email) || self.left_out.contains(email)
        });
        of_user || self.has_problem(held) || self.hides(held)
    }

    /// Whether a problem of the roster, which names the same user, may concern the change.
    fn has_problem(&self, held: &HeldChange) -> bool {
        let Some(email) = held.subject.email() else {
            return false;
        };
        self.problems.iter().any(|problem| {
            let concerns = match problem.kind {
                ProblemKind::Group => held.operation.is_membership(),
                ProblemKind::Role => false,
                _ => held.operation.is_of_user(),
            };
            concerns && problem.email.as_ref() == Some(email)
        })
    }

    /// Whether a file or Omni does not show what the change needs.
    fn hides(&self, held: &HeldChange) -> bool {
        match held.operation {
            Operation::Leave | Operation::Join => {
                let stated = &self.desired.memberships;
                self.undecided.memberships || stated.may_state(&held.subject)
            }
            Operation::Assign => {
                self.desired.unreadable_roles().is_some()
                    || self.undecided.roles.contains(&held.subject.folded())
                    || self.bad_row_may_be_of(&held.subject)
            }
            Operation::Transfer
            | Operation::Delete
            | Operation::Deactivate
            | Operation::Update
            | Operation::Create => false,
        }
    }

    /// Whether an invalid row of `source.roles` may be about a user or group. Such a row names a user at most.
    fn bad_row_may_be_of(&self, subject: &Subject) -> bool {
        let roles = self.desired.roles.iter();
        let mut problems = roles.flat_map(|roles| &roles.bad_rows);
        problems.any(|one| one.email.is_none() || one.email.as_ref() == subject.email())
    }
}
