//! Settings: sources, defaults and errors.

use insta::assert_snapshot;
use omni_user_sync::model::{Limit, Mode, Prune};
use omni_user_sync::settings::{
    Environment, KeySource, PageSize, RawSettings, Settings, SettingsError, Watch, load,
};
use std::path::Path;
use std::time::Duration;

fn with(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    load(None, &variables.iter().copied().collect())
}

fn from_file(text: &str) -> Result<Settings, SettingsError> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    load(Some(file.path()), &Environment::default())
}

fn message(result: Result<Settings, SettingsError>) -> String {
    result.expect_err("a wrong setting").to_string()
}

#[test]
fn the_example_has_every_default() {
    let example = Path::new("config/example.toml");
    let settings = load(Some(example), &Environment::default()).expect("valid");
    let settings = Settings {
        file: None,
        ..settings
    };
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
fn an_unknown_key_suggests_the_nearest_one() {
    for (text, says) in [
        (
            "[omni]\nbase_ulr = \"x\"",
            "there is no setting omni.base_ulr; did you mean omni.base_url?",
        ),
        (
            "[omni]\napi_key = \"hunter2\"",
            "there is no setting omni.api_key; did you mean omni.api_key_file?",
        ),
        (
            "[policy]\ncron = \"x\"",
            "there is no setting policy.cron; did you mean schedule.cron?",
        ),
        (
            "[polcy]\nprune = \"all\"",
            "there is no setting polcy.prune; did you mean policy.prune?",
        ),
        (
            "prune = \"all\"",
            "there is no setting prune; did you mean policy.prune?",
        ),
        (
            "[soure]\n",
            "there is no setting soure; did you mean source?",
        ),
    ] {
        let message = message(from_file(text));
        assert!(message.ends_with(says), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    let message = message(with(&[("OMNI_USER_SYNC__POLICY__PRUNES", "all")]));
    assert_eq!(
        message,
        "OMNI_USER_SYNC__POLICY__PRUNES: no setting has this environment variable; did you mean \
         OMNI_USER_SYNC__POLICY__PRUNE?"
    );
}

#[test]
fn variables_of_nearly_the_right_name_are_refused() {
    for (name, nearest) in [
        ("OMNI_USER_SYNC_POLICY_MODE", "OMNI_USER_SYNC__POLICY__MODE"),
        (
            "OMNI_USER_SYNC_POLICY__MODE",
            "OMNI_USER_SYNC__POLICY__MODE",
        ),
        (
            "OMNI_USER_SYNC__POLICY_MODE",
            "OMNI_USER_SYNC__POLICY__MODE",
        ),
        ("OMNI_USER_SYNC_MODE", "OMNI_USER_SYNC__POLICY__MODE"),
        (
            "omni_user_sync__policy__mode",
            "OMNI_USER_SYNC__POLICY__MODE",
        ),
        ("Omni_User_Sync_Policy_Mode", "OMNI_USER_SYNC__POLICY__MODE"),
        ("OMNI_USER_SYNCPOLICYMODE", "OMNI_USER_SYNC__POLICY__MODE"),
        ("OMNI_USER_SYNC__PROTECT", "OMNI_USER_SYNC__POLICY__PROTECT"),
        ("OMNI_USER_SYNC_STATE_DIR", "OMNI_USER_SYNC__STATE__DIR"),
        ("OMNI_USER_SYNC__CONFIG", "OMNI_USER_SYNC_CONFIG"),
        ("OMNI_USER_SYNC_CONFG", "OMNI_USER_SYNC_CONFIG"),
        ("omni_user_sync_config", "OMNI_USER_SYNC_CONFIG"),
        (
            "OMNI_USER_SYNC__SERVE__LISTEN_PORT",
            "OMNI_USER_SYNC__SERVE__LISTEN",
        ),
    ] {
        let message = message(with(&[(name, "dry-run")]));
        assert!(message.starts_with(name), "{message}");
        assert!(
            message.ends_with(&format!("did you mean {nearest}?")),
            "{message}"
        );
    }
    let message = message(with(&[("OMNI_USER_SYNC_ZZZ", "1")]));
    assert!(
        message.contains("OMNI_USER_SYNC__SECTION__KEY"),
        "{message}"
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
fn patterns_that_protect_no_user_are_refused() {
    let protect = |pattern: &str| from_file(&format!("[policy]\nprotect = ['''{pattern}''']\n"));
    for (pattern, remedy) in [
        ("a@x.co b@x.co", "one email or pattern per item"),
        ("a@x.co,b@x.co", "one email or pattern per item"),
        ("a@x.co;b@x.co", "one email or pattern per item"),
        ("a\u{a0}@x.co", "one email or pattern per item"),
        ("\"a@x.co\"", "without quotes"),
        ("'a@x.co", "without quotes"),
        ("“a@x.co”", "without quotes"),
        ("Ann <a@x.co>", "without a name and angle brackets"),
        ("<a@x.co>", "without a name and angle brackets"),
        ("mailto:a@x.co", "colons"),
        ("[ab]@x.co", "only the wildcards * and ?"),
        ("a@b@x.co", "one @"),
        ("@x.co", "such as *@example.com"),
        ("a@", "a domain after the @"),
        ("admin", "an email, or a pattern with * or ?"),
    ] {
        let message = message(protect(pattern));
        assert!(
            message.contains("policy.protect: expected "),
            "{pattern}: {message}"
        );
        assert!(message.contains(remedy), "{pattern}: {message}");
    }
    for pattern in [
        "*",
        "o'neil@x.co",
        " a+b@x.co ",
        "*@x.co",
        "admin*",
        "?@x.co",
        "é@ü.co",
    ] {
        assert!(protect(pattern).is_ok(), "{pattern}");
    }
    let separated = [("OMNI_USER_SYNC__POLICY__PROTECT", "a@x.co b@x.co")];
    assert!(message(with(&separated)).contains("one email or pattern per item"));
}

#[test]
fn an_invalid_value_names_what_is_expected() {
    let cases = [
        (
            "OMNI__BASE_URL",
            "http://acme.omniapp.co",
            "omni.base_url",
            "https",
        ),
        (
            "OMNI__UPDATE_METHOD",
            "post",
            "omni.update_method",
            "expected \"patch\" or \"put\", found \"post\"",
        ),
        (
            "OMNI__MAX_IN_FLIGHT",
            "0",
            "omni.max_in_flight",
            "1 or more",
        ),
        (
            "OMNI__MAX_IN_FLIGHT",
            "many",
            "omni.max_in_flight",
            "expected a whole number",
        ),
        ("OMNI__TIMEOUT", "0s", "omni.timeout", "above zero"),
        ("SOURCE__SETTLE", "soon", "source.settle", "\"30s\""),
        ("SOURCE__DELIMITER", "|", "source.delimiter", "\"tab\""),
        ("SOURCE__MAX_BYTES", "big", "source.max_bytes", "\"1GiB\""),
        (
            "SCHEDULE__CRON",
            "* * * *",
            "schedule.cron",
            "five or six fields",
        ),
        ("SCHEDULE__CRON", "0 0 0 30 2 *", "schedule.cron", "never"),
        (
            "SCHEDULE__TIMEZONE",
            "Madrid",
            "schedule.timezone",
            "Europe/Madrid",
        ),
        (
            "POLICY__MAX_REMOVALS",
            "10.5%",
            "policy.max_removals",
            "expected a percentage (\"10%\") or a whole number",
        ),
        (
            "POLICY__MAX_CLEARS",
            "101%",
            "policy.max_clears",
            "100% or less",
        ),
        (
            "POLICY__MAX_REMOVALS",
            "",
            "policy.max_removals",
            "expected a percentage (\"10%\") or a whole number",
        ),
        (
            "POLICY__PROTECT",
            "admin",
            "policy.protect",
            "expected an email, or a pattern",
        ),
        ("SERVE__LISTEN", "8080", "serve.listen", "127.0.0.1:8080"),
    ];
    for (variable, value, key, says) in cases {
        let message = message(with(&[(&format!("OMNI_USER_SYNC__{variable}"), value)]));
        assert!(
            message.contains(key) && message.contains(says),
            "{variable}={value}: {message}"
        );
    }
}

#[test]
fn a_value_of_the_wrong_type_is_located() {
    let message = message(from_file(
        "[policy]\nmax_removals = 0.1\nprotect = 5\nreactivate = \"maybe\"\n[omni]\ntimeout = [1]\n",
    ));
    for says in [
        "policy.max_removals: expected a percentage (\"10%\") or a whole number, found 0.1",
        "policy.protect: expected a list, found 5",
        "policy.reactivate: expected true or false, found \"maybe\"",
        "omni.timeout: expected a single value, found a list",
    ] {
        let mut lines = message.lines();
        assert!(lines.any(|line| line.ends_with(says)), "{says}: {message}");
    }
    assert!(
        message.lines().all(|line| line.starts_with('/')),
        "{message}"
    );
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
fn an_unknown_time_zone_suggests_the_nearest_one() {
    for (text, says) in [
        ("europe/berlin", "(the nearest one is \"Europe/Berlin\")"),
        ("Europe/Madird", "(the nearest one is \"Europe/Madrid\")"),
        ("New York", "(the nearest one is \"America/New_York\")"),
        ("GMT+2", "(an offset has no daylight saving time)"),
    ] {
        let message = message(with(&[("OMNI_USER_SYNC__SCHEDULE__TIMEZONE", text)]));
        assert!(message.contains(says), "{text}: {message}");
    }
}

#[test]
fn the_encoding_utf8_is_the_default() {
    for text in ["utf-8", "UTF-8", "auto"] {
        assert!(with(&[("OMNI_USER_SYNC__SOURCE__ENCODING", text)]).is_ok());
    }
    let message = message(with(&[("OMNI_USER_SYNC__SOURCE__ENCODING", "latin1")]));
    assert!(
        message.contains("expected \"auto\" or \"utf-8\" or \"windows-1252\""),
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

#[test]
fn a_possible_key_in_a_url_is_hidden() {
    for url in [
        "hunter2",
        "hunter2.x.y",
        "https://hunter2@acme.co",
        "https://acme.co/?key=hunter2",
    ] {
        let message = message(with(&[("OMNI_BASE_URL", url)]));
        assert!(
            message.starts_with("OMNI_BASE_URL: omni.base_url: expected "),
            "{message}"
        );
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn invalid_toml_names_the_line_only() {
    let message = message(from_file("[omni]\napi_key = hunter2\n"));
    assert!(message.contains(": line 2, column "), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn errors_of_all_sources_are_reported_together() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "[omni\n").expect("written");
    let variables = [
        ("OMNI_BASE_URL", "acme.omniapp.co"),
        ("OMNI_USER_SYNC_MODE", "x"),
    ];
    let message = message(load(Some(file.path()), &variables.into_iter().collect()));
    let message = message.replace(&file.path().display().to_string(), "FILE");
    assert_snapshot!(message, @r#"
    FILE: line 1, column 6: unclosed table, expected `]`
    OMNI_USER_SYNC_MODE: no setting has this environment variable; did you mean OMNI_USER_SYNC__POLICY__MODE?
    OMNI_BASE_URL: omni.base_url: expected a URL that begins with https://: https://acme.omniapp.co, found "acme.omniapp.co"
    "#);
}

#[test]
fn a_missing_settings_file_is_an_error() {
    let missing = Path::new("no/such/file.toml");
    let message = message(load(Some(missing), &Environment::default()));
    assert!(message.contains("no/such/file.toml"), "{message}");
}

#[test]
fn hosts_are_names_with_optional_ports() {
    let hosts = |text| {
        let settings = with(&[("OMNI_USER_SYNC__SERVE__HOSTS", text)]);
        settings.map(|settings| settings.serve.hosts)
    };
    let names = hosts("Sync.Example.com, sync:8443").expect("names");
    assert_eq!(names, ["sync.example.com", "sync:8443"]);
    for wrong in ["https://sync.example.com", "*.example.com", "sync/page"] {
        let problem = hosts(wrong).expect_err("no name").to_string();
        assert!(problem.contains("serve.hosts"), "{problem}");
    }
}

#[test]
fn reports_in_the_roster_folder_are_rejected() {
    for reports in [".", "./", "/srv/rosters"] {
        let settings = with(&[
            ("OMNI_USER_SYNC__SOURCE__PATH", "/srv/rosters/"),
            ("OMNI_USER_SYNC__SOURCE__REPORTS", reports),
        ]);
        assert!(message(settings).contains("source.reports"), "{reports}");
    }
}

#[test]
fn all_errors_are_reported_at_once() {
    let text = message(from_file(
        "[omni]\ntimeout = \"0s\"\nupdate_method = \"post\"\nmax_in_flight = 0\n\
         [source]\nwatch = \"sometimes\"\nsettle = \"soon\"\n[schedule]\ncron = \"x\"\ntimezone = \"y\"\n\
         [policy]\nmode = \"z\"\nmax_updates = \"many\"\n[state]\nretain = \"long\"\n\
         [serve]\nlisten = \"here\"\n[log]\nformat = \"xml\"\n",
    ));
    for key in [
        "omni.timeout",
        "omni.update_method",
        "omni.max_in_flight",
        "source.watch",
        "source.settle",
        "schedule.timezone",
        "policy.mode",
        "policy.max_updates",
        "state.retain",
        "serve.listen",
        "log.format",
    ] {
        assert_eq!(
            text.matches(&format!("{key}: expected ")).count(),
            1,
            "{key}: {text}"
        );
    }
    let text = message(from_file(
        "[omni]\nbase_ulr = 1\n[policy]\nprunes = 1\n[sorce]\npath = 1\n",
    ));
    for key in ["omni.base_ulr", "policy.prunes", "sorce.path"] {
        assert!(text.contains(&format!("no setting {key}")), "{key}: {text}");
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
    for value in ["0", "-1", "many"] {
        let message = message(with(value));
        let says = r#"omni.page_size: expected "auto" or a whole number, 1 or more"#;
        assert!(message.contains(says), "{message}");
    }
}
