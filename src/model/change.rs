//! Changes of users: operations, fields and outcomes.

use super::word::word_enum;
use super::{
    Assignment, AssignmentHolder, Email, Field, FieldChange, GroupName, GroupRef, Location,
    MembershipChange, ObservedUser, OwnedSchedule, RoleChange, RoleScope, ScheduleId, Subject,
    UserId, UserSpec, Value,
};
use serde::Serialize;
use std::sync::Arc;

word_enum! {
    /// The operation of a change, in the order in which changes are sent.
    pub enum Operation {
        /// Hands a schedule of a user who is to be removed over to another user.
        Transfer = "transfer",
        /// Revokes the membership.
        Delete = "delete",
        /// Revokes the access, for good by Omni's newer documents.
        Deactivate = "deactivate",
        /// Takes the user out of a group.
        Leave = "leave",
        /// Changes fields.
        Update = "update",
        /// Creates the user.
        Create = "create",
        /// Adds the user to a group.
        Join = "join",
        /// Assigns a role to a user or a group.
        Assign = "assign",
    }
}

impl Operation {
    /// Whether the operation takes a user's access.
    #[must_use]
    pub fn is_removal(self) -> bool {
        matches!(self, Self::Delete | Self::Deactivate)
    }

    /// Whether the operation changes a membership, and not the user.
    #[must_use]
    pub fn is_membership(self) -> bool {
        matches!(self, Self::Leave | Self::Join)
    }

    /// Whether the operation changes a role.
    #[must_use]
    pub fn is_role(self) -> bool {
        self == Self::Assign
    }

    /// Whether the operation changes the user, and not memberships or roles.
    #[must_use]
    pub fn is_of_user(self) -> bool {
        match self {
            Self::Delete | Self::Deactivate | Self::Update | Self::Create => true,
            Self::Transfer | Self::Leave | Self::Join | Self::Assign => false,
        }
    }

    /// Whether the operation with these fields clears a value of a user who stays. Such changes count for the limit on
    /// cleared values.
    #[must_use]
    pub fn clears(self, fields: &[FieldChange]) -> bool {
        self == Self::Update && fields.iter().any(FieldChange::is_clear)
    }
}

impl From<MembershipChange> for Operation {
    fn from(change: MembershipChange) -> Self {
        match change {
            MembershipChange::Leave => Self::Leave,
            MembershipChange::Join => Self::Join,
        }
    }
}

/// One number per operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([usize; Operation::ALL.len()]);

impl Counts {
    /// Counts operations.
    #[must_use]
    pub fn of(operations: impl IntoIterator<Item = Operation>) -> Self {
        let mut counts = Self::default();
        operations
            .into_iter()
            .for_each(|operation| counts.0[operation as usize] += 1);
        counts
    }

    /// Takes one number per operation, in the order of [`Operation::ALL`].
    #[must_use]
    pub fn new(numbers: [usize; Operation::ALL.len()]) -> Self {
        Self(numbers)
    }

    /// The number for an operation.
    #[must_use]
    pub fn get(&self, operation: Operation) -> usize {
        self.0[operation as usize]
    }

    /// The sum.
    #[must_use]
    pub fn total(&self) -> usize {
        self.0.iter().sum()
    }

    /// What is left of planned operations after these were applied. A planned operation may have been applied as
    /// another one, such as a creation as the update of a user that exists by now.
    #[must_use]
    pub fn without(&self, applied: &Self) -> Self {
        let Self(planned) = self;
        let mut left = *planned;
        let mut others = 0;
        for (left, applied) in left.iter_mut().zip(applied.0) {
            others += applied.saturating_sub(*left);
            *left = left.saturating_sub(applied);
        }
        for left in left.iter_mut().rev() {
            let other = others.min(*left);
            *left -= other;
            others -= other;
        }
        Self(left)
    }
}

/// An object with one member per operation.
impl Serialize for Counts {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Operation::ALL.iter().zip(self.0))
    }
}

