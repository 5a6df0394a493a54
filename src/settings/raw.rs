//! The settings as written: layers of `section.key` → value, of which the last one wins.

use super::SettingsError;
use crate::util::text::{nearest_by, similarity};
use config::{ConfigError, FileFormat, Map, Value, ValueKind};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The defaults: the shipped example has every setting.
const DEFAULTS: &str = include_str!("../../config/example.toml");
const PREFIX: &str = "OMNI_USER_SYNC";
/// The variable that names the settings file.
pub(super) const CONFIG_VARIABLE: &str = "OMNI_USER_SYNC_CONFIG";

/// The settings as written, before they are checked. The default has only the defaults.
#[derive(Clone, Debug)]
pub struct RawSettings {
    defaults: BTreeMap<String, Value>,
    layers: Vec<Layer>,
    /// Environment variables with this program's prefix that are no setting.
    unknown_variables: Vec<String>,
    /// The folder that a leading `~` of a path means.
    home: Option<PathBuf>,
}

/// The settings of one source.
#[derive(Clone, Debug)]
struct Layer {
    location: Place,
    values: BTreeMap<String, Value>,
}

/// Where a setting is written.
#[derive(Clone, Debug)]
enum Place {
    Code,
    /// A file, or a variable without this program's prefix.
    Named(String),
    /// The variables with this program's prefix.
    Environment,
}

impl Place {
    /// The file or the variable, for messages.
    fn of(&self, key: &str) -> Option<String> {
        match self {
            Self::Code => None,
            Self::Named(name) => Some(name.clone()),
            Self::Environment => Some(variable(key)),
        }
    }
}

/// The environment variable of a setting.
fn variable(key: &str) -> String {
    format!("{PREFIX}__{}", key.to_uppercase().replace('.', "__"))
}

/// Whether a variable has this program's prefix, in any case.
pub(super) fn has_prefix(name: &str) -> bool {
    let prefix = name.get(..PREFIX.len());
    prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(PREFIX))
}

fn after_prefix(name: &str) -> &str {
    name.get(PREFIX.len()..).unwrap_or_default()
}

fn last_part(name: &str) -> &str {
    after_prefix(name).rsplit("__").next().unwrap_or_default()
}

/// A name without the separators, which are easily confused.
fn letters(name: &str) -> String {
    name.chars().filter(|c| *c != '_').collect()
}

/// Whether a variable is one that Kubernetes or Docker sets for a service or container of this name, as in
/// `OMNI_USER_SYNC_SERVICE_HOST` and `OMNI_USER_SYNC_PORT_8080_TCP`.
fn is_service_link(name: &str) -> bool {
    let rest = after_prefix(name);
    name.starts_with(PREFIX)
        && rest.starts_with('_')
        && !rest.starts_with("__")
        && (rest.ends_with("_PORT") || rest.contains("_PORT_") || rest.contains("_SERVICE_"))
}

impl Default for RawSettings {
    fn default() -> Self {
        let defaults = config::File::from_str(DEFAULTS, FileFormat::Toml);
        Self {
            defaults: read(defaults).expect("the shipped example is valid"),
            layers: Vec::new(),
            unknown_variables: Vec::new(),
            home: None,
        }
    }
}

impl RawSettings {
    /// Sets `section.key`, over all layers so far. Lists are separated by commas.
    pub fn set(&mut self, key: &str, value: impl ToString) {
        let values = [(key.to_owned(), value.to_string().into())].into();
        self.push(Place::Code, values);
    }

    /// Sets `section.key` from an environment variable.
    pub(super) fn set_from(&mut self, variable: &str, key: &str, value: &str) {
        let values = [(key.to_owned(), value.into())].into();
        self.push(Place::Named(variable.into()), values);
    }

    pub(super) fn set_home(&mut self, home: &str) {
        self.home = Some(home.into());
    }

    pub(super) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// Adds a settings file.
    pub(super) fn add_file(&mut self, path: &Path) -> Result<(), SettingsError> {
        let location = path.display().to_string();
        let unreadable = |problem| SettingsError::Unreadable(format!("{location}: {problem}"));
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        let values = read(config::File::from_str(&text, FileFormat::Toml));
        let values = values.map_err(|error| unreadable(without_excerpt(&error)))?;
        self.push(Place::Named(location.clone()), values);
        Ok(())
    }

