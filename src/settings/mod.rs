//! Settings: TOML file, then environment, then flags, checked once into types that can't be invalid.
//!
//! [`load`] reads the sources into [`RawSettings`], over the defaults of `config/example.toml`, and
//! checks them into [`Settings`]. All errors are reported at once. Secrets never pass through here: a
//! setting names the file with a secret, which is read when it is needed, without the config crate,
//! whose errors print values.

mod admin_token;
mod base_url;
mod check;
mod cron;
mod force;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod keys;
mod load;
mod raw;
mod secret;
mod values;
mod webhook;

pub use admin_token::admin_token_warnings;
pub use base_url::BaseUrl;
pub use cron::Schedule;
pub use force::{SettingInForce, toml_text};
pub use keys::{AMBIGUOUS_KEY, ApiKeys, KeyError, KeyHash, KeySource};
pub use load::{DEFAULT_FILE, Environment, SettingsFile, load};
pub use raw::RawSettings;
pub use secret::{SecretError, SecretFile, disable_core_dumps};
pub use webhook::{WebhookError, WebhookFile, WebhookUrl};

use crate::model::Policy;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The warning for an empty `policy.protect`.
pub const EMPTY_PROTECT: &str =
    "policy.protect is empty; list the accounts that must never be removed, starting with your own";

/// An error in the settings. `location` is the file or environment variable, and `key` is `section.key`.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the fields of the variants are named")]
pub enum SettingsError {
    /// An invalid value.
    #[error("{}{key}: expected {expected}, found {found}", prefix(.location.as_deref()))]
    Value {
        location: Option<String>,
        key: String,
        expected: String,
        found: String,
    },
    /// A command needs a setting that is not set.
    #[error(
        "{key} is not set; set it in the settings file (--config FILE) or in the environment variable {variable}{}",
        instead(.mistaken.as_deref())
    )]
    Missing {
        key: &'static str,
        variable: &'static str,
        /// The variable that may have been set instead.
        mistaken: Option<String>,
    },
    /// An unknown key.
    #[error("{}there is no setting {key}{}", prefix(.location.as_deref()), hint(.nearest.as_deref()))]
    Unknown {
        location: Option<String>,
        key: String,
        /// The most similar known key.
        nearest: Option<String>,
    },
    /// An environment variable with this program's prefix that is not a setting.
    #[error("{variable}: no setting has this environment variable; {}", variable_hint(.nearest.as_deref()))]
    UnknownVariable {
        variable: String,
        /// The most similar variable of a setting.
        nearest: Option<String>,
    },
    /// The settings file can't be read or is not TOML.
    #[error("{0}")]
    Unreadable(String),
    /// Several errors, one per line.
    #[error("{}", lines(.0))]
    Several(Vec<SettingsError>),
}

impl SettingsError {
    /// One error for all of these, if there are any.
    fn all(mut errors: Vec<Self>) -> Option<Self> {
        match errors.len() {
            0 | 1 => errors.pop(),
            _ => Some(Self::Several(errors)),
        }
    }
}

