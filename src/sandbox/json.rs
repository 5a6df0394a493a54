//! Strict parsing of bodies: a name must not occur twice, and a number keeps its text as sent, which
//! `serde_json::Value` would lose (`7.10`, or more digits than a float has).

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// A JSON object with unparsed values.
#[derive(Debug)]
pub(super) struct Object(BTreeMap<String, Box<RawValue>>);

impl Object {
    /// # Errors
    /// If the text is not a JSON object or contains a name twice.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        // Parse the whole text once, so that invalid JSON in an unused field is found.
        serde_json::from_str::<Value>(text).map_err(|error| error.to_string())?;
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    pub(super) fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.get(name).map(AsRef::as_ref)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0
            .iter()
            .map(|(name, raw)| (name.as_str(), raw.as_ref()))
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Object, M::Error> {
        let mut fields = BTreeMap::new();
        while let Some((name, raw)) = map.next_entry::<String, Box<RawValue>>()? {
            if fields.contains_key(&name) {
                return Err(M::Error::custom(format_args!("`{name}` occurs twice")));
            }
            fields.insert(name, raw);
        }
        Ok(Object(fields))
    }
}

/// The value of an attribute in a request.
#[derive(Debug)]
pub(super) enum Given {
    Null,
    Text(String),
    /// The digits as sent.
    Number(String),
    List(Vec<Given>),
    /// A boolean or an object, which no attribute can be.
    Other,
}

impl Given {
    pub(super) fn read(raw: &RawValue) -> Result<Self, serde_json::Error> {
        let text = raw.get();
        Ok(match text.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b'"') => Self::Text(serde_json::from_str(text)?),
            Some(b'-' | b'0'..=b'9') => Self::Number(text.to_owned()),
            Some(b'[') => {
                let items: Vec<Box<RawValue>> = serde_json::from_str(text)?;
                Self::List(
                    items
                        .iter()
                        .map(|item| Self::read(item))
                        .collect::<Result<_, _>>()?,
                )
            }
            _ => Self::Other,
        })
    }
}
