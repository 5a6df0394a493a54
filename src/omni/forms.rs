//! The forms of writes: those that a probe tries, and those of runs where a probe has learned that the usual form does
//! not work (`docs/omni.md`).

use super::error::OmniError;
use super::exchange::ApiRequest;
use super::wire::{ATTRIBUTES, PATCH_OP};
use super::writer::Writer;
use crate::model::{
    AttributeName, ClearForm, Field, FieldChange, ObservedUser, PatchForm, Readings, Schema, Texts,
    UserId, Value,
};
use reqwest::Method;
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
                (Field::DisplayName | Field::Active, None) => {}
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

impl Writer {
    /// Sets an attribute by a form of `PATCH`.
    ///
    /// # Errors
    /// [`OmniError::OutcomeUnknown`] if the response was lost.
    pub async fn set_by(
        &self,
        form: PatchForm,
        id: &UserId,
        name: &AttributeName,
        value: &Value,
    ) -> Result<(), OmniError> {
        self.patch(id, replace(form, name, &json_of(value))).await
    }

    /// Clears an attribute by a form, in a form of `PATCH` that works.
    ///
    /// # Errors
    /// As [`Writer::set_by`].
    pub async fn clear_by(
        &self,
        form: ClearForm,
        patch: PatchForm,
        id: &UserId,
        name: &AttributeName,
        multiple: bool,
    ) -> Result<(), OmniError> {
        let operation = match form {
            ClearForm::Null => replace(patch, name, &Json::Null),
            ClearForm::Empty => replace(patch, name, &empty(multiple)),
            ClearForm::Remove => remove(name),
        };
        self.patch(id, operation).await
    }

    /// Sets `active`.
    ///
    /// # Errors
    /// As [`Writer::set_by`].
    pub async fn set_active(&self, id: &UserId, active: bool) -> Result<(), OmniError> {
        self.patch(
            id,
            json!({ "op": "replace", "value": { "active": active } }),
        )
        .await
    }

    /// Sends a `PUT` with the names of a user and nothing else.
    ///
    /// # Errors
    /// As [`Writer::set_by`].
    pub async fn put_names(&self, user: &ObservedUser) -> Result<(), OmniError> {
        let body = json!({ "userName": user.email.as_str(), "displayName": &*user.display_name });
        let url = self.reader().user_url(&user.id);
        self.write(ApiRequest::with_body(Method::PUT, url, &body))
            .await
            .map(drop)
    }

    async fn patch(&self, id: &UserId, operation: Json) -> Result<(), OmniError> {
        let body = json!({ "schemas": [PATCH_OP], "Operations": [operation] });
        let url = self.reader().user_url(id);
        self.write(ApiRequest::with_body(Method::PATCH, url, &body))
            .await
            .map(drop)
    }
}

fn replace(form: PatchForm, name: &AttributeName, value: &Json) -> Json {
    match form {
        PatchForm::NoPath => {
            json!({ "op": "replace", "value": { ATTRIBUTES: { name.as_str(): value } } })
        }
        PatchForm::Path => json!({ "op": "replace", "path": path(name), "value": value }),
    }
}

fn remove(name: &AttributeName) -> Json {
    json!({ "op": "remove", "path": path(name) })
}

/// No value, of an attribute with one value or several.
fn empty(multiple: bool) -> Json {
    match multiple {
        true => json!([]),
        false => json!(""),
    }
}

fn json_of(value: &Value) -> Json {
    match value.texts() {
        Texts::One(text) => json!(text),
        Texts::Many(items) => json!(items),
    }
}

fn path(name: &AttributeName) -> String {
    format!("{ATTRIBUTES}:{}", name.as_str())
}
