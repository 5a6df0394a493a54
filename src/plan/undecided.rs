//! Approved changes, and changes in quarantine, that are not planned although the roster may still ask for them.

use super::Blocked;
use crate::model::{
    ChangeKey, Desired, DesiredRole, Email, HeldChange, Operation, Problem, ProblemKind, Subject,
};
use std::collections::HashSet;

/// What a plan could not compare with the roster, apart from problems that name their user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undecided {
    /// Omni does not show its groups, or the roster names too many new ones.
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

/// What a change is about, apart from its subject.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    User,
    Membership,
    Role,
    Schedule,
}

impl From<Operation> for About {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Leave | Operation::Join => Self::Membership,
            Operation::Assign => Self::Role,
            Operation::Transfer => Self::Schedule,
            Operation::Delete | Operation::Deactivate | Operation::Update | Operation::Create => {
                Self::User
            }
        }
    }
}

impl From<&ChangeKey> for About {
    fn from(key: &ChangeKey) -> Self {
        match (&key.group, &key.scope, &key.schedule) {
            (Some(_), _, _) => Self::Membership,
            (None, Some(_), _) => Self::Role,
            (None, None, Some(_)) => Self::Schedule,
            (None, None, None) => Self::User,
        }
    }
}

/// Finds the changes that are not planned, although the roster may still ask for them.
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

    /// Whether the roster may still ask for an approved change that is not planned.
    pub(super) fn is_true_of(&self, held: &HeldChange) -> bool {
        self.may_concern(&held.subject, held.operation.into())
    }

    /// Whether the roster may still ask for the change of this user, membership or role.
    pub(super) fn is_true_of_key(&self, key: &ChangeKey) -> bool {
        self.may_concern(&key.subject, key.into())
    }

    fn may_concern(&self, subject: &Subject, about: About) -> bool {
        let of_user = subject.email().is_some_and(|email| {
            self.desired.frozen.contains_key(email) || self.left_out.contains(email)
        });
        of_user || self.has_problem(subject, about) || self.hides(subject, about)
    }

    /// Whether a problem of the roster, which names the same user, may concern the change.
    fn has_problem(&self, subject: &Subject, about: About) -> bool {
        let Some(email) = subject.email() else {
            return false;
        };
        self.problems.iter().any(|problem| {
            let concerns = match problem.kind {
                ProblemKind::Group => about == About::Membership,
                ProblemKind::Role => false,
                _ => about == About::User,
            };
            concerns && problem.email.as_ref() == Some(email)
        })
    }

    /// Whether a file or Omni does not show what the change needs.
    fn hides(&self, subject: &Subject, about: About) -> bool {
        match about {
            About::Membership => {
                let stated = &self.desired.memberships;
                self.undecided.memberships || stated.may_state(subject)
            }
            About::Role => {
                self.desired.unreadable_roles().is_some()
                    || self.undecided.roles.contains(&subject.folded())
                    || self.bad_row_may_be_of(subject)
            }
            About::Schedule | About::User => false,
        }
    }

    /// Whether an invalid row of `source.roles` may be about a user or group. Such a row names a user at most.
    fn bad_row_may_be_of(&self, subject: &Subject) -> bool {
        let roles = self.desired.roles.iter();
        let mut problems = roles.flat_map(|roles| &roles.bad_rows);
        problems.any(|one| one.email.is_none() || one.email.as_ref() == subject.email())
    }
}
