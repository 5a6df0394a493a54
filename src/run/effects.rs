//! What the writes of a run did to users and groups, as far as it is known.

use super::cache::{Effect, ObservationCache};
use crate::model::{Change, GroupId, ObservedGroup, UserId};

/// What the writes of a run did.
#[derive(Debug, Default)]
pub struct Effects {
    /// To users, each with the change that was sent last.
    pub(super) users: Vec<(Change, Effect)>,
    /// To groups, in order.
    pub(super) groups: Vec<GroupEffect>,
}

/// What a write, or a read after it, showed of a group.
#[derive(Clone, Debug)]
pub(super) enum GroupEffect {
    /// The user is a member, or is none.
    Member(GroupId, UserId, bool),
    /// The group was created.
    Created(ObservedGroup),
    /// The group is like this now.
    Seen(ObservedGroup),
    /// The group is gone.
    Gone(GroupId),
    /// The members of the group may have changed.
    Unknown(GroupId),
}

impl ObservationCache {
    /// Takes in what happened to a group.
    pub(super) fn take_in_group(&mut self, effect: GroupEffect) {
        match effect {
            GroupEffect::Member(group, user, is_member) => {
                self.member_changed(&group, &user, is_member);
            }
            GroupEffect::Created(group) | GroupEffect::Seen(group) => self.group_seen(group),
            GroupEffect::Gone(group) => self.group_gone(&group),
            GroupEffect::Unknown(group) => self.group_unknown(&group),
        }
    }
}
