//! How Omni treats changes of groups: the strictest reading of its documents, unless a probe has shown another one
//! (`docs/omni.md`).

use crate::model::{MembershipChange, Readings, UserId};

/// The maximum number of members to add or remove per request.
pub const MAX_MEMBERS: usize = 100;

/// The rules for changes of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupRules {
    max_members: usize,
    adds_present_member: bool,
    removes_absent_member: bool,
    removes_by_any_id: bool,
    pub(super) filter_ignores_case: bool,
}

impl Default for GroupRules {
    fn default() -> Self {
        Self::of(&Readings::default())
    }
}

impl GroupRules {
    /// The rules by what a probe has learned.
    pub(super) fn of(readings: &Readings) -> Self {
        let is_known = |reading: Option<bool>| reading == Some(true);
        let max = readings.max_members_per_request.map(usize::try_from);
        Self {
            max_members: match max {
                Some(Ok(max)) => max.clamp(1, MAX_MEMBERS),
                Some(Err(_)) | None => MAX_MEMBERS,
            },
            adds_present_member: is_known(readings.adds_present_member),
            removes_absent_member: is_known(readings.removes_absent_member),
            removes_by_any_id: is_known(readings.removes_by_any_id),
            filter_ignores_case: is_known(readings.group_filter_ignores_case),
        }
    }

    /// The number of members that one request may change.
    #[must_use]
    pub fn max_members(self) -> usize {
        self.max_members
    }

    /// Whether Omni accepts a change of a membership that is as it should be already.
    #[must_use]
    pub fn accepts_repeated(self, change: MembershipChange) -> bool {
        match change {
            MembershipChange::Join => self.adds_present_member,
            MembershipChange::Leave => self.removes_absent_member,
        }
    }

    /// Whether a member with this id can be removed.
    #[must_use]
    pub fn removes(self, id: &UserId) -> bool {
        self.removes_by_any_id || id.has_documented_length()
    }
}
