//! A user as stored and returned by Omni.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::attributes::{ATTRIBUTES, Changes, Definitions};
use super::options::ClearMode;

const USER_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// The length of a short id.
const SHORT_DIGITS: usize = 16;
/// The maximum length of an email.
const MAX_EMAIL_CHARS: usize = 320;

#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) id: Id,
    pub(super) user_name: String,
    pub(super) display_name: String,
    pub(super) active: bool,
    pub(super) attributes: BTreeMap<String, Value>,
    pub(super) created: DateTime<Utc>,
    pub(super) modified: DateTime<Utc>,
    /// Other fields from a test (future fields of Omni), returned as given.
    pub(super) extra: Map<String, Value>,
}

impl User {
    /// Whether the user is an organisation admin.
    pub(super) fn is_admin(&self) -> bool {
        let is_admin = self.attributes.get("omni_is_org_admin");
        is_admin.is_some_and(|value| *value == json!(true) || *value == json!("true"))
    }

    pub(super) fn new(id: Id, user_name: &str, display_name: &str) -> Self {
        let now = Utc::now();
        Self {
            id,
            user_name: user_name.to_owned(),
            display_name: display_name.to_owned(),
            active: true,
            attributes: BTreeMap::new(),
            created: now,
            modified: now,
            extra: Map::new(),
        }
    }

    pub(super) fn is_called(&self, user_name: &str) -> bool {
        fold(&self.user_name) == fold(user_name)
    }

    pub(super) fn change_attributes(&mut self, changes: Changes) {
        for (name, value) in changes {
            match value {
                Some(value) => self.attributes.insert(name, value),
                None => self.attributes.remove(&name),
            };
        }
    }

    pub(super) fn to_json(
        &self,
        definitions: &Definitions,
        clear: ClearMode,
        groups: Value,
    ) -> Value {
        let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
        let mut user = json!({
            "schemas": [USER_SCHEMA, ATTRIBUTES],
            "id": self.id.to_string(),
            "userName": self.user_name,
            "displayName": self.display_name,
            "active": self.active,
            "emails": [{"value": self.user_name, "primary": true}],
            "groups": groups,
            "meta": {
                "resourceType": "User",
                "created": time(self.created),
                "lastModified": time(self.modified),
            },
        });
        if let Value::Object(fields) = &mut user {
            let shown = self.shown_attributes(definitions, clear);
            // Missing if empty: clients must accept that.
            if !shown.is_empty() {
                fields.insert(ATTRIBUTES.to_owned(), Value::Object(shown));
            }
            fields.extend(self.extra.clone());
        }
        user
    }

    fn shown_attributes(&self, definitions: &Definitions, clear: ClearMode) -> Map<String, Value> {
        let mut shown = Map::new();
        if clear == ClearMode::Default {
            shown.extend(
                definitions
                    .defaults()
                    .map(|(name, value)| (name.to_owned(), value.clone())),
            );
        }
        shown.extend(
            self.attributes
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        shown
    }
}

/// The email for comparisons, which ignore case.
pub(super) fn fold(email: &str) -> String {
    email.to_lowercase()
}

/// Whether Omni accepts this as an email.
pub(super) fn is_email(text: &str) -> bool {
    let clean = !text.chars().any(|c| c.is_whitespace() || c.is_control());
    let parts: Vec<&str> = text.split('@').collect();
    clean
        && text.chars().count() <= MAX_EMAIL_CHARS
        && parts.len() == 2
        && parts.iter().all(|part| !part.is_empty())
}

/// A user's id: a UUID, or a short one, which is less than 2^64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id(u128);

impl Id {
    /// The id of the nth user. Ids are unique and, like real ones, not sorted by creation.
    pub(super) fn nth(n: u64) -> Self {
        let scattered = u128::from(n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        // Version 4 with its variant bits; the lower bits make the id unique.
        let high = (scattered & !0xF000) | 0x4000;
        Self((high << 64) | (0x8000 << 48) | u128::from(n & 0xFFFF_FFFF_FFFF))
    }

    /// The short id of the nth user.
    pub(super) fn nth_short(n: u64) -> Self {
        Self(n.wrapping_mul(0x9E37_79B9_7F4A_7C15).into())
    }

    /// Another kind of id of the same user.
    pub(super) fn other(self) -> Self {
        Self(self.0 ^ (0xFFFF << 32))
    }

    /// Parses the usual form, 8-4-4-4-12 hexadecimal digits, or the short one with 16.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() == SHORT_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return u128::from_str_radix(text, 16).ok().map(Self);
        }
        let lengths = text.split('-').map(str::len);
        let hex = text
            .bytes()
            .all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
        if !hex || !lengths.eq([8, 4, 4, 4, 12]) {
            return None;
        }
        u128::from_str_radix(&text.replace('-', ""), 16)
            .ok()
            .map(Self)
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 >> 64 == 0 {
            return write!(f, "{:01$x}", self.0, SHORT_DIGITS);
        }
        let hex = format!("{:032x}", self.0);
        let parts = [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ];
        f.write_str(&parts.join("-"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Id, is_email};

    #[test]
    fn emails() {
        let long = format!("{}@b.co", "a".repeat(316));
        for good in ["a@b", "a.b+c@b.co", "\"q\\\"@b.co", "ä@b.co", &long[1..]] {
            assert!(is_email(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "@b",
            "a@",
            "a@b@c",
            "a b@c",
            "a@b\u{0}",
            "a@b\n",
            "a\u{a0}@b",
            &long,
        ] {
            assert!(!is_email(bad), "{bad}");
        }
    }

    #[test]
    fn ids_are_uuids_and_round_trip() {
        for n in [1, 2, 3, 1_000_000] {
            let text = Id::nth(n).to_string();
            assert_eq!(
                (text.len(), &text[14..15], &text[19..20]),
                (36, "4", "8"),
                "{text}"
            );
            assert_eq!(Id::parse(&text), Some(Id::nth(n)));
            assert_eq!(Id::parse(&text.to_uppercase()), Some(Id::nth(n)));
            let short = Id::nth_short(n).to_string();
            assert_eq!(
                (short.len(), Id::parse(&short)),
                (16, Some(Id::nth_short(n)))
            );
        }
        for bad in [
            "",
            "1",
            "550e8400e29b41d4a716446655440000",
            "g50e8400-e29b-41d4-a716-446655440000",
        ] {
            assert_eq!(Id::parse(bad), None, "{bad}");
        }
    }
}
