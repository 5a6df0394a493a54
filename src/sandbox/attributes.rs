//! Attribute definitions, and validation of attribute values.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::answer::Refusal;
use super::json::{Given, Object};

/// The field of a user that contains the attributes.
pub(super) const ATTRIBUTES: &str = "urn:omni:params:1.0:UserAttribute";

/// The attributes that a request sets or clears (`None`).
pub(super) type Changes = BTreeMap<String, Option<Value>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    String,
    Number,
}

#[derive(Debug, Clone)]
struct Definition {
    kind: Kind,
    multiple: bool,
    system: bool,
    default_value: Value,
    /// The definition as returned by the endpoint.
    record: Value,
}

impl Definition {
    fn new(given: &Value, name: &str, id: String) -> Self {
        let field = |name: &str| given.get(name).cloned().unwrap_or(Value::Null);
        let flag = |name: &str| field(name).as_bool().unwrap_or(false);
        let number = field("type") == "Number";
        let record = json!({
            "name": name,
            "label": given.get("label").cloned().unwrap_or_else(|| json!(name)),
            "type": if number { "Number" } else { "String" },
            "multiple_values": flag("multiple_values"),
            "system": flag("system"),
            "default_value": field("default_value"),
            "description": field("description"),
            "id": if flag("system") { String::new() } else { id },
        });
        Self {
            kind: if number { Kind::Number } else { Kind::String },
            multiple: flag("multiple_values"),
            system: flag("system"),
            default_value: field("default_value"),
            record,
        }
    }

    /// The value to store, or `None` if the attribute is cleared.
    fn check(&self, given: Given) -> Result<Option<Value>, String> {
        match (given, self.multiple) {
            (Given::Null, _) => Ok(None),
            (Given::Other, _) => Err("can't be a boolean or an object".to_owned()),
            (Given::List(items), true) if items.is_empty() => Ok(None),
            (Given::List(items), true) => items
                .into_iter()
                .map(|item| self.scalar(item))
                .collect::<Result<_, _>>()
                .map(Some),
            (Given::List(_), false) => Err("must be one value, not a list".to_owned()),
            (_, true) => Err("must be a list, not one value".to_owned()),
            (one, false) => self.scalar(one).map(Some),
        }
    }

    /// Numbers are stored and returned as text.
    fn scalar(&self, given: Given) -> Result<Value, String> {
        match (self.kind, given) {
            (Kind::String, Given::Text(text)) => Ok(Value::String(text)),
            (Kind::String, _) => Err("must be text".to_owned()),
            (Kind::Number, Given::Text(text) | Given::Number(text)) if is_decimal(&text) => {
                Ok(Value::String(text))
            }
            (Kind::Number, Given::Text(text) | Given::Number(text)) => {
                Err(format!("must be a decimal number, not `{text}`"))
            }
            (Kind::Number, _) => Err("must be a decimal number".to_owned()),
        }
    }
}

/// Digits with an optional minus sign and fraction; no exponent, no blanks.
fn is_decimal(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && digits(fraction)
}

/// The definitions of an organisation, in order of creation.
#[derive(Debug)]
pub(super) struct Definitions(Vec<(String, Definition)>);

impl Definitions {
    /// A few examples and the system attributes of Omni.
    pub(super) fn example() -> Self {
        let mut definitions = Self(Vec::new());
        for definition in [
            json!({"name": "omni_user_email", "label": "User Email", "system": true}),
            json!({"name": "omni_user_id", "label": "User ID", "system": true}),
            json!({"name": "omni_user_name", "label": "User Name", "system": true}),
            json!({"name": "region", "label": "Region", "multiple_values": true,
                "description": "Sales regions that the user may see"}),
            json!({"name": "department", "label": "Department"}),
            json!({"name": "cost_center", "label": "Cost center", "type": "Number"}),
            json!({"name": "quota", "label": "Quota", "type": "Number", "multiple_values": true}),
            json!({"name": "tier", "label": "Tier", "default_value": "standard"}),
        ] {
            definitions.define(&definition);
        }
        definitions
    }

    /// Adds or replaces a definition. Missing fields get defaults.
    pub(super) fn define(&mut self, given: &Value) {
        let name = given["name"].as_str().unwrap_or_default();
        let at = self.0.iter().position(|(known, _)| known == name);
        let id = format!(
            "a0000000-0000-4000-8000-{:012x}",
            at.unwrap_or(self.0.len()) + 1
        );
        let definition = Definition::new(given, name, id);
        match at {
            Some(at) => self.0[at].1 = definition,
            None => self.0.push((name.to_owned(), definition)),
        }
    }

    pub(super) fn records(&self) -> Vec<Value> {
        self.0
            .iter()
            .map(|(_, definition)| definition.record.clone())
            .collect()
    }

    /// The default values.
    pub(super) fn defaults(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0
            .iter()
            .map(|(name, definition)| (name.as_str(), &definition.default_value))
            .filter(|(_, value)| !value.is_null())
    }

    /// Validates an attribute object.
    pub(super) fn check(&self, given: &RawValue) -> Result<Changes, Refusal> {
        let object = Object::parse(given.get())
            .map_err(|error| Refusal::misuse(400, format!("`{ATTRIBUTES}`: {error}")))?;
        object
            .fields()
            .map(|(name, raw)| Ok((name.to_owned(), self.check_one(name, raw)?)))
            .collect()
    }

    /// Validates one attribute.
    pub(super) fn check_one(&self, name: &str, raw: &RawValue) -> Result<Option<Value>, Refusal> {
        let refuse = |detail: String| Refusal::new(400, format!("attribute `{name}` {detail}"));
        let Some((_, definition)) = self.0.iter().find(|(known, _)| known == name) else {
            return Err(refuse("is not defined".to_owned()));
        };
        if definition.system {
            return Err(refuse("is a system attribute and can't be set".to_owned()));
        }
        let given = Given::read(raw).map_err(|error| refuse(error.to_string()))?;
        definition.check(given).map_err(refuse)
    }
}

#[cfg(test)]
mod tests {
    use super::is_decimal;

    #[test]
    fn validates_decimal_numbers() {
        for good in [
            "0",
            "7",
            "-7",
            "7.0",
            "007",
            "0.10",
            "12345678901234567890.123",
        ] {
            assert!(is_decimal(good), "{good}");
        }
        for bad in [
            "", "-", ".", "7.", ".5", "+7", "1e5", "1 000", " 7", "0x7", "٣", "7.-1", "NaN",
        ] {
            assert!(!is_decimal(bad), "{bad}");
        }
    }
}
