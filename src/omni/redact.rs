//! What is told of an answer's body: one short line without a key in it. A server or a proxy may
//! send back the header that it was sent.

use crate::model::is_control_or_bidi;
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;

/// What stands where a key stood.
const REDACTED: &str = "[API key]";
/// The most characters that are told.
const MOST: usize = 200;
/// Of a body with more bytes nothing is told: to look for keys in it takes long, and to read it as JSON
/// many times its size.
const LONGEST: usize = 64 << 10;

/// Knows the keys, so that they can be taken out.
#[derive(Debug)]
pub(super) struct Redactor(Vec<Arc<SecretString>>);

impl Redactor {
    pub(super) fn new(keys: Vec<Arc<SecretString>>) -> Self {
        Self(keys)
    }

    /// What a body says: the `detail` of a SCIM error, the `message` of another one, else its first
    /// bytes.
    pub(super) fn detail_of(&self, body: &[u8]) -> String {
        if body.len() > LONGEST {
            return size_of(body);
        }
        let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
        let field = |name: &str| Some(json.as_ref()?.get(name)?.as_str()?.to_owned());
        let text = ["detail", "message", "error"].into_iter().find_map(field);
        match text {
            Some(text) => self.line(&text),
            None if body.is_empty() => "(no more said)".into(),
            None => self.first_bytes(body),
        }
    }

    /// The first bytes of a body that is not what it should be.
    pub(super) fn first_bytes(&self, body: &[u8]) -> String {
        match body {
            [] => "(empty)".into(),
            _ if body.len() > LONGEST => size_of(body),
            _ => format!("{:?}", self.line(&String::from_utf8_lossy(body))),
        }
    }

    /// A text on one line, without keys and what a terminal would obey. It is cut last, so that no piece of
    /// a key is left at the end.
    pub(super) fn line(&self, text: &str) -> String {
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let line: String = line.chars().filter(|c| !is_control_or_bidi(*c)).collect();
        let line = self.redact(&line);
        match line.char_indices().nth(MOST) {
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

    /// How many bytes of the text's beginning are a key; of several keys the longest.
    fn key_at(&self, text: &str) -> Option<usize> {
        self.0
            .iter()
            .filter_map(|key| spelled(key.expose_secret(), text))
            .max()
    }
}

fn size_of(body: &[u8]) -> String {
    format!(
        "(an answer of {} KiB, too long to be told)",
        body.len() >> 10
    )
}

/// How many bytes of the text's beginning spell the key: as it is, else with some of it escaped.
fn spelled(key: &str, text: &str) -> Option<usize> {
    if text.starts_with(key) {
        return Some(key.len());
    }
    key.chars().try_fold(0, |at, letter| {
        Some(at + spelled_letter(letter, &text[at..])?)
    })
}

/// The same for one letter: escaped as in JSON (`\u002f`, `\/`) or an address (`%2f`), or as it is.
fn spelled_letter(letter: char, text: &str) -> Option<usize> {
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
    fn takes_out_every_key_however_it_is_written() {
        let redactor = redactor(&["a/b+c\"d", "a/b", "omni_1"]);
        for (text, told) in [
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
            assert_eq!(redactor.line(text), told, "{text}");
        }
    }

    #[test]
    fn cuts_what_is_long_but_no_key() {
        let text = "x".repeat(MOST - 2) + "omni_1 and more";
        let told = redactor(&["omni_1"]).line(&text);
        assert_eq!(told, "x".repeat(MOST - 2) + "[A…");
    }

    #[test]
    fn tells_what_a_body_says() {
        let redactor = redactor(&[]);
        for (body, told) in [
            (r#"{"detail":"one","message":"two"}"#, "one"),
            (r#"{"message":" two\nlines "}"#, "two lines"),
            (r#"{"detail":7,"error":"three"}"#, "three"),
            ("<p>\n no JSON", r#""<p> no JSON""#),
            ("", "(no more said)"),
        ] {
            assert_eq!(redactor.detail_of(body.as_bytes()), told);
        }
        assert_eq!(redactor.first_bytes(b""), "(empty)");
        let long = "[0,".repeat(LONGEST);
        let told = "(an answer of 192 KiB, too long to be told)";
        assert_eq!(redactor.detail_of(long.as_bytes()), told);
        assert_eq!(redactor.first_bytes(long.as_bytes()), told);
    }
}