word_enum! {
    /// The outcome of one change.
    pub enum ChangeOutcome {
        /// Omni accepted the change, and its response shows what was sent.
        Applied = "applied",
        /// Omni accepted the change and did not keep it.
        NotKept = "not_kept",
        /// Omni rejected the change, it could not be sent, or the email is ambiguous.
        Failed = "failed",
        /// The run ended before the change was sent, or the user that it needs was not created or changed.
        Skipped = "skipped",
    }
}

/// One change of one user or group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The user or group.
    pub subject: Subject,
    /// The operation and what it needs.
    pub action: Action,
    /// The row that asks for the change; `None` if the roster does not name the user.
    pub location: Option<Location>,
}

/// The operation of a change with what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Revokes the membership.
    Delete(Arc<ObservedUser>),
    /// Keeps the user and revokes their access.
    Deactivate(Arc<ObservedUser>),
    /// Changes fields.
    Update(Arc<ObservedUser>, Vec<FieldChange>),
    /// Creates the user.
    Create(UserSpec),
    /// Changes a membership.
    Membership(Membership),
    /// Assigns a role.
    Role(Assignment),
    /// Hands a schedule over.
    Transfer(Transfer),
}

/// The transfer of a schedule whose owner is to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The owner.
    pub owner: Arc<ObservedUser>,
    /// The schedule.
    pub schedule: OwnedSchedule,
    /// The new owner. The schedule runs with this user's access from then on.
    pub successor: Arc<ObservedUser>,
    /// The parts of the two users' access that differ or are unknown.
    pub differences: Vec<String>,
}

/// A change of a membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Whether the user joins or leaves.
    pub change: MembershipChange,
    /// The group.
    pub group: GroupRef,
    /// What states it.
    pub source: MembershipSource,
    /// The user; `None` if the same plan creates the user.
    pub user: Option<Arc<ObservedUser>>,
}

/// What states a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembershipSource {
    /// The cell of the `groups` column, which states the complete membership among managed groups.
    Cell,
    /// A row of `source.groups`.
    Row,
}

/// Identifies what a change is about: a user, a membership or schedule of a user, or a role of a user or group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeKey {
    /// The user or group.
    pub subject: Subject,
    /// The group of a membership.
    pub group: Option<GroupName>,
    /// The connection or model of a role.
    pub scope: Option<RoleScope>,
    /// The schedule of a transfer.
    pub schedule: Option<ScheduleId>,
}

/// For people: the subject, and the group of a membership or the schedule of a transfer.
impl std::fmt::Display for ChangeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.subject.fmt(f)?;
        match (&self.group, &self.schedule) {
            (Some(group), _) => write!(f, ", group {group}"),
            (None, Some(schedule)) => write!(f, ", schedule {schedule}"),
            (None, None) => Ok(()),
        }
    }
}

impl ChangeKey {
    /// What a recorded change is about. The group of a change of a group is the subject itself.
    pub(super) fn recorded(
        subject: &Subject,
        group: Option<&GroupRef>,
        role: Option<&RoleChange>,
        fields: &[FieldChange],
    ) -> Self {
        let group = group.filter(|_| subject.email().is_some());
        let transferred = fields.iter().filter(|one| one.to.is_some());
        Self {
            subject: subject.clone(),
            group: group.map(|group| group.name.clone()),
            scope: role.map(|role| role.scope.ids.clone()),
            schedule: transferred
                .filter_map(FieldChange::schedule)
                .next()
                .cloned(),
        }
    }
}

impl From<&Email> for ChangeKey {
    fn from(email: &Email) -> Self {
        Self {
            subject: email.into(),
            group: None,
            scope: None,
            schedule: None,
        }
    }
}

impl Change {
    /// A change of the same subject for the same row, with another action.
    #[must_use]
    pub fn with(&self, action: Action) -> Self {
        Self {
            subject: self.subject.clone(),
            action,
            location: self.location.clone(),
        }
    }

    /// The user's email; `None` for a change of a group.
    #[must_use]
    pub fn email(&self) -> Option<&Email> {
        self.subject.email()
    }

    /// The operation.
    #[must_use]
    pub fn operation(&self) -> Operation {
        match &self.action {
            Action::Delete(_) => Operation::Delete,
            Action::Deactivate(_) => Operation::Deactivate,
            Action::Update(..) => Operation::Update,
            Action::Create(_) => Operation::Create,
            Action::Membership(membership) => membership.change.into(),
            Action::Role(_) => Operation::Assign,
            Action::Transfer(_) => Operation::Transfer,
        }
    }

