//! Memberships in groups, as a roster states them and as Omni shows them.

use super::{
    ByEmail, ChangeKey, Email, GroupId, GroupName, GroupsUnknown, Location, MembershipChange,
    ObservedGroup, Problem, Subject, UserId,
};
use foldhash::fast::RandomState;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What a roster states about memberships.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredMemberships {
    /// The cell of each user in the `groups` column: the complete membership among managed groups. The memberships of a
    /// user without an entry are left unchanged, apart from rows of `source.groups`.
    pub cells: ByEmail<GroupsCell>,
    /// The rows of `source.groups`.
    pub rows: Vec<MembershipRow>,
    /// Memberships that are not changed, because their rows are invalid or contradict each other. Without a group, all
    /// memberships of the user.
    pub frozen: HashSet<ChangeKey>,
    /// Rows of `source.groups` that count only if a user has exactly their address.
    pub doubtful: Vec<DoubtfulMembership>,
    /// The number of invalid rows of `source.groups` that may be about any user. No user leaves a group then.
    pub unnamed: u64,
    /// The number of rows of `source.groups`; `None` if it is not set or can't be used.
    pub count: Option<u64>,
    /// Why `source.groups` can't be read. No user leaves a group then.
    pub unreadable: Option<Problem>,
}

impl DesiredMemberships {
    /// Whether nothing is stated about memberships, so that groups need not be read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.named_rows().next().is_none()
    }

    /// The valid and doubtful rows of `source.groups`.
    pub fn named_rows(&self) -> impl Iterator<Item = &MembershipRow> {
        let doubtful = self.doubtful.iter().map(|one| &one.row);
        self.rows.iter().chain(doubtful)
    }

    /// Whether a part of `source.groups` that can't be read may state something about a user.
    #[must_use]
    pub fn may_state(&self, subject: &Subject) -> bool {
        let is_frozen = || self.frozen.iter().any(|key| key.subject == *subject);
        self.unreadable.is_some() || self.unnamed > 0 || is_frozen()
    }

    /// Keeps what matters to one user. If anything is stated about them, the cells of others stay: their names say
    /// which groups are managed.
    #[must_use]
    pub(crate) fn about(mut self, email: &Email) -> Self {
        self.rows.retain(|row| row.email == *email);
        self.doubtful.retain(|one| one.is_about(email));
        self.frozen.retain(|key| key.subject == *email);
        if self.named_rows().next().is_none() && !self.cells.contains_key(email) {
            self.cells.clear();
        }
        self
    }
}

/// The cell of the `groups` column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupsCell {
    /// The names, each once, as written.
    pub names: Vec<GroupName>,
    /// The cell.
    pub location: Location,
}

/// A row of `source.groups`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipRow {
    /// The user.
    pub email: Email,
    /// The group, as written.
    pub group: GroupName,
    /// Whether the user is to be a member.
    pub change: MembershipChange,
    /// The row.
    pub location: Location,
}

impl MembershipRow {
    /// The columns of the file, as Omni's SDK has them.
    pub const COLUMNS: [&str; 3] = ["op", "email", "group_name"];
}

/// A valid row of `source.groups`, apart from an address that breaks the rule for new users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoubtfulMembership {
    /// The row, with its address letter for letter.
    pub row: MembershipRow,
    /// The problem, if no user has the address.
    pub problem: Problem,
    /// The memberships of the addresses that are probably meant. If there are none, the row may be about any user.
    pub meant: Vec<ChangeKey>,
}

impl DoubtfulMembership {
    fn is_about(&self, email: &Email) -> bool {
        let mut meant = self.meant.iter();
        self.row.email == *email || self.meant.is_empty() || meant.any(|key| key.subject == *email)
    }
}

/// The groups in Omni with their members. The default has none, and says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedGroups {
    /// The groups by id.
    groups: HashMap<GroupId, Arc<ObservedGroup>, RandomState>,
    /// Why Omni has not shown its groups; `None` if it has.
    unknown: Option<GroupsUnknown>,
}

impl Default for ObservedGroups {
    fn default() -> Self {
        Self::unknown(GroupsUnknown::NotRead)
    }
}

impl ObservedGroups {
    /// The maximum number of groups. A longer list is an error.
    pub const MAX: usize = 10_000;

