//! Texts of users: their storage, trimming and escaping.

use super::Email;
use foldhash::fast::RandomState;
use indexmap::IndexMap;
use std::fmt::{self, Write};

/// A text of a user. Short texts are stored inline and copies of long ones are shared, since an
/// organisation has millions of texts.
pub type Text = smol_str::SmolStr;

/// A map by user, in insertion order. Each map has its own hash seed, so that a roster can't be
/// crafted to cause collisions.
pub type ByEmail<T> = IndexMap<Email, T, RandomState>;

/// The text without leading and trailing blanks.
#[must_use]
pub fn trim(text: &str) -> &str {
    // Fast path: nearly all texts are trimmed already and start and end with ASCII.
    match text.as_bytes() {
        [] => text,
        [one] if one.is_ascii_graphic() => text,
        [first, .., last] if first.is_ascii_graphic() && last.is_ascii_graphic() => text,
        _ => text.trim_matches(is_blank),
    }
}

/// Whether a character is white space, or invisible: zero-width space and joiners, word joiner, byte
/// order mark.
#[must_use]
pub fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
}

/// What databases, programs and spreadsheets write for "no value", in lower case.
const WORDS_FOR_NOTHING: [&str; 21] = [
    "null",
    "(null)",
    "<null>",
    "\\n",
    "nil",
    "none",
    "nan",
    "n/a",
    "undefined",
    "-",
    "--",
    "–",
    "—",
    "#n/a",
    "#nv",
    "#null!",
    "#ref!",
    "#value!",
    "#name?",
    "#num!",
    "#div/0!",
];

/// Whether a value is a word for "no value", such as `NULL`, `N/A` or `-`. In a roster it is probably not
/// intended.
#[must_use]
pub fn is_word_for_nothing(text: &str) -> bool {
    const MAX_LENGTH: usize = 9;
    let text = trim(text);
    text.len() <= MAX_LENGTH
        && WORDS_FOR_NOTHING
            .iter()
            .any(|word| word.eq_ignore_ascii_case(text))
}

/// A text from outside for display, with control characters escaped.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| {
            if is_control_or_bidi(c) {
                write!(f, "{}", c.escape_unicode())
            } else {
                f.write_char(c)
            }
        })
    }
}

/// Whether a character acts on a terminal or a page instead of being shown.
#[must_use]
pub fn is_control_or_bidi(c: char) -> bool {
    c.is_control() || is_direction_mark(c)
}

/// Whether a character changes the direction in which a line is shown.
fn is_direction_mark(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_words_for_nothing() {
        for word in [
            "NULL", "N/A", "#N/A", "None", "nan", "-", " null ", "—", "#NV",
        ] {
            assert!(is_word_for_nothing(word), "{word}");
        }
        for word in WORDS_FOR_NOTHING {
            assert!(is_word_for_nothing(word), "{word} is too long");
        }
        for value in ["", "0", "Nancy", "n/ab", "nullable", "a-b"] {
            assert!(!is_word_for_nothing(value), "{value}");
        }
    }
}
