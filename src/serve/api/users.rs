//! Lists of users.

use super::{ApiResult, bad_request, state_error};
use crate::serve::params::UserParams;
use crate::serve::state::AppState;
use crate::state::{ListedUser, UserState};
use axum::Json;
use axum::extract::{Query, State};
use axum::response::IntoResponse;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The default and the maximum number of users in a response.
const DEFAULT_USERS: usize = 50;
const MAX_USERS: usize = 500;

pub(in crate::serve) async fn users(
    State(state): State<Arc<AppState>>,
    Query(params): Query<UserParams>,
) -> ApiResult {
    let query = params.query(DEFAULT_USERS, MAX_USERS);
    let page = state.users(query.map_err(bad_request)?).await;
    let page = page.map_err(state_error)?;
    let now = Utc::now();
    let users: Vec<_> = page.users.iter().map(|user| user_doc(user, now)).collect();
    let counts = page.counts.iter();
    let counts: Map<_, _> = counts
        .map(|(filter, count)| (filter.as_str().to_owned(), json!(count)))
        .collect();
    Ok(Json(json!({ "users": users, "next_after": page.next, "counts": counts })).into_response())
}

fn user_doc(user: &ListedUser, now: DateTime<Utc>) -> Value {
    let mut doc = state_doc(&user.state, now);
    doc["email"] = json!(user.email);
    doc["protected"] = json!(user.is_protected);
    doc
}

/// The state of a user. An expired quarantine is none.
pub(super) fn state_doc(state: &UserState, now: DateTime<Utc>) -> Value {
    let UserState {
        managed,
        deactivated,
        quarantined,
        observed,
    } = state;
    let deactivated = deactivated.iter();
    let quarantined = quarantined.as_ref().filter(|one| one.until > now);
    json!({
        "managed": managed.as_ref().map(|managed| json!({
            "since": managed.since,
            "missing_since": managed.missing_since,
        })),
        "deactivated": deactivated
            .map(|(id, at)| json!({ "id": id.as_str(), "at": at }))
            .collect::<Vec<_>>(),
        "quarantined": quarantined.map(|one| json!({
            "until": one.until,
            "failures": one.failures,
            "reason": one.reason,
        })),
        "observed": observed.as_ref().map(|user| json!({
            "id": user.id.as_str(),
            "display_name": user.display_name,
            "active": user.active,
        })),
    })
}
