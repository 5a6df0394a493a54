//! Properties of any settings file.

use super::{Environment, Settings, SettingsError, load};
use crate::fuzzing::checks::SECRET;
use std::time::Duration;

/// A settings file.
pub fn settings(data: &[u8]) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), data).expect("writable");
    let none = Environment::default();
    let outcome = load(Some(file.path()), &none);
    let again = load(Some(file.path()), &none);
    match (outcome, again) {
        (Ok(settings), Ok(again)) => {
            assert_eq!(format!("{settings:?}"), format!("{again:?}"));
            check(&settings);
        }
        (Err(error), Err(_)) => check_error(&error),
        (one, other) => panic!("{one:?} and {other:?}"),
    }
}

fn check(settings: &Settings) {
    let Settings {
        omni,
        source,
        schedule,
        ..
    } = settings;
    assert!(omni.requests_per_minute > 0 && omni.max_in_flight > 0);
    assert!(omni.timeout > Duration::ZERO && source.poll_interval > Duration::ZERO);
    assert!(source.delimiter.is_none_or(|one| b",;\t".contains(&one)));
    if let Ok(url) = omni.base_url() {
        let url = url.to_string();
        assert!(
            url.starts_with("https://") || url.starts_with("http://"),
            "{url}"
        );
    }
    if let Some(times) = &schedule.times {
        assert!(!format!("{times:?}").is_empty());
    }
}

/// Every error has a message, and a syntax error contains no value of the file, which may be a key
/// pasted by mistake.
fn check_error(error: &SettingsError) {
    let text = error.to_string();
    assert!(!text.trim().is_empty());
    if text.contains("TOML parse error") {
        let in_name = text.contains("key");
        assert!(in_name || !text.contains(SECRET), "{text}");
    }
}