    /// The groups of a whole list.
    #[must_use]
    pub fn new<T: Into<Arc<ObservedGroup>>>(groups: impl IntoIterator<Item = T>) -> Self {
        let groups = groups.into_iter().map(Into::into);
        Self {
            groups: groups.map(|group| (group.id.clone(), group)).collect(),
            unknown: None,
        }
    }

    /// No groups, for this reason.
    #[must_use]
    pub fn unknown(why: GroupsUnknown) -> Self {
        Self {
            groups: HashMap::default(),
            unknown: Some(why),
        }
    }

    /// Whether Omni has shown its groups. If not, nothing is known about memberships.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.unknown.is_none()
    }

    /// Why Omni has not shown its groups; `None` if it has.
    #[must_use]
    pub fn why_unknown(&self) -> Option<&GroupsUnknown> {
        self.unknown.as_ref()
    }

    /// All groups, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &ObservedGroup> {
        self.groups.values().map(AsRef::as_ref)
    }

    /// The group with this id.
    #[must_use]
    pub fn get(&self, id: &GroupId) -> Option<&ObservedGroup> {
        self.shared(id).map(AsRef::as_ref)
    }

    /// The same, to be kept.
    #[must_use]
    pub fn shared(&self, id: &GroupId) -> Option<&Arc<ObservedGroup>> {
        self.groups.get(id)
    }

    /// Whether a user is a member; `None` if the members of the group are not known.
    #[must_use]
    pub fn has_member(&self, group: &GroupId, user: &UserId) -> Option<bool> {
        let members = self.groups.get(group)?.members.as_ref()?;
        Some(members.contains(user))
    }

    /// Brings a changed membership in.
    pub fn set_member(&mut self, group: &GroupId, user: &UserId, is_member: bool) {
        if self
            .has_member(group, user)
            .is_none_or(|was| was == is_member)
        {
            return;
        }
        let group = self.groups.get_mut(group).map(Arc::make_mut);
        if let Some(members) = group.and_then(|group| group.members.as_mut()) {
            match is_member {
                true => drop(members.insert(user.clone())),
                false => drop(members.remove(user)),
            }
        }
    }

    /// Inserts or replaces a group that was read or created.
    pub fn put(&mut self, group: ObservedGroup) {
        self.groups.insert(group.id.clone(), group.into());
    }

    /// Removes a user that is gone. Returns the groups that had the user as a member.
    pub fn forget_user(&mut self, user: &UserId) -> Vec<GroupId> {
        let groups: Vec<_> = self.of_user(user).map(|group| group.id.clone()).collect();
        for group in &groups {
            self.set_member(group, user, false);
        }
        groups
    }

    /// The members of a group may have changed.
    pub fn forget_members(&mut self, id: &GroupId) {
        if let Some(group) = self.groups.get_mut(id) {
            *group = Arc::new(ObservedGroup {
                id: group.id.clone(),
                name: group.name.clone(),
                members: None,
            });
        }
    }

    /// The same with each group replaced.
    #[must_use]
    pub fn map(&self, replace: impl FnMut(&Arc<ObservedGroup>) -> Arc<ObservedGroup>) -> Self {
        Self::new(self.groups.values().map(replace))
    }

    /// The groups of a later list without members. The members stay as known.
    #[must_use]
    pub fn renamed(&self, list: impl IntoIterator<Item = ObservedGroup>) -> Self {
        let with_members = |group: ObservedGroup| match self.shared(&group.id) {
            Some(known) if known.name == group.name => known.clone(),
            Some(known) => Arc::new(ObservedGroup {
                members: known.members.clone(),
                ..group
            }),
            None => group.into(),
        };
        Self::new(list.into_iter().map(with_members))
    }

    /// Removes a group that is gone.
    pub fn remove(&mut self, id: &GroupId) {
        self.groups.remove(id);
    }

    /// The ids of the groups that have a user as a member.
    pub fn of_user<'a>(&'a self, user: &'a UserId) -> impl Iterator<Item = &'a ObservedGroup> {
        let is_in = |group: &&ObservedGroup| {
            let members = group.members.as_ref();
            members.is_some_and(|members| members.contains(user))
        };
        self.iter().filter(is_in)
    }
}
