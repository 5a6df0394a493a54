//! Held changes, and approvals of them.

use super::{
    Change, ChangeKey, FieldChange, GroupRef, NewIds, Operation, RoleChange, Subject, Transfer,
    UserId,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

/// A held change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeldChange {
    /// The user's id; `None` for a user to be created. An approval is for this id, not for a later user with the same
    /// email.
    pub user_id: Option<UserId>,
    /// The operation.
    pub operation: Operation,
    /// The user or group.
    pub subject: Subject,
    /// The group of a membership, or the group that gets a role. An approval is for its id and name.
    pub group: Option<GroupRef>,
    /// The role that changes. An approval is for the ids of its connection and model, and for both roles.
    pub role: Option<RoleChange>,
    /// The new owner of a transferred schedule. An approval is for this user with no more differences.
    pub successor: Option<ShownSuccessor>,
    /// The fields, as shown for the approval.
    pub fields: Vec<FieldChange>,
}

/// The new owner of a transferred schedule, as shown for an approval.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ShownSuccessor {
    /// The user's id.
    pub id: UserId,
    /// The parts of the access that differ from the former owner's, or are unknown.
    pub differences: BTreeSet<String>,
}

impl From<&Transfer> for ShownSuccessor {
    fn from(transfer: &Transfer) -> Self {
        Self {
            id: transfer.successor.id.clone(),
            differences: transfer.differences.iter().cloned().collect(),
        }
    }
}

impl ShownSuccessor {
    /// Whether a planned successor is the same user, with no other differences.
    fn allows(&self, planned: &Self) -> bool {
        self.id == planned.id && planned.differences.is_subset(&self.differences)
    }
}

impl HeldChange {
    /// Changes by operation, group and subject, as they are shown. Risky assignments come first.
    #[must_use]
    pub fn sorted<'a>(changes: impl IntoIterator<Item = &'a Self>) -> Vec<&'a Self> {
        let mut changes: Vec<_> = changes.into_iter().collect();
        changes.sort_by(|a, b| a.in_order().cmp(&b.in_order()));
        changes
    }
}

impl HeldChange {
    /// The key by which changes are sorted.
    fn in_order(&self) -> impl Ord {
        let role = self.role.as_ref();
        let is_plain = role.is_none_or(|role| role.risk.is_none());
        let scope = role.map(|role| &role.scope);
        (self.operation, is_plain, scope, &self.group, &self.subject)
    }
}

impl From<&Change> for HeldChange {
    fn from(change: &Change) -> Self {
        Self {
            user_id: change.user_id().cloned(),
            operation: change.operation(),
            subject: change.subject.clone(),
            group: change.group().cloned(),
            role: change.role().cloned(),
            successor: change.transfer().map(ShownSuccessor::from),
            fields: change.fields(),
        }
    }
}

impl HeldChange {
    /// The names of the schedules that a removal deletes, as far as they were read.
    #[must_use]
    pub fn lost_schedules(&self) -> Vec<&str> {
        let fields = self.fields.iter();
        fields.filter_map(FieldChange::lost_schedule).collect()
    }

    /// What the change is about.
    #[must_use]
    pub fn key(&self) -> ChangeKey {
        let (group, role) = (self.group.as_ref(), self.role.as_ref());
        ChangeKey::recorded(&self.subject, group, role, &self.fields)
    }

    /// The same change with the ids that it lacked.
    fn with(mut self, ids: &NewIds) -> Self {
        ids.complete(&mut self.user_id, self.group.as_mut());
        self
    }

    /// Whether a planned change is this one, or sets a subset of its fields to the same values. A removal sets none,
    /// and [`Self::allows_loss`] says whether it may delete schedules.
    #[must_use]
    pub fn allows(&self, change: &Change) -> bool {
        self.operation == change.operation()
            && self.subject == change.subject
            && self.user_id.as_ref() == change.user_id()
            && self.group.as_ref() == change.group()
            && self.allows_role(change.role())
            && self.allows_successor(change.transfer())
            && (self.operation.is_removal() || change.fields().iter().all(|field| self.sets(field)))
    }

    /// Whether a planned removal is this one and deletes no schedule that was not shown for the approval.
    #[must_use]
    pub fn allows_loss(&self, change: &Change) -> bool {
        let fields = change.fields();
        let mut lost = fields.iter().filter(|field| field.schedule().is_some());
        self.allows(change) && lost.all(|field| self.sets(field))
    }

    /// Whether a planned assignment has the same effect. Names of connections and models may change.
    fn allows_role(&self, planned: Option<&RoleChange>) -> bool {
        let effect =
            |role: &RoleChange| (role.scope.ids.clone(), role.from.clone(), role.to.clone());
        self.role.as_ref().map(effect) == planned.map(effect)
    }

    /// Whether a planned transfer gives the schedule to the user who was shown, with no other differences of access.
    fn allows_successor(&self, planned: Option<&Transfer>) -> bool {
        match (&self.successor, planned.map(ShownSuccessor::from)) {
            (Some(shown), Some(planned)) => shown.allows(&planned),
            (None, None) => true,
            _ => false,
        }
    }

    fn sets(&self, planned: &FieldChange) -> bool {
        let is_it = |shown: &FieldChange| shown.field == planned.field && shown.to == planned.to;
        self.fields.iter().any(is_it)
    }
}

/// An approved change that is still valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovedChange {
    /// The number of the approval of this change, in the state database.
    pub number: u64,
    /// The change as it was shown.
    pub change: HeldChange,
    /// The ids that the change lacks because its user or group did not exist yet, if this program created them since.
    pub created: NewIds,
}

impl ApprovedChange {
    /// Whether the approval is for a planned change. One without an id is for the user or group that this program
    /// creates, and for no other with the same name.
    #[must_use]
    pub fn allows(&self, change: &Change) -> bool {
        let completed = || self.change.clone().with(&self.created).allows(change);
        self.change.allows(change) || (self.created != NewIds::default() && completed())
    }
}

/// All approved changes that are still valid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approvals(HashMap<Subject, Vec<ApprovedChange>>);

impl FromIterator<ApprovedChange> for Approvals {
    fn from_iter<I: IntoIterator<Item = ApprovedChange>>(approved: I) -> Self {
        let mut by_subject: HashMap<_, Vec<_>> = HashMap::new();
        for one in approved {
            let subject = one.change.subject.clone();
            by_subject.entry(subject).or_default().push(one);
        }
        Self(by_subject)
    }
}

impl Approvals {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &ApprovedChange> {
        self.0.values().flatten()
    }

    /// Whether a planned change is approved.
    #[must_use]
    pub fn covers(&self, change: &Change) -> bool {
        self.of(change).any(|one| one.allows(change))
    }

    /// Whether a planned removal is approved with the schedules that it deletes.
    #[must_use]
    pub fn covers_loss(&self, change: &Change) -> bool {
        self.of(change).any(|one| one.change.allows_loss(change))
    }

    fn of(&self, change: &Change) -> impl Iterator<Item = &ApprovedChange> {
        let of_subject = self.0.get(&change.subject);
        of_subject.into_iter().flatten()
    }
}
