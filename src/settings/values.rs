//! Single values, from text. Each error says what is expected, without the value.

use super::PageSize;
use crate::model::{Email, Limit, Mode};
use crate::util::text::{nearest_by, similarity};
use chrono_tz::{TZ_VARIANTS, Tz};
use serde::de::value::StrDeserializer;
use serde::{Deserialize, de};
use std::fmt::{self, Display};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

pub(super) type Parsed<T> = Result<T, String>;

/// A text, as it is.
pub(super) fn text(text: &str) -> Parsed<String> {
    Ok(text.into())
}

/// A path; blank for none. A leading `~` is the home folder.
pub(super) fn path(home: Option<&Path>) -> impl Fn(&str) -> Parsed<Option<PathBuf>> {
    move |text| match text.trim().is_empty() {
        true => Ok(None),
        false => whole_path(text, home).map(Some),
    }
}

/// A path in which a leading `~` is replaced by the home folder: no shell expands the settings.
pub(super) fn whole_path(text: &str, home: Option<&Path>) -> Parsed<PathBuf> {
    let Some(rest) = text.strip_prefix('~') else {
        return Ok(text.into());
    };
    if !rest.is_empty() && !rest.starts_with('/') {
        return Err(
            "a path without ~, which stands only for your own home folder, as in ~/users.csv"
                .into(),
        );
    }
    let home = home.ok_or("a whole path (the variable HOME is not set, so ~ has no meaning)")?;
    Ok(home.join(rest.trim_start_matches('/')))
}

/// Another kind of value; blank for none.
pub(super) fn optional<T>(parse: impl Fn(&str) -> Parsed<T>) -> impl Fn(&str) -> Parsed<Option<T>> {
    move |text| match text.trim() {
        "" => Ok(None),
        text => parse(text).map(Some),
    }
}

/// A word of an enum, in any letter case.
pub(super) fn one_of<T: for<'a> Deserialize<'a>>(text: &str) -> Parsed<T> {
    let word = text.trim().to_ascii_lowercase();
    let deserializer: StrDeserializer<'_, Expected> = StrDeserializer::new(&word);
    T::deserialize(deserializer).map_err(|Expected(expected)| expected)
}

/// `policy.mode`. Earlier versions called a dry run `plan`.
pub(super) fn mode(text: &str) -> Parsed<Mode> {
    match text.trim().eq_ignore_ascii_case("plan") {
        true => Ok(Mode::DryRun),
        false => one_of(text),
    }
}

/// What is expected, taken from serde's error.
#[derive(Debug)]
struct Expected(String);

impl de::Error for Expected {
    fn custom<M: Display>(message: M) -> Self {
        Self(message.to_string())
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        let words: Vec<_> = expected.iter().map(|word| format!("{word:?}")).collect();
        Self(match &words[..] {
            [several @ .., last] if !several.is_empty() => {
                format!("{} or {last}", several.join(", "))
            }
            words => words.concat(),
        })
    }
}

impl std::error::Error for Expected {}

impl Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) fn boolean(text: &str) -> Parsed<bool> {
    match &*text.trim().to_ascii_lowercase() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("true or false".into()),
    }
}

pub(super) fn number<T: FromStr>(text: &str) -> Parsed<T> {
    let number = text.trim().parse();
    number.map_err(|_| "a whole number".into())
}

pub(super) fn positive<T: FromStr + PartialOrd + From<u8>>(text: &str) -> Parsed<T> {
    let number = number(text).ok().filter(|number| *number >= T::from(1));
    number.ok_or_else(|| "a whole number, 1 or more".into())
}

