//! Memberships as users show them in a list.

use super::{GroupId, ObservedGroup, ObservedGroups, UserId, UserIds};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The memberships that a list of users shows, or a part of it. If users show groups at all, one without groups has no
/// memberships.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedMemberships {
    users: HashSet<UserId>,
    members: HashMap<GroupId, Vec<UserId>>,
    is_unreadable: bool,
}

impl ListedMemberships {
    /// Adds a group of a user, by its id.
    pub fn add(&mut self, user: &UserId, group: &str) {
        if let Some(members) = self.members.get_mut(group) {
            members.push(user.clone());
        } else if let Some(group) = GroupId::parse(group) {
            self.members.insert(group, vec![user.clone()]);
        } else {
            self.is_unreadable = true;
        }
    }

    /// The groups of a user can't be read.
    pub fn add_unreadable(&mut self) {
        self.is_unreadable = true;
    }

    /// Adds a page.
    pub fn append(&mut self, page: Self) {
        self.users.extend(page.users);
        self.is_unreadable |= page.is_unreadable;
        for (group, members) in page.members {
            self.members.entry(group).or_default().extend(members);
        }
    }

    /// The same with the users of the list.
    #[must_use]
    pub fn of(self, users: HashSet<UserId>) -> Self {
        Self { users, ..self }
    }

    /// Whether the list shows groups: it does if any user is in one.
    #[must_use]
    pub fn shows_groups(&self) -> bool {
        !self.members.is_empty()
    }

    /// Whether the list shows this user in this group.
    #[must_use]
    pub fn has_member(&self, group: &GroupId, user: &UserId) -> bool {
        let members = self.members.get(group);
        members.is_some_and(|members| members.contains(user))
    }

    /// Whether the groups of each user are known, if the list shows groups.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        !self.is_unreadable
    }

    /// The groups of a list without members. All their members are in this list of users, which is whole.
    #[must_use]
    pub fn with_names(mut self, names: Vec<ObservedGroup>) -> ObservedGroups {
        let with_members = |group: ObservedGroup| {
            let members = self.members.remove(&group.id).unwrap_or_default();
            ObservedGroup {
                members: Some(members.into_iter().collect()),
                ..group
            }
        };
        ObservedGroups::new(names.into_iter().map(with_members))
    }

    /// Brings this part of a list into groups that were known before. Users that are not in it stay as known.
    #[must_use]
    pub fn over(mut self, before: &ObservedGroups) -> ObservedGroups {
        before.map(|group| {
            let Some(known) = &group.members else {
                return group.clone();
            };
            let shown = self.members.remove(&group.id).unwrap_or_default();
            let shown: UserIds = shown.into_iter().collect();
            let stays = |user: &&UserId| !self.users.contains(*user) || shown.contains(*user);
            if shown.is_subset(known) && known.iter().all(|user| stays(&user)) {
                return group.clone();
            }
            let members = known.iter().filter(stays).chain(&shown).cloned().collect();
            Arc::new(ObservedGroup {
                id: group.id.clone(),
                name: group.name.clone(),
                members: Some(members),
            })
        })
    }
}
