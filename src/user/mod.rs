//! Users, their attributes and values: types that can't be wrong.
//!
//! Everything is parsed once, at the edge it came in by (a cell, a page of Omni's list), and from
//! then on every room can rely on it:
//!
//! - an [`Email`] is one address, and two that differ only in case are equal;
//! - a [`Value`] is never empty: "no value" is `Option::None`, whether it was missing, `null`, `""`
//!   or `[]`;
//! - a [`Schema`] knows Omni's attribute definitions, or says that it does not, and is the one
//!   place that decides whether two values are the same.

mod decimal;
mod email;
mod schema;
mod value;

pub use decimal::Decimal;
pub use email::{Email, EmailError, fold};
pub use schema::{Definition, Schema, ValueType};
pub use value::Value;

use std::fmt;
use std::sync::Arc;

/// A text without blanks at its edges.
#[must_use]
pub fn trim(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// White space of any kind, and the marks that no one sees: zero-width space and joiners, word
/// joiner, byte order mark.
#[must_use]
pub fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
}

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

impl std::borrow::Borrow<str> for AttributeName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AttributeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Omni's id of a user's membership. A user that was removed and made again has a new one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Box<str>);

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
    pub display_name: Option<Box<str>>,
    /// The attributes that have a column: the value wanted, or `None` to clear it. Sorted by
    /// name, each name once.
    pub attributes: Vec<(AttributeName, Option<Value>)>,
}

/// A user as Omni showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedUser {
    /// Omni's id of the membership.
    pub id: UserId,
    /// The `userName`.
    pub email: Email,
    /// The name shown; may be empty.
    pub display_name: Box<str>,
    /// Whether the user may log in.
    pub active: bool,
    /// The attributes that have a value, sorted by name.
    pub attributes: Vec<(AttributeName, Value)>,
}

impl ObservedUser {
    /// The value of an attribute, `None` where it has none.
    #[must_use]
    pub fn attribute(&self, name: &AttributeName) -> Option<&Value> {
        let at = self
            .attributes
            .binary_search_by(|(have, _)| have.cmp(name))
            .ok()?;
        Some(&self.attributes[at].1)
    }
}
