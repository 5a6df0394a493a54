//! The writes of a probe, each in the form that is tried.

use super::error::OmniError;
use super::exchange::ApiRequest;
use super::forms::{empty, json_of, remove, replace};
use super::request_body::PATCH_OP;
use super::writer::Writer;
use crate::model::{AttributeName, ClearForm, ObservedUser, PatchForm, UserId, Value};
use reqwest::Method;
use serde_json::{Value as Json, json};

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
