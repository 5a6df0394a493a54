//! Settings: TOML file, then environment, then flags, checked once into types that can't be wrong.
//!
//! [`load`] merges the sources into [`raw::RawSettings`] (plain texts and numbers, unknown keys
//! refused) and turns that into [`Settings`]. Secrets never pass through here: a setting names the
//! file that holds one, and `keys` reads it when it is needed, past the config crate, whose errors
//! print values.

mod admin_token;
mod base_url;
mod cron;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod keys;
mod load;
mod parse;
mod raw;
mod secret;
mod webhook;

pub use admin_token::admin_token_warnings;
pub use base_url::BaseUrl;
pub use cron::Schedule;
pub use keys::{ApiKeys, DOUBLED_KEY, KeyError, KeySource};
pub use load::{Environment, SettingsFile, load};
pub use raw::RawSettings;
pub use secret::{SecretError, SecretFile, keep_from_cores};
pub use webhook::{WebhookError, WebhookFile, WebhookUrl};

use crate::model::Policy;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What is wrong with the settings: which one, what it says, what it may be.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A setting's value is not one of those it may have.
    #[error("{key} = {value:?}: {problem}")]
    Value {
        /// The setting, as `section.key`.
        key: &'static str,
        /// What it says.
        value: String,
        /// What is wrong with that, and what it may be.
        problem: String,
    },
    /// A setting that a command needs is not there.
    #[error(
        "{key} is not set: write it in the settings file, or set the environment variable {variable}"
    )]
    Missing {
        /// The setting, as `section.key`.
        key: &'static str,
        /// The variable that sets it too.
        variable: &'static str,
    },
    /// There is no such setting.
    #[error("{place}: there is no setting {key}{}", near(.nearest.as_deref()))]
    Unknown {
        /// The file or the variable that names it.
        place: String,
        /// The key, as `section.key`.
        key: String,
        /// The known one that is most like it.
        nearest: Option<String>,
    },
    /// The settings file can't be read or is no TOML, or a value has the wrong type.
    #[error("{0}")]
    Unreadable(String),
    /// Several of these.
    #[error("{}", Listed(.0))]
    Several(Vec<SettingsError>),
}

impl SettingsError {
    /// What holds all of these, if there is any.
    fn all(mut errors: Vec<Self>) -> Option<Self> {
        match errors.len() {
            0 | 1 => errors.pop(),
            _ => Some(Self::Several(errors)),
        }
    }
}

/// One a line.
struct Listed<'a>(&'a [SettingsError]);

impl std::fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

fn near(nearest: Option<&str>) -> String {
    nearest
        .map(|key| format!("; did you mean {key}?"))
        .unwrap_or_default()
}

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How to reach Omni.
    pub omni: OmniSettings,
    /// Where the roster is and how to read it.
    pub source: SourceSettings,
    /// When runs start by themselves.
    pub schedule: ScheduleSettings,
    /// What may be done.
    pub policy: Policy,
    /// How old a kept observation may be for a file event.
    pub max_age: Duration,
    /// Where the state is kept, and for how long.
    pub state: StateSettings,
    /// What is served.
    pub serve: ServeSettings,
    /// The webhook that hears of what goes wrong; `None` for none.
    pub webhook: Option<WebhookFile>,
    /// How long a stop may take.
    pub grace: Duration,
    /// How the log is written.
    pub log: LogSettings,
    /// The file that they were read from, if there is one.
    pub file: Option<SettingsFile>,
}

/// `[omni]`: how to reach Omni.
#[derive(Clone, Debug)]
pub struct OmniSettings {
    base_url: Option<BaseUrl>,
    /// Where the API keys come from.
    pub keys: KeySource,
    /// Requests a minute and key.
    pub requests_per_minute: u32,
    /// Requests under way at once.
    pub max_in_flight: usize,
    /// How long one request may take.
    pub timeout: Duration,
    /// How updates are sent.
    pub update_method: UpdateMethod,
    /// An extra certificate authority (PEM).
    pub ca_file: Option<PathBuf>,
}

impl OmniSettings {
    /// The organisation's address.
    ///
    /// # Errors
    /// When it is not set.
    pub fn base_url(&self) -> Result<&BaseUrl, SettingsError> {
        let missing = SettingsError::Missing {
            key: "omni.base_url",
            variable: "OMNI_BASE_URL",
        };
        self.base_url.as_ref().ok_or(missing)
    }
}

/// How an update is sent (`omni.update_method`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateMethod {
    /// `PATCH` with only what changes.
    Patch,
    /// `PUT` of the whole user, read right before.
    Put,
}

/// `[source]`: where the roster is and how to read it.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// A CSV file, or a folder of them.
    pub path: Option<PathBuf>,
    /// Which files of a folder count.
    pub select: Select,
    /// How changes are noticed.
    pub watch: Watch,
    /// How often a polled source is looked at.
    pub poll_interval: Duration,
    /// How long a file must stand still before it counts as whole.
    pub settle: Duration,
    /// What a blank attribute cell means.
    pub blank_cells: BlankCells,
    /// What the bytes are.
    pub encoding: Encoding,
    /// What separates cells; `None`: found out from the header.
    pub delimiter: Option<u8>,
    /// The most bytes a file may have.
    pub max_bytes: u64,
    /// The folder for row reports, relative to the roster's; `None` for none.
    pub reports: Option<PathBuf>,
}

impl SourceSettings {
    /// The roster's path.
    ///
    /// # Errors
    /// When it is not set.
    pub fn path(&self) -> Result<&std::path::Path, SettingsError> {
        let missing = SettingsError::Missing {
            key: "source.path",
            variable: "OMNI_USER_SYNC__SOURCE__PATH",
        };
        self.path.as_deref().ok_or(missing)
    }
}

/// Which files of a folder count (`source.select`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// All of them together.
    All,
    /// The newest, by time, then name.
    Newest,
}

/// How changes of the roster are noticed (`source.watch`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// By events where the file system has them, else by polling.
    Auto,
    /// By events, with a slow poll beside.
    Native,
    /// By polling.
    Poll,
    /// Not at all.
    Off,
}

/// What a blank attribute cell means (`source.blank_cells`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlankCells {
    /// The attribute is cleared.
    Clear,
    /// The attribute stays as it is.
    Keep,
}

/// What the roster's bytes are (`source.encoding`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// By its byte order mark, else strict UTF-8.
    Auto,
    /// Windows-1252, as older spreadsheets save.
    Windows1252,
}

/// `[schedule]`: when runs start by themselves.
#[derive(Clone, Debug)]
pub struct ScheduleSettings {
    /// The times; `None` for none.
    pub times: Option<Schedule>,
    /// Whether the start of the daemon starts a run.
    pub run_on_start: bool,
}

/// `[state]`: where the state is kept, and for how long.
#[derive(Clone, Debug)]
pub struct StateSettings {
    /// The folder.
    pub dir: PathBuf,
    /// How long runs and changes are kept.
    pub retain: Duration,
}

/// `[serve]`: what is served.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// The address; `None` for no server.
    pub listen: Option<SocketAddr>,
    /// Further `Host` names that are accepted.
    pub hosts: Vec<String>,
    /// The file that holds the admin token.
    pub admin_token: Option<SecretFile>,
}

/// `[log]`: how the log is written.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// As lines for people, or as JSON.
    pub format: LogFormat,
    /// A filter as of `tracing`: `info`, `omni_user_sync=debug,warn`.
    pub filter: String,
}

/// How a log line looks (`log.format`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// One JSON object a line.
    Json,
}