    /// The membership that the change is about; a change of the user has none.
    #[must_use]
    pub fn membership(&self) -> Option<&Membership> {
        match &self.action {
            Action::Membership(membership) => Some(membership),
            _ => None,
        }
    }

    /// The assignment of a role.
    #[must_use]
    pub fn assignment(&self) -> Option<&Assignment> {
        match &self.action {
            Action::Role(assignment) => Some(assignment),
            _ => None,
        }
    }

    /// The role that changes.
    #[must_use]
    pub fn role(&self) -> Option<&RoleChange> {
        Some(&self.assignment()?.role)
    }

    /// The group of a membership, or the group that gets a role.
    #[must_use]
    pub fn group(&self) -> Option<&GroupRef> {
        match &self.action {
            Action::Membership(membership) => Some(&membership.group),
            Action::Role(Assignment {
                holder: AssignmentHolder::Group(group),
                ..
            }) => Some(group),
            _ => None,
        }
    }

    /// The user that was observed; `None` for a user to be created, and for a group.
    #[must_use]
    pub fn user(&self) -> Option<&Arc<ObservedUser>> {
        match &self.action {
            Action::Delete(user) | Action::Deactivate(user) | Action::Update(user, _) => Some(user),
            Action::Membership(membership) => membership.user.as_ref(),
            Action::Role(assignment) => match &assignment.holder {
                AssignmentHolder::User(user) => user.as_ref(),
                AssignmentHolder::Group(_) => None,
            },
            Action::Transfer(transfer) => Some(&transfer.owner),
            Action::Create(_) => None,
        }
    }

    /// What the change is about.
    #[must_use]
    pub fn key(&self) -> ChangeKey {
        ChangeKey {
            subject: self.subject.clone(),
            group: self.membership().map(|one| one.group.name.clone()),
            scope: self.role().map(|role| role.scope.ids.clone()),
            schedule: self.transfer().map(|transfer| transfer.schedule.id.clone()),
        }
    }

    /// The transfer of a schedule.
    #[must_use]
    pub fn transfer(&self) -> Option<&Transfer> {
        match &self.action {
            Action::Transfer(transfer) => Some(transfer),
            _ => None,
        }
    }

    /// The name of the schedule that is transferred.
    #[must_use]
    pub fn schedule_label(&self) -> Option<String> {
        Some(self.transfer()?.schedule.label().to_owned())
    }

    /// The user who is removed.
    #[must_use]
    pub fn removed(&self) -> Option<&Arc<ObservedUser>> {
        match &self.action {
            Action::Delete(user) | Action::Deactivate(user) => Some(user),
            _ => None,
        }
    }

    /// The user who is removed, leaves a group, or may get a lower role. Nothing of this is sent for protected users.
    #[must_use]
    pub fn user_losing_access(&self) -> Option<&Arc<ObservedUser>> {
        let loses = match &self.action {
            Action::Delete(_) | Action::Deactivate(_) => true,
            Action::Membership(membership) => membership.change == MembershipChange::Leave,
            Action::Role(assignment) => assignment.may_lower(),
            Action::Update(..) | Action::Create(_) | Action::Transfer(_) => false,
        };
        self.user().filter(|_| loses)
    }

    /// The id of the user; a user to be created has none.
    #[must_use]
    pub fn user_id(&self) -> Option<&UserId> {
        Some(&self.user()?.id)
    }

    /// The users whose addresses no response to the change shows: of a membership or a role, and both users of a
    /// transfer.
    #[must_use]
    pub fn unseen_users(&self) -> Vec<(&Email, &UserId)> {
        let own = self.user().filter(|_| !self.operation().is_of_user());
        let successor = self.transfer().map(|transfer| &transfer.successor);
        let users = own.into_iter().chain(successor);
        users.map(|user| (&user.email, &user.id)).collect()
    }

