//! HTTP clients with the same defaults, and the parts of responses and errors that they share.

use super::error_chain::root_cause;
use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Certificate, ClientBuilder, Url};
use std::path::Path;
use std::time::Duration;

/// A client that follows no redirects, which could carry credentials to another host, and never
/// retries. A `direct` client ignores proxy settings and may use plain HTTP: right for loopback
/// addresses and probes. Others use HTTPS only.
pub(crate) fn client_builder(timeout: Duration, direct: bool) -> ClientBuilder {
    let builder = ClientBuilder::new()
        .user_agent(concat!("omni-user-sync/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .https_only(!direct)
        .timeout(timeout);
    if direct { builder.no_proxy() } else { builder }
}

/// Whether the host is this machine.
#[must_use]
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}

/// Reads the certificates of a PEM file. Blocks.
///
/// # Errors
/// If the file can't be read or has no certificate; the message does not name the file.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<Certificate>, String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| {
        let cause = root_cause(&error);
        format!("not certificates in PEM format: {cause}; the file may be incomplete")
    })?;
    if certificates.is_empty() {
        return Err("no certificate found; expected PEM".into());
    }
    Ok(certificates)
}

/// Why the proxy for HTTPS can't be used, if its address is broken: without a word, requests would be sent directly.
/// The address is not shown, since it may have a password.
#[must_use]
pub(crate) fn proxy_problem(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let mut set = names.iter().filter_map(|name| {
        let value = variable(name)?;
        (!value.trim().is_empty()).then_some((name, value))
    });
    let (name, value) = set.next()?;
    let address = if value.contains("://") {
        value
    } else {
        format!("http://{value}")
    };
    let url = Url::parse(&address).ok();
    let is_proxy = |url: &Url| ["http", "https"].contains(&url.scheme()) && url.has_host();
    (!url.as_ref().is_some_and(is_proxy)).then(|| {
        format!("{name}: expected the address of a proxy, such as http://proxy.example.com:3128")
    })
}

/// The delay that a `Retry-After` header asks for, in seconds or as a date.
#[must_use]
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    parse_retry_after(text.trim(), Utc::now())
}

fn parse_retry_after(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    Some((date.to_utc() - now).to_std().unwrap_or(Duration::ZERO))
}

/// The cause of a failed exchange, without the URL, which may be long or secret.
#[must_use]
pub(crate) fn describe_failure(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no response in time".into();
    }
    let what = if error.is_connect() {
        "connection failed"
    } else {
        "connection lost"
    };
    // An error without a source is reqwest's own, and its text has the URL.
    match std::error::Error::source(error) {
        Some(source) => format!("{what}: {}", root_cause(source)),
        None => "the request can't be sent".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_proxy_addresses_are_named() {
        let problem = |set: &'static str, value: &'static str| {
            proxy_problem(|name| (name == set).then(|| value.to_owned()))
        };
        for broken in [
            "http://[::1",
            "ht!tp://x",
            "::::",
            "proxy:80 80",
            "socks5://x:1",
            "http://",
        ] {
            let said = problem("HTTPS_PROXY", broken).unwrap_or_default();
            assert!(
                said.starts_with("HTTPS_PROXY: expected "),
                "{broken}: {said}"
            );
            assert!(problem("all_proxy", broken).is_some(), "{broken}");
            assert_eq!(problem("NO_PROXY", broken), None);
        }
        for fine in [
            "http://user:secret@proxy:3128",
            "proxy:3128",
            "https://proxy",
            "10.0.0.1:80",
            " ",
        ] {
            assert_eq!(problem("https_proxy", fine), None, "{fine}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "2026-03-10T12:00:00Z".parse().expect("a time");
        let parse = |text| parse_retry_after(text, now);
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(parse("7"), seconds(7));
        assert_eq!(parse("Tue, 10 Mar 2026 12:01:30 GMT"), seconds(90));
        assert_eq!(parse("Tue, 10 Mar 2026 11:59:00 GMT"), seconds(0), "past");
        for invalid in ["", "-1", "1.5", "soon", "2026-03-10T12:01:30Z"] {
            assert_eq!(parse(invalid), None, "{invalid}");
        }
    }
}
