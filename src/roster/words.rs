//! Words for people: what is wrong with a piece of the roster, safely quoted, and the name that
//! was probably meant.

use crate::model::{Location, Problem, ProblemKind};

/// The most characters of a cell that a message shows.
const SHOWN: usize = 60;
/// Names longer than this are no misspelling of anything, and comparing them takes time.
const COMPARED: usize = 100;

/// What is wrong and what to do about it, before it is known where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Issue {
    pub(super) kind: ProblemKind,
    pub(super) what: String,
    pub(super) remedy: String,
}

impl Issue {
    pub(super) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            kind: ProblemKind::File,
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    pub(super) fn kind(self, kind: ProblemKind) -> Self {
        Self { kind, ..self }
    }

    pub(super) fn at(self, place: Location) -> Problem {
        Problem {
            kind: self.kind,
            place,
            what: self.what,
            remedy: self.remedy,
            email: None,
        }
    }
}

/// A text from the roster in quotes, shortened, on one line, with nothing in it that a terminal
/// would obey.
pub(super) fn shown(text: &str) -> String {
    format!("'{}'", label(text))
}

/// The same without the quotes.
pub(super) fn label(text: &str) -> String {
    let mut label = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == SHOWN {
            label.push('…');
            break;
        }
        push_visible(&mut label, c);
    }
    label
}

/// A file's name on one line, whole.
pub(super) fn shown_name(name: &std::ffi::OsStr) -> String {
    let mut visible = String::new();
    for c in name.to_string_lossy().chars() {
        push_visible(&mut visible, c);
    }
    visible
}

pub(super) fn push_visible(text: &mut String, c: char) {
    // `escape_debug` escapes what can't be seen, and also quotes, which can.
    match c {
        '\'' | '"' | '\\' => text.push(c),
        '\u{200e}' | '\u{200f}' => text.extend(c.escape_unicode()),
        _ => text.extend(c.escape_debug()),
    }
}

/// The candidate most like `name`, if any is like it at all.
pub(super) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    if name.len() > COMPARED {
        return None;
    }
    let name = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let likeness = strsim::jaro_winkler(&name, &candidate.to_lowercase());
            (candidate, likeness)
        })
        .filter(|(_, likeness)| *likeness > 0.75)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(candidate, _)| candidate)
}

/// ` (did you mean 'x'?)` for the end of a clause.
pub(super) fn did_you_mean(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!(" (did you mean {}?)", shown(name)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_text_on_one_line_shortened_and_harmless() {
        assert_eq!(shown("it's \"é\""), "'it's \"é\"'");
        assert_eq!(
            shown("a\r\nb\u{1b}[2J\u{202e}c"),
            r"'a\r\nb\u{1b}[2J\u{202e}c'"
        );
        assert_eq!(shown(&"x".repeat(1000)).chars().count(), SHOWN + 3);
    }

    #[test]
    fn finds_what_was_meant() {
        let ops = ["upsert", "delete", "deactivate"];
        assert_eq!(nearest("Delet", ops), Some("delete"));
        assert_eq!(nearest("qqq", ops), None);
        assert_eq!(nearest(&"delete".repeat(1000), ops), None);
    }
}
