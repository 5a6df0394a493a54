//! The settings in force, without secrets.

use crate::serve::state::AppState;
use crate::settings::SettingInForce;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use std::sync::Arc;

pub(in crate::serve) async fn settings(State(state): State<Arc<AppState>>) -> Json<Value> {
    let settings = state.config.explainer.settings();
    let file = settings.file.as_ref().map(|file| file.path());
    let in_force: Vec<_> = settings.in_force.iter().map(setting_doc).collect();
    Json(json!({
        "file": file.map(|file| file.display().to_string()),
        "key_is_in_variable": settings.omni.keys.is_in_variable(),
        "settings": in_force,
    }))
}

fn setting_doc(setting: &SettingInForce) -> Value {
    json!({ "name": setting.name(), "value": setting.value, "origin": setting.origin })
}
