//! From [`RawSettings`] to [`Settings`]: reads every setting, and collects every error.

use super::base_url::is_bare_host;
use super::keys::KeySource;
use super::values::{
    Parsed, address, boolean, bytes, delimiter, duration, email, email_pattern, group_pattern,
    host, limit, mode, number, one_of, optional, page_size, path, percentage, positive,
    positive_duration, text, time_zone, user_header,
};
use super::{
    BaseUrl, LogSettings, ObserveSettings, OmniSettings, RawSettings, Schedule, ScheduleSettings,
    SecretFile, ServeSettings, Settings, SettingsError, SourceSettings, StateSettings, WebhookFile,
};
use crate::model::{GroupGlobs, Policy, Protect};
use config::{Value, ValueKind};
use std::collections::BTreeSet;
use std::path::PathBuf;

impl Settings {
    /// Checks the settings.
    ///
    /// # Errors
    /// Names every setting that is unknown or invalid.
    pub fn check(raw: RawSettings, keys: KeySource) -> Result<Self, SettingsError> {
        let mut reader = SettingsReader::new(raw);
        let settings = reader.settings(keys);
        debug_assert!(reader.raw.keys().eq(reader.read), "each setting is read");
        SettingsError::all(reader.errors).map_or(Ok(settings), Err)
    }
}

impl RawSettings {
    /// A setting that names a file.
    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        let (_, value) = self.find(key);
        scalar(value).and_then(|text| path(self.home())(&text).ok()?)
    }
}

/// Reads settings by their keys. An invalid one is noted, and replaced by its default.
struct SettingsReader {
    raw: RawSettings,
    errors: Vec<SettingsError>,
    /// The keys that were read, to check that none is forgotten.
    read: BTreeSet<&'static str>,
}

impl SettingsReader {
    fn new(raw: RawSettings) -> Self {
        Self {
            errors: raw.unknown(),
            raw,
            read: BTreeSet::new(),
        }
    }

