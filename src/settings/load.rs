//! Where the settings come from: a file and the environment.

use super::keys::KeySource;
use super::values::whole_path;
use super::{RawSettings, Settings, SettingsError, raw};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The settings file that is used if it exists.
pub const DEFAULT_FILE: &str = "/etc/omni-user-sync/config.toml";

/// The variables of Omni's SDK.
const OURS: [&str; 2] = ["OMNI_BASE_URL", "OMNI_API_KEY"];

/// Environment variables, as values, so that a test needs none of the process. A value that is not UTF-8 is `None`.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, Option<String>>);

impl Environment {
    /// The variables of the process, except for those whose name is not UTF-8.
    #[must_use]
    pub fn of_process() -> Self {
        let named = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok())));
        Self(named.collect())
    }

    /// An error for each of this program's variables that is not text, and so would be ignored.
    fn unreadable(&self) -> Vec<SettingsError> {
        let is_ours = |name: &str| OURS.contains(&name) || raw::has_prefix(name);
        let broken = self
            .0
            .iter()
            .filter(|(name, value)| value.is_none() && is_ours(name));
        let error =
            |(name, _)| SettingsError::Unreadable(format!("{name}: the value is not UTF-8"));
        broken.map(error).collect()
    }

    /// The settings file that `OMNI_USER_SYNC_CONFIG` names.
    #[must_use]
    pub fn settings_file(&self) -> Option<PathBuf> {
        let path = self.get(raw::CONFIG_VARIABLE)?;
        Some(self.expand(path))
    }

    /// A path in which a leading `~/` is replaced by the home folder.
    #[must_use]
    pub fn expand(&self, path: &str) -> PathBuf {
        let home = self.get("HOME").map(Path::new);
        whole_path(path, home).unwrap_or_else(|_| path.into())
    }

    /// A variable of another name, such as `OMNI_URL`, that may be meant for one that ends with one of these words.
    fn mistaken_for(&self, words: &[&str]) -> Option<String> {
        let is_like = |name: &str| {
            let is_other = name.starts_with("OMNI_") && !raw::has_prefix(name);
            let last = name.rsplit('_').next().unwrap_or_default();
            is_other && words.contains(&last) && !OURS.contains(&name)
        };
        let mut names = self.0.keys();
        names.find(|name| is_like(name)).cloned()
    }

    /// The value of a variable that is set and not blank.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name)?.as_deref();
        value.filter(|value| !value.trim().is_empty())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        Self(
            pairs
                .map(|(name, value)| (name.into(), Some(value.into())))
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
    let (raw, errors) = collect(path.as_deref(), environment);
    let keys = KeySource {
        variable: environment.get("OMNI_API_KEY").map(Into::into),
        file: raw.path("omni.api_key_file"),
        mistaken: environment.mistaken_for(&["KEY", "APIKEY", "TOKEN"]),
    };
    match (Settings::check(raw, keys), SettingsError::all(errors)) {
        (Ok(mut settings), None) => {
            let url = ["URL", "URI", "HOST", "DOMAIN"];
            settings.omni.mistaken_url = environment.mistaken_for(&url);
            Ok(Settings { file, ..settings })
        }
        (Ok(_), Some(error)) | (Err(error), None) => Err(error),
        (Err(checked), Some(error)) => Err(SettingsError::Several(vec![error, checked])),
    }
}

/// The settings as written in the file and the environment, with the errors of reading them.
fn collect(path: Option<&Path>, environment: &Environment) -> (RawSettings, Vec<SettingsError>) {
    let mut errors = environment.unreadable();
    let mut raw = RawSettings::default();
    if let Some(home) = environment.get("HOME") {
        raw.set_home(home);
    }
    if let Some(path) = path {
        errors.extend(raw.add_file(path).err());
    }
    if let Some(url) = environment.get("OMNI_BASE_URL") {
        raw.set_from("OMNI_BASE_URL", "omni.base_url", url);
    }
    let readable = environment.0.iter();
    raw.add_environment(readable.filter_map(|(name, value)| Some((&**name, value.as_deref()?))));
    (raw, errors)
}

fn settings_file(flag: Option<&Path>, environment: &Environment) -> Option<PathBuf> {
    let default = Path::new(DEFAULT_FILE);
    flag.map(Path::to_path_buf)
        .or_else(|| environment.settings_file())
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