pub(super) fn page_size(text: &str) -> Parsed<PageSize> {
    match text.trim() {
        "auto" => Ok(PageSize::Auto),
        text => match positive(text) {
            Ok(users) => Ok(PageSize::Users(users)),
            Err(number) => Err(format!(r#""auto" or {number}"#)),
        },
    }
}

pub(super) fn duration(text: &str) -> Parsed<Duration> {
    humantime::parse_duration(text.trim())
        .map_err(|_| r#"a duration such as "30s", "15m" or "90d""#.into())
}

pub(super) fn positive_duration(text: &str) -> Parsed<Duration> {
    match duration(text)? {
        Duration::ZERO => Err(r#"a duration above zero, such as "30s""#.into()),
        duration => Ok(duration),
    }
}

pub(super) fn bytes(text: &str) -> Parsed<u64> {
    let size = text.trim().parse::<bytesize::ByteSize>();
    size.map(|size| size.as_u64())
        .map_err(|_| r#"a size such as "1GiB""#.into())
}

pub(super) fn delimiter(text: &str) -> Parsed<Option<u8>> {
    match text {
        "auto" => Ok(None),
        "," => Ok(Some(b',')),
        ";" => Ok(Some(b';')),
        "\t" | "tab" => Ok(Some(b'\t')),
        _ => Err(r#""auto", ",", ";" or "tab""#.into()),
    }
}

/// A percentage above 0.
pub(super) fn percentage(text: &str) -> Parsed<u8> {
    let digits = text.trim().strip_suffix('%');
    let percent = digits.and_then(|digits| digits.trim().parse().ok());
    percent
        .filter(|percent| (1..=100).contains(percent))
        .ok_or_else(|| r#"a percentage from "1%" to "100%""#.into())
}

pub(super) fn limit(text: &str) -> Parsed<Limit> {
    let expected = || r#"a percentage ("10%") or a whole number"#.to_owned();
    let parse = |digits: &str| digits.trim().parse().map_err(|_| expected());
    match text.trim().strip_suffix('%') {
        Some(percent) => match parse(percent)? {
            percent @ 0..=100 => Ok(Limit::Percent(percent)),
            _ => Err("a percentage of 100% or less (100% holds nothing)".into()),
        },
        None => parse(text).map(Limit::Count),
    }
}

/// An address of a user.
pub(super) fn email(text: &str) -> Parsed<Email> {
    Email::parse(text.trim()).map_err(|_| "an email".into())
}

/// A pattern for emails. One that matches no email would protect no user. An apostrophe within it is part of a name.
/// The name of a group, or a pattern of names.
pub(super) fn group_pattern(text: &str) -> Parsed<String> {
    let pattern = text.trim();
    match pattern.is_empty() || pattern.chars().any(char::is_control) {
        true => Err("the name of a group, or a pattern with * or ?".into()),
        false => Ok(pattern.into()),
    }
}

pub(super) fn email_pattern(text: &str) -> Parsed<String> {
    let pattern = text.trim();
    let has = |characters: &[char]| pattern.contains(characters);
    let is_quoted = pattern.starts_with(['\'', '`']) || pattern.ends_with(['\'', '`']);
    let expected = if has(&['<', '>']) {
        "an email or a pattern, without a name and angle brackets"
    } else if has(&['"', '“', '”', '„', '‘', '’', '‚', '«', '»']) || is_quoted {
        "an email or a pattern without quotes"
    } else if has(&[',', ';']) || pattern.contains(|c: char| c.is_whitespace() || c.is_control()) {
        "one email or pattern per item of the list, without blanks, commas and semicolons"
    } else if has(&['[', ']', '(', ')', ':', '\\']) {
        "an email or a pattern without brackets, colons and backslashes; the wildcards are * and ?"
    } else {
        return match pattern.split_once('@') {
            None if has(&['*', '?']) => Ok(pattern.into()),
            None => Err("an email, or a pattern with * or ? that can match one".into()),
            Some((_, domain)) if domain.contains('@') => {
                Err("an email or a pattern with one @".into())
            }
            Some(("", _)) => {
                Err("something before the @, such as *@example.com for a whole domain".into())
            }
            Some((_, "")) => Err("a domain after the @".into()),
            Some(_) => Ok(pattern.into()),
        };
    };
    Err(expected.into())
}

/// An address to listen on. `localhost` is the loopback address.
pub(super) fn address(text: &str) -> Parsed<SocketAddr> {
    let text = text.trim();
    let number = text.strip_prefix("localhost:");
    let port = number.and_then(|port| port.parse().ok());
    let local = port.map(|port: u16| (Ipv4Addr::LOCALHOST, port).into());
    let expected =
        "an IP address and a port, such as 127.0.0.1:8080, or 0.0.0.0:8080 for all interfaces";
    let address = local.or_else(|| text.parse().ok());
    address.ok_or_else(|| expected.into())
}

/// A host name as browsers send it. Any other text would never match.
pub(super) fn host(text: &str) -> Parsed<String> {
    let host = text.trim();
    let is_valid = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if host.is_empty() || !host.chars().all(is_valid) {
        return Err(
            "a host name such as sync.example.com or sync.example.com:8443, without scheme, path or \
             pattern"
                .into(),
        );
    }
    Ok(host.to_ascii_lowercase())
}

/// The name of a header in which a proxy names the user, in lower case. One with a secret would end up in the history,
/// and one of these is never a user.
pub(super) fn user_header(text: &str) -> Parsed<String> {
    const OTHERS: [&str; 5] = [
        "authorization",
        "proxy-authorization",
        "cookie",
        "host",
        "origin",
    ];
    let name = text.trim().to_ascii_lowercase();
    let is_valid = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if name.len() > 64 || !name.chars().all(is_valid) || OTHERS.contains(&&*name) {
        return Err(
            "the name of a header that carries a user name, such as X-Forwarded-User".into(),
        );
    }
    Ok(name)
}

pub(super) fn time_zone(text: &str) -> Parsed<Tz> {
    let text = text.trim();
    text.parse().map_err(|_| zone_hint(text))
}

/// What is expected instead of an unknown time zone.
fn zone_hint(text: &str) -> String {
    let form = "the name of a time zone, such as UTC or Europe/Madrid";
    if text.contains(['+', '-']) && text.contains(|c: char| c.is_ascii_digit()) {
        return format!("{form} (an offset has no daylight saving time)");
    }
    let city = |name: &str| {
        name.rsplit('/')
            .next()
            .unwrap_or_default()
            .replace('_', " ")
    };
    let own = city(text);
    let names = TZ_VARIANTS.iter().map(|zone| zone.name());
    let nearest = nearest_by(names, |name| {
        similarity(text, name).max(similarity(&own, &city(name)))
    });
    match nearest {
        Some(name) => format!("{form} (the nearest one is {name:?})"),
        None => form.into(),
    }
}
