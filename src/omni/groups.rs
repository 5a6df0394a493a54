//! Groups and their members.
//!
//! Members are only ever added and removed one by one (`PATCH`). A `PUT`, and a `replace` of `members`, overwrite the
//! list, and would remove members that no list of users shows.

use super::error::OmniError;
use super::exchange::ApiRequest;
use super::group_list::parse_group;
use super::group_rules::GroupRules;
use super::reader::Reader;
use super::request_body::PATCH_OP;
use super::writer::Writer;
use crate::model::{GroupId, GroupName, MembershipChange, ObservedGroup, UserId};
use reqwest::{Method, Url};
use serde_json::{Value, json};

impl Reader {
    /// One group with its members; `None` if there is no such group. What the response lacks has no value.
    ///
    /// # Errors
    /// As [`Reader::page`].
    pub async fn group(&self, id: &GroupId) -> Result<Option<ObservedGroup>, OmniError> {
        let request = ApiRequest::get_optional(self.group_url(id)).with_priority(self.priority);
        match self.read(request, parse_group).await {
            Ok(mut group) => {
                group.members.get_or_insert_default();
                Ok(Some(group))
            }
            Err(OmniError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The rules for changes of groups; see [`Client::follow`](super::Client::follow).
    #[must_use]
    pub fn group_rules(&self) -> GroupRules {
        self.client.group_rules()
    }

    pub(super) fn groups_url(&self) -> Url {
        self.client.endpoint(&["api", "scim", "v2", "Groups"])
    }

    pub(super) fn group_url(&self, id: &GroupId) -> Url {
        let path = ["api", "scim", "v2", "Groups", id.as_str()];
        self.client.endpoint(&path)
    }
}

impl Writer {
    /// Adds users to a group, or removes members, at most [`GroupRules::max_members`]. Other members are kept. Returns
    /// the group from the response, if there is one.
    ///
    /// # Errors
    /// [`OmniError::OutcomeUnknown`] if the response was lost. 400 and 404 say that nothing was changed: the group or a
    /// user is gone, or a user is a member already, or is not one.
    pub async fn change_members(
        &self,
        group: &GroupId,
        change: MembershipChange,
        users: &[UserId],
    ) -> Result<Option<ObservedGroup>, OmniError> {
        let operations = match change {
            MembershipChange::Join => vec![join(users)],
            MembershipChange::Leave => users.iter().map(leave).collect(),
        };
        self.patch_group(group, operations).await
    }

    pub(super) async fn patch_group(
        &self,
        group: &GroupId,
        operations: Vec<Value>,
    ) -> Result<Option<ObservedGroup>, OmniError> {
        let body = json!({ "schemas": [PATCH_OP], "Operations": operations });
        let url = self.reader().group_url(group);
        self.write_group(ApiRequest::with_body(Method::PATCH, url, &body))
            .await
    }

    /// Creates a group without members. Returns the group from the response, if there is one.
    ///
    /// # Errors
    /// [`OmniError::OutcomeUnknown`] if the response was lost; [`OmniError::Conflict`] if the name is taken.
    pub async fn create_group(&self, name: &GroupName) -> Result<Option<ObservedGroup>, OmniError> {
        let body = json!({ "displayName": name.as_str() });
        let url = self.reader().groups_url();
        self.write_group(ApiRequest::with_body(Method::POST, url, &body))
            .await
    }

    async fn write_group(&self, request: ApiRequest) -> Result<Option<ObservedGroup>, OmniError> {
        self.write_once(request, |body| parse_group(body).map(Some))
            .await
    }
}

pub(super) fn join(users: &[UserId]) -> Value {
    let members: Vec<_> = users.iter().map(|id| json!({ "value": id })).collect();
    json!({ "op": "add", "path": "members", "value": members })
}

pub(super) fn leave(user: &UserId) -> Value {
    json!({ "op": "remove", "path": format!("members[value eq \"{}\"]", user.as_str()) })
}
