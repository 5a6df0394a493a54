//! Options of the mock server.

use clap::ValueEnum;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::limiter::{Burst, Limiter};

/// The number of users on a page, as documented by Omni.
pub(super) const DEFAULT_COUNT: usize = 100;

/// The behaviour of the mock server. The defaults are the strictest reading of Omni's documentation: lists lack the
/// attributes of users, `active: false` is for good, and a `PUT` clears the fields that it lacks.
#[derive(Debug, Clone)]
pub struct Options {
    /// Listen address; port 0 selects a free port.
    pub listen: SocketAddr,
    /// Number of sample users at the start.
    pub users: usize,
    /// Rate limit of each key.
    pub requests_per_minute: u32,
    /// Type of the rate limit.
    pub limiter: Limiter,
    /// A second limit of each key, over a shorter time.
    pub burst: Option<Burst>,
    /// Whether a 429 has `Retry-After`.
    pub retry_after: bool,
    /// Valid API keys, at least one.
    pub keys: Vec<String>,
    /// Valid personal access tokens. The SCIM API refuses them.
    pub personal_keys: Vec<String>,
    /// Answer to an unknown or revoked key.
    pub bad_key: BadKey,
    /// Whether `whoami` exists; an older Omni answers 404.
    pub whoami: bool,
    /// Whether to serve `/sandbox/…`. It needs no key: any client can change the state.
    pub admin: bool,
    /// Maximum number of users on a page. Must be at least 100, the default `count`, if a larger `count` is
    /// refused.
    pub max_page: usize,
    /// Answer to a larger `count`.
    pub larger_count: LargerCount,
    /// Representation of a cleared attribute.
    pub clear: ClearMode,
    /// What lists show of users.
    pub lists: Lists,
    /// Whether lists show the groups of users.
    pub listed_groups: ListedGroups,
    /// Answer to adding a present member, or removing an absent one.
    pub repeated: Repeated,
    /// Maximum number of members that one request changes; more are refused.
    pub max_members: usize,
    /// Matching of `displayName eq "…"`.
    pub group_filter: Filter,
    /// The form of the ids of users.
    pub ids: Ids,
    /// Effect of the removal of a member whose id does not have the documented length.
    pub other_ids: OtherIds,
    /// Words for the source of a role.
    pub origins: Origins,
    /// Number of sample schedules at the start, which some of the sample users own.
    pub sample_schedules: usize,
    /// Whether schedules can be listed and transferred.
    pub schedules: Endpoint,
    /// What the list of schedules shows of owners.
    pub schedule_owners: ScheduleOwners,
    /// Whether personal tokens can be listed.
    pub personal_tokens: Endpoint,
    /// Number of requests after a creation for which lists and filters lack the user.
    pub list_lag: u64,
    /// Answer to a `PATCH`.
    pub patch_answer: PatchAnswer,
    /// Effect of a `PUT` on missing fields.
    pub put: PutMode,
    /// Matching of `userName eq "…"`.
    pub filter: Filter,
    /// Effect of `active: false`.
    pub inactive: Inactive,
    /// Whether the change of an attribute moves `meta.lastModified`.
    pub last_modified: LastModified,
    /// The forms of a `PATCH` that set attributes.
    pub patch_forms: PatchForms,
    /// The forms of a `PATCH` that clear an attribute; the others have no effect.
    pub clears_by: Vec<ClearBy>,
    /// Whether attribute definitions are readable; if not, their endpoint answers 403.
    pub definitions: bool,
    /// Delay of each request.
    pub latency: Duration,
    /// Whether to record [`Org::history`](super::Org::history), which takes memory with each change.
    pub history: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            users: 0,
            requests_per_minute: 60,
            limiter: Limiter::Sliding,
            burst: None,
            retry_after: true,
            keys: vec!["sandbox-key".to_owned()],
            personal_keys: Vec::new(),
            bad_key: BadKey::Unauthorized,
            whoami: true,
            admin: false,
            max_page: 100,
            larger_count: LargerCount::Capped,
            clear: ClearMode::Null,
            lists: Lists::OmitAttributes,
            listed_groups: ListedGroups::Omitted,
            repeated: Repeated::Refused,
            max_members: 100,
            group_filter: Filter::ExactCase,
            ids: Ids::Uuid,
            other_ids: OtherIds::Refused,
            origins: Origins::Live,
            sample_schedules: 0,
            schedules: Endpoint::Served,
            schedule_owners: ScheduleOwners::Known,
            personal_tokens: Endpoint::Served,
            list_lag: 0,
            patch_answer: PatchAnswer::User,
            put: PutMode::Replace,
            filter: Filter::AnyCase,
            inactive: Inactive::Revoke,
            last_modified: LastModified::Moves,
            patch_forms: PatchForms::Both,
            clears_by: vec![ClearBy::Null, ClearBy::Empty, ClearBy::Remove],
            definitions: true,
            latency: Duration::ZERO,
            history: false,
        }
    }
}

impl Options {
    /// The defaults, but lists show attributes, so that no user is read by id.
    #[must_use]
    pub fn with_full_lists() -> Self {
        Self {
            lists: Lists::Full,
            ..Self::default()
        }
    }

