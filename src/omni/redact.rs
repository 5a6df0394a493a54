//! Excerpts of response bodies: one short line without keys. A server or a proxy may echo the header
//! that it received.

use crate::model::is_control_or_bidi;
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;

/// The replacement of a key.
const REDACTED: &str = "[API key]";
/// The length limit of an excerpt, in characters.
const MAX_CHARS: usize = 200;
/// The size limit of a body to quote, in bytes: searching it for keys takes long, and parsing it as
/// JSON takes many times its size.
const MAX_BODY: usize = 64 << 10;

/// What to say of a body that is a page.
pub(super) const HTML: &str = "HTML instead of JSON (a proxy or a login page?)";

/// Whether a body is a page for people.
pub(super) fn is_html(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

/// Removes these keys from texts.
#[derive(Debug)]
pub(super) struct Redactor(Vec<Arc<SecretString>>);

impl Redactor {
    pub(super) fn new(keys: Vec<Arc<SecretString>>) -> Self {
        Self(keys)
    }

    /// The message in an error's body: the `detail` of a SCIM error, the `message` or `error` of
    /// another one, else its first bytes. Empty for an empty body.
    pub(super) fn detail_of(&self, body: &[u8]) -> String {
        if body.len() > MAX_BODY {
            return size_of(body);
        }
        let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
        let field = |name: &str| Some(json.as_ref()?.get(name)?.as_str()?.to_owned());
        let text = ["detail", "message", "error"].into_iter().find_map(field);
        match text {
            Some(text) => self.line(&text),
            None if body.is_empty() => String::new(),
            None if is_html(body) => format!("{HTML}; it starts with {}", self.first_bytes(body)),
            None => self.first_bytes(body),
        }
    }

    /// The first bytes of an invalid body.
    pub(super) fn first_bytes(&self, body: &[u8]) -> String {
        match body {
            [] => "(empty)".into(),
            _ if body.len() > MAX_BODY => size_of(body),
            _ => format!("{:?}", self.line(&String::from_utf8_lossy(body))),
        }
    }

    /// A text on one line, without keys and control characters. It is truncated last, so that no part
    /// of a key remains at the end.
    pub(super) fn line(&self, text: &str) -> String {
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let line: String = line.chars().filter(|c| !is_control_or_bidi(*c)).collect();
        let line = self.redact(&line);
        match line.char_indices().nth(MAX_CHARS) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }

    fn redact(&self, text: &str) -> String {
        let mut kept = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let length = match self.key_at(rest) {
                Some(length) => {
                    kept.push_str(REDACTED);
                    length
                }
                None => {
                    kept.push(first);
                    first.len_utf8()
                }
            };
            rest = &rest[length..];
        }
        kept
    }

    /// The length of the longest key that the text starts with, in bytes.
    fn key_at(&self, text: &str) -> Option<usize> {
        self.0
            .iter()
            .filter_map(|key| match_key(key.expose_secret(), text))
            .max()
    }
}

fn size_of(body: &[u8]) -> String {
    format!("({} KiB, too long to quote)", body.len() >> 10)
}

/// The length of the key at the start of the text, in bytes: verbatim, or partly escaped.
fn match_key(key: &str, text: &str) -> Option<usize> {
    if text.starts_with(key) {
        return Some(key.len());
    }
    key.chars()
        .try_fold(0, |at, letter| Some(at + match_char(letter, &text[at..])?))
}

/// The same for one character: escaped as in JSON (`\u002f`, `\/`) or a URL (`%2f`), or verbatim.
fn match_char(letter: char, text: &str) -> Option<usize> {
    let numbered = |escape: &str, digits: usize| {
        let number = text.strip_prefix(escape)?.get(..digits)?;
        let same = u32::from_str_radix(number, 16).ok()? == u32::from(letter);
        same.then_some(escape.len() + digits)
    };
    let written = |escape: &str| {
        let same = text.strip_prefix(escape)?.starts_with(letter);
        same.then_some(escape.len() + letter.len_utf8())
    };
    numbered("\\u", 4)
        .or_else(|| numbered("%", 2))
        .or_else(|| written("\\"))
        .or_else(|| written(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(keys: &[&str]) -> Redactor {
        let secret = |key: &&str| Arc::new(SecretString::from(*key));
        Redactor::new(keys.iter().map(secret).collect())
    }

    #[test]
    fn keys_are_removed_in_any_spelling() {
        let redactor = redactor(&["a/b+c\"d", "a/b", "omni_1"]);
        for (text, redacted) in [
            ("Bearer a/b+c\"d.", "Bearer [API key]."),
            (r#"a\/b+c\"d"#, "[API key]"),
            (r"\u0061\u002F\u0062", "[API key]"),
            ("?k=a%2Fb%2bc%22d&x=omni_1", "?k=[API key]&x=[API key]"),
            ("a/ba/b", "[API key][API key]"),
            ("omni_ 1", "omni_ 1"),
            ("ä\\u00", "ä\\u00"),
            (r"\u0061\/b", "[API key]"),
            ("omni\u{0}_1\n", "[API key]"),
        ] {
            assert_eq!(redactor.line(text), redacted, "{text}");
        }
    }

    #[test]
    fn truncated_text_contains_no_partial_key() {
        let text = "x".repeat(MAX_CHARS - 2) + "omni_1 and more";
        let line = redactor(&["omni_1"]).line(&text);
        assert_eq!(line, "x".repeat(MAX_CHARS - 2) + "[A…");
    }

    #[test]
    fn finds_the_message_of_a_body() {
        let redactor = redactor(&[]);
        for (body, message) in [
            (r#"{"detail":"one","message":"two"}"#, "one"),
            (r#"{"message":" two\nlines "}"#, "two lines"),
            (r#"{"detail":7,"error":"three"}"#, "three"),
            ("no\n JSON", r#""no JSON""#),
            (
                "<p>\n no JSON",
                r#"HTML instead of JSON (a proxy or a login page?); it starts with "<p> no JSON""#,
            ),
            ("", ""),
        ] {
            assert_eq!(redactor.detail_of(body.as_bytes()), message);
        }
        assert_eq!(redactor.first_bytes(b""), "(empty)");
        let long = "[0,".repeat(MAX_BODY);
        let size = "(192 KiB, too long to quote)";
        assert_eq!(redactor.detail_of(long.as_bytes()), size);
        assert_eq!(redactor.first_bytes(long.as_bytes()), size);
    }
}
