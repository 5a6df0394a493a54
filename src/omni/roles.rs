//! Connections, models, and roles on them.
//!
//! A role can be assigned and overwritten, and never deleted. The most permissive role of all sources counts.

use super::available::Available;
use super::error::OmniError;
use super::exchange::ApiRequest;
use super::limiter::Priority;
use super::reader::Reader;
use super::records::{PAGE, RecordList};
use super::writer::Writer;
use crate::model::{
    ConnectionId, GroupId, ModelId, ObservedConnection, ObservedModel, ObservedRole, RoleHolder,
    RoleName, RoleOrigin, RoleScope, RoleScopeList, Text, trim,
};
use futures_util::{StreamExt, stream};
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;

/// The kinds of models that roles can be assigned for.
const KINDS: [&str; 2] = ["SHARED", "SHARED_EXTENSION"];

/// The limit of pages of one kind. An organisation with more gets an error.
const MAX_PAGES: usize = 1_000;

#[derive(Deserialize)]
struct ConnectionsDoc<'a> {
    #[serde(borrow)]
    connections: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct ConnectionDoc<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(rename = "baseRole", borrow)]
    base_role: Option<Cow<'a, str>>,
    deleted: Option<bool>,
}

#[derive(Deserialize)]
struct ModelDoc<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(rename = "connectionId", borrow)]
    connection: Cow<'a, str>,
    #[serde(rename = "deletedAt", borrow)]
    deleted: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RolesDoc<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct RoleDoc<'a> {
    #[serde(rename = "roleName", borrow)]
    role: Cow<'a, str>,
    #[serde(rename = "baseRole", borrow)]
    base: Option<Cow<'a, str>>,
    #[serde(rename = "connectionId", borrow)]
    connection: Cow<'a, str>,
    #[serde(rename = "modelId", borrow)]
    model: Option<Cow<'a, str>>,
    resolved: Option<bool>,
    #[serde(borrow)]
    from: Option<OriginDoc<'a>>,
}

#[derive(Deserialize)]
struct OriginDoc<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(rename = "miniUuid", borrow)]
    group: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
}

/// The answer to an assignment. It may be partial.
#[derive(Deserialize)]
struct AssignedDoc<'a> {
    #[serde(rename = "roleName", borrow)]
    role: Option<Cow<'a, str>>,
}

/// Entries of a list. One that can't be read must not hide the others: it can't be named, and has no roles.
fn entries<'a, D: Deserialize<'a>, T>(
    entries: &[&'a RawValue],
    read: impl Fn(D) -> Option<T>,
) -> Vec<T> {
    let parsed = entries
        .iter()
        .filter_map(|entry| serde_json::from_str(entry.get()).ok());
    parsed.filter_map(read).collect()
}

fn name(shown: Option<Cow<'_, str>>) -> Text {
    shown.map(|name| trim(&name).into()).unwrap_or_default()
}

fn parse_connections(body: &[u8]) -> serde_json::Result<Vec<ObservedConnection>> {
    let doc: ConnectionsDoc<'_> = serde_json::from_slice(body)?;
    Ok(entries(&doc.connections, |one: ConnectionDoc<'_>| {
        let id = ConnectionId::parse(&one.id)?;
        (one.deleted != Some(true)).then(|| ObservedConnection {
            id,
            name: name(one.name),
            base_role: one.base_role.as_deref().map(RoleName::known),
        })
    }))
}

fn read_model(entry: &RawValue) -> Option<ObservedModel> {
    let doc: ModelDoc<'_> = serde_json::from_str(entry.get()).ok()?;
    let id = ModelId::parse(&doc.id)?;
    let connection = ConnectionId::parse(&doc.connection)?;
    doc.deleted.is_none().then(|| ObservedModel {
        id,
        name: name(doc.name),
        connection,
    })
}

