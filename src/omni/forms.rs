//! The forms of updates: the usual ones, and others where a probe has learned that these do not work (`docs/omni.md`).

use super::request_body::{ATTRIBUTES, PATCH_OP};
use crate::model::{
    AttributeName, ClearForm, Field, FieldChange, PatchForm, Readings, Schema, Texts, Value,
};
use serde_json::{Map, Value as Json, json};

/// The forms of updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forms {
    patch: PatchForm,
    clear: ClearForm,
}

impl Default for Forms {
    fn default() -> Self {
        Self {
            patch: PatchForm::NoPath,
            clear: ClearForm::Null,
        }
    }
}

impl Forms {
    /// The usual forms, unless a probe has shown that only others work.
    pub(super) fn of(readings: &Readings) -> Self {
        let usual = Self::default();
        Self {
            patch: working(usual.patch, readings.patch_forms.as_deref()),
            clear: working(usual.clear, readings.clears_by.as_deref()),
        }
    }

    /// The body of a `PATCH`.
    pub(super) fn patch(self, fields: &[FieldChange], schema: &Schema) -> Json {
        let (mut plain, mut attributes) = (Map::new(), Map::new());
        let mut operations = Vec::new();
        for FieldChange {
            field, from, to, ..
        } in fields
        {
            match (field, to) {
                (Field::DisplayName, Some(name)) => {
                    plain.insert("displayName".into(), json!(name.first()));
                }
                (Field::Active, Some(active)) => {
                    plain.insert("active".into(), json!(active.is_true()));
                }
                (Field::DisplayName | Field::Active, None)
                | (Field::Schedule(_) | Field::Group(_) | Field::Role(_), _) => {}
                (Field::Attribute(name), None) if self.clear == ClearForm::Remove => {
                    operations.push(remove(name));
                }
                (Field::Attribute(name), to) => {
                    let value = match (to, self.clear) {
                        (Some(value), _) => json_of(value),
                        (None, ClearForm::Empty) => empty(is_list(name, from.as_ref(), schema)),
                        (None, ClearForm::Null | ClearForm::Remove) => Json::Null,
                    };
                    match self.patch {
                        PatchForm::NoPath => drop(attributes.insert(name.as_str().into(), value)),
                        PatchForm::Path => operations.push(replace(self.patch, name, &value)),
                    }
                }
            }
        }
        if !attributes.is_empty() {
            plain.insert(ATTRIBUTES.into(), attributes.into());
        }
        if !plain.is_empty() {
            operations.insert(0, json!({ "op": "replace", "value": plain }));
        }
        json!({ "schemas": [PATCH_OP], "Operations": operations })
    }
}

/// The usual form if it works or nothing is known, else the first one that works.
fn working<T: Copy + PartialEq>(usual: T, probed: Option<&[T]>) -> T {
    match probed {
        Some(forms) if !forms.contains(&usual) => forms.first().copied().unwrap_or(usual),
        _ => usual,
    }
}

fn is_list(name: &AttributeName, from: Option<&Value>, schema: &Schema) -> bool {
    let defined = schema.get(name).map(|definition| definition.multiple);
    defined.unwrap_or_else(|| matches!(from.map(Value::texts), Some(Texts::Many(_))))
}

pub(super) fn replace(form: PatchForm, name: &AttributeName, value: &Json) -> Json {
    match form {
        PatchForm::NoPath => {
            json!({ "op": "replace", "value": { ATTRIBUTES: { name.as_str(): value } } })
        }
        PatchForm::Path => json!({ "op": "replace", "path": path(name), "value": value }),
    }
}

pub(super) fn remove(name: &AttributeName) -> Json {
    json!({ "op": "remove", "path": path(name) })
}

/// No value, of an attribute with one value or several.
pub(super) fn empty(multiple: bool) -> Json {
    match multiple {
        true => json!([]),
        false => json!(""),
    }
}

pub(super) fn json_of(value: &Value) -> Json {
    match value.texts() {
        Texts::One(text) => json!(text),
        Texts::Many(items) => json!(items),
    }
}

fn path(name: &AttributeName) -> String {
    format!("{ATTRIBUTES}:{}", name.as_str())
}
