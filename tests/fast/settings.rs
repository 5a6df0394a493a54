//! Settings: sources, defaults and errors.

use omni_user_sync::model::{Limit, Mode, Prune};
use omni_user_sync::settings::{
    Environment, KeySource, PageSize, RawSettings, Settings, SettingsError, Watch, load,
};
use std::path::Path;
use std::time::Duration;

pub(crate) fn with(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    load(None, &variables.iter().copied().collect())
}

pub(crate) fn from_file(text: &str) -> Result<Settings, SettingsError> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.toml");
    std::fs::write(&file, text).expect("written");
    load(Some(&file), &Environment::default())
}

/// The message of an error, which contains no secret. Without the random folder of the settings file.
pub(crate) fn message(result: Result<Settings, SettingsError>) -> String {
    let message = result.expect_err("a wrong setting").to_string();
    assert!(!message.contains("hunter2"), "{message}");
    let lines = message
        .lines()
        .map(|line| match line.split_once("/config.toml") {
            Some((_, rest)) => format!("config.toml{rest}"),
            None => line.to_owned(),
        });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_has_every_default() {
    let example = Path::new("config/example.toml");
    let mut settings = load(Some(example), &Environment::default()).expect("valid");
    settings.file = None;
    for setting in &mut settings.in_force {
        setting.origin = None;
    }
    let defaults = Settings::check(RawSettings::default(), KeySource::default());
    let defaults = defaults.expect("valid");
    assert_eq!(format!("{settings:?}"), format!("{defaults:?}"));
}

#[test]
fn every_setting_of_the_example_is_explained() {
    let text = std::fs::read_to_string("config/example.toml").expect("the example");
    let lines: Vec<_> = text.lines().collect();
    for pair in lines.windows(2) {
        if pair[1].contains(" = ") && !pair[1].starts_with('#') {
            assert!(pair[0].starts_with("# "), "{} has no line of why", pair[1]);
        }
    }
}

#[test]
fn the_environment_overrides_the_file() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "[omni]\nbase_url = \"https://a.omniapp.co\"\nmax_in_flight = 2\n[policy]\nprotect = [\"a@x.co\"]\nmax_removals = 3\n").expect("written");
    let variables: Environment = [
        ("OMNI_BASE_URL", "https://b.omniapp.co/api/v1"),
        ("OMNI_USER_SYNC__POLICY__PROTECT", "b@x.co, *@y.co"),
        ("OMNI_USER_SYNC__SCHEDULE__RUN_ON_START", "false"),
        ("OMNI_USER_SYNC__SOURCE__DELIMITER", ";"),
        ("OMNI_USER_SYNC__POLICY__MAX_CLEARS", "0123"),
        ("UNRELATED", "x"),
    ]
    .into_iter()
    .collect();
    let settings = load(Some(file.path()), &variables).expect("fine");
    assert_eq!(
        settings.omni.base_url().expect("set").to_string(),
        "https://b.omniapp.co"
    );
    assert_eq!(settings.omni.max_in_flight, 2);
    assert!(!settings.schedule.run_on_start);
    assert_eq!(settings.source.delimiter, Some(b';'));
    assert_eq!(
        (settings.policy.max_removals, settings.policy.max_clears),
        (Limit::Count(3), Limit::Count(123))
    );
    let email = |text| omni_user_sync::model::Email::parse(text).expect("an email");
    assert!(settings.policy.protect.covers(&email("B@x.co")));
    assert!(settings.policy.protect.covers(&email("any@Y.co")));
    assert!(
        !settings.policy.protect.covers(&email("a@x.co")),
        "the list is replaced as a whole"
    );
}

#[test]
fn our_variable_overrides_the_sdk_variable() {
    let settings = with(&[
        ("OMNI_BASE_URL", "https://sdk.omniapp.co"),
        ("OMNI_USER_SYNC__OMNI__BASE_URL", "https://ours.omniapp.co"),
    ])
    .expect("fine");
    assert_eq!(
        settings.omni.base_url().expect("set").to_string(),
        "https://ours.omniapp.co"
    );
}

/// With 100,000 users, 100 per page, each user is seen within three runs.
#[test]
fn reading_takes_its_share_of_the_time_to_the_next_run() {
    let budget = |variables: &[(&str, &str)], keys| {
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        with(variables).expect("fine").read_budget(keys, now)
    };
    assert_eq!(budget(&[], 1), 55 * 15 / 2);
    assert_eq!(budget(&[], 2), 55 * 15);
    let unscheduled = ("OMNI_USER_SYNC__SCHEDULE__CRON", "");
    assert_eq!(budget(&[unscheduled], 1), 55 * 60 * 24 / 2);
    let whole = ("OMNI_USER_SYNC__OBSERVE__BUDGET", "100%");
    assert_eq!(budget(&[unscheduled, whole], 1), 55 * 60 * 24);
    for wrong in ["0%", "101%", "50", "half"] {
        assert!(with(&[("OMNI_USER_SYNC__OBSERVE__BUDGET", wrong)]).is_err());
    }
}

#[test]
fn defaults_are_as_documented() {
    let settings = with(&[]).expect("the defaults are fine");
    assert!(settings.omni.base_url().is_err() && settings.source.path().is_err());
    assert_eq!(settings.omni.requests_per_minute, 55);
    assert_eq!(settings.omni.page_size, PageSize::Auto);
    assert_eq!(settings.source.watch, Watch::Auto);
    assert_eq!(settings.source.max_bytes, 1 << 30);
    assert_eq!(settings.policy.mode, Mode::Apply);
    assert_eq!(settings.policy.prune, Prune::Never);
    assert_eq!(settings.policy.max_removals, Limit::Percent(10));
    assert_eq!(settings.policy.max_updates, Some(Limit::Percent(50)));
    assert_eq!(settings.policy.max_updates_floor, 20);
    assert_eq!(settings.state.retain, Duration::from_secs(90 * 24 * 3600));
    assert_eq!(
        settings.serve.listen.expect("served").to_string(),
        "127.0.0.1:8080"
    );
}

