//! From [`RawSettings`] to [`Settings`]: each value checked, each error naming its setting.

use super::keys::KeySource;
use super::raw::{self, RawSettings};
use super::{
    BaseUrl, BlankCells, Encoding, LogFormat, LogSettings, OmniSettings, Schedule,
    ScheduleSettings, SecretFile, Select, ServeSettings, Settings, SettingsError, SourceSettings,
    StateSettings, UpdateMethod, Watch, WebhookFile,
};
use crate::model::{Limit, Mode, Policy, Protect, Prune, Removal};
use std::path::PathBuf;
use std::time::Duration;

type Result<T> = std::result::Result<T, SettingsError>;

impl Settings {
    /// Checks what was written.
    ///
    /// # Errors
    /// Names each setting that is wrong and what it may be.
    pub fn check(mut raw: RawSettings, keys: KeySource) -> Result<Self> {
        let mut wrong: Vec<SettingsError> = Vec::new();
        // What is wrong is noted, and has its default from then on, until nothing is wrong any more.
        loop {
            let error = match check(raw.clone(), keys.clone()) {
                Ok(settings) => return SettingsError::all(wrong).map_or(Ok(settings), Err),
                Err(error) => error,
            };
            let mended = with_default(&raw, &error);
            wrong.push(error);
            match mended {
                Some(mended) => raw = mended,
                None => return Err(SettingsError::Several(wrong)),
            }
        }
    }
}

/// The same with the default of the setting that is wrong; `None` where that changes nothing.
fn with_default(raw: &RawSettings, error: &SettingsError) -> Option<RawSettings> {
    let SettingsError::Value { key, .. } = error else {
        return None;
    };
    let (section, name) = key.split_once('.')?;
    let mut written = serde_json::to_value(raw).ok()?;
    let default = serde_json::to_value(RawSettings::default()).ok()?;
    let (written_one, default) = (&mut written[section][name], &default[section][name]);
    if written_one == default {
        return None;
    }
    *written_one = default.clone();
    serde_json::from_value(written).ok()
}

fn check(raw: RawSettings, keys: KeySource) -> Result<Settings> {
    Ok(Settings {
        file: None,
        omni: omni(raw.omni, keys)?,
        source: source(raw.source)?,
        schedule: schedule(&raw.schedule)?,
        policy: policy(&raw.policy)?,
        max_age: duration("observe.max_age", &raw.observe.max_age)?,
        state: StateSettings {
            dir: raw.state.dir.into(),
            retain: duration("state.retain", &raw.state.retain)?,
        },
        serve: serve(raw.serve)?,
        webhook: path(raw.notify.webhook_url_file).map(WebhookFile::new),
        grace: duration("shutdown.grace", &raw.shutdown.grace)?,
        log: LogSettings {
            format: one_of(
                "log.format",
                &raw.log.format,
                [("text", LogFormat::Text), ("json", LogFormat::Json)],
            )?,
            filter: raw.log.filter,
        },
    })
}

fn omni(raw: raw::Omni, keys: KeySource) -> Result<OmniSettings> {
    let url = |text: &str| {
        BaseUrl::parse(text).map_err(|problem| wrong("omni.base_url", hidden(text), problem))
    };
    let method = [("patch", UpdateMethod::Patch), ("put", UpdateMethod::Put)];
    Ok(OmniSettings {
        base_url: (!raw.base_url.trim().is_empty())
            .then(|| url(&raw.base_url))
            .transpose()?,
        keys,
        requests_per_minute: at_least_one("omni.requests_per_minute", raw.requests_per_minute)?,
        max_in_flight: at_least_one("omni.max_in_flight", raw.max_in_flight)? as usize,
        timeout: above_zero("omni.timeout", &raw.timeout)?,
        update_method: one_of("omni.update_method", &raw.update_method, method)?,
        ca_file: path(raw.ca_file),
    })
}