    fn get<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Parsed<T>) -> T {
        let value = self.find(key);
        let parsed = match scalar(&value) {
            Some(text) => parse(&text),
            None => Err("a single value".into()),
        };
        parsed.unwrap_or_else(|expected| {
            self.invalid(key, expected, &value);
            let default = scalar(self.raw.default_of(key)).and_then(|text| parse(&text).ok());
            default.expect("the default is valid")
        })
    }

    /// A path; blank for none.
    fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let home = self.raw.home().map(ToOwned::to_owned);
        self.get(key, path(home.as_deref()))
    }

    /// A list, or a string with commas. Invalid items are reported and left out.
    fn list<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Parsed<T>) -> Vec<T> {
        let value = self.find(key);
        let items = match &value.kind {
            ValueKind::Array(items) => items.clone(),
            // Its brackets and quotes would become part of the items.
            ValueKind::String(text) if text.trim_start().starts_with('[') => {
                let expected = "a list without brackets and quotes, separated by commas: a,b";
                self.invalid(key, expected.into(), &value);
                return Vec::new();
            }
            ValueKind::String(text) => {
                let items = text.split(',').map(str::trim);
                items
                    .filter(|item| !item.is_empty())
                    .map(Value::from)
                    .collect()
            }
            _ => {
                self.invalid(key, "a list".into(), &value);
                return Vec::new();
            }
        };
        let mut parsed = Vec::new();
        for item in items {
            let text = scalar(&item).ok_or_else(|| "a text".to_owned());
            match text.and_then(|text| parse(&text)) {
                Ok(item) => parsed.push(item),
                Err(expected) => self.invalid(key, expected, &item),
            }
        }
        parsed
    }

    fn find(&mut self, key: &'static str) -> Value {
        self.read.insert(key);
        self.raw.find(key).1.clone()
    }

    fn invalid(&mut self, key: &'static str, expected: String, value: &Value) {
        let found = match scalar(value) {
            Some(text) if may_hold_secret(key, &text) => {
                "a value that is not shown, since it may contain a key".into()
            }
            Some(text) if matches!(value.kind, ValueKind::String(_)) => format!("{text:?}"),
            Some(text) => text,
            None if matches!(value.kind, ValueKind::Array(_)) => "a list".into(),
            None => "a table".into(),
        };
        self.errors.push(SettingsError::Value {
            location: self.raw.find(key).0,
            key: key.into(),
            expected,
            found,
        });
    }

    fn settings(&mut self, keys: KeySource) -> Settings {
        Settings {
            file: None,
            in_force: self.raw.in_force(),
            omni: self.omni(keys),
            source: self.source(),
            schedule: self.schedule(),
            policy: self.policy(),
            observe: ObserveSettings {
                max_age: self.get("observe.max_age", duration),
                budget: self.get("observe.budget", percentage),
            },
            state: StateSettings {
                dir: self.path("state.dir").unwrap_or_default(),
                retain: self.get("state.retain", duration),
            },
            serve: ServeSettings {
                listen: self.get("serve.listen", optional(address)),
                hosts: self.list("serve.hosts", host),
                admin_token: self
                    .path("serve.admin_token_file")
                    .map(|path| SecretFile::new("serve.admin_token_file", path)),
                user_header: self.get("serve.user_header", optional(user_header)),
            },
            webhook: self.path("notify.webhook_url_file").map(WebhookFile::new),
            grace: self.get("shutdown.grace", duration),
            log: LogSettings {
                format: self.get("log.format", one_of),
                filter: self.get("log.filter", text),
            },
        }
    }

    fn omni(&mut self, keys: KeySource) -> OmniSettings {
        // The caller reads it, as one of the sources of `keys`.
        let _ = self.path("omni.api_key_file");
        OmniSettings {
            base_url: self.get("omni.base_url", optional(BaseUrl::parse)),
            mistaken_url: None,
            keys,
            requests_per_minute: self.get("omni.requests_per_minute", positive),
            max_in_flight: self.get("omni.max_in_flight", positive),
            timeout: self.get("omni.timeout", positive_duration),
            page_size: self.get("omni.page_size", page_size),
            update_method: self.get("omni.update_method", one_of),
            ca_file: self.path("omni.ca_file"),
        }
    }

    fn source(&mut self) -> SourceSettings {
        let source = SourceSettings {
            path: self.path("source.path"),
            select: self.get("source.select", one_of),
            watch: self.get("source.watch", one_of),
            poll_interval: self.get("source.poll_interval", positive_duration),
            settle: self.get("source.settle", duration),
            blank_cells: self.get("source.blank_cells", one_of),
            encoding: self.get("source.encoding", one_of),
            delimiter: self.get("source.delimiter", delimiter),
            max_bytes: self.get("source.max_bytes", bytes),
            reports: self.path("source.reports"),
            groups: self.path("source.groups"),
            roles: self.path("source.roles"),
        };
        for (key, file) in [
            ("source.groups", &source.groups),
            ("source.roles", &source.roles),
        ] {
            if file.is_some() && *file == source.path {
                let value = self.find(key);
                self.invalid(key, "a file other than the roster".into(), &value);
            }
        }
        if reports_are_rosters(&source) {
            let expected =
                "a folder other than the roster's, where reports would be read as rosters";
            let value = self.find("source.reports");
            self.invalid("source.reports", expected.into(), &value);
        }
        source
    }

    fn schedule(&mut self) -> ScheduleSettings {
        let zone = self.get("schedule.timezone", time_zone);
        let cron = optional(|line: &str| Schedule::parse(line, zone));
        ScheduleSettings {
            times: self.get("schedule.cron", cron),
            zone,
            run_on_start: self.get("schedule.run_on_start", boolean),
        }
    }

    fn policy(&mut self) -> Policy {
        Policy {
            mode: self.get("policy.mode", mode),
            prune: self.get("policy.prune", one_of),
            prune_grace: self.get("policy.prune_grace", duration),
            removal: self.get("policy.removal", one_of),
            reactivate: self.get("policy.reactivate", boolean),
            protect: Protect::new(&self.list("policy.protect", email_pattern)),
            protect_admins: self.get("policy.protect_admins", boolean),
            max_removals: self.get("policy.max_removals", limit),
            max_removals_floor: self.get("policy.max_removals_floor", number),
            max_clears: self.get("policy.max_clears", limit),
            max_updates: self.get("policy.max_updates", optional(limit)),
            max_updates_floor: self.get("policy.max_updates_floor", number),
            max_leaves: self.get("policy.max_leaves", limit),
            max_joins: self.get("policy.max_joins", limit),
            max_role_changes: self.get("policy.max_role_changes", number),
            managed_groups: GroupGlobs::new(&self.list("policy.managed_groups", group_pattern)),
            create_groups: self.get("policy.create_groups", boolean),
            owned_schedules: self.get("policy.owned_schedules", one_of),
            transfer_to: self.get("policy.transfer_to", optional(email)),
        }
    }
}

/// The text of a single value.
fn scalar(value: &Value) -> Option<String> {
    match &value.kind {
        ValueKind::Array(_) | ValueKind::Table(_) | ValueKind::Nil => None,
        // `10.0`, which is not a whole number.
        ValueKind::Float(number) => Some(format!("{number:?}")),
        single => Some(single.to_string()),
    }
}

/// Whether an invalid value may contain a key: of a setting that names a file with a secret, or of the address of the
/// organisation, if it has a user or a query or is not a URL.
fn may_hold_secret(key: &str, text: &str) -> bool {
    let is_url = text.contains("://") && !text.contains(['@', '?', '#']);
    let is_plain = is_url || is_bare_host(text);
    key.ends_with("_file") || (key == "omni.base_url" && !is_plain)
}

fn reports_are_rosters(source: &SourceSettings) -> bool {
    let (Some(path), Some(reports)) = (&source.path, &source.reports) else {
        return false;
    };
    let is_file = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    !is_file && path.join(reports).components().eq(path.components())
}
