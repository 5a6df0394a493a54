//! Errors in the settings: each says what is wrong, where, and what is expected.

use crate::settings::{from_file, message, with};
use insta::assert_snapshot;
use omni_user_sync::settings::{Environment, load};
use std::path::Path;

#[test]
fn an_unknown_key_suggests_the_nearest_one() {
    let of_files = [
        "[omni]\nbase_ulr = \"x\"",
        "[omni]\napi_key = \"hunter2\"",
        "[policy]\ncron = \"x\"",
        "[polcy]\nprune = \"all\"",
        "prune = \"all\"",
        "[soure]\n",
    ]
    .map(|text| message(from_file(text)));
    let of_variable = message(with(&[("OMNI_USER_SYNC__POLICY__PRUNES", "all")]));
    assert_snapshot!(format!("{}\n{of_variable}", of_files.join("\n")), @"
    config.toml: there is no setting omni.base_ulr; did you mean omni.base_url?
    config.toml: there is no setting omni.api_key; did you mean omni.api_key_file?
    config.toml: there is no setting policy.cron; did you mean schedule.cron?
    config.toml: there is no setting polcy.prune; did you mean policy.prune?
    config.toml: there is no setting prune; did you mean policy.prune?
    config.toml: there is no setting soure; did you mean source?
    OMNI_USER_SYNC__POLICY__PRUNES: no setting has this environment variable; did you mean OMNI_USER_SYNC__POLICY__PRUNE?
    ");
}

#[test]
fn variables_of_nearly_the_right_name_are_refused() {
    let messages = [
        "OMNI_USER_SYNC_POLICY_MODE",
        "OMNI_USER_SYNC_POLICY__MODE",
        "OMNI_USER_SYNC__POLICY_MODE",
        "OMNI_USER_SYNC_MODE",
        "omni_user_sync__policy__mode",
        "Omni_User_Sync_Policy_Mode",
        "OMNI_USER_SYNCPOLICYMODE",
        "OMNI_USER_SYNC__PROTECT",
        "OMNI_USER_SYNC_STATE_DIR",
        "OMNI_USER_SYNC__CONFIG",
        "OMNI_USER_SYNC_CONFG",
        "omni_user_sync_config",
        "OMNI_USER_SYNC__SERVE__LISTEN_PORT",
        "OMNI_USER_SYNC_ZZZ",
    ]
    .map(|name| message(with(&[(name, "dry-run")])));
    assert_snapshot!(messages.join("\n"), @"
    OMNI_USER_SYNC_POLICY_MODE: no setting has this environment variable; did you mean OMNI_USER_SYNC__POLICY__MODE?
    OMNI_USER_SYNC_POLICY__MODE: no setting has this environment variable; did you mean OMNI_USER_SYNC__POLICY__MODE?
    OMNI_USER_SYNC__POLICY_MODE: no setting has this environment variable; did you mean OMNI_USER_SYNC__POLICY__MODE?
    OMNI_USER_SYNC_MODE: no setting has this environment variable; did you mean OMNI_USER_SYNC__POLICY__MODE?
    omni_user_sync__policy__mode: no setting has this environment variable; did you mean OMNI_USER_SYNC__POLICY__MODE?
    Omni_User_Sync_Policy_Mode: no setting has this environment variable; did you mean OMNI_USER_SYNC__POLICY__MODE?
    OMNI_USER_SYNCPOLICYMODE: no setting has this environment variable; did you mean OMNI_USER_SYNC__POLICY__MODE?
    OMNI_USER_SYNC__PROTECT: no setting has this environment variable; did you mean OMNI_USER_SYNC__POLICY__PROTECT?
    OMNI_USER_SYNC_STATE_DIR: no setting has this environment variable; did you mean OMNI_USER_SYNC__STATE__DIR?
    OMNI_USER_SYNC__CONFIG: no setting has this environment variable; did you mean OMNI_USER_SYNC_CONFIG?
    OMNI_USER_SYNC_CONFG: no setting has this environment variable; did you mean OMNI_USER_SYNC_CONFIG?
    omni_user_sync_config: no setting has this environment variable; did you mean OMNI_USER_SYNC_CONFIG?
    OMNI_USER_SYNC__SERVE__LISTEN_PORT: no setting has this environment variable; did you mean OMNI_USER_SYNC__SERVE__LISTEN?
    OMNI_USER_SYNC_ZZZ: no setting has this environment variable; the form is OMNI_USER_SYNC__SECTION__KEY, in capitals
    ");
}

#[test]
fn patterns_that_protect_no_user_are_refused() {
    let protect = |pattern: &str| from_file(&format!("[policy]\nprotect = ['''{pattern}''']\n"));
    let messages = [
        "a@x.co b@x.co",
        "a@x.co,b@x.co",
        "a@x.co;b@x.co",
        "a\u{a0}@x.co",
        "\"a@x.co\"",
        "'a@x.co",
        "“a@x.co”",
        "Ann <a@x.co>",
        "<a@x.co>",
        "mailto:a@x.co",
        "[ab]@x.co",
        "a@b@x.co",
        "@x.co",
        "a@",
        "admin",
    ]
    .map(|pattern| message(protect(pattern)));
    assert_snapshot!(messages.join("\n"), @r#"
    config.toml: policy.protect: expected one email or pattern per item of the list, without blanks, commas and semicolons, found "a@x.co b@x.co"
    config.toml: policy.protect: expected one email or pattern per item of the list, without blanks, commas and semicolons, found "a@x.co,b@x.co"
    config.toml: policy.protect: expected one email or pattern per item of the list, without blanks, commas and semicolons, found "a@x.co;b@x.co"
    config.toml: policy.protect: expected one email or pattern per item of the list, without blanks, commas and semicolons, found "a\u{a0}@x.co"
    config.toml: policy.protect: expected an email or a pattern without quotes, found "\"a@x.co\""
    config.toml: policy.protect: expected an email or a pattern without quotes, found "'a@x.co"
    config.toml: policy.protect: expected an email or a pattern without quotes, found "“a@x.co”"
    config.toml: policy.protect: expected an email or a pattern, without a name and angle brackets, found "Ann <a@x.co>"
    config.toml: policy.protect: expected an email or a pattern, without a name and angle brackets, found "<a@x.co>"
    config.toml: policy.protect: expected an email or a pattern without brackets, colons and backslashes; the wildcards are * and ?, found "mailto:a@x.co"
    config.toml: policy.protect: expected an email or a pattern without brackets, colons and backslashes; the wildcards are * and ?, found "[ab]@x.co"
    config.toml: policy.protect: expected an email or a pattern with one @, found "a@b@x.co"
    config.toml: policy.protect: expected something before the @, such as *@example.com for a whole domain, found "@x.co"
    config.toml: policy.protect: expected a domain after the @, found "a@"
    config.toml: policy.protect: expected an email, or a pattern with * or ? that can match one, found "admin"
    "#);
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
    let messages = [
        ("OMNI__BASE_URL", "http://acme.omniapp.co"),
        ("OMNI__UPDATE_METHOD", "post"),
        ("OMNI__MAX_IN_FLIGHT", "0"),
        ("OMNI__MAX_IN_FLIGHT", "many"),
        ("OMNI__TIMEOUT", "0s"),
        ("OMNI__PAGE_SIZE", "-1"),
        ("SOURCE__SETTLE", "soon"),
        ("SOURCE__DELIMITER", "|"),
        ("SOURCE__MAX_BYTES", "big"),
        ("SCHEDULE__CRON", "* * * *"),
        ("SCHEDULE__CRON", "0 0 0 30 2 *"),
        ("SCHEDULE__TIMEZONE", "Madrid"),
        ("POLICY__MAX_REMOVALS", "10.5%"),
        ("POLICY__MAX_CLEARS", "101%"),
        ("POLICY__MAX_REMOVALS", ""),
        ("POLICY__PROTECT", "admin"),
        ("SERVE__LISTEN", "8080"),
        ("SERVE__HOSTS", "*.example.com"),
    ]
    .map(|(name, value)| message(with(&[(&format!("OMNI_USER_SYNC__{name}"), value)])));
    assert_snapshot!(messages.join("\n"), @r#"
    OMNI_USER_SYNC__OMNI__BASE_URL: omni.base_url: expected an https:// URL (http:// would send the key unencrypted, and is allowed only on loopback), found "http://acme.omniapp.co"
    OMNI_USER_SYNC__OMNI__UPDATE_METHOD: omni.update_method: expected "patch" or "put", found "post"
    OMNI_USER_SYNC__OMNI__MAX_IN_FLIGHT: omni.max_in_flight: expected a whole number, 1 or more, found "0"
    OMNI_USER_SYNC__OMNI__MAX_IN_FLIGHT: omni.max_in_flight: expected a whole number, 1 or more, found "many"
    OMNI_USER_SYNC__OMNI__TIMEOUT: omni.timeout: expected a duration above zero, such as "30s", found "0s"
    OMNI_USER_SYNC__OMNI__PAGE_SIZE: omni.page_size: expected "auto" or a whole number, 1 or more, found "-1"
    OMNI_USER_SYNC__SOURCE__SETTLE: source.settle: expected a duration such as "30s", "15m" or "90d", found "soon"
    OMNI_USER_SYNC__SOURCE__DELIMITER: source.delimiter: expected "auto", ",", ";" or "tab", found "|"
    OMNI_USER_SYNC__SOURCE__MAX_BYTES: source.max_bytes: expected a size such as "1GiB", found "big"
    OMNI_USER_SYNC__SCHEDULE__CRON: schedule.cron: expected five or six fields ([second] minute hour day month weekday), such as */15 * * * *, found "* * * *"
    OMNI_USER_SYNC__SCHEDULE__CRON: schedule.cron: expected a schedule with a next run (its day and month never occur), found "0 0 0 30 2 *"
    OMNI_USER_SYNC__SCHEDULE__TIMEZONE: schedule.timezone: expected the name of a time zone, such as UTC or Europe/Madrid (the nearest one is "Europe/Madrid"), found "Madrid"
    OMNI_USER_SYNC__POLICY__MAX_REMOVALS: policy.max_removals: expected a percentage ("10%") or a whole number, found "10.5%"
    OMNI_USER_SYNC__POLICY__MAX_CLEARS: policy.max_clears: expected a percentage of 100% or less (100% holds nothing), found "101%"
    OMNI_USER_SYNC__POLICY__MAX_REMOVALS: policy.max_removals: expected a percentage ("10%") or a whole number, found ""
    OMNI_USER_SYNC__POLICY__PROTECT: policy.protect: expected an email, or a pattern with * or ? that can match one, found "admin"
    OMNI_USER_SYNC__SERVE__LISTEN: serve.listen: expected an IP address and a port, such as 127.0.0.1:8080, or 0.0.0.0:8080 for all interfaces, found "8080"
    OMNI_USER_SYNC__SERVE__HOSTS: serve.hosts: expected a host name such as sync.example.com or sync.example.com:8443, without scheme, path or pattern, found "*.example.com"
    "#);
}

#[test]
fn a_value_of_the_wrong_type_is_located() {
    let message = message(from_file(
        "[policy]\nmax_removals = 0.1\nprotect = 5\nreactivate = \"maybe\"\n[omni]\ntimeout = [1]\n",
    ));
    assert_snapshot!(message, @r#"
    config.toml: omni.timeout: expected a single value, found a list
    config.toml: policy.reactivate: expected true or false, found "maybe"
    config.toml: policy.protect: expected a list, found 5
    config.toml: policy.max_removals: expected a percentage ("10%") or a whole number, found 0.1
    "#);
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
fn a_missing_setting_names_similar_variables() {
    let missing = |variables: &[(&str, &str)]| {
        let omni = with(variables).expect("valid").omni;
        let url = omni.base_url().err().map(|error| error.to_string());
        let key = omni.keys.read().err().map(|error| error.to_string());
        [url, key]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("\n")
    };
    let mistaken = [
        ("OMNI_URL", "https://acme.omniapp.co"),
        ("OMNI_KEY", "hunter2"),
    ];
    assert_snapshot!(missing(&mistaken), @r"
    omni.base_url is not set; set it in the settings file (--config FILE) or in the environment variable OMNI_BASE_URL (OMNI_URL is set, which has no effect)
    no API key: set omni.api_key_file, or the environment variable OMNI_API_KEY (OMNI_KEY is set, which has no effect)
    ");
    let others = [("OMNI_REGION", "eu"), ("URL", "x"), ("OMNI_TOKENS", "y")];
    assert!(!missing(&others).contains("has no effect"));
    let right = [
        ("OMNI_BASE_URL", "https://acme.omniapp.co"),
        ("OMNI_API_KEY", "hunter2"),
    ];
    assert_eq!(missing(&[mistaken, right].concat()), "");
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
    let invalid = message(from_file(
        "[omni]\ntimeout = \"0s\"\nupdate_method = \"post\"\nmax_in_flight = 0\n\
         [source]\nwatch = \"sometimes\"\nsettle = \"soon\"\n[schedule]\ncron = \"x\"\ntimezone = \"y\"\n\
         [policy]\nmode = \"z\"\nmax_updates = \"many\"\n[state]\nretain = \"long\"\n\
         [serve]\nlisten = \"here\"\n[log]\nformat = \"xml\"\n",
    ));
    let unknown = message(from_file(
        "[omni]\nbase_ulr = 1\n[policy]\nprunes = 1\n[sorce]\npath = 1\n",
    ));
    assert_snapshot!(format!("{invalid}\n\n{unknown}"), @r#"
    config.toml: omni.max_in_flight: expected a whole number, 1 or more, found 0
    config.toml: omni.timeout: expected a duration above zero, such as "30s", found "0s"
    config.toml: omni.update_method: expected "patch" or "put", found "post"
    config.toml: source.watch: expected "auto", "native", "poll" or "off", found "sometimes"
    config.toml: source.settle: expected a duration such as "30s", "15m" or "90d", found "soon"
    config.toml: schedule.timezone: expected the name of a time zone, such as UTC or Europe/Madrid, found "y"
    config.toml: schedule.cron: expected five or six fields ([second] minute hour day month weekday), such as */15 * * * *, found "x"
    config.toml: policy.mode: expected "apply" or "dry-run", found "z"
    config.toml: policy.max_updates: expected a percentage ("10%") or a whole number, found "many"
    config.toml: state.retain: expected a duration such as "30s", "15m" or "90d", found "long"
    config.toml: serve.listen: expected an IP address and a port, such as 127.0.0.1:8080, or 0.0.0.0:8080 for all interfaces, found "here"
    config.toml: log.format: expected "text" or "json", found "xml"

    config.toml: there is no setting omni.base_ulr; did you mean omni.base_url?
    config.toml: there is no setting policy.prunes; did you mean policy.prune?
    config.toml: there is no setting sorce.path; did you mean source.path?
    "#);
}
