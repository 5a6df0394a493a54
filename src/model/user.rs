//! Users, as a roster wants them and as Omni shows them.

use super::{Attributes, Email, Escaped, Text, Value, trim};
use std::fmt;
use std::sync::Arc;

/// Omni's reference name of a user attribute, as used in CSV headers. Exact, case included.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributeName(Arc<str>);

impl AttributeName {
    /// Takes a reference name; edge blanks are no part of it.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(trim(name).into())
    }

    /// The name as Omni spells it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// As a person reads it, with nothing in it that a terminal would obey; [`AttributeName::as_str`] is the
/// name itself.
impl fmt::Display for AttributeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Escaped(&self.0), f)
    }
}

/// Omni's id of a user's membership. A user that was removed and made again has a new one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Arc<str>);

impl UserId {
    /// Takes an id as Omni sent it. Only characters that can stand in a path as they are make an
    /// id, so that a hostile one (`../groups`) can't lead a request elsewhere.
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (!id.is_empty() && id.len() <= 128 && id.chars().all(plain)).then(|| Self(id.into()))
    }

    /// The id as Omni spells it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a roster wants of one user. What it does not name is not in here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSpec {
    /// The name to show; `None` leaves the present one.
    pub display_name: Option<Text>,
    /// The attributes that have a column: the value wanted, or `None` to clear it.
    pub attributes: Attributes<Option<Value>>,
}

/// A user as Omni showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedUser {
    /// Omni's id of the membership.
    pub id: UserId,
    /// The `userName`.
    pub email: Email,
    /// The name shown; may be empty.
    pub display_name: Text,
    /// Whether the user may log in.
    pub active: bool,
    /// The attributes that have a value.
    pub attributes: Attributes<Value>,
}
