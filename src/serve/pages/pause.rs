//! Pause and resume, as the overview offers them.

use super::rows::Timestamp;
use super::{PageResult, bad_request};
use crate::model::Pause;
use crate::serve::auth::Principal;
use crate::serve::response::{Format, redirect};
use crate::serve::state::AppState;
use axum::Extension;
use axum::extract::{Form, State};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use std::sync::Arc;

/// A pause in force.
#[derive(Debug)]
pub(super) struct PauseCard {
    pub(super) by: String,
    pub(super) since: Timestamp,
    pub(super) until: Option<Timestamp>,
}

impl PauseCard {
    pub(super) fn new(pause: &Pause, now: DateTime<Utc>) -> Self {
        Self {
            by: pause.by.clone(),
            since: Timestamp::new(pause.since, now),
            until: pause.until.map(|until| Timestamp::new(until, now)),
        }
    }
}

#[derive(Deserialize)]
pub(in crate::serve) struct PauseForm {
    /// Blank for a pause without end.
    #[serde(default, rename = "for")]
    length: String,
}

pub(in crate::serve) async fn pause(
    State(state): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    Form(PauseForm { length }): Form<PauseForm>,
) -> PageResult {
    let length = Some(length).filter(|length| !length.trim().is_empty());
    let length = length.as_deref().map(Pause::parse_length).transpose();
    let length = length.map_err(|expected| bad_request(format!("Not paused: {expected}.")))?;
    state.pause(length, &principal, Format::Html).await?;
    Ok(redirect("/?notice=paused"))
}

pub(in crate::serve) async fn resume(
    State(state): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
) -> PageResult {
    state.resume(&principal, Format::Html).await?;
    Ok(redirect("/?notice=resumed"))
}
