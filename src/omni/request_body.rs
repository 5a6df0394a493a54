//! The bodies of writes, as JSON.

use crate::model::{
    AttributeName, Email, Field, FieldChange, Schema, Text, Texts, UserSpec, Value,
};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

pub(super) const ATTRIBUTES: &str = "urn:omni:params:1.0:UserAttribute";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
pub(super) const PATCH_OP: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// A value to send: a string or an array of strings, for numbers too, as in the original script;
/// `null` clears.
#[derive(Serialize)]
#[serde(untagged)]
enum Sent<'a> {
    One(&'a str),
    Many(&'a [Text]),
    Clear,
}

impl<'a> From<Option<&'a Value>> for Sent<'a> {
    fn from(value: Option<&'a Value>) -> Self {
        match value.map(Value::texts) {
            Some(Texts::One(text)) => Self::One(text),
            Some(Texts::Many(items)) => Self::Many(items),
            None => Self::Clear,
        }
    }
}

type SentAttributes<'a> = BTreeMap<&'a str, Sent<'a>>;

/// The body of a `POST`.
#[derive(Serialize)]
pub(super) struct CreateDoc<'a> {
    #[serde(rename = "userName")]
    user_name: &'a str,
    #[serde(rename = "displayName")]
    display_name: &'a str,
    #[serde(
        rename = "urn:omni:params:1.0:UserAttribute",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    attributes: SentAttributes<'a>,
}

impl<'a> CreateDoc<'a> {
    /// The body for a new user, without values to clear.
    pub(super) fn new(email: &'a Email, spec: &'a UserSpec) -> Self {
        let given = spec.attributes.iter().filter(|(_, value)| value.is_some());
        Self {
            user_name: email.as_str(),
            display_name: spec.display_name.as_deref().unwrap_or_default(),
            attributes: given
                .map(|(name, value)| (name.as_str(), value.as_ref().into()))
                .collect(),
        }
    }
}

/// The body of a `PATCH`: one `replace` without a path, which the server merges. Omni's own CLI moved
/// to this form after a dotted path did not work.
#[derive(Serialize)]
pub(super) struct PatchDoc<'a> {
    schemas: [&'static str; 1],
    #[serde(rename = "Operations")]
    operations: [PatchOperation<'a>; 1],
}

#[derive(Serialize)]
struct PatchOperation<'a> {
    op: &'static str,
    value: EditDoc<'a>,
}

#[derive(Default, Serialize)]
struct EditDoc<'a> {
    #[serde(rename = "displayName", skip_serializing_if = "Option::is_none")]
    display_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    active: Option<bool>,
    #[serde(
        rename = "urn:omni:params:1.0:UserAttribute",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    attributes: SentAttributes<'a>,
}

impl<'a> PatchDoc<'a> {
    pub(super) fn new(fields: &'a [FieldChange]) -> Self {
        let mut value = EditDoc::default();
        for FieldChange { field, to, .. } in fields {
            match field {
                Field::DisplayName => value.display_name = to.as_ref().map(|name| &**name.first()),
                Field::Active => value.active = to.as_ref().map(Value::is_true),
                Field::Schedule(_) | Field::Group(_) | Field::Role(_) => {}
                Field::Attribute(name) => {
                    value.attributes.insert(name.as_str(), to.as_ref().into());
                }
            }
        }
        Self {
            schemas: [PATCH_OP],
            operations: [PatchOperation {
                op: "replace",
                value,
            }],
        }
    }
}

/// The body of a `PUT`: the whole user as just read, with an edit applied. Other values are sent back
/// exactly as read, without the system attributes, which only Omni sets. Cleared attributes are sent
/// as `null`: a `PUT` that merges needs it, one that replaces ignores it.
pub(super) fn put_body(
    read: &[u8],
    fields: &[FieldChange],
    schema: &Schema,
) -> serde_json::Result<BTreeMap<String, Box<RawValue>>> {
    let user: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(read)?;
    let mut attributes: BTreeMap<String, Box<RawValue>> = match user.get(ATTRIBUTES) {
        Some(raw) => serde_json::from_str::<Option<_>>(raw.get())?.unwrap_or_default(),
        None => BTreeMap::new(),
    };
    let is_system = |name: &str| {
        schema
            .get(&AttributeName::new(name))
            .is_some_and(|d| d.system)
    };
    attributes.retain(|name, raw| !is_system(name) && raw.get() != "null");
    let patch = PatchDoc::new(fields);
    let [PatchOperation { value: edit, .. }] = &patch.operations;
    for (name, value) in &edit.attributes {
        attributes.insert((*name).to_owned(), raw(value)?);
    }
    let kept = ["userName", "displayName", "active", ENTERPRISE];
    let mut body: BTreeMap<String, Box<RawValue>> = user
        .into_iter()
        .filter(|(name, raw)| kept.contains(&name.as_str()) && raw.get() != "null")
        .collect();
    if let Some(name) = edit.display_name {
        body.insert("displayName".into(), raw(name)?);
    }
    if let Some(active) = edit.active {
        body.insert("active".into(), raw(&active)?);
    }
    body.insert(ATTRIBUTES.into(), raw(&attributes)?);
    Ok(body)
}

fn raw<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Box<RawValue>> {
    serde_json::value::to_raw_value(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Definition, ValueType};

    #[test]
    fn a_put_sends_the_whole_user() {
        let schema = Schema::new([Definition {
            name: AttributeName::new("omni_user_id"),
            value_type: ValueType::String,
            multiple: false,
            system: true,
            default: None,
        }]);
        let attribute =
            |name: &str, to| FieldChange::new(Field::Attribute(AttributeName::new(name)), None, to);
        let fields = [
            FieldChange::active(false, true),
            attribute("region", Value::many(["north"])),
            attribute("gone", None),
        ];
        let read =
            br#"{"id":"1","schemas":[],"meta":{},"groups":[1],"userName":"a@x.co","active":false,
            "displayName":null,"urn:omni:params:1.0:UserAttribute":
            {"omni_user_id":"1","big":12345678901234567890.5,"gone":"x","region":["a"]}}"#;
        let body = put_body(read, &fields, &schema).expect("JSON");
        assert_eq!(
            serde_json::to_string(&body).expect("JSON"),
            concat!(
                r#"{"active":true,"urn:omni:params:1.0:UserAttribute":{"big":12345678901234567890.5,"#,
                r#""gone":null,"region":["north"]},"userName":"a@x.co"}"#
            )
        );
    }
}
