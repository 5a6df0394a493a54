//! Texts of users: short ones in place, trimmed, and shown so that a terminal obeys nothing in them.

use super::Email;
use foldhash::fast::RandomState;
use indexmap::IndexMap;
use std::fmt::{self, Write};

/// A text of a user. Short ones lie in place and copies of long ones are shared: an organisation
/// has millions of them.
pub type Text = smol_str::SmolStr;

/// Something of each user, in the order in which it came. Each map hashes with a seed of its own,
/// so that no roster can be made to collide.
pub type ByEmail<T> = IndexMap<Email, T, RandomState>;

/// A text without blanks at its edges.
#[must_use]
pub fn trim(text: &str) -> &str {
    // Nearly all texts are trimmed already, and the edges of most tell so by one byte.
    match text.as_bytes() {
        [] => text,
        [one] if one.is_ascii_graphic() => text,
        [first, .., last] if first.is_ascii_graphic() && last.is_ascii_graphic() => text,
        _ => text.trim_matches(is_blank),
    }
}

/// White space of any kind, and the marks that no one sees: zero-width space and joiners, word
/// joiner, byte order mark.
#[must_use]
pub fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
}

/// A text of somebody else's as a person reads it: with nothing in it that a terminal would obey.
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

/// Whether a terminal or a page does something at a character, instead of showing it.
#[must_use]
pub fn is_control_or_bidi(c: char) -> bool {
    c.is_control() || is_direction_mark(c)
}

/// Marks that make a terminal or a page show a line in another order than it was written.
fn is_direction_mark(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}
