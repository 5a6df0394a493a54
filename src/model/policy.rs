//! What runs may do (`[policy]` of the settings).

use super::{Email, fold};
use std::time::Duration;

/// `[policy]`: what may be done.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whether the daemon acts.
    pub mode: Mode,
    /// Whether users that the roster does not name are removed.
    pub prune: Prune,
    /// How long a user must be missing before that.
    pub prune_grace: Duration,
    /// What a removal is.
    pub removal: Removal,
    /// Whether users that others deactivated are activated by an upsert.
    pub reactivate: bool,
    /// Who is never removed or deactivated.
    pub protect: Protect,
    /// The most removals before all are held.
    pub max_removals: Limit,
    /// So many pass below a percentage.
    pub max_removals_floor: u64,
    /// The most updates that empty a value, before all such are held.
    pub max_clears: Limit,
    /// The most updates, before all are held; `None` for no limit.
    pub max_updates: Option<Limit>,
}

/// Whether the daemon acts (`policy.mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It carries out what is planned.
    Apply,
    /// It only watches and tells.
    Plan,
}

/// Whether users that the roster does not name are removed (`policy.prune`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prune {
    /// Never.
    Never,
    /// Those whom we made, or whom a roster once named.
    Managed,
    /// All of them.
    All,
}

/// What a removal is (`policy.removal`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// `DELETE`: the membership is revoked.
    Delete,
    /// `active: false`: the user stays and can't log in.
    Deactivate,
}

/// Who is never removed or deactivated (`policy.protect`): whole addresses or globs with `*` and
/// `?`, without case.
#[derive(Clone, Debug, Default)]
pub struct Protect(Vec<wildmatch::WildMatch>);

impl Protect {
    /// Takes the globs.
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

/// A limit of the guard: a share of the users in Omni, or a plain count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So many of a hundred users.
    Percent(u64),
    /// So many users.
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
    fn who_is_protected_is_so_in_any_letters() {
        let covers = |glob: &str, email: &str| {
            Protect::new(&[glob]).covers(&Email::parse(email).expect("an email"))
        };
        assert!(covers("ΝΙΚΟΣ@x.gr", "ΝΙΚΟΣ@x.gr"));
        assert!(covers("νικοσ@X.gr", "ΝΙΚΟΣ@x.GR"));
        assert!(covers("\u{1c4}ana@*", "\u{1c5}ana@x.hr"));
        assert!(!covers("ann@x.co", "joann@x.co"));
    }
}