/// An address that may hold a key is not repeated: one with a user or a query, and what is no address at
/// all, which may be the key itself, put into the wrong setting.
fn hidden(url: &str) -> &str {
    let may_hold_a_key = !url.contains("://") || url.contains(['@', '?', '#']);
    if may_hold_a_key { "…" } else { url }
}

fn source(raw: raw::Source) -> Result<SourceSettings> {
    let watch = [
        ("auto", Watch::Auto),
        ("native", Watch::Native),
        ("poll", Watch::Poll),
        ("off", Watch::Off),
    ];
    let blank = [("clear", BlankCells::Clear), ("keep", BlankCells::Keep)];
    let encoding = [
        ("auto", Encoding::Auto),
        ("windows-1252", Encoding::Windows1252),
    ];
    let (path, reports) = (path(raw.path), path(raw.reports));
    if let (Some(source), Some(folder)) = (&path, &reports)
        && !source
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("csv"))
        && source.join(folder).components().eq(source.components())
    {
        let problem =
            "reports in the roster's own folder would be read as rosters; write another folder";
        return Err(wrong(
            "source.reports",
            folder.display().to_string(),
            problem,
        ));
    }
    Ok(SourceSettings {
        path,
        select: one_of(
            "source.select",
            &raw.select,
            [("all", Select::All), ("newest", Select::Newest)],
        )?,
        watch: one_of("source.watch", &raw.watch, watch)?,
        poll_interval: above_zero("source.poll_interval", &raw.poll_interval)?,
        settle: duration("source.settle", &raw.settle)?,
        blank_cells: one_of("source.blank_cells", &raw.blank_cells, blank)?,
        encoding: one_of("source.encoding", &raw.encoding, encoding)?,
        delimiter: delimiter(&raw.delimiter)?,
        max_bytes: bytes("source.max_bytes", &raw.max_bytes.0)?,
        reports,
    })
}

fn delimiter(text: &str) -> Result<Option<u8>> {
    match text {
        "auto" => Ok(None),
        "," => Ok(Some(b',')),
        ";" => Ok(Some(b';')),
        "\t" | "tab" => Ok(Some(b'\t')),
        _ => Err(wrong(
            "source.delimiter",
            text,
            r#"write "auto", ",", ";" or "tab""#,
        )),
    }
}

fn schedule(raw: &raw::Schedule) -> Result<ScheduleSettings> {
    let zone = raw.timezone.trim().parse().map_err(|_| {
        wrong(
            "schedule.timezone",
            &raw.timezone,
            "write a zone's name, such as UTC or Europe/Madrid",
        )
    })?;
    let times =
        |line| Schedule::parse(line, zone).map_err(|problem| wrong("schedule.cron", line, problem));
    let line = raw.cron.trim();
    Ok(ScheduleSettings {
        times: (!line.is_empty()).then(|| times(line)).transpose()?,
        run_on_start: raw.run_on_start,
    })
}

fn policy(raw: &raw::Policy) -> Result<Policy> {
    let prune = [
        ("never", Prune::Never),
        ("managed", Prune::Managed),
        ("all", Prune::All),
    ];
    let removal = [
        ("delete", Removal::Delete),
        ("deactivate", Removal::Deactivate),
    ];
    let max_updates = raw.max_updates.0.trim();
    Ok(Policy {
        mode: one_of(
            "policy.mode",
            &raw.mode,
            [("apply", Mode::Apply), ("plan", Mode::Plan)],
        )?,
        prune: one_of("policy.prune", &raw.prune, prune)?,
        prune_grace: duration("policy.prune_grace", &raw.prune_grace)?,
        removal: one_of("policy.removal", &raw.removal, removal)?,
        reactivate: raw.reactivate,
        protect: protect(&raw.protect.0)?,
        max_removals: limit("policy.max_removals", &raw.max_removals.0)?,
        max_removals_floor: raw.max_removals_floor,
        max_clears: limit("policy.max_clears", &raw.max_clears.0)?,
        max_updates: (!max_updates.is_empty())
            .then(|| limit("policy.max_updates", max_updates))
            .transpose()?,
    })
}

