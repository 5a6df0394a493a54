//! The settings in force, without secrets.

use super::Frame;
use crate::serve::auth::Principal;
use crate::serve::response::render;
use crate::serve::state::AppState;
use crate::settings::SettingInForce;
use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use std::sync::Arc;

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    frame: Frame,
    file: Option<String>,
    key_is_in_variable: bool,
    sections: Vec<Section>,
}

/// The settings of one section.
struct Section {
    name: String,
    settings: Vec<SettingInForce>,
}

pub(in crate::serve) async fn settings(
    State(state): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    uri: Uri,
) -> Response {
    let settings = state.config.explainer.settings();
    let file = settings.file.as_ref().map(|file| file.path());
    let sections = settings
        .in_force
        .chunk_by(|one, next| one.section == next.section);
    let sections = sections.map(|settings| Section {
        name: settings
            .first()
            .map_or_else(String::new, |one| one.section.clone()),
        settings: settings.to_vec(),
    });
    render(&SettingsPage {
        frame: Frame::new("settings", &state, &principal, &uri),
        file: file.map(|file| file.display().to_string()),
        key_is_in_variable: settings.omni.keys.is_in_variable(),
        sections: sections.collect(),
    })
}
