//! From file and environment to [`RawSettings`], with every unknown key named.

use super::keys::KeySource;
use super::{RawSettings, Settings, SettingsError};
use config::{ConfigError, FileFormat, Map, ValueKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Where the settings file is, unless told otherwise.
const DEFAULT_FILE: &str = "/etc/omni-user-sync/config.toml";
const PREFIX: &str = "OMNI_USER_SYNC__";

/// Environment variables, as values, so that a test needs none of the process's own.
#[derive(Clone, Default)]
pub struct Environment(Map<String, String>);

impl Environment {
    /// The process's own. A variable that is no text can't be one of ours and is left out.
    #[must_use]
    pub fn of_process() -> Self {
        let texts = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self(texts.collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.trim().is_empty())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

/// Loads and checks the settings. `file` is what `--config` said; without it,
/// `OMNI_USER_SYNC_CONFIG`, else `/etc/omni-user-sync/config.toml` if it is there.
///
/// # Errors
/// Says which setting is wrong and what it may be.
pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Settings, SettingsError> {
    let path = settings_file(file, environment);
    let file = path.as_deref().map(SettingsFile::at);
    let raw = merge(path.as_deref(), environment)?;
    let keys = KeySource {
        variable: environment.get("OMNI_API_KEY").map(Into::into),
        file: (!raw.omni.api_key_file.is_empty()).then(|| raw.omni.api_key_file.clone().into()),
    };
    Ok(Settings {
        file,
        ..Settings::check(raw, keys)?
    })
}

/// A settings file, as it was when it was read.
#[derive(Clone, Debug)]
pub struct SettingsFile {
    path: PathBuf,
    stamp: Option<(u64, SystemTime)>,
}

impl SettingsFile {
    fn at(path: &Path) -> Self {
        let stamp = stamp(path);
        let path = path.to_owned();
        Self { path, stamp }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it has been written since; after that, no more until it is written again.
    pub fn has_changed(&mut self) -> bool {
        let now = stamp(&self.path);
        std::mem::replace(&mut self.stamp, now) != now
    }
}

fn stamp(path: &Path) -> Option<(u64, SystemTime)> {
    let about = std::fs::metadata(path).ok()?;
    Some((about.len(), about.modified().ok()?))
}

fn merge(file: Option<&Path>, environment: &Environment) -> Result<RawSettings, SettingsError> {
    let from_file = match file {
        Some(path) => read_file(path)?,
        None => config::Config::default(),
    };
    let from_environment = read_environment(environment)?;
    config::Config::builder()
        .add_source(from_file)
        .add_source(from_environment)
        .build()
        .and_then(config::Config::try_deserialize)
        .map_err(|error| SettingsError::Unreadable(plain(&error)))
}

fn settings_file(flag: Option<&Path>, environment: &Environment) -> Option<PathBuf> {
    let default = Path::new(DEFAULT_FILE);
    flag.map(Path::to_path_buf)
        .or_else(|| environment.get("OMNI_USER_SYNC_CONFIG").map(PathBuf::from))
        .or_else(|| default.exists().then(|| default.to_path_buf()))
}

fn read_file(path: &Path) -> Result<config::Config, SettingsError> {
    let place = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| SettingsError::Unreadable(format!("settings file {place}: {error}")))?;
    let read = config::Config::builder()
        .add_source(config::File::from_str(&text, FileFormat::Toml))
        .build()
        .map_err(|error| SettingsError::Unreadable(format!("{place}: {}", plain(&error))))?;
    refuse_unknown(&read, |_| place.clone())?;
    Ok(read)
}

fn read_environment(environment: &Environment) -> Result<config::Config, SettingsError> {
    let source = config::Environment::with_prefix("OMNI_USER_SYNC")
        .prefix_separator("__")
        .separator("__")
        .source(Some(environment.0.clone()));
    let mut builder = config::Config::builder();
    if let Some(url) = environment.get("OMNI_BASE_URL") {
        builder = builder
            .set_default("omni.base_url", url)
            .map_err(unreadable)?;
    }
    let read = builder.add_source(source).build().map_err(unreadable)?;
    refuse_unknown(&read, |key| {
        format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
    })?;
    Ok(read)
}

fn unreadable(error: ConfigError) -> SettingsError {
    SettingsError::Unreadable(plain(&error))
}

/// The error without the excerpt of the file that TOML errors carry: someone may have pasted a key
/// there.
fn plain(error: &ConfigError) -> String {
    let text = error.to_string();
    let kept: Vec<_> = text
        .lines()
        .filter(|line| !line.contains(" |"))
        .map(str::trim)
        .collect();
    kept.join(" ").trim().to_owned()
}

fn refuse_unknown(
    read: &config::Config,
    place: impl Fn(&str) -> String,
) -> Result<(), SettingsError> {
    let known = known_keys();
    let unknown = keys_of(&read.cache, "")
        .into_iter()
        .filter(|key| !known.contains(key));
    let unknown = unknown.map(|key| SettingsError::Unknown {
        place: place(&key),
        nearest: nearest(&key, &known),
        key,
    });
    SettingsError::all(unknown.collect()).map_or(Ok(()), Err)
}

/// All `section.key` of a read table; a section without keys, or that is no table, is its own key.
fn keys_of(value: &config::Value, prefix: &str) -> Vec<String> {
    let table = match &value.kind {
        ValueKind::Table(table) if prefix.is_empty() || !table.is_empty() => table,
        _ => return vec![prefix.to_owned()],
    };
    let mut keys: Vec<String> = table
        .iter()
        .flat_map(|(key, value)| match prefix {
            "" => keys_of(value, key),
            section => vec![format!("{section}.{key}")],
        })
        .collect();
    keys.sort();
    keys
}

/// All sections and all `section.key`.
fn known_keys() -> Vec<String> {
    let defaults = serde_json::to_value(RawSettings::default());
    let defaults = defaults.expect("the defaults are plain texts, numbers and lists");
    let sections = defaults.as_object().into_iter().flatten();
    let keys = sections.flat_map(|(section, keys)| {
        let keys = keys.as_object().into_iter().flatten();
        let keys = keys.map(move |(key, _)| format!("{section}.{key}"));
        std::iter::once(section.clone()).chain(keys)
    });
    keys.collect()
}

/// The known key most like this one: in its whole, or in its last part whatever the section.
fn nearest(key: &str, known: &[String]) -> Option<String> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |candidate: &String| {
        strsim::jaro_winkler(key, candidate).max(strsim::jaro_winkler(&last(key), &last(candidate)))
    };
    let best = known
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.75).then(|| best.clone())
}
