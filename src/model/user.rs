//! Users, as a roster states them and as Omni shows them.

use super::{Attributes, Email, Escaped, Text, Value, trim};
use std::fmt;
use std::sync::Arc;

/// Omni's reference of a user attribute, as used in CSV headers. Letter case matters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributeName(Arc<str>);

impl AttributeName {
    /// Takes a reference without the blanks at its edges.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(trim(name).into())
    }

    /// The reference as Omni spells it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// For people, without characters that a terminal obeys. [`AttributeName::as_str`] is the reference itself.
impl fmt::Display for AttributeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Escaped(&self.0), f)
    }
}

/// Omni's id of a user. A user that was removed and created again has a new id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Arc<str>);

impl UserId {
    /// Takes an id as Omni sent it. Only characters that need no escaping in a path are allowed, so that a hostile id
    /// (`../groups`) can't lead a request elsewhere.
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

/// What a roster states for one user, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSpec {
    /// The display name; `None` keeps the present one.
    pub display_name: Option<Text>,
    /// The attributes that have a column: the value, or `None` to clear it.
    pub attributes: Attributes<Option<Value>>,
}

/// The system attribute of organisation admins.
const ORG_ADMIN: &str = "omni_is_org_admin";

/// A user as Omni shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedUser {
    /// The id.
    pub id: UserId,
    /// The `userName`.
    pub email: Email,
    /// The display name; may be empty.
    pub display_name: Text,
    /// Whether the user may log in.
    pub active: bool,
    /// The attributes that have a value.
    pub attributes: Attributes<Value>,
}

impl ObservedUser {
    /// Whether Omni shows the user as an admin of the organisation.
    #[must_use]
    pub fn is_org_admin(&self) -> bool {
        let value = self.attributes.get(&AttributeName::new(ORG_ADMIN));
        value.is_some_and(Value::is_true)
    }
}
