//! The settings in force, and where each of them comes from.

use super::RawSettings;
use super::secret::shown_path;
use config::{Value, ValueKind};
use std::path::Path;

/// A setting in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingInForce {
    /// The section.
    pub section: String,
    /// The key within the section.
    pub key: String,
    /// The value in TOML. A path that may be a pasted secret is masked.
    pub value: String,
    /// The file or environment variable; `None` for the default.
    pub origin: Option<String>,
}

impl RawSettings {
    /// All settings, by section.
    pub(super) fn in_force(&self) -> Vec<SettingInForce> {
        let keys = self.keys().filter_map(|key| key.split_once('.'));
        keys.map(|(section, key)| {
            let name = format!("{section}.{key}");
            let (origin, value) = self.find(&name);
            SettingInForce {
                section: section.into(),
                key: key.into(),
                value: toml(key, value),
                origin,
            }
        })
        .collect()
    }
}

/// A text in TOML, which writes it as JSON does.
#[must_use]
pub fn toml_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A value in TOML.
fn toml(key: &str, value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) if key.ends_with("_file") && !text.trim().is_empty() => {
            toml_text(&shown_path(Path::new(text)))
        }
        ValueKind::String(text) => toml_text(text),
        ValueKind::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| toml(key, item)).collect();
            format!("[{}]", items.join(", "))
        }
        // A checked setting is no table, and TOML writes numbers and booleans as they are.
        _ => value.to_string(),
    }
}
