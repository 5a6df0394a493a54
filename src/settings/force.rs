//! The settings in force, and where each of them comes from.

use super::RawSettings;
use super::secret::shown_path;
use config::ValueKind;
use serde_json::Value;
use std::path::Path;

/// A setting in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingInForce {
    /// The section.
    pub section: String,
    /// The key within the section.
    pub key: String,
    /// The value. A path that may be a pasted secret is masked.
    pub value: Value,
    /// The file, environment variable or flag; `None` for the default.
    pub origin: Option<String>,
}

impl SettingInForce {
    /// `section.key`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    /// The value in TOML.
    #[must_use]
    pub fn toml(&self) -> String {
        toml(&self.value)
    }
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
                value: shown(key, value),
                origin,
            }
        })
        .collect()
    }
}

/// A text in TOML, which writes it as JSON does.
#[must_use]
pub fn toml_text(text: &str) -> String {
    Value::from(text).to_string()
}

/// A value in TOML, which writes single values as JSON does.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(toml).collect();
            format!("[{}]", items.join(", "))
        }
        single => single.to_string(),
    }
}

/// A value that may be shown.
fn shown(key: &str, value: &config::Value) -> Value {
    match &value.kind {
        ValueKind::String(text) if key.ends_with("_file") && !text.trim().is_empty() => {
            shown_path(Path::new(text)).into()
        }
        ValueKind::String(text) => text.as_str().into(),
        ValueKind::Array(items) => items.iter().map(|item| shown(key, item)).collect(),
        ValueKind::Boolean(is_set) => (*is_set).into(),
        ValueKind::I64(number) => (*number).into(),
        ValueKind::U64(number) => (*number).into(),
        ValueKind::Float(number) => (*number).into(),
        // A checked setting is no table and no larger number.
        _ => value.to_string().into(),
    }
}
