//! Users, as a roster states them and as Omni shows them.

use super::{Attributes, Email, Escaped, Owned, OwnedSchedule, OwnedSchedules, Text, Value, trim};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Omni's reference of a user attribute, as used in CSV headers. Letter case matters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
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

/// For people, without characters that a terminal interprets. [`AttributeName::as_str`] is the reference itself.
impl fmt::Display for AttributeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Escaped(&self.0), f)
    }
}

const DOCUMENTED_LENGTH: usize = 36;

/// Omni's id of a user. A user that was removed and created again has a new id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct UserId(Arc<str>);

impl From<UserId> for String {
    fn from(id: UserId) -> Self {
        id.0.as_ref().into()
    }
}

impl TryFrom<String> for UserId {
    type Error = &'static str;

    fn try_from(id: String) -> Result<Self, Self::Error> {
        Self::parse(&id).ok_or("not a user's id")
    }
}

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

    /// Whether the id has the length that Omni's OpenAPI document requires in the path of a removal from a group.
    #[must_use]
    pub fn has_documented_length(&self) -> bool {
        self.0.chars().count() == DOCUMENTED_LENGTH
    }
}

/// So that a set of ids finds one by its text.
impl Borrow<str> for UserId {
    fn borrow(&self) -> &str {
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
    /// The display name; `None` keeps the current one.
    pub display_name: Option<Text>,
    /// The attributes that have a column: the value, or `None` to clear it.
    pub attributes: Attributes<Option<Value>>,
}

/// The system attribute of organisation admins.
const ORG_ADMIN: &str = "omni_is_org_admin";

/// A user as far as Omni has shown it. Lists and the responses to writes may lack fields, which says nothing about
/// them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedUser {
    /// The id.
    pub id: UserId,
    /// The `userName`.
    pub email: Email,
    /// The display name; may be empty.
    pub display_name: Text,
    /// Whether the user may log in; `None` if Omni has not shown it.
    pub active: Option<bool>,
    /// The attributes that have a value; `None` if Omni has not shown them.
    pub attributes: Option<Attributes<Value>>,
    /// When the user was last changed in Omni. If a later list shows another time, other fields may have changed.
    pub modified: Option<DateTime<Utc>>,
    /// What the user owns, if that was read for a removal. It is not stored.
    #[serde(skip)]
    pub owned: Option<Arc<Owned>>,
}

impl ObservedUser {
    /// Whether all fields are known.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.active.is_some() && self.attributes.is_some()
    }

    /// The schedules of the user, as far as they were read.
    #[must_use]
    pub fn schedules(&self) -> &[OwnedSchedule] {
        match self.owned.as_deref() {
            Some(Owned {
                schedules: OwnedSchedules::Read(schedules),
                ..
            }) => schedules,
            _ => &[],
        }
    }

    /// The user after all schedules went to another user.
    #[must_use]
    pub fn without_schedules(&self) -> Self {
        let owned = self.owned.as_deref().map(|owned| Owned {
            schedules: OwnedSchedules::Read(Vec::new()),
            ..owned.clone()
        });
        Self {
            owned: owned.map(Arc::new),
            ..self.clone()
        }
    }

    /// Whether all fields are known that an update to this state needs.
    #[must_use]
    pub fn is_read_for(&self, spec: &UserSpec) -> bool {
        self.active.is_some() && (self.attributes.is_some() || spec.attributes.is_empty())
    }

    /// Whether the user is known to be inactive.
    #[must_use]
    pub fn is_inactive(&self) -> bool {
        self.active == Some(false)
    }

    /// `active`, `inactive` or `unknown`.
    #[must_use]
    pub fn state_text(&self) -> &'static str {
        match self.active {
            Some(true) => "active",
            Some(false) => "inactive",
            None => "unknown",
        }
    }

    /// The known value of an attribute.
    #[must_use]
    pub fn value(&self, name: &AttributeName) -> Option<&Value> {
        self.attributes.as_ref()?.get(name)
    }

    /// The known values.
    pub fn values(&self) -> impl Iterator<Item = (&AttributeName, &Value)> {
        self.attributes.iter().flatten()
    }
}

impl ObservedUser {
    /// Whether Omni has shown the user as an admin of the organisation.
    #[must_use]
    pub fn is_org_admin(&self) -> bool {
        let value = self.value(&AttributeName::new(ORG_ADMIN));
        value.is_some_and(Value::is_true)
    }
}