/// A glob that can match no address protects nobody, silently: it is refused.
fn protect(globs: &[String]) -> Result<Protect> {
    let useless = |glob: &&String| {
        glob.trim().is_empty() || !(glob.contains('@') || glob.contains('*') || glob.contains('?'))
    };
    match globs.iter().find(useless) {
        Some(glob) => Err(wrong(
            "policy.protect",
            glob,
            "it can match no address; write a whole address, or a pattern with * or ?",
        )),
        None => Ok(Protect::new(globs)),
    }
}

fn limit(key: &'static str, text: &str) -> Result<Limit> {
    let problem = r#"write a whole percentage such as "10%", or a count such as 20"#;
    let number = |digits: &str| digits.trim().parse().map_err(|_| wrong(key, text, problem));
    match text.trim().strip_suffix('%') {
        Some(percent) => match number(percent)? {
            percent @ 0..=100 => Ok(Limit::Percent(percent)),
            _ => Err(wrong(key, text, "write 100% or less: 100% holds nothing")),
        },
        None => number(text).map(Limit::Count),
    }
}

fn serve(raw: raw::Serve) -> Result<ServeSettings> {
    let listen = raw.listen.trim();
    let address = || {
        listen.parse().map_err(|_| {
            wrong(
                "serve.listen",
                listen,
                "write an address and a port, such as 127.0.0.1:8080",
            )
        })
    };
    Ok(ServeSettings {
        listen: (!listen.is_empty()).then(address).transpose()?,
        hosts: hosts(&raw.hosts.0)?,
        admin_token: path(raw.admin_token_file)
            .map(|path| SecretFile::new("serve.admin_token_file", path)),
    })
}

/// Names as a browser sends them: an address that holds more would never be met, silently.
fn hosts(hosts: &[String]) -> Result<Vec<String>> {
    let checked = hosts.iter().map(|host| {
        let host = host.trim();
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        if host.is_empty() || !host.chars().all(is_name) {
            let problem = "write a name as it stands in the address, such as sync.example.com or \
                           sync.example.com:8443: no scheme, no path, no pattern";
            return Err(wrong("serve.hosts", host, problem));
        }
        Ok(host.to_ascii_lowercase())
    });
    checked.collect()
}

fn path(text: String) -> Option<PathBuf> {
    (!text.trim().is_empty()).then(|| text.into())
}

fn duration(key: &'static str, text: &str) -> Result<Duration> {
    humantime::parse_duration(text.trim()).map_err(|error| {
        wrong(
            key,
            text,
            format!("{error}; write a time such as \"30s\", \"15m\" or \"90d\""),
        )
    })
}

fn above_zero(key: &'static str, text: &str) -> Result<Duration> {
    match duration(key, text)? {
        Duration::ZERO => Err(wrong(key, text, "write a time above zero")),
        time => Ok(time),
    }
}

fn at_least_one(key: &'static str, number: u32) -> Result<u32> {
    if number == 0 {
        Err(wrong(key, "0", "write 1 or more"))
    } else {
        Ok(number)
    }
}

fn bytes(key: &'static str, text: &str) -> Result<u64> {
    let size = text.trim().parse::<bytesize::ByteSize>();
    size.map(|size| size.as_u64())
        .map_err(|error| wrong(key, text, format!("{error}; write a size such as \"1GiB\"")))
}

fn one_of<T: Copy, const N: usize>(
    key: &'static str,
    text: &str,
    choices: [(&str, T); N],
) -> Result<T> {
    let names: Vec<_> = choices
        .iter()
        .map(|(name, _)| format!("{name:?}"))
        .collect();
    let found = choices
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text.trim()));
    found
        .map(|(_, value)| *value)
        .ok_or_else(|| wrong(key, text, format!("write {}", names.join(" or "))))
}

fn wrong(key: &'static str, value: impl Into<String>, problem: impl Into<String>) -> SettingsError {
    SettingsError::Value {
        key,
        value: value.into(),
        problem: problem.into(),
    }
}
