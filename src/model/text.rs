//! Texts of users: their storage, trimming and escaping.

use super::Email;
use foldhash::fast::RandomState;
use indexmap::IndexMap;
use std::borrow::Cow;
use std::fmt::{self, Write};
use unicode_normalization::{UnicodeNormalization, is_nfc};

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

/// The text with composed letters (NFC), the form in which texts are sent.
#[must_use]
pub fn nfc(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfc(text) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.nfc().collect())
    }
}

/// Whether two texts are equal, whether their letters are composed or decomposed.
#[must_use]
pub fn same_text(a: &str, b: &str) -> bool {
    a == b || (!(a.is_ascii() && b.is_ascii()) && nfc(a) == nfc(b))
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

/// Whether a character is not shown, in any script: Unicode's default ignorable characters, and the
/// replacement of an undecodable byte.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    is_control_or_bidi(c)
        || is_blank(c)
        || matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}'
                | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffd}' | '\u{e0000}'..='\u{e0fff}'
        )
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
