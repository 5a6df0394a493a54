//! What is known about the list of groups, and what of it is not stored yet. The groups themselves are in
//! [`Observed`](crate::model::Observed).

use crate::model::{
    GroupId, GroupListing, GroupsUnknown, ObservedGroup, ObservedGroups, ObservedGroupsUpdate,
};
use chrono::{DateTime, Utc};
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::Instant;

/// About the groups of an observation.
#[derive(Clone, Debug, Default)]
pub(super) struct GroupCache {
    /// When they were listed, or when Omni refused that; `None` if never, or if the list could not be read.
    listed: Option<Instant>,
    /// Whether lists of users show their groups.
    users_show_groups: bool,
    unsaved: UnsavedGroups,
    /// Whether the time of the list is not in the state database yet.
    is_unsaved: bool,
}

/// What the state database does not have yet.
#[derive(Clone, Debug, Default)]
enum UnsavedGroups {
    /// All groups.
    #[default]
    Everything,
    /// What is known about these groups.
    Some(HashSet<GroupId>),
}

impl GroupCache {
    /// What earlier runs have stored, with the groups.
    pub(super) fn restored(
        listing: Option<(GroupListing, Instant)>,
        stored: Vec<ObservedGroup>,
    ) -> (Self, ObservedGroups) {
        let Some((listing, at)) = listing else {
            return (Self::default(), ObservedGroups::default());
        };
        let is_uncertain = |group: &&ObservedGroup| group.members.is_none();
        let uncertain = stored.iter().filter(is_uncertain);
        let mut cache = Self {
            listed: Some(at),
            users_show_groups: listing.users_show_groups,
            unsaved: UnsavedGroups::Some(HashSet::new()),
            is_unsaved: false,
        };
        cache.found_out(uncertain.map(|group| group.id.clone()));
        let groups = match listing.refused {
            Some(status) => ObservedGroups::unknown(GroupsUnknown::Refused(status)),
            None => ObservedGroups::new(stored),
        };
        (cache, groups)
    }

    /// Whether the groups were listed at most this long ago.
    pub(super) fn is_younger_than(&self, age: Duration) -> bool {
        self.listed.is_some_and(|at| at.elapsed() <= age)
    }

    /// Whether lists of users show their groups.
    pub(super) fn users_show_groups(&self) -> bool {
        self.users_show_groups
    }

    /// Takes in whether a list of users shows their groups.
    pub(super) fn note_users_show_groups(&mut self, shows: bool) {
        self.users_show_groups = shows;
    }

    /// Takes in the answer to a request for the list.
    pub(super) fn listed(&mut self, before: &ObservedGroups, now: &ObservedGroups) {
        let is_answered = matches!(now.why_unknown(), None | Some(GroupsUnknown::Refused(_)));
        self.listed = is_answered.then(Instant::now);
        let differs = |id: &&GroupId| before.get(id) != now.get(id);
        let ids = before.iter().chain(now.iter()).map(|group| &group.id);
        self.found_out(ids.filter(differs).cloned());
        self.is_unsaved = true;
    }

    /// Marks what is known about groups to be stored.
    pub(super) fn found_out(&mut self, ids: impl IntoIterator<Item = GroupId>) {
        match &mut self.unsaved {
            UnsavedGroups::Everything => {}
            UnsavedGroups::Some(unsaved) => unsaved.extend(ids),
        }
    }

    /// Nothing that is known about groups is stored.
    pub(super) fn save_everything(&mut self) {
        self.unsaved = UnsavedGroups::Everything;
    }

    /// What the state database does not have yet; `None` if it has everything.
    pub(super) fn take_update(&mut self, groups: &ObservedGroups) -> Option<ObservedGroupsUpdate> {
        let nothing = UnsavedGroups::Some(HashSet::new());
        let unsaved = std::mem::replace(&mut self.unsaved, nothing);
        let is_unsaved = std::mem::take(&mut self.is_unsaved);
        let mut update = ObservedGroupsUpdate::default();
        let ids = match unsaved {
            UnsavedGroups::Some(ids) if ids.is_empty() && !is_unsaved => return None,
            UnsavedGroups::Some(ids) => ids,
            UnsavedGroups::Everything => {
                update.is_whole = true;
                groups.iter().map(|group| group.id.clone()).collect()
            }
        };
        for id in ids {
            match groups.shared(&id) {
                Some(group) => update.groups.push(group.clone()),
                None => update.forgotten.push(id),
            }
        }
        Some(update)
    }

    /// The last list of these groups.
    pub(super) fn listing(
        &self,
        groups: &ObservedGroups,
        now: DateTime<Utc>,
    ) -> Option<GroupListing> {
        let refused = match groups.why_unknown() {
            Some(GroupsUnknown::Refused(status)) => Some(*status),
            _ => None,
        };
        Some(GroupListing {
            read: now - self.listed?.elapsed(),
            refused,
            users_show_groups: self.users_show_groups,
        })
    }
}
