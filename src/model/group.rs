//! Groups, as a roster names them and as Omni shows them.

use super::plain_id::plain_id;
use super::word::word_enum;
use super::{Escaped, Text, UserId, fold, nfc, trim};
use foldhash::fast::RandomState;
use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;

plain_id! {
    /// Omni's id of a group. A group that was removed and created again has a new id.
    GroupId
}

/// So that a map by id finds one by its text.
impl Borrow<str> for GroupId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The name of a group: trimmed, with composed letters (NFC).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(Text);

/// The reason why a text is not the name of a group. `Display` is a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupNameError {
    /// The text is blank.
    #[error("the name of the group is blank")]
    Blank,
    /// The text contains a control character.
    #[error("the name of a group can't contain control characters")]
    ControlCharacter,
    /// The text is longer than Omni allows.
    #[error("the name of a group has at most {} characters", GroupName::MAX_CHARS)]
    TooLong,
}

impl GroupName {
    /// The maximum number of characters, by Omni's documentation.
    pub const MAX_CHARS: usize = 64;

    /// Parses a name.
    ///
    /// # Errors
    /// If Omni would not accept it.
    pub fn parse(text: &str) -> Result<Self, GroupNameError> {
        let name = nfc(trim(text));
        if name.is_empty() {
            return Err(GroupNameError::Blank);
        }
        if name.chars().any(char::is_control) {
            return Err(GroupNameError::ControlCharacter);
        }
        if name.chars().count() > Self::MAX_CHARS {
            return Err(GroupNameError::TooLong);
        }
        Ok(Self(name.as_ref().into()))
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether two names are equal without regard to case. Omni refuses two such groups.
    #[must_use]
    pub fn is_same_ignoring_case(&self, other: &Self) -> bool {
        fold(&self.0) == fold(&other.0)
    }
}

/// For people, without characters that a terminal interprets.
impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Escaped(&self.0), f)
    }
}

/// A group as a change names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupRef {
    /// The id; `None` for a group to be created.
    pub id: Option<GroupId>,
    /// The name.
    pub name: GroupName,
}

impl GroupRef {
    /// The name, with a mark for a group to be created.
    #[must_use]
    pub fn marked(&self) -> String {
        match self.id {
            Some(_) => self.name.to_string(),
            None => format!("{} (new group)", self.name),
        }
    }
}

impl fmt::Display for GroupRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

word_enum! {
    /// A change of a membership.
    pub enum MembershipChange {
        /// Takes the user out of the group.
        Leave = "leave",
        /// Adds the user to the group.
        Join = "join",
    }
}

impl MembershipChange {
    /// The change that reverts this one.
    #[must_use]
    pub fn reverse(self) -> Self {
        match self {
            Self::Leave => Self::Join,
            Self::Join => Self::Leave,
        }
    }
}

/// Users by id. Large groups make hashing the main cost of a plan, so it is a fast one, with a seed.
pub type UserIds = HashSet<UserId, RandomState>;

/// A group as Omni shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedGroup {
    /// The id.
    pub id: GroupId,
    /// The `displayName`, as Omni spells it.
    pub name: Text,
    /// The members, also those that no list of users shows (embed users); `None` if the response lacks them.
    pub members: Option<UserIds>,
}

/// Why the groups in Omni are not known. `Display` is a clause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupsUnknown {
    /// No run has read them.
    #[error("the groups were not read yet")]
    NotRead,
    /// Omni refuses the list: 403 or 404.
    #[error("Omni refuses the list of groups ({0})")]
    Refused(u16),
    /// The list does not add up.
    #[error("{listed} groups were listed, but Omni counts {total}")]
    Unreliable {
        /// The number of different groups in the list.
        listed: usize,
        /// The number of groups, according to Omni.
        total: usize,
    },
    /// The list can't be read, for this reason.
    #[error("the list of groups can't be read: {0}")]
    Failed(String),
}

impl GroupsUnknown {
    /// The remedy, as a clause.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Refused(_) => "use an organisation key that may read groups",
            Self::NotRead | Self::Unreliable { .. } | Self::Failed(_) => {
                "the next run reads them again"
            }
        }
    }
}
