//! The settings of `[policy]`.

use super::{Email, ObservedUser, UserId, fold, trim};
use serde::Deserialize;
use std::collections::HashSet;
use std::time::Duration;

/// The settings of `[policy]`.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whether the daemon applies changes.
    pub mode: Mode,
    /// Whether users that the roster does not name are removed.
    pub prune: Prune,
    /// How long a user must be missing first.
    pub prune_grace: Duration,
    /// How users are removed.
    pub removal: Removal,
    /// Whether an upsert tries to activate users that another administrator deactivated.
    pub reactivate: bool,
    /// Users that are never removed or deactivated.
    pub protect: Protect,
    /// Whether organisation admins and the users of the API keys count as protected.
    pub protect_admins: bool,
    /// The limit for removals.
    pub max_removals: Limit,
    /// The number of removals, clears or leaves that passes a limit in percent, for removals at most half of the users.
    pub max_removals_floor: u64,
    /// The limit for updates that clear a value.
    pub max_clears: Limit,
    /// The limit for updates.
    pub max_updates: Option<Limit>,
    /// The number of updates or joins that passes a limit in percent.
    pub max_updates_floor: u64,
    /// The limit for leaves.
    pub max_leaves: Limit,
    /// The limit for joins.
    pub max_joins: Limit,
    /// The limit for assignments of roles. Risky ones count fivefold.
    pub max_role_changes: u64,
    /// Groups that are managed although no cell names them.
    pub managed_groups: GroupGlobs,
    /// Whether groups that the roster names and Omni lacks are created.
    pub create_groups: bool,
    /// What happens to the schedules of removed users.
    pub owned_schedules: OwnedSchedulesPolicy,
    /// The user who gets the schedules of removed users if the roster names no successor.
    pub transfer_to: Option<Email>,
}

impl Policy {
    /// Whether a user is never removed or deactivated. The only place that decides it. `key_users` are the ids of the
    /// users of the API keys.
    #[must_use]
    pub fn protects(&self, user: &ObservedUser, key_users: &HashSet<UserId>) -> bool {
        let is_admin = || user.is_org_admin() || key_users.contains(&user.id);
        self.protect.covers(&user.email) || (self.protect_admins && is_admin())
    }
}

/// Which users are protected, as far as runs have seen them.
#[derive(Clone, Debug)]
pub struct Protection {
    /// The settings.
    pub policy: Policy,
    /// The ids of the users of the API keys.
    pub key_users: HashSet<UserId>,
}

impl Protection {
    /// Whether a user is protected, by the email alone if Omni has not shown the user.
    #[must_use]
    pub fn covers(&self, email: &Email, user: Option<&ObservedUser>) -> bool {
        match user {
            Some(user) => self.policy.protects(user, &self.key_users),
            None => self.policy.protect.covers(email),
        }
    }
}

/// `policy.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Changes are applied.
    Apply,
    /// Each run is a dry run.
    DryRun,
}

impl Mode {
    /// The word in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::DryRun => "dry-run",
        }
    }
}

/// `policy.prune`: whether users that the roster does not name are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prune {
    /// Never.
    Never,
    /// Managed users.
    Managed,
    /// All users.
    All,
}

/// `policy.removal`: how users are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Removal {
    /// `DELETE` revokes the membership.
    Delete,
    /// `active: false` revokes the access, for good by Omni's newer documents.
    Deactivate,
}

/// `policy.owned_schedules`: what happens to the schedules of users who are to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnedSchedulesPolicy {
    /// The removal is held until the loss is approved.
    Hold,
    /// A successor gets them first.
    Transfer,
    /// They are shown, and Omni deletes them.
    Ignore,
}

/// Globs with `*` and `?`, without letter case.
#[derive(Clone, Debug, Default)]
struct Globs(Vec<Glob>);

/// A pattern as written, and as it is compared.
#[derive(Clone, Debug)]
struct Glob {
    written: String,
    folded: wildmatch::WildMatch,
}

impl Globs {
    fn new<S: AsRef<str>>(globs: &[S]) -> Self {
        let glob = |glob: &S| {
            let written = trim(glob.as_ref());
            Glob {
                written: written.to_owned(),
                folded: wildmatch::WildMatch::new(&fold(written)),
            }
        };
        Self(globs.iter().map(glob).collect())
    }

    /// The patterns that match none of these names, as written. They may be misspelled.
    fn unmatched<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<&str> {
        let mut left: Vec<_> = self.0.iter().collect();
        for name in names {
            if left.is_empty() {
                break;
            }
            let name = fold(name);
            left.retain(|glob| !glob.folded.matches(&name));
        }
        left.into_iter().map(|glob| &*glob.written).collect()
    }

    fn covers(&self, name: &str) -> bool {
        !self.0.is_empty() && {
            let folded = fold(name);
            self.0.iter().any(|glob| glob.folded.matches(&folded))
        }
    }
}

/// `policy.protect`: users that are never removed or deactivated, as addresses or globs.
#[derive(Clone, Debug, Default)]
pub struct Protect(Globs);

impl Protect {
    /// Takes globs.
    #[must_use]
    pub fn new<S: AsRef<str>>(globs: &[S]) -> Self {
        Self(Globs::new(globs))
    }

    /// Whether there is no pattern.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.0.is_empty()
    }

    /// The patterns that match none of these users, as written.
    #[must_use]
    pub fn unmatched<'a>(&self, users: impl Iterator<Item = &'a Email>) -> Vec<&str> {
        self.0.unmatched(users.map(Email::as_str))
    }

    /// Whether a user is protected.
    #[must_use]
    pub fn covers(&self, email: &Email) -> bool {
        self.0.covers(email.as_str())
    }
}

/// `policy.managed_groups`: groups by name, as globs.
#[derive(Clone, Debug, Default)]
pub struct GroupGlobs(Globs);

impl GroupGlobs {
    /// Takes globs.
    #[must_use]
    pub fn new<S: AsRef<str>>(globs: &[S]) -> Self {
        Self(Globs::new(globs))
    }

    /// Whether there is no glob.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.0.is_empty()
    }

    /// The globs that match none of these groups, as written.
    #[must_use]
    pub fn unmatched<'a>(&self, groups: impl Iterator<Item = &'a str>) -> Vec<&str> {
        self.0.unmatched(groups)
    }

    /// Whether a name matches a glob.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        self.0.covers(name)
    }
}

/// A safety limit: a share of the users in Omni, or a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Percent of the users.
    Percent(u64),
    /// A number of users.
    Count(u64),
}

impl Limit {
    /// No limit. Settings can't state it.
    pub const NONE: Self = Self::Count(u64::MAX);
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protection_ignores_letter_case() {
        let covers = |glob: &str, email: &str| {
            Protect::new(&[glob]).covers(&Email::parse(email).expect("an email"))
        };
        assert!(covers("ΝΙΚΟΣ@x.gr", "ΝΙΚΟΣ@x.gr"));
        assert!(covers("νικοσ@X.gr", "ΝΙΚΟΣ@x.GR"));
        assert!(covers("\u{1c4}ana@*", "\u{1c5}ana@x.hr"));
        assert!(!covers("ann@x.co", "joann@x.co"));
    }
}
