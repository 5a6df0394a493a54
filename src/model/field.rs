//! Fields of users, and their changes.

use super::{
    AttributeName, Email, Escaped, GroupName, OwnedSchedule, RoleName, RoleScope, ScheduleId,
    Value, is_word_for_nothing,
};
use serde::{Deserialize, Serialize};

/// A field of a user, or something that a removal takes from the user. The text form of a field is `display_name`,
/// `active` or the attribute's reference; the other forms are `schedule:ID`, `group:NAME` and `role:CONNECTION/MODEL`.
/// `attribute:NAME` marks an attribute whose reference looks like one of the other forms.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum Field {
    /// The display name.
    DisplayName,
    /// Whether the user may log in. Its values are `true` and `false`.
    Active,
    /// A user attribute.
    Attribute(AttributeName),
    /// A schedule of a user who is removed. The former value is its name, the new one the address of its new owner.
    Schedule(ScheduleId),
    /// A membership of a user who is removed. The former value is the name of the group.
    Group(GroupName),
    /// A direct role of a user who is removed, on a model or a connection.
    Role(RoleScope),
}

const DISPLAY_NAME: &str = "display_name";
const ACTIVE: &str = "active";
const ATTRIBUTE: &str = "attribute:";
const SCHEDULE: &str = "schedule:";
const GROUP: &str = "group:";
const ROLE: &str = "role:";

impl Field {
    /// The field's name in a roster, or the word before the colon of the text form.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::DisplayName => DISPLAY_NAME,
            Self::Active => ACTIVE,
            Self::Attribute(name) => name.as_str(),
            Self::Schedule(_) => "schedule",
            Self::Group(_) => "group",
            Self::Role(_) => "role",
        }
    }

    /// Parses the text form of something that a removal takes.
    fn taken(text: &str) -> Option<Self> {
        if let Some(id) = text.strip_prefix(SCHEDULE) {
            ScheduleId::parse(id).map(Self::Schedule)
        } else if let Some(name) = text.strip_prefix(GROUP) {
            GroupName::parse(name).ok().map(Self::Group)
        } else {
            let (connection, model) = text.strip_prefix(ROLE)?.split_once('/')?;
            let model = (!model.is_empty()).then_some(model);
            RoleScope::parse(connection, model).map(Self::Role)
        }
    }
}

/// The name for people, without characters that a terminal interprets.
impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Schedule(id) => write!(f, "schedule {id}"),
            Self::Role(scope) => write!(f, "role on {}", scope.text()),
            _ => Escaped(self.name()).fmt(f),
        }
    }
}

impl From<Field> for String {
    fn from(field: Field) -> Self {
        let name = field.name();
        let is_ambiguous = name == DISPLAY_NAME
            || name == ACTIVE
            || [ATTRIBUTE, SCHEDULE, GROUP, ROLE]
                .iter()
                .any(|prefix| name.starts_with(prefix));
        match field {
            Field::Attribute(_) if is_ambiguous => format!("{ATTRIBUTE}{name}"),
            Field::Schedule(id) => format!("{SCHEDULE}{id}"),
            Field::Group(name) => format!("{GROUP}{}", name.as_str()),
            Field::Role(scope) => format!("{ROLE}{}", scope.text()),
            _ => name.to_owned(),
        }
    }
}

impl From<String> for Field {
    fn from(text: String) -> Self {
        match text.as_str() {
            DISPLAY_NAME => Self::DisplayName,
            ACTIVE => Self::Active,
            name => Self::taken(name).unwrap_or_else(|| {
                let name = name.strip_prefix(ATTRIBUTE).unwrap_or(name);
                Self::Attribute(AttributeName::new(name))
            }),
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

    /// The schedule that a removal deletes.
    #[must_use]
    pub fn lost(schedule: &OwnedSchedule) -> Self {
        let name = Value::one(schedule.label());
        Self::new(Field::Schedule(schedule.id.clone()), name, None)
    }

    /// A schedule that gets another owner.
    #[must_use]
    pub fn transferred(schedule: &OwnedSchedule, to: &Email) -> Self {
        Self {
            to: Value::one(to.as_str()),
            ..Self::lost(schedule)
        }
    }

    /// A membership that a removal ends.
    #[must_use]
    pub fn lost_group(group: &GroupName) -> Self {
        let name = Value::one(group.as_str());
        Self::new(Field::Group(group.clone()), name, None)
    }

    /// A direct role that a removal takes.
    #[must_use]
    pub fn lost_role(scope: &RoleScope, role: &RoleName) -> Self {
        let role = Value::one(role.as_str());
        Self::new(Field::Role(scope.clone()), role, None)
    }

    /// The schedule that the change is about.
    #[must_use]
    pub fn schedule(&self) -> Option<&ScheduleId> {
        match &self.field {
            Field::Schedule(id) => Some(id),
            _ => None,
        }
    }

    /// The name of the schedule that a removal deletes; `None` for other fields and for a transfer.
    #[must_use]
    pub fn lost_schedule(&self) -> Option<&str> {
        self.schedule().filter(|_| self.to.is_none())?;
        Some(self.from.as_ref().map_or("", |name| name.first()))
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
