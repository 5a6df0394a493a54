//! Groups and their members.
//!
//! Members are only ever added and removed one by one (`PATCH`). A `PUT`, and a `replace` of `members`, overwrite the
//! list, and would remove members that no list of users shows.

use super::available::{Available, Groups};
use super::error::OmniError;
use super::exchange::ApiRequest;
use super::limiter::Priority;
use super::reader::Reader;
use super::request_body::PATCH_OP;
use super::writer::Writer;
use crate::model::{GroupId, GroupName, MembershipChange, ObservedGroup, UserId};
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::HashSet;

/// The number of groups to request per page.
const PAGE: usize = 100;

/// The limit of groups. An organisation with more gets an error.
const MAX_GROUPS: usize = 10_000;

/// The maximum number of members to add or remove per request.
pub const MAX_MEMBERS: usize = 100;

#[derive(Deserialize)]
struct GroupListDoc<'a> {
    #[serde(rename = "Resources", borrow, default)]
    resources: Vec<GroupDoc<'a>>,
    #[serde(rename = "totalResults")]
    total: usize,
}

#[derive(Deserialize)]
struct GroupDoc<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(rename = "displayName", borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    members: Option<Vec<MemberDoc<'a>>>,
}

#[derive(Deserialize)]
struct MemberDoc<'a> {
    #[serde(borrow)]
    value: Cow<'a, str>,
}

impl GroupDoc<'_> {
    fn read(self) -> serde_json::Result<ObservedGroup> {
        let unusable = || serde::de::Error::custom("the response has an id that can't be used");
        let members = self.members.map(|members| {
            let ids = members.iter().map(|member| UserId::parse(&member.value));
            ids.collect::<Option<HashSet<_>>>().ok_or_else(unusable)
        });
        Ok(ObservedGroup {
            id: GroupId::parse(&self.id).ok_or_else(unusable)?,
            name: self.name.as_ref().into(),
            members: members.transpose()?,
        })
    }
}

fn parse_group(body: &[u8]) -> serde_json::Result<ObservedGroup> {
    serde_json::from_slice::<GroupDoc<'_>>(body)?.read()
}

fn parse_page(body: &[u8]) -> serde_json::Result<(Vec<ObservedGroup>, usize)> {
    let page: GroupListDoc<'_> = serde_json::from_slice(body)?;
    let groups = page.resources.into_iter().map(GroupDoc::read);
    Ok((groups.collect::<Result<_, _>>()?, page.total))
}

impl Reader {
    /// All groups with their members.
    ///
    /// # Errors
    /// As [`Reader::page`]; 403 and 404 are not errors. [`OmniError::UnreliableGroups`] if the list does not add up.
    pub async fn groups(&self) -> Result<Groups, OmniError> {
        Available::of(self.list_groups().await)
    }

    async fn list_groups(&self) -> Result<Vec<ObservedGroup>, OmniError> {
        let (mut groups, total) = self.group_page(1).await?;
        while groups.len() < total.min(MAX_GROUPS) {
            let (page, now) = self.group_page(groups.len() + 1).await?;
            // A group that was created or removed meanwhile may have moved others past the pages.
            if now != total || page.is_empty() {
                break;
            }
            groups.extend(page);
        }
        let listed: HashSet<_> = groups.iter().map(|group| &group.id).collect();
        match listed.len() == total {
            true => Ok(groups),
            false => Err(OmniError::UnreliableGroups {
                listed: listed.len(),
                total,
            }),
        }
    }

    /// The page that starts at this group, counted from 1, and the number of groups.
    async fn group_page(&self, start: usize) -> Result<(Vec<ObservedGroup>, usize), OmniError> {
        let mut url = self.groups_url();
        url.query_pairs_mut()
            .append_pair("count", &PAGE.to_string())
            .append_pair("startIndex", &start.to_string());
        let request = ApiRequest::get_optional(url).with_priority(Priority::Background);
        self.read(request, parse_page).await
    }

    /// One group with its members; `None` if there is no such group.
    ///
    /// # Errors
    /// As [`Reader::page`].
    pub async fn group(&self, id: &GroupId) -> Result<Option<ObservedGroup>, OmniError> {
        let group = self.read(ApiRequest::get(self.group_url(id)), parse_group);
        match group.await {
            Ok(group) => Ok(Some(group)),
            Err(OmniError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn groups_url(&self) -> Url {
        self.client.endpoint(&["api", "scim", "v2", "Groups"])
    }

    fn group_url(&self, id: &GroupId) -> Url {
        let path = ["api", "scim", "v2", "Groups", id.as_str()];
        self.client.endpoint(&path)
    }
}

impl Writer {
    /// Adds users to a group, or removes members, at most [`MAX_MEMBERS`]. Other members are kept. Returns the group
    /// from the response, if there is one.
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

fn join(users: &[UserId]) -> Value {
    let members: Vec<_> = users.iter().map(|id| json!({ "value": id })).collect();
    json!({ "op": "add", "path": "members", "value": members })
}

fn leave(user: &UserId) -> Value {
    json!({ "op": "remove", "path": format!("members[value eq \"{}\"]", user.as_str()) })
}
