//! The writes of a probe, each in the form that is tried.

use super::error::OmniError;
use super::exchange::ApiRequest;
use super::forms::{empty, json_of, remove, replace};
use super::groups::{join, leave};
use super::request_body::{ATTRIBUTES, PATCH_OP};
use super::writer::Writer;
use crate::model::{
    AttributeName, ClearForm, GroupId, MembershipChange, ObservedUser, PatchForm, UserId, Value,
};
use reqwest::Method;
use serde_json::{Map, Value as Json, json};

impl Writer {
    /// Sets attributes to the same value by a form of `PATCH`.
    ///
    /// # Errors
    /// [`OmniError::OutcomeUnknown`] if the response was lost.
    pub async fn set_by(
        &self,
        form: PatchForm,
        id: &UserId,
        names: &[AttributeName],
        value: &Value,
    ) -> Result<(), OmniError> {
        let value = json_of(value);
        let operations = match form {
            PatchForm::NoPath => {
                let names = names.iter().map(AttributeName::as_str);
                let values: Map<_, _> = names.map(|name| (name.into(), value.clone())).collect();
                vec![json!({ "op": "replace", "value": { ATTRIBUTES: values } })]
            }
            PatchForm::Path => names
                .iter()
                .map(|name| replace(form, name, &value))
                .collect(),
        };
        self.patch(id, operations).await
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
        self.patch(id, vec![operation]).await
    }

    /// Sets `active`.
    ///
    /// # Errors
    /// As [`Writer::set_by`].
    pub async fn set_active(&self, id: &UserId, active: bool) -> Result<(), OmniError> {
        let operation = json!({ "op": "replace", "value": { "active": active } });
        self.patch(id, vec![operation]).await
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

    /// Changes one member of a group several times with one request.
    ///
    /// # Errors
    /// As [`Writer::set_by`].
    pub async fn change_member_repeatedly(
        &self,
        group: &GroupId,
        user: &UserId,
        changes: &[MembershipChange],
    ) -> Result<(), OmniError> {
        let operation = |change: &MembershipChange| match change {
            MembershipChange::Join => join(std::slice::from_ref(user)),
            MembershipChange::Leave => leave(user),
        };
        let operations = changes.iter().map(operation).collect();
        self.patch_group(group, operations).await.map(drop)
    }

    /// Deletes a group.
    ///
    /// # Errors
    /// As [`Writer::set_by`]; [`OmniError::NotFound`] if the group is gone.
    pub async fn delete_group(&self, id: &GroupId) -> Result<(), OmniError> {
        let request = ApiRequest::without_body(Method::DELETE, self.reader().group_url(id));
        self.write(request).await.map(drop)
    }

    async fn patch(&self, id: &UserId, operations: Vec<Json>) -> Result<(), OmniError> {
        let body = json!({ "schemas": [PATCH_OP], "Operations": operations });
        let url = self.reader().user_url(id);
        self.write(ApiRequest::with_body(Method::PATCH, url, &body))
            .await
            .map(drop)
    }
}