    pub(super) fn check(&self) -> io::Result<()> {
        let invalid =
            |text: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, text.to_owned()));
        if self.requests_per_minute == 0 {
            return invalid("the rate limit must be at least 1");
        }
        if self.keys.is_empty() {
            return invalid("at least one key is required");
        }
        if self.max_page == 0 {
            return invalid("the page size must be at least 1");
        }
        if self.max_page < DEFAULT_COUNT && self.larger_count == LargerCount::Refused {
            return invalid("to refuse larger pages, the page size must be at least 100");
        }
        Ok(())
    }
}

/// Representation of an attribute that was cleared or never set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClearMode {
    /// It is missing in the user.
    #[default]
    Null,
    /// It has the `default_value` of its definition, if any.
    Default,
}

/// Answer to an unknown or revoked key. Both were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BadKey {
    /// 401.
    #[default]
    Unauthorized,
    /// 403, which a key without permission gets as well.
    Forbidden,
}

impl BadKey {
    /// The status and the detail.
    pub(super) fn answer(self) -> (u16, &'static str) {
        match self {
            Self::Unauthorized => (401, "Unauthorized: Missing or invalid API key"),
            Self::Forbidden => (403, "Invalid bearer token"),
        }
    }
}

impl std::fmt::Display for BadKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.answer().0)
    }
}

/// Answer to a `count` above the maximum. Omni's documentation names no maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LargerCount {
    /// A page of the maximum length.
    #[default]
    Capped,
    /// 400.
    Refused,
}

/// What lists and filter results show of users. Answers to reads by id always show everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lists {
    /// Everything.
    Full,
    /// Everything except the attributes.
    #[default]
    OmitAttributes,
}

/// Whether lists and filter results show the groups of users. Answers to reads by id always show them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListedGroups {
    /// They do.
    Shown,
    /// They do not.
    #[default]
    Omitted,
}

/// Answer to a `PATCH` of a group that adds a present member or removes an absent one. Omni's documentation does not
/// say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Repeated {
    /// 400 to both, and nothing of the request is applied.
    #[default]
    Refused,
    /// A present member can be added, without effect.
    Added,
    /// An absent one can be removed, without effect.
    Removed,
    /// Both can be done, without effect.
    Accepted,
}

/// The form of the ids of users. Omni's documentation does not say that they are UUIDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Ids {
    /// UUIDs, with 36 characters.
    #[default]
    Uuid,
    /// 16 characters.
    Short,
}

/// Effect of the removal of a member whose id does not have the 36 characters that the OpenAPI document requires in the
/// path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum OtherIds {
    /// 400.
    #[default]
    Refused,
    /// None, although it is accepted.
    Ignored,
    /// The member is removed.
    Removed,
}

/// The words for the source of a role (`from.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Origins {
    /// As seen: `User Role`, `Group Role`, `Connection Base Role`. The roles of a group have no source.
    #[default]
    Live,
    /// As in the OpenAPI document: `USER`, `GROUP`, `BASE`.
    Document,
}

/// Whether the mock server has an endpoint. A key may lack the right, and an older Omni may lack the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Endpoint {
    /// The endpoint answers.
    #[default]
    Served,
    /// 403: the key lacks the right.
    Forbidden,
    /// 404: there is no such endpoint.
    Missing,
}

/// What the list of schedules shows of owners. Omni's older pages show no `ownerId` in an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ScheduleOwners {
    /// Each entry has its owner, and the list can be filtered by owner.
    #[default]
    Known,
    /// Entries have no owner.
    Unnamed,
    /// The filter is ignored.
    Unfiltered,
    /// The owners of entries have another kind of id.
    OtherIds,
}

/// Answer to a successful `PATCH`. SCIM allows all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum PatchAnswer {
    /// 200 with the user.
    #[default]
    User,
    /// 200 with the id and email of the user only.
    Partial,
    /// 204 without a body.
    Empty,
}

/// Effect of a `PUT` on missing fields. Omni's documentation has stated both (`docs/omni.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum PutMode {
    /// They are cleared.
    #[default]
    Replace,
    /// They are kept.
    Merge,
}

/// Matching of `userName eq "…"` or `displayName eq "…"`. In SCIM both ignore case, but not all servers comply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Filter {
    /// Ignores case.
    #[default]
    AnyCase,
    /// Respects case.
    ExactCase,
    /// Matches all users: the filter is ignored.
    Ignored,
}

/// Effect of `active: false`. Omni's documentation has stated both (`docs/omni.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Inactive {
    /// The user is gone, as after a deletion.
    #[default]
    Revoke,
    /// The user is inactive until `active: true`.
    Keep,
}

/// Whether `meta.lastModified` moves when only attributes change. Omni's documentation does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LastModified {
    /// It moves.
    #[default]
    Moves,
    /// It does not.
    Stays,
}

/// The forms of a `PATCH` that set attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum PatchForms {
    /// Both of the following.
    #[default]
    Both,
    /// No `path`, and the attributes in the value.
    NoPath,
    /// The `path` of one attribute.
    Path,
}

/// A form of a `PATCH` that clears an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClearBy {
    /// The value `null`.
    Null,
    /// An empty text or list.
    Empty,
    /// The operation `remove`.
    Remove,
}