    /// Adds the variables with this program's prefix. One that is no setting is an error: its author believes that
    /// it has an effect.
    pub(super) fn add_environment<'a>(
        &mut self,
        variables: impl Iterator<Item = (&'a str, &'a str)>,
    ) {
        let keys: BTreeMap<_, _> = self
            .keys()
            .map(|key| (variable(key), key.to_owned()))
            .collect();
        let mut values = BTreeMap::new();
        for (name, value) in variables.filter(|(name, _)| has_prefix(name)) {
            if let Some(key) = keys.get(name) {
                values.insert(key.clone(), value.into());
            } else if name != CONFIG_VARIABLE && !is_service_link(name) {
                self.unknown_variables.push(name.to_owned());
            }
        }
        self.push(Place::Environment, values);
    }

    fn push(&mut self, location: Place, values: BTreeMap<String, Value>) {
        self.layers.push(Layer { location, values });
    }

    /// The last value of a setting, and the file or variable that it is from.
    pub(super) fn find(&self, key: &str) -> (Option<String>, &Value) {
        let mut layers = self.layers.iter().rev();
        let found = layers.find_map(|layer| Some((layer.location.of(key), layer.values.get(key)?)));
        found.unwrap_or_else(|| (None, self.default_of(key)))
    }

    /// The default of a setting.
    pub(super) fn default_of(&self, key: &str) -> &Value {
        let default = self.defaults.get(key);
        default.expect("the shipped example has every setting")
    }

    /// An error for each key and environment variable that is not a setting.
    pub(super) fn unknown(&self) -> Vec<SettingsError> {
        let sections = self.keys().filter_map(|key| key.split('.').next());
        let sections: BTreeSet<&str> = sections.collect();
        let variables = self.unknown_variables.iter();
        let mut errors: Vec<_> = variables.map(|name| self.unknown_variable(name)).collect();
        for layer in &self.layers {
            for (key, value) in &layer.values {
                let (location, is_section) = (layer.location.of(key), sections.contains(&**key));
                match value.kind {
                    _ if self.defaults.contains_key(key) => {}
                    ValueKind::Table(_) if is_section => {}
                    _ if is_section => errors.push(SettingsError::Value {
                        location,
                        key: key.clone(),
                        expected: "a section".into(),
                        found: "a value".into(),
                    }),
                    _ => errors.push(SettingsError::Unknown {
                        location,
                        key: key.clone(),
                        nearest: nearest(key, self.keys().chain(sections.iter().copied())),
                    }),
                }
            }
        }
        errors
    }

    fn unknown_variable(&self, name: &str) -> SettingsError {
        let variables: Vec<_> = self
            .keys()
            .map(variable)
            .chain([CONFIG_VARIABLE.into()])
            .collect();
        let candidates = variables.iter().map(String::as_str);
        let [whole, last] = [after_prefix(name), last_part(name)].map(letters);
        let nearest = nearest_by(candidates, |candidate| {
            let by_whole = similarity(&whole, &letters(after_prefix(candidate)));
            by_whole.max(similarity(&last, &letters(last_part(candidate))))
        });
        SettingsError::UnknownVariable {
            variable: name.to_owned(),
            nearest: nearest.map(ToOwned::to_owned),
        }
    }

    /// The keys of all settings, sorted.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.defaults.keys().map(String::as_str)
    }
}

fn read<S>(source: S) -> Result<BTreeMap<String, Value>, ConfigError>
where
    S: config::Source + Send + Sync + 'static,
{
    let read = config::Config::builder().add_source(source).build()?;
    let mut values = BTreeMap::new();
    for (section, value) in table(read.cache) {
        match value.kind {
            ValueKind::Table(keys) if !keys.is_empty() => {
                let keys = keys.into_iter();
                values.extend(keys.map(|(key, value)| (format!("{section}.{key}"), value)));
            }
            // An empty section, or a value outside of a section.
            _ => {
                values.insert(section, value);
            }
        }
    }
    Ok(values)
}

fn table(value: Value) -> Map<String, Value> {
    match value.kind {
        ValueKind::Table(table) => table,
        _ => Map::new(),
    }
}

/// The position and the message of a TOML error, without the excerpt of the file: it may contain a key, pasted by
/// mistake.
fn without_excerpt(error: &ConfigError) -> String {
    let text = error.to_string();
    let kept = text.lines().filter(|line| !line.contains(" |"));
    let kept: Vec<_> = kept
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let text = kept.join(": ");
    let position = text.strip_prefix("TOML parse error at ");
    position.unwrap_or(&text).to_owned()
}

/// The known key most like this one, as a whole or in its last part in any section.
fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let best = nearest_by(known, |candidate| {
        similarity(key, candidate).max(similarity(&last(key), &last(candidate)))
    });
    best.map(ToOwned::to_owned)
}
