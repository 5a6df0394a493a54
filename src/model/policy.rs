//! The settings of `[policy]`.

use super::{Email, fold};
use serde::Deserialize;
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
    /// Whether an upsert activates users that another administrator deactivated.
    pub reactivate: bool,
    /// Users that are never removed or deactivated.
    pub protect: Protect,
    /// The limit for removals.
    pub max_removals: Limit,
    /// The number that always passes a limit in percent.
    pub max_removals_floor: u64,
    /// The limit for updates that clear a value.
    pub max_clears: Limit,
    /// The limit for updates.
    pub max_updates: Option<Limit>,
}

/// `policy.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Changes are applied.
    Apply,
    /// Each run is a dry run.
    Plan,
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
    /// `active: false` keeps the user without access.
    Deactivate,
}

/// `policy.protect`: users that are never removed or deactivated, as addresses or globs with `*` and `?`, without letter
/// case.
#[derive(Clone, Debug, Default)]
pub struct Protect(Vec<wildmatch::WildMatch>);

impl Protect {
    /// Takes globs.
    #[must_use]
    pub fn new<S: AsRef<str>>(globs: &[S]) -> Self {
        let folded = |glob: &S| wildmatch::WildMatch::new(&fold(glob.as_ref().trim()));
        Self(globs.iter().map(folded).collect())
    }

    /// Whether a user is protected.
    #[must_use]
    pub fn covers(&self, email: &Email) -> bool {
        !self.0.is_empty() && {
            let folded = email.folded();
            self.0.iter().any(|glob| glob.matches(&folded))
        }
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
