//! The settings as they are written: texts and numbers, with their defaults.

use serde::{Deserialize, Deserializer, Serialize};

macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident { $($key:ident: $kind:ty = $default:expr,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Serialize, Deserialize)]
            #[serde(deny_unknown_fields, default)]
            #[allow(missing_docs)]
            pub struct $name { $(pub $key: $kind,)* }

            impl Default for $name {
                fn default() -> Self {
                    Self { $($key: $default.into(),)* }
                }
            }
        )*
    };
}

/// Everything that can be set, as it is written.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct RawSettings {
    pub omni: Omni,
    pub source: Source,
    pub schedule: Schedule,
    pub policy: Policy,
    pub observe: Observe,
    pub state: State,
    pub serve: Serve,
    pub notify: Notify,
    pub shutdown: Shutdown,
    pub log: Log,
}

sections! {
    /// `[omni]`
    Omni {
        base_url: String = "",
        api_key_file: String = "",
        requests_per_minute: u32 = 55u32,
        max_in_flight: u32 = 4u32,
        timeout: String = "30s",
        update_method: String = "patch",
        ca_file: String = "",
    }
    /// `[source]`
    Source {
        path: String = "",
        select: String = "all",
        watch: String = "auto",
        poll_interval: String = "10s",
        settle: String = "2s",
        blank_cells: String = "clear",
        encoding: String = "auto",
        delimiter: String = "auto",
        max_bytes: Quantity = "1GiB",
        reports: String = "reports",
    }
    /// `[schedule]`
    Schedule {
        cron: String = "0 */15 * * * *",
        timezone: String = "UTC",
        run_on_start: bool = true,
    }
    /// `[policy]`
    Policy {
        mode: String = "apply",
        prune: String = "never",
        prune_grace: String = "0s",
        removal: String = "delete",
        reactivate: bool = false,
        protect: List = List::default(),
        max_removals: Quantity = "10%",
        max_removals_floor: u64 = 5u64,
        max_clears: Quantity = "10%",
        max_updates: Quantity = "",
    }
    /// `[observe]`
    Observe {
        max_age: String = "15m",
    }
    /// `[state]`
    State {
        dir: String = "/var/lib/omni-user-sync",
        retain: String = "90d",
    }
    /// `[serve]`
    Serve {
        listen: String = "127.0.0.1:8080",
        hosts: List = List::default(),
        admin_token_file: String = "",
    }
    /// `[notify]`
    Notify {
        webhook_url_file: String = "",
    }
    /// `[shutdown]`
    Shutdown {
        grace: String = "10s",
    }
    /// `[log]`
    Log {
        format: String = "text",
        filter: String = "info",
    }
}

/// A text such as `10%` or `1GiB`, or a bare number.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Quantity(pub String);

impl From<&str> for Quantity {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a text or a whole number")]
        enum Written {
            Number(u64),
            Text(String),
        }
        Ok(Self(match Written::deserialize(deserializer)? {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        }))
    }
}

/// A list of texts; in the environment, separated by commas.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct List(pub Vec<String>);

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a list of texts")]
        enum Written {
            List(Vec<String>),
            Text(String),
        }
        Ok(Self(match Written::deserialize(deserializer)? {
            Written::List(list) => list,
            // An array in the environment would be taken for items that match nothing.
            Written::Text(text) if text.trim_start().starts_with('[') => {
                let said =
                    "as a text, a list is written without brackets and quotes, with commas: a,b";
                return Err(serde::de::Error::custom(said));
            }
            Written::Text(text) => text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(Into::into)
                .collect(),
        }))
    }
}
