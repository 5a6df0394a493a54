//! How an organisation answers where Omni's documents can be read in several ways.

use super::{Email, UserId};
use serde::{Deserialize, Serialize};

/// What probes have learned. `None`: not probed, or the answers did not show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Readings {
    /// Whether lists show the attributes of users.
    pub lists_carry_attributes: Option<bool>,
    /// Whether a `PUT` resets the fields that it lacks.
    pub put_replaces: Option<bool>,
    /// Whether `active: false` can't be reversed.
    pub inactive_revokes: Option<bool>,
    /// Whether the filter by email ignores case.
    pub filter_ignores_case: Option<bool>,
    /// Whether `meta.lastModified` moves when an attribute changes.
    pub last_modified_moves: Option<bool>,
    /// The maximum number of users on a page.
    pub max_page: Option<u32>,
    /// The forms that clear an attribute.
    pub clears_by: Option<Vec<ClearForm>>,
    /// The forms of a `PATCH` that set an attribute.
    pub patch_forms: Option<Vec<PatchForm>>,
    /// Whether lists show the groups of users.
    pub lists_carry_groups: Option<bool>,
    /// Whether Omni accepts that a member is added again.
    pub adds_present_member: Option<bool>,
    /// Whether Omni accepts the removal of a user that is not a member.
    pub removes_absent_member: Option<bool>,
    /// Whether a member is removed by an id that does not have the documented length; `None` also if the ids have it.
    pub removes_by_any_id: Option<bool>,
    /// How many members one request may change, as far as the program needs it: at most 100.
    pub max_members_per_request: Option<u32>,
    /// Whether the filter by the name of a group ignores case.
    pub group_filter_ignores_case: Option<bool>,
}

/// A form of a `PATCH` that may clear an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClearForm {
    /// The value `null`.
    Null,
    /// An empty text, or an empty list.
    Empty,
    /// The operation `remove`, with the path of the attribute.
    Remove,
}

impl ClearForm {
    /// All forms.
    pub const ALL: [Self; 3] = [Self::Null, Self::Empty, Self::Remove];
}

/// A form of a `PATCH` that may set an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatchForm {
    /// No `path`; the value contains the attributes.
    NoPath,
    /// The `path` of the attribute, after a colon.
    Path,
}

impl PatchForm {
    /// All forms.
    pub const ALL: [Self; 2] = [Self::NoPath, Self::Path];
}

/// The user that a probe creates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeUser {
    /// The email.
    pub email: Email,
    /// The display name, which no other user has. The group that the probe creates has the same name.
    pub display_name: String,
    /// The id, once Omni has answered.
    pub id: Option<UserId>,
}