#[test]
fn service_links_are_no_settings() {
    let links = [
        "OMNI_USER_SYNC_SERVICE_HOST",
        "OMNI_USER_SYNC_SERVICE_PORT",
        "OMNI_USER_SYNC_SERVICE_PORT_HTTP",
        "OMNI_USER_SYNC_PORT",
        "OMNI_USER_SYNC_PORT_8080_TCP",
        "OMNI_USER_SYNC_PORT_8080_TCP_ADDR",
        "OMNI_USER_SYNC_METRICS_SERVICE_HOST",
        "OMNI_USER_SYNC_METRICS_PORT",
    ];
    let links: Vec<_> = links
        .into_iter()
        .map(|name| (name, "tcp://10.0.0.1:8080"))
        .collect();
    assert!(with(&links).is_ok());
    assert!(with(&[("OMNI_USER_SYN", "x"), ("OMNI_USERS", "x")]).is_ok());
}

#[test]
fn a_tilde_is_the_home_folder() {
    let text = "[omni]\napi_key_file = \"~/key\"\n[source]\npath = \"~/users.csv\"\n[state]\ndir = \"~\"\n";
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    let home: Environment = [("HOME", "/home/ann")].into_iter().collect();
    let settings = load(Some(file.path()), &home).expect("valid");
    assert_eq!(settings.source.path().expect("set"), "/home/ann/users.csv");
    assert_eq!(settings.state.dir, Path::new("/home/ann"));
    let keys = format!("{:?}", settings.omni.keys);
    assert!(keys.contains("/home/ann/key"), "{keys}");
    let message = message(from_file(text));
    assert!(
        message.contains("source.path: expected a whole path (the variable HOME is not set"),
        "{message}"
    );
    let other = with(&[
        ("HOME", "/home/ann"),
        ("OMNI_USER_SYNC__STATE__DIR", "~bob/state"),
    ]);
    assert!(other.is_err());
}

#[test]
fn localhost_is_an_address_to_listen_on() {
    let listen = |text| with(&[("OMNI_USER_SYNC__SERVE__LISTEN", text)]);
    let address = listen("localhost:8081").expect("valid").serve.listen;
    assert_eq!(address.expect("served").to_string(), "127.0.0.1:8081");
    for text in ["localhost", "localhost:99999", ":8080", "myhost:8080"] {
        let message = message(listen(text));
        assert!(message.contains("an IP address and a port"), "{message}");
    }
}

#[test]
fn the_encoding_utf8_is_the_default() {
    for text in ["utf-8", "UTF-8", "auto"] {
        assert!(with(&[("OMNI_USER_SYNC__SOURCE__ENCODING", text)]).is_ok());
    }
    let message = message(with(&[("OMNI_USER_SYNC__SOURCE__ENCODING", "latin1")]));
    assert!(
        message.contains("expected \"auto\", \"utf-8\" or \"windows-1252\""),
        "{message}"
    );
}

#[test]
fn empty_sections_are_valid_and_empty_values_not() {
    assert!(from_file("[omni]\n[log]\n").is_ok());
    let message = message(from_file("omni = \"hunter2\"\n"));
    let expected = "omni: expected a section, found a value";
    assert!(message.ends_with(expected), "{message}");
}

/// A header with a secret would end up in the history.
#[test]
fn user_header_rejects_reserved_headers() {
    let header = |text| {
        let settings = with(&[("OMNI_USER_SYNC__SERVE__USER_HEADER", text)]);
        settings.map(|settings| settings.serve.user_header)
    };
    assert_eq!(header("").expect("valid"), None);
    let name = header(" X-Forwarded-User ").expect("valid");
    assert_eq!(name.as_deref(), Some("x-forwarded-user"));
    for wrong in [
        "Authorization",
        "cookie",
        "Host",
        "X-User:",
        "X User",
        "é",
        &"x".repeat(65),
    ] {
        assert!(header(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn hosts_are_names_with_optional_ports() {
    let hosts = |text| {
        let settings = with(&[("OMNI_USER_SYNC__SERVE__HOSTS", text)]);
        settings.map(|settings| settings.serve.hosts)
    };
    let names = hosts("Sync.Example.com, sync:8443").expect("names");
    assert_eq!(names, ["sync.example.com", "sync:8443"]);
    for wrong in ["https://sync.example.com", "sync/page"] {
        assert!(hosts(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_changed_settings_file_is_noticed_once() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "[log]\nformat = \"json\"\n").expect("written");
    let settings = load(Some(file.path()), &Environment::default()).expect("fine");
    let mut known = settings.file.expect("it was read");
    assert_eq!(known.path(), file.path());
    assert!(!known.has_changed());
    std::fs::write(file.path(), "[log]\nformat = \"text\" # for people\n").expect("written");
    assert!(known.has_changed() && !known.has_changed());
    assert!(
        with(&[])
            .expect("fine")
            .file
            .is_none_or(|file| file.path().exists())
    );
}

#[test]
fn a_page_size_is_auto_or_a_number() {
    let with = |value| with(&[("OMNI_USER_SYNC__OMNI__PAGE_SIZE", value)]);
    let read = |value| with(value).expect("valid").omni.page_size;
    assert_eq!(read("auto"), PageSize::Auto);
    assert_eq!(read("250"), PageSize::Users(250));
    assert!(with("0").is_err() && with("many").is_err());
}
