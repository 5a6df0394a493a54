//! Fields of users, and their changes.

use super::{AttributeName, Escaped, Value, is_word_for_nothing};
use serde::{Deserialize, Serialize};

/// A field of a user. Its text form is `display_name`, `active` or the attribute's reference;
/// `attribute:NAME` marks an attribute whose reference is one of the other forms.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum Field {
    /// The display name.
    DisplayName,
    /// Whether the user may log in. Its values are `true` and `false`.
    Active,
    /// A user attribute.
    Attribute(AttributeName),
}

const DISPLAY_NAME: &str = "display_name";
const ACTIVE: &str = "active";
const ATTRIBUTE: &str = "attribute:";

impl Field {
    /// The field's name in a roster.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::DisplayName => DISPLAY_NAME,
            Self::Active => ACTIVE,
            Self::Attribute(name) => name.as_str(),
        }
    }
}

/// The name for people, without characters that a terminal interprets.
impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Escaped(self.name()).fmt(f)
    }
}

impl From<Field> for String {
    fn from(field: Field) -> Self {
        let name = field.name();
        let is_ambiguous = name == DISPLAY_NAME || name == ACTIVE || name.starts_with(ATTRIBUTE);
        match field {
            Field::Attribute(_) if is_ambiguous => format!("{ATTRIBUTE}{name}"),
            _ => name.to_owned(),
        }
    }
}

impl From<String> for Field {
    fn from(text: String) -> Self {
        match text.as_str() {
            DISPLAY_NAME => Self::DisplayName,
            ACTIVE => Self::Active,
            name => Self::Attribute(AttributeName::new(
                name.strip_prefix(ATTRIBUTE).unwrap_or(name),
            )),
        }
    }
}

/// One field of a change: stored, shown and sent in this form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FieldChange {
    /// The field.
    pub field: Field,
    /// The current value.
    pub from: Option<Value>,
    /// The new value; `None` clears the field.
    pub to: Option<Value>,
    /// The value that applies once the field is cleared, by Omni's definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

impl FieldChange {
    /// A change of a field that has no default.
    #[must_use]
    pub fn new(field: Field, from: Option<Value>, to: Option<Value>) -> Self {
        Self {
            field,
            from,
            to,
            default: None,
        }
    }

    /// A change of the display name.
    #[must_use]
    pub fn display_name(from: &str, to: &str) -> Self {
        Self::new(Field::DisplayName, Value::one(from), Value::one(to))
    }

    /// A change of whether the user may log in.
    #[must_use]
    pub fn active(from: bool, to: bool) -> Self {
        Self::new(
            Field::Active,
            Some(Value::flag(from)),
            Some(Value::flag(to)),
        )
    }

    /// Whether the change empties a value, or replaces it with a word for nothing.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        let is_nothing = |value: &Value| value.items().iter().all(|text| is_word_for_nothing(text));
        self.field != Field::Active
            && self.from.is_some()
            && self.to.as_ref().is_none_or(is_nothing)
    }
}
