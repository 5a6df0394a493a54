//! Texts of messages: issues, and quoted parts of the roster that are safe to print.

use crate::model::{Location, Problem, ProblemKind};

/// The maximum number of characters of a cell in a message.
const MAX_SHOWN: usize = 60;

/// A problem without its location: cause and remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issue {
    pub(super) kind: ProblemKind,
    pub(super) message: String,
    pub(super) remedy: String,
}

impl Issue {
    pub(crate) fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            kind: ProblemKind::File,
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn kind(self, kind: ProblemKind) -> Self {
        Self { kind, ..self }
    }

    pub(crate) fn at(self, location: Location) -> Problem {
        Problem {
            kind: self.kind,
            location,
            message: self.message,
            remedy: self.remedy,
            email: None,
        }
    }
}

/// A text from the roster in quotes: truncated, on one line, and without characters that act on a
/// terminal.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", truncated(text))
}

/// The same without the quotes.
pub(super) fn truncated(text: &str) -> String {
    let mut truncated = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == MAX_SHOWN {
            truncated.push('…');
            break;
        }
        push_visible(&mut truncated, c);
    }
    truncated
}

/// A file name on one line, not truncated.
pub(super) fn visible_name(name: &std::ffi::OsStr) -> String {
    let mut visible = String::new();
    for c in name.to_string_lossy().chars() {
        push_visible(&mut visible, c);
    }
    visible
}

/// Appends a character, escaped if it is invisible.
pub(super) fn push_visible(text: &mut String, c: char) {
    // `escape_debug` escapes invisible characters, and also quotes and backslashes.
    match c {
        '\'' | '"' | '\\' => text.push(c),
        '\u{200e}' | '\u{200f}' => text.extend(c.escape_unicode()),
        _ => text.extend(c.escape_debug()),
    }
}

/// ` (did you mean 'x'?)`, to append to a clause.
pub(crate) fn did_you_mean(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!(" (did you mean {}?)", quoted(name)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_text_on_one_line_truncated_and_escaped() {
        assert_eq!(quoted("it's \"é\""), "'it's \"é\"'");
        assert_eq!(
            quoted("a\r\nb\u{1b}[2J\u{202e}c"),
            r"'a\r\nb\u{1b}[2J\u{202e}c'"
        );
        assert_eq!(quoted(&"x".repeat(1000)).chars().count(), MAX_SHOWN + 3);
    }
}
