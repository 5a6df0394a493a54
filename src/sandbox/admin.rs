//! `/sandbox/…`: the admin API, for tests in other processes.
//!
//! | request | |
//! | --- | --- |
//! | `GET /sandbox/state` | users, groups, roles, what users own, definitions and unexpected requests |
//! | `GET`, `DELETE /sandbox/requests` | the log |
//! | `POST /sandbox/users` | creates a user, bypassing the rules |
//! | `PATCH /sandbox/users/{email}` | changes `{"userName": …, "active": …, "attributes": {…}}`, bypassing the rules |
//! | `DELETE /sandbox/users/{email}` | deletes a user |
//! | `POST /sandbox/groups` | creates a group `{"displayName": …, "members": [email…]}`, bypassing the rules |
//! | `POST /sandbox/connections` | creates a connection `{"name": …, "baseRole": …}` |
//! | `POST /sandbox/models` | creates a model `{"connectionId": …, "name": …, "modelKind": …}` |
//! | `POST /sandbox/custom-roles` | creates a role `{"name": …, "baseRole": …}` |
//! | `POST /sandbox/roles` | assigns a role `{"holder": email or group, "modelId": …, "roleName": …}`, bypassing the rules |
//! | `POST /sandbox/schedules` | adds a schedule `{"owner": email, "name": …, "recipients": number or null}` |
//! | `POST /sandbox/documents`, `/sandbox/personal-tokens` | adds one `{"owner": email, "name": …}` |
//! | `POST`, `DELETE /sandbox/faults` | adds a [`Fault`]; clears all |
//! | `POST /sandbox/signal` | schedules a [`PlannedSignal`] |
//!
//! It needs no key, and is neither logged nor rate limited. Signals are available on loopback only, so
//! that remote clients can't kill processes.

use std::net::SocketAddr;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::faults::Fault;
use super::log::Request;
use super::org::Org;
use super::signals::PlannedSignal;

/// The routes and their methods.
pub const ROUTES: [(&str, &str); 14] = [
    ("GET", "/sandbox/state"),
    ("GET, DELETE", "/sandbox/requests"),
    ("POST", "/sandbox/users"),
    ("PATCH, DELETE", "/sandbox/users/{email}"),
    ("POST", "/sandbox/groups"),
    ("POST", "/sandbox/connections"),
    ("POST", "/sandbox/models"),
    ("POST", "/sandbox/custom-roles"),
    ("POST", "/sandbox/roles"),
    ("POST", "/sandbox/schedules"),
    ("POST", "/sandbox/documents"),
    ("POST", "/sandbox/personal-tokens"),
    ("POST, DELETE", "/sandbox/faults"),
    ("POST", "/sandbox/signal"),
];

pub(super) fn router(org: Org, address: SocketAddr) -> Router {
    let router = Router::new()
        .route("/sandbox/state", get(state))
        .route("/sandbox/requests", get(requests).delete(clear_requests))
        .route("/sandbox/users", post(add_user))
        .route(
            "/sandbox/users/{email}",
            patch(edit_user).delete(remove_user),
        )
        .route("/sandbox/groups", post(add_group))
        .route("/sandbox/connections", post(add_connection))
        .route("/sandbox/models", post(add_model))
        .route("/sandbox/custom-roles", post(add_role))
        .route("/sandbox/roles", post(set_role))
        .route("/sandbox/schedules", post(add_schedule))
        .route("/sandbox/documents", post(add_document))
        .route("/sandbox/personal-tokens", post(add_personal_token))
        .route("/sandbox/faults", post(add_fault).delete(clear_faults));
    let router = if address.ip().is_loopback() {
        router.route("/sandbox/signal", post(plan_signal))
    } else {
        router
    };
    router.with_state(org)
}

async fn state(State(org): State<Org>) -> Json<Value> {
    Json(json!({
        "users": org.users(),
        "groups": org.groups(),
        "roles": org.all_roles(),
        "owned": org.all_owned(),
        "definitions": org.definitions(),
        "unexpected": org.unexpected(),
    }))
}

async fn requests(State(org): State<Org>) -> Json<Vec<Request>> {
    Json(org.requests())
}

async fn clear_requests(State(org): State<Org>) -> StatusCode {
    org.clear_requests();
    StatusCode::NO_CONTENT
}

