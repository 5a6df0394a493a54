//! Where the settings come from: a file and the environment.

use super::keys::KeySource;
use super::{RawSettings, Settings, SettingsError};
use config::Map;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The settings file that is used if it exists.
const DEFAULT_FILE: &str = "/etc/omni-user-sync/config.toml";

/// Environment variables, as values, so that a test needs none of the process.
#[derive(Clone, Default)]
pub struct Environment(Map<String, String>);

impl Environment {
    /// The variables of the process, except for those that are not UTF-8.
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
        let pairs = pairs.into_iter();
        Self(
            pairs
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

/// Loads and checks the settings. `file` is the value of `--config`; without it,
/// `OMNI_USER_SYNC_CONFIG` is used, else `/etc/omni-user-sync/config.toml` if it exists.
///
/// # Errors
/// Names every setting that is unknown or invalid.
pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Settings, SettingsError> {
    let path = settings_file(file, environment);
    // Before it is read, so that a later change is noticed.
    let file = path.as_deref().map(SettingsFile::at);
    let mut raw = RawSettings::default();
    if let Some(path) = &path {
        raw.add_file(path)?;
    }
    if let Some(url) = environment.get("OMNI_BASE_URL") {
        raw.set_from("OMNI_BASE_URL", "omni.base_url", url);
    }
    raw.add_environment(environment.0.clone())?;
    let keys = KeySource {
        variable: environment.get("OMNI_API_KEY").map(Into::into),
        file: raw.path("omni.api_key_file"),
    };
    let settings = Settings::check(raw, keys)?;
    Ok(Settings { file, ..settings })
}

fn settings_file(flag: Option<&Path>, environment: &Environment) -> Option<PathBuf> {
    let default = Path::new(DEFAULT_FILE);
    flag.map(Path::to_path_buf)
        .or_else(|| environment.get("OMNI_USER_SYNC_CONFIG").map(PathBuf::from))
        .or_else(|| default.exists().then(|| default.to_path_buf()))
}

/// A settings file, and its state when it was read.
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

    /// The path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file was written since it was read, or since the last call.
    pub fn has_changed(&mut self) -> bool {
        let now = stamp(&self.path);
        std::mem::replace(&mut self.stamp, now) != now
    }
}

fn stamp(path: &Path) -> Option<(u64, SystemTime)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()?))
}
