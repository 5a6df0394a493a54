//! The log, on standard error: text for people, or JSON with stable field names. Events within a run
//! have the run's number, from the surrounding span.
//!
//! This crate never logs request headers. Dependencies that see headers and bodies log only warnings,
//! unless the filter names them.

use crate::settings::{LogFormat, LogSettings};
use std::sync::OnceLock;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// Dependencies whose log is not needed and might contain secrets.
const QUIET: [&str; 11] = [
    "axum",
    "h2",
    "hyper",
    "hyper_util",
    "mio",
    "notify",
    "reqwest",
    "rustls",
    "tokio",
    "tokio_cron_scheduler",
    "tower",
];

/// An invalid filter.
#[derive(Debug, thiserror::Error)]
#[error(
    "{location}: expected a level such as \"info\", or \"omni_user_sync=debug,warn\", found {filter:?} \
     ({problem})"
)]
pub struct FilterError {
    location: &'static str,
    filter: String,
    problem: String,
}

/// Sets up the log of the process. `flag` is the value of `--log`, which overrides `log.filter`. A
/// process that has a log already keeps it.
///
/// # Errors
/// If either filter is invalid, even if it is overridden.
pub fn init(settings: &LogSettings, flag: Option<&str>) -> Result<(), FilterError> {
    let filter = chosen(settings, flag)?;
    // The same rules as for the output of commands: NO_COLOR, CLICOLOR, CLICOLOR_FORCE, a terminal.
    let colours = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let (log, replace) = subscriber(settings.format, filter, colours, std::io::stderr);
    // Fails only if a subscriber is already set.
    if log.try_init().is_ok() {
        let _ = REPLACE_FILTER.set(replace);
    }
    Ok(())
}

/// Replaces the filter of the log that [`init`] has set up.
///
/// # Errors
/// As [`init`]; then the filter stays.
pub fn reload_filter(settings: &LogSettings, flag: Option<&str>) -> Result<(), FilterError> {
    let filter = chosen(settings, flag)?;
    if let Some(replace) = REPLACE_FILTER.get() {
        replace(filter);
    }
    Ok(())
}

/// The filter of the flag, else that of the settings. Both must be valid.
fn chosen(settings: &LogSettings, flag: Option<&str>) -> Result<EnvFilter, FilterError> {
    let setting = filter("log.filter", &settings.filter)?;
    flag.map_or(Ok(setting), |text| filter("--log", text))
}

type ReplaceFilter = Box<dyn Fn(EnvFilter) + Send + Sync>;

/// The process has one log.
static REPLACE_FILTER: OnceLock<ReplaceFilter> = OnceLock::new();

/// A log, and the function that replaces its filter.
fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    colours: bool,
    writer: W,
) -> (Box<dyn tracing::Subscriber + Send + Sync>, ReplaceFilter)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let log = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        // A log that can't be written must not end the daemon, as the report about it on standard error would.
        .log_internal_errors(false)
        .with_ansi(colours);
    let log = match format {
        LogFormat::Text => log.with_target(false).boxed(),
        LogFormat::Json => {
            let log = log.json().flatten_event(true).with_current_span(true);
            log.with_span_list(false).boxed()
        }
    };
    let (filter, handle) = reload::Layer::new(filter);
    let log = tracing_subscriber::registry().with(filter).with(log);
    // Fails only if the log is gone.
    let replace = move |filter| drop(handle.reload(filter));
    (Box::new(log), Box::new(replace))
}

fn filter(location: &'static str, text: &str) -> Result<EnvFilter, FilterError> {
    let error = |problem: String| FilterError {
        location,
        filter: text.to_owned(),
        problem,
    };
    if let Some(word) = text.split(',').map(str::trim).find(|word| is_invalid(word)) {
        return Err(error(format!("{word:?} is not a level")));
    }
    let quiet = QUIET.iter().filter(|name| !names(text, name));
    // It warns about each folder that is replaced when a ConfigMap changes.
    let level = |name: &str| if name == "notify" { "error" } else { "warn" };
    let quiet = quiet.map(|name| format!("{name}={}", level(name)));
    let all: Vec<_> = quiet.chain([text.to_owned()]).collect();
    EnvFilter::builder()
        .parse(all.join(","))
        .map_err(|invalid| error(invalid.to_string()))
}

/// Whether a directive is a bare word that is not a level. `EnvFilter` takes it as the name of a crate,
/// so that a misspelled level would silence the whole log.
fn is_invalid(word: &str) -> bool {
    let is_level = !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    !word.contains(['=', '[']) && !is_level
}

/// Whether a filter has a directive for a crate.
fn names(filter: &str, name: &str) -> bool {
    let targets = filter.split(',').map(|word| word.split(['=', '[']).next());
    targets
        .flatten()
        .any(|target| target.trim().split("::").next() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::sync::lock;
    use std::sync::{Arc, Mutex};

    /// The log of `event` under a filter.
    fn logged(format: LogFormat, text: &str, event: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Kept(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Kept {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                let mut kept = lock(&self.0);
                kept.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let kept = Kept::default();
        let writer = kept.clone();
        let filter = filter("log.filter", text).expect("a filter");
        let (log, _) = subscriber(format, filter, false, move || writer.clone());
        tracing::subscriber::with_default(log, event);
        let bytes = lock(&kept.0);
        String::from_utf8(bytes.clone()).expect("a log is text")
    }

    #[test]
    fn json_field_names_are_stable() {
        let text = logged(LogFormat::Json, "info", || {
            let span = tracing::error_span!("run", number = 12);
            span.in_scope(|| {
                tracing::info!(target: "omni_user_sync::daemon", requests = 3, "run ended");
            });
        });
        let line: serde_json::Value = serde_json::from_str(&text).expect("one object per line");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "run ended");
        assert_eq!(line["requests"], 3);
        assert_eq!(line["span"]["number"], 12);
        assert_eq!(line["target"], "omni_user_sync::daemon");
        assert!(
            line["timestamp"]
                .as_str()
                .is_some_and(|at| at.ends_with('Z'))
        );
    }

    #[test]
    fn dependencies_are_quiet_unless_named() {
        let event = || {
            tracing::trace!(target: "hyper::proto", "a header");
            tracing::trace!(target: "omni_user_sync::omni", "ours");
        };
        let all = logged(LogFormat::Text, "trace", event);
        assert!(all.contains("ours") && !all.contains("a header"), "{all}");
        let named = logged(LogFormat::Text, "info,hyper=trace", event);
        assert!(
            !named.contains("ours") && named.contains("a header"),
            "{named}"
        );
    }

    #[test]
    fn a_misspelled_level_is_refused() {
        for text in ["inof", "info,omni_user_sync", "omni_user_sync=lots", ""] {
            let error = filter("log.filter", text).expect_err(text);
            assert!(error.to_string().starts_with("log.filter: "), "{error}");
        }
        for text in [
            "info",
            "WARN",
            "off",
            "omni_user_sync=debug, warn",
            "[run]=debug",
        ] {
            assert!(filter("--log", text).is_ok(), "{text}");
        }
    }
}