    /// Whether the change clears a value of a user who stays.
    #[must_use]
    pub fn clears(&self) -> bool {
        matches!(&self.action, Action::Update(_, fields) if Operation::Update.clears(fields))
    }

    /// Whether the change makes an inactive user active.
    #[must_use]
    pub fn reactivates(&self) -> bool {
        let is_active = |one: &FieldChange| one.field == Field::Active;
        matches!(&self.action, Action::Update(_, fields) if fields.iter().any(is_active))
    }

    /// Whether the change follows from the roster not naming the user.
    #[must_use]
    pub fn is_pruning(&self) -> bool {
        self.location.is_none()
    }

    /// The schedules that a removal deletes, as far as they were read.
    #[must_use]
    pub fn lost_schedules(&self) -> Vec<FieldChange> {
        let removed = self.removed().into_iter();
        removed.flat_map(|user| user.lost_schedules()).collect()
    }

    /// The fields that the change sets. A deletion has all fields of the user, so that it can be undone, and a removal
    /// the schedules that it deletes, as far as they were read; a membership and a role have none.
    #[must_use]
    pub fn fields(&self) -> Vec<FieldChange> {
        match &self.action {
            Action::Delete(user) => user.removed_fields(),
            Action::Deactivate(user) => {
                let active = FieldChange::active(true, false);
                std::iter::once(active)
                    .chain(user.lost_schedules())
                    .collect()
            }
            Action::Transfer(Transfer {
                schedule,
                successor,
                ..
            }) => vec![FieldChange::transferred(schedule, &successor.email)],
            Action::Update(_, fields) => fields.clone(),
            Action::Create(spec) => {
                let mut fields = spec.fields();
                fields.retain(|field| field.to.is_some());
                fields
            }
            Action::Membership(_) | Action::Role(_) => Vec::new(),
        }
    }
}

impl ObservedUser {
    /// The fields that a deletion of this user takes.
    fn removed_fields(&self) -> Vec<FieldChange> {
        let name = FieldChange::new(Field::DisplayName, Value::one(&self.display_name), None);
        let inactive = self
            .is_inactive()
            .then(|| FieldChange::active(false, false));
        let values = self.values().map(|(name, value)| {
            FieldChange::new(Field::Attribute(name.clone()), Some(value.clone()), None)
        });
        std::iter::once(name)
            .chain(inactive)
            .chain(values)
            .chain(self.lost_schedules())
            .collect()
    }

    /// The schedules that a removal of this user deletes.
    fn lost_schedules(&self) -> impl Iterator<Item = FieldChange> {
        self.schedules().iter().map(FieldChange::lost)
    }

    /// The user after these changes, as far as it is known. Omni sets the time.
    #[must_use]
    pub fn with(&self, fields: &[FieldChange]) -> Self {
        let mut user = self.clone();
        user.modified = None;
        let known = self.values();
        let mut attributes: std::collections::BTreeMap<_, _> = known
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        for FieldChange { field, to, .. } in fields {
            match (field, to) {
                (Field::DisplayName, to) => {
                    user.display_name = to
                        .as_ref()
                        .map(|name| name.first().clone())
                        .unwrap_or_default();
                }
                (Field::Active, to) => user.active = to.as_ref().map(Value::is_true),
                (Field::Attribute(name), Some(value)) => {
                    attributes.insert(name.clone(), value.clone());
                }
                (Field::Attribute(name), None) => drop(attributes.remove(name)),
                (Field::Schedule(_) | Field::Group(_) | Field::Role(_), _) => {}
            }
        }
        // The other attributes stay unknown if they are.
        user.attributes = self
            .attributes
            .as_ref()
            .map(|_| attributes.into_iter().collect());
        user
    }
}

impl UserSpec {
    /// All fields that the roster states for this user.
    #[must_use]
    pub fn fields(&self) -> Vec<FieldChange> {
        let name = self.display_name.as_deref().and_then(Value::one);
        let name = name.map(|name| FieldChange::new(Field::DisplayName, None, Some(name)));
        let values = self.attributes.iter().map(|(name, value)| {
            FieldChange::new(Field::Attribute(name.clone()), None, value.clone())
        });
        name.into_iter().chain(values).collect()
    }
}
