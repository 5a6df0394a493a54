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

mod attributes;
mod decimal;
mod email;
mod schema;
mod value;

pub use attributes::{Attributes, Known, Pairs};
pub use decimal::Decimal;
pub use email::{Email, EmailError, fold};
pub use schema::{Definition, Schema, ValueType};
pub use value::{Texts, Value, Visible, is_obeyed};

use foldhash::fast::RandomState;
use indexmap::IndexMap;
use std::fmt;
use std::sync::Arc;

/// A text of a user. Short ones lie in place and copies of long ones are shared: an organisation
/// has millions of them.
pub type Text = smol_str::SmolStr;

/// Something of each user, in the order in which it came. Each map hashes with a seed of its own,
/// so that no roster can be made to collide.
pub type ByEmail<T> = IndexMap<Email, T, RandomState>;

/// A text without blanks at its edges.
#[must_use]
pub fn trim(text: &str) -> &str {
    // Nearly all texts are trimmed already, and the edges of most tell so by one byte.
    match text.as_bytes() {
        [] => text,
        [one] if one.is_ascii_graphic() => text,
        [first, .., last] if first.is_ascii_graphic() && last.is_ascii_graphic() => text,
        _ => text.trim_matches(is_blank),
    }
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

/// As a person reads it, with nothing in it that a terminal would obey; [`AttributeName::as_str`] is the
/// name itself.
impl fmt::Display for AttributeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Visible(&self.0), f)
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