fn lines(errors: &[SettingsError]) -> String {
    let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn prefix(location: Option<&str>) -> String {
    location
        .map(|location| format!("{location}: "))
        .unwrap_or_default()
}

fn hint(nearest: Option<&str>) -> String {
    nearest
        .map(|key| format!("; did you mean {key}?"))
        .unwrap_or_default()
}

/// A note that another variable is set.
fn instead(mistaken: Option<&str>) -> String {
    mistaken
        .map(|name| format!(" ({name} is set, which has no effect)"))
        .unwrap_or_default()
}

fn variable_hint(nearest: Option<&str>) -> String {
    match nearest {
        Some(name) => format!("did you mean {name}?"),
        None => "the form is OMNI_USER_SYNC__SECTION__KEY, in capitals".into(),
    }
}

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[omni]`.
    pub omni: OmniSettings,
    /// `[source]`.
    pub source: SourceSettings,
    /// `[schedule]`.
    pub schedule: ScheduleSettings,
    /// `[policy]`.
    pub policy: Policy,
    /// `[observe]`.
    pub observe: ObserveSettings,
    /// `[state]`.
    pub state: StateSettings,
    /// `[serve]`.
    pub serve: ServeSettings,
    /// The webhook for notifications; `None` for none.
    pub webhook: Option<WebhookFile>,
    /// The time limit for a shutdown.
    pub grace: Duration,
    /// `[log]`.
    pub log: LogSettings,
    /// The settings file, if there is one.
    pub file: Option<SettingsFile>,
    /// Each setting as written, by section, with its origin. Secrets are not among them.
    pub in_force: Vec<SettingInForce>,
}

/// The time that reading may take without a schedule.
const UNSCHEDULED: TimeDelta = TimeDelta::hours(24);

impl Settings {
    /// These settings with the former values of those that only a restart changes. Returns the names of those that
    /// differ, too.
    #[must_use]
    pub fn after(mut self, former: &Self) -> (Self, Vec<&'static str>) {
        let url = |settings: &Self| settings.omni.base_url.as_ref().map(ToString::to_string);
        let differing = [
            ("omni.base_url", url(&self) != url(former)),
            ("state.dir", self.state.dir != former.state.dir),
            ("state.retain", self.state.retain != former.state.retain),
            ("serve.listen", self.serve.listen != former.serve.listen),
            ("log.format", self.log.format != former.log.format),
        ];
        self.omni.base_url.clone_from(&former.omni.base_url);
        self.state = former.state.clone();
        self.serve.listen = former.serve.listen;
        self.log.format = former.log.format;
        let differing = differing.into_iter().filter(|(_, differs)| *differs);
        let differing: Vec<_> = differing.map(|(name, _)| name).collect();
        for (new, former) in self.in_force.iter_mut().zip(&former.in_force) {
            if differing.contains(&&*new.name()) {
                new.clone_from(former);
            }
        }
        (self, differing)
    }

    /// Records that a flag of the command line overrides a setting.
    pub(crate) fn overridden_by(&mut self, flag: &str, name: &str, value: &str) {
        let mut settings = self.in_force.iter_mut();
        if let Some(setting) = settings.find(|setting| setting.name() == name) {
            setting.value = value.into();
            setting.origin = Some(flag.into());
        }
    }

    /// The number of requests that a scheduled run may spend on reading with this number of keys.
    #[must_use]
    pub fn read_budget(&self, keys: usize, now: DateTime<Utc>) -> usize {
        let times = self.schedule.times.as_ref();
        let next = times.and_then(|times| times.next_after(now));
        self.read_budget_within(keys, next.map_or(UNSCHEDULED, |next| next - now))
    }

    /// As [`Self::read_budget`], for this time.
    #[must_use]
    pub fn read_budget_within(&self, keys: usize, left: TimeDelta) -> usize {
        let millis = u128::try_from(left.num_milliseconds()).unwrap_or(0);
        let per_minute = keys as u128 * u128::from(self.omni.requests_per_minute);
        let requests = per_minute * millis * u128::from(self.observe.budget) / (60_000 * 100);
        usize::try_from(requests).unwrap_or(usize::MAX)
    }
}

/// `[omni]`: the connection to Omni.
#[derive(Clone, Debug)]
pub struct OmniSettings {
    base_url: Option<BaseUrl>,
    /// The variable that may have been set instead of `OMNI_BASE_URL`.
    mistaken_url: Option<String>,
    /// The source of the API keys.
    pub keys: KeySource,
    /// The limit of requests per minute and key.
    pub requests_per_minute: u32,
    /// The limit of requests in flight.
    pub max_in_flight: usize,
    /// The time limit for one request.
    pub timeout: Duration,
    /// The number of users on a page of the list.
    pub page_size: PageSize,
    /// The method of updates.
    pub update_method: UpdateMethod,
    /// A file with additional certificate authorities (PEM).
    pub ca_file: Option<PathBuf>,
}

impl OmniSettings {
    /// The URL of the organisation.
    ///
    /// # Errors
    /// [`SettingsError::Missing`].
    pub fn base_url(&self) -> Result<&BaseUrl, SettingsError> {
        let missing = SettingsError::Missing {
            key: "omni.base_url",
            variable: "OMNI_BASE_URL",
            mistaken: self.mistaken_url.clone(),
        };
        self.base_url.as_ref().ok_or(missing)
    }
}

/// The number of users on a page of the list (`omni.page_size`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageSize {
    /// As many as Omni gives.
    Auto,
    /// At most this many.
    Users(u32),
}

/// The method of updates (`omni.update_method`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateMethod {
    /// `PATCH` with only the changes.
    Patch,
    /// `PUT` of the whole user, which is read right before.
    Put,
}

/// `[source]`: the roster.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// A CSV file, or a folder of them.
    pub path: Option<PathBuf>,
    /// Which files of a folder are used.
    pub select: Select,
    /// How changes are detected.
    pub watch: Watch,
    /// The interval of polling.
    pub poll_interval: Duration,
    /// How long a file must be unchanged before it is read.
    pub settle: Duration,
    /// The meaning of a blank attribute cell.
    pub blank_cells: BlankCells,
    /// The encoding of the files.
    pub encoding: Encoding,
    /// The separator of cells; `None` to detect it from the header.
    pub delimiter: Option<u8>,
    /// The size limit of a file, in bytes.
    pub max_bytes: u64,
    /// The folder for row reports, relative to the roster's; `None` for none.
    pub reports: Option<PathBuf>,
    /// A CSV file with single memberships in groups; `None` for none. Only the roster of `path` is read together with
    /// it.
    pub groups: Option<PathBuf>,
    /// A CSV file with the roles of users and groups; `None` for none.
    pub roles: Option<PathBuf>,
}

impl SourceSettings {
    /// The path of the roster.
    ///
    /// # Errors
    /// [`SettingsError::Missing`].
    pub fn path(&self) -> Result<&std::path::Path, SettingsError> {
        let missing = SettingsError::Missing {
            key: "source.path",
            variable: "OMNI_USER_SYNC__SOURCE__PATH",
            mistaken: None,
        };
        self.path.as_deref().ok_or(missing)
    }
}

/// Which files of a folder are used (`source.select`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Select {
    /// All files together.
    All,
    /// The newest file, by time, then by name.
    Newest,
}

/// How changes of the roster are detected (`source.watch`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Watch {
    /// By events if the file system supports them, else by polling.
    Auto,
    /// By events, and by polling at a low rate.
    Native,
    /// By polling.
    Poll,
    /// Changes are not detected.
    Off,
}

/// The meaning of a blank attribute cell (`source.blank_cells`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlankCells {
    /// The attribute is cleared.
    Clear,
    /// The attribute is left unchanged.
    Keep,
}

/// The encoding of the roster (`source.encoding`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// According to the byte order mark, else strict UTF-8.
    #[serde(alias = "utf-8")]
    Auto,
    /// Windows-1252, as saved by older spreadsheet programs.
    #[serde(rename = "windows-1252")]
    Windows1252,
}

/// `[schedule]`: scheduled runs.
#[derive(Clone, Debug)]
pub struct ScheduleSettings {
    /// The schedule; `None` for none.
    pub times: Option<Schedule>,
    /// The time zone of the schedule, and of the days on which users leave.
    pub zone: Tz,
    /// Whether the daemon starts with a run.
    pub run_on_start: bool,
}

/// `[observe]`: how Omni is read.
#[derive(Clone, Copy, Debug)]
pub struct ObserveSettings {
    /// The maximum age of the observation cache for a run after a change of the roster.
    pub max_age: Duration,
    /// The percentage of the requests until the next scheduled run that such a run may spend on reading.
    pub budget: u8,
}

/// `[state]`: the state folder.
#[derive(Clone, Debug)]
pub struct StateSettings {
    /// The folder.
    pub dir: PathBuf,
    /// How long the history is kept.
    pub retain: Duration,
}

/// `[serve]`: the HTTP server.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// The address; `None` for no server.
    pub listen: Option<SocketAddr>,
    /// Additional names that are accepted as `Host`.
    pub hosts: Vec<String>,
    /// The file with the admin token.
    pub admin_token: Option<SecretFile>,
    /// The header in which a proxy names the user, in lower case.
    pub user_header: Option<String>,
}

/// `[log]`: the log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// The format of log lines.
    pub format: LogFormat,
    /// A `tracing` filter: `info`, `omni_user_sync=debug,warn`.
    pub filter: String,
}

/// The format of log lines (`log.format`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}