fn parse_roles(body: &[u8], holder: &RoleHolder) -> serde_json::Result<Vec<ObservedRole>> {
    let doc: RolesDoc<'_> = serde_json::from_slice(body)?;
    Ok(entries(&doc.results, |role: RoleDoc<'_>| role.read(holder)))
}

impl RoleDoc<'_> {
    fn read(self, holder: &RoleHolder) -> Option<ObservedRole> {
        Some(ObservedRole {
            holder: holder.clone(),
            scope: RoleScope::parse(&self.connection, self.model.as_deref())?,
            role: RoleName::known(&self.role),
            base: self.base.and_then(|base| RoleName::known(&base).standard()),
            origin: origin(self.from, holder),
            is_resolved: self.resolved == Some(true),
        })
    }
}

/// The source of a role. Omni uses the words of its pages, and its OpenAPI document others. The roles of a group have
/// no source, or the group itself. A source that is unknown is never taken for a direct assignment.
fn origin(from: Option<OriginDoc<'_>>, holder: &RoleHolder) -> RoleOrigin {
    let Some(from) = from else {
        return match holder {
            RoleHolder::Group(_) => RoleOrigin::Direct,
            RoleHolder::User(_) => RoleOrigin::Other,
        };
    };
    match &*from.kind.to_ascii_uppercase() {
        "USER ROLE" | "USER" => RoleOrigin::Direct,
        "GROUP ROLE" | "GROUP" => {
            let id = from.group.and_then(|id| GroupId::parse(&id));
            match (holder, &id) {
                (RoleHolder::Group(_), None) => RoleOrigin::Direct,
                (RoleHolder::Group(own), Some(id)) if own == id => RoleOrigin::Direct,
                _ => RoleOrigin::Group {
                    id,
                    name: name(from.name),
                },
            }
        }
        "CONNECTION BASE ROLE" | "BASE" => RoleOrigin::Base,
        _ => RoleOrigin::Other,
    }
}

impl Reader {
    /// All connections, without deleted ones.
    ///
    /// # Errors
    /// As [`Reader::page`]; 403 and 404 are not errors.
    pub async fn connections(&self) -> Result<Available<Vec<ObservedConnection>>, OmniError> {
        let url = self.client.endpoint(&["api", "v1", "connections"]);
        let request = ApiRequest::get_optional(url).with_priority(Priority::Background);
        Available::of(self.read(request, parse_connections).await)
    }

    /// All models that roles can be assigned for, without deleted ones.
    ///
    /// # Errors
    /// As [`Reader::page`]; 403 and 404 are not errors. [`OmniError::UnreliableModels`] if the list has no end.
    pub async fn models(&self) -> Result<Available<Vec<ObservedModel>>, OmniError> {
        Available::of(self.list_models().await)
    }

    async fn list_models(&self) -> Result<Vec<ObservedModel>, OmniError> {
        let mut models = Vec::new();
        for kind in KINDS {
            let mut url = self.client.endpoint(&["api", "v1", "models"]);
            url.query_pairs_mut()
                .append_pair("modelKind", kind)
                .append_pair("pageSize", PAGE);
            let list = RecordList {
                url,
                max_pages: MAX_PAGES,
                priority: Priority::Background,
                read: read_model,
            };
            let listed = self.records(&list).await?;
            models.extend(listed.entries);
            if listed.next.is_some() {
                let listed = models.len();
                return Err(OmniError::UnreliableModels { listed });
            }
        }
        Ok(models)
    }

    /// All connections and models, as [`Reader::connections`] and [`Reader::models`] read them.
    ///
    /// # Errors
    /// As [`Reader::models`].
    pub async fn role_scopes(&self) -> Result<Available<RoleScopeList>, OmniError> {
        let connections = match self.connections().await? {
            Available::Known(connections) => connections,
            Available::Rejected(status) => return Ok(Available::Rejected(status)),
        };
        Ok(match self.models().await? {
            Available::Known(models) => Available::Known(RoleScopeList {
                connections,
                models,
            }),
            Available::Rejected(status) => Available::Rejected(status),
        })
    }

    /// The roles of a user or a group, by source. Omni does not show a user's role on a whole connection.
    ///
    /// # Errors
    /// As [`Reader::page`]; 403 and 404 are not errors. 404 may also say that there is no such user or group.
    pub async fn roles(
        &self,
        holder: &RoleHolder,
    ) -> Result<Available<Vec<ObservedRole>>, OmniError> {
        let url = self.roles_url(holder);
        let request = ApiRequest::get_optional(url).with_priority(self.priority);
        let roles = self.read(request, |body| parse_roles(body, holder));
        Available::of(roles.await)
    }

    fn roles_url(&self, holder: &RoleHolder) -> Url {
        let (kind, id) = match holder {
            RoleHolder::User(id) => ("users", id.as_str()),
            RoleHolder::Group(id) => ("user-groups", id.as_str()),
        };
        self.client
            .endpoint(&["api", "v1", kind, id, "model-roles"])
    }
}

/// The answer to a read of roles.
type RolesAnswer = Result<Available<Vec<ObservedRole>>, OmniError>;

/// Reads the roles of users and groups, concurrently, and calls a function for each answer as it comes.
///
/// # Errors
/// The error that the function returns.
pub async fn read_roles(
    reader: &Reader,
    holders: Vec<RoleHolder>,
    mut on_read: impl FnMut(RoleHolder, RolesAnswer) -> Result<(), OmniError>,
) -> Result<(), OmniError> {
    let reads = holders.into_iter().map(|holder| async move {
        let roles = reader.roles(&holder).await;
        (holder, roles)
    });
    let mut results = stream::iter(reads).buffer_unordered(reader.concurrency());
    while let Some((holder, roles)) = results.next().await {
        on_read(holder, roles)?;
    }
    Ok(())
}

impl Writer {
    /// Assigns a role to a user, or to a group whose members all have it then, in place of the present direct one.
    /// Returns the role from the response, if it shows one.
    ///
    /// # Errors
    /// [`OmniError::OutcomeUnknown`] if the response was lost; [`OmniError::Rejected`] (422) with Omni's reason.
    pub async fn assign_role(
        &self,
        holder: &RoleHolder,
        scope: &RoleScope,
        role: &RoleName,
    ) -> Result<Option<RoleName>, OmniError> {
        let url = self.reader().roles_url(holder);
        let request = ApiRequest::with_body(Method::POST, url, &assignment(scope, role));
        let parse = |body: &[u8]| {
            let doc: AssignedDoc<'_> = serde_json::from_slice(body)?;
            Ok(doc.role.as_deref().map(RoleName::known))
        };
        self.write_once(request, parse).await
    }
}

/// The body of an assignment. With both ids, Omni refuses a model that moved to another connection.
fn assignment(scope: &RoleScope, role: &RoleName) -> Value {
    let mut body = json!({ "roleName": role.as_str(), "connectionId": scope.connection.as_str() });
    if let Some(model) = &scope.model {
        body["modelId"] = model.as_str().into();
    }
    body
}
