//! What a plan does with users, as far as it decides on their memberships and roles.

use super::{BlockedOperation, Plan, ownership};
use crate::model::{Action, Desired, DesiredUser, Email, Memory, ObservedUser, Policy, Removal};
use std::collections::HashSet;

/// The changes of users that are planned already.
pub(super) struct UserChanges<'a> {
    desired: &'a Desired,
    memory: &'a Memory,
    policy: &'a Policy,
    /// Users that the plan removes, or may remove in the next run, protected ones among them.
    removed: HashSet<Email>,
    /// Users that the plan creates.
    pub(super) created: HashSet<Email>,
    /// Users that the plan leaves unchanged, because their fields are not known.
    unread: HashSet<Email>,
}

impl<'a> UserChanges<'a> {
    pub(super) fn new(
        plan: &Plan,
        desired: &'a Desired,
        memory: &'a Memory,
        policy: &'a Policy,
    ) -> Self {
        let (mut removed, mut created) = (HashSet::new(), HashSet::new());
        for change in &plan.changes {
            let email = change.email().cloned();
            match &change.action {
                Action::Delete(_) | Action::Deactivate(_) => removed.extend(email),
                Action::Create(_) => created.extend(email),
                Action::Update(..)
                | Action::Membership(_)
                | Action::Role(_)
                | Action::Transfer(_) => {}
            }
        }
        // Removals that are not planned in this run may be in the next one.
        let blocked = plan.blocked.iter();
        let blocked = blocked.filter(|one| one.operation == BlockedOperation::Removal);
        removed.extend(blocked.flat_map(|blocked| &blocked.emails).cloned());
        removed.extend(plan.waiting_to_leave.iter().cloned());
        Self {
            desired,
            memory,
            policy,
            removed,
            created,
            unread: plan.unread.iter().cloned().collect(),
        }
    }

    /// Whether memberships and roles of a user may change at all.
    pub(super) fn may_be_compared(&self, email: &Email) -> bool {
        let leaves = |want: &DesiredUser| !matches!(want, DesiredUser::Upsert(_));
        let entry = self.desired.users.get(email);
        !self.desired.frozen.contains_key(email)
            && !entry.is_some_and(|entry| leaves(&entry.want))
            && !self.unread.contains(email)
    }

    /// Whether the fields of a user are not known yet.
    pub(super) fn is_unread(&self, email: &Email) -> bool {
        self.unread.contains(email)
    }

    /// Whether the plan removes a user, or pruning has deactivated it before. A protected user stays.
    pub(super) fn is_removed(&self, email: &Email, user: &ObservedUser) -> bool {
        let was_pruned = || {
            !self.desired.users.contains_key(email)
                && self.desired.is_source
                && user.is_inactive()
                && self.policy.removal == Removal::Deactivate
                && ownership::may_prune(user, self.memory, self.policy)
        };
        (self.removed.contains(email) || was_pruned())
            && !self.policy.protects(user, &self.memory.key_users)
    }
}
