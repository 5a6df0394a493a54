//! Pause and resume.

use super::{ApiResult, bad_request, reject_body};
use crate::model::Pause;
use crate::serve::auth::Principal;
use crate::serve::response::{ErrorResponse, Format};
use crate::serve::state::AppState;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Rejects unknown parameters: one may be a misspelt `for`, without which the pause does not end.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::serve) struct PauseParams {
    #[serde(rename = "for")]
    length: Option<String>,
}

pub(in crate::serve) async fn pause(
    State(state): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    Query(PauseParams { length }): Query<PauseParams>,
    body: Bytes,
) -> ApiResult {
    reject_body(
        &body,
        "A pause takes no body. Set its length with `?for=1h`.",
    )?;
    let length = length.as_deref().map(Pause::parse_length).transpose();
    let length = length.map_err(|expected| bad_request(format!("Invalid `for`: {expected}.")))?;
    let pause = state.pause(length, &principal, Format::Json).await?;
    Ok(Json(json!({ "paused": pause })).into_response())
}

pub(in crate::serve) async fn resume(
    State(state): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    body: Bytes,
) -> Result<Json<Value>, ErrorResponse> {
    reject_body(&body, "Resume takes no body.")?;
    let resumed = state.resume(&principal, Format::Json).await?;
    Ok(Json(json!({ "resumed": resumed })))
}