async fn add_user(State(org): State<Org>, Json(user): Json<Value>) -> (StatusCode, Json<Value>) {
    if !user["userName"].is_string() {
        return refused("`userName` is missing");
    }
    created(&org.add_user(user))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Edit {
    #[serde(rename = "userName")]
    user_name: Option<String>,
    active: Option<bool>,
    attributes: Map<String, Value>,
}

async fn edit_user(
    State(org): State<Org>,
    Path(email): Path<String>,
    Json(edit): Json<Edit>,
) -> StatusCode {
    found(org.edit(&email, |user| {
        if let Some(user_name) = edit.user_name {
            user.user_name = user_name;
        }
        user.active = edit.active.unwrap_or(user.active);
        let value = |value: Value| Some(value).filter(|value| !value.is_null());
        let changes = edit
            .attributes
            .into_iter()
            .map(|(name, given)| (name, value(given)));
        user.change_attributes(changes.collect());
    }))
}

async fn remove_user(State(org): State<Org>, Path(email): Path<String>) -> StatusCode {
    found(org.remove(&email))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewGroup {
    #[serde(rename = "displayName")]
    name: String,
    #[serde(default)]
    members: Vec<String>,
}

async fn add_group(
    State(org): State<Org>,
    Json(group): Json<NewGroup>,
) -> (StatusCode, Json<Value>) {
    let unknown = |email: &&String| org.user(email).is_none();
    if let Some(email) = group.members.iter().find(unknown) {
        return refused(&format!("no user with the email {email}"));
    }
    let members: Vec<&str> = group.members.iter().map(String::as_str).collect();
    created(&org.add_group(&group.name, &members))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewConnection {
    name: String,
    #[serde(rename = "baseRole")]
    base_role: String,
}

async fn add_connection(
    State(org): State<Org>,
    Json(new): Json<NewConnection>,
) -> (StatusCode, Json<Value>) {
    created(&org.add_connection(&new.name, &new.base_role))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewModel {
    #[serde(rename = "connectionId")]
    connection: String,
    name: String,
    #[serde(rename = "modelKind")]
    kind: String,
}

async fn add_model(State(org): State<Org>, Json(new): Json<NewModel>) -> (StatusCode, Json<Value>) {
    if !org.has_connection(&new.connection) {
        return refused("no such connection");
    }
    created(&org.add_model(&new.connection, &new.name, &new.kind))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRole {
    name: String,
    #[serde(rename = "baseRole")]
    base: String,
}

async fn add_role(State(org): State<Org>, Json(new): Json<NewRole>) -> StatusCode {
    org.add_role(&new.name, &new.base);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetRole {
    holder: String,
    #[serde(rename = "modelId")]
    model: String,
    #[serde(rename = "roleName")]
    role: String,
}

async fn set_role(State(org): State<Org>, Json(set): Json<SetRole>) -> StatusCode {
    let is_known = org.has_holder(&set.holder) && org.has_model(&set.model);
    if is_known {
        org.set_role(&set.holder, &set.model, &set.role);
    }
    found(is_known)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOwned {
    owner: String,
    name: String,
    recipients: Option<u32>,
}

impl NewOwned {
    /// Adds it, unless there is no such user.
    fn add(&self, org: &Org, add: impl FnOnce(&Self) -> String) -> (StatusCode, Json<Value>) {
        match org.user(&self.owner) {
            Some(_) => created(&add(self)),
            None => refused(&format!("no user with the email {}", self.owner)),
        }
    }
}

async fn add_schedule(
    State(org): State<Org>,
    Json(new): Json<NewOwned>,
) -> (StatusCode, Json<Value>) {
    new.add(&org, |new| {
        org.add_schedule(&new.owner, &new.name, new.recipients)
    })
}

async fn add_document(
    State(org): State<Org>,
    Json(new): Json<NewOwned>,
) -> (StatusCode, Json<Value>) {
    new.add(&org, |new| org.add_document(&new.owner, &new.name))
}

async fn add_personal_token(
    State(org): State<Org>,
    Json(new): Json<NewOwned>,
) -> (StatusCode, Json<Value>) {
    new.add(&org, |new| org.add_personal_token(&new.owner, &new.name))
}

fn created(id: &str) -> (StatusCode, Json<Value>) {
    (StatusCode::CREATED, Json(json!({ "id": id })))
}

fn refused(detail: &str) -> (StatusCode, Json<Value>) {
    (StatusCode::BAD_REQUEST, Json(json!({ "detail": detail })))
}

fn found(found: bool) -> StatusCode {
    if found {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}

async fn add_fault(State(org): State<Org>, Json(fault): Json<Fault>) -> StatusCode {
    org.fault(fault);
    StatusCode::NO_CONTENT
}

async fn clear_faults(State(org): State<Org>) -> StatusCode {
    org.clear_faults();
    StatusCode::NO_CONTENT
}

async fn plan_signal(State(org): State<Org>, Json(signal): Json<PlannedSignal>) -> StatusCode {
    if !signal.is_for_one_process() {
        return StatusCode::BAD_REQUEST;
    }
    org.plan_signal(signal);
    StatusCode::NO_CONTENT
}
