//! Lints on single texts: what databases, web pages and wrong encodings leave in a cell.

use super::address::is_quoted_after_blank;
use super::lint::{Lint, Occurrences};
use crate::model::{ProblemKind, is_word_for_nothing, nfc, trim};
use encoding_rs::WINDOWS_1252;

/// A lint on the text of a cell.
pub(super) struct TextLint {
    pub(super) lint: Lint,
    /// Whether it is about a trimmed cell. Gets the whole cell if not.
    applies: fn(&str) -> bool,
}

/// The number of lints on texts.
pub(super) const COUNT: usize = TEXT_LINTS.len();

/// The lints on texts.
pub(super) const TEXT_LINTS: [TextLint; 8] = [
    TextLint {
        lint: Lint {
            kind: ProblemKind::WordForNothing,
            message: "is a word for 'no value', as databases and spreadsheets write it, and would be set as text",
            remedy: "leave the cell blank for no value",
        },
        applies: is_word_for_nothing,
    },
    TextLint {
        lint: Lint {
            kind: ProblemKind::DecodedTwice,
            message: "looks like UTF-8 that was read in another encoding ('Ã¼' for 'ü')",
            remedy: "export it again, and read it as UTF-8 wherever it is imported",
        },
        applies: is_decoded_twice,
    },
    TextLint {
        lint: Lint {
            kind: ProblemKind::LostCharacter,
            message: "contains a replacement character (U+FFFD): part of the text could not be decoded",
            remedy: "export it again in UTF-8, or type the text again",
        },
        applies: |cell| cell.contains('\u{fffd}'),
    },
    TextLint {
        lint: Lint {
            kind: ProblemKind::HtmlEntity,
            message: "contains an HTML entity, such as &amp; for &",
            remedy: "write the character itself",
        },
        applies: has_entity,
    },
    TextLint {
        lint: Lint {
            kind: ProblemKind::LineBreak,
            message: "contains a line break",
            remedy: "write the value on one line",
        },
        applies: |cell| trim(cell).contains(['\n', '\r']),
    },
    TextLint {
        lint: Lint {
            kind: ProblemKind::InvisibleCharacter,
            message: "contains an invisible character, such as a no-break space",
            remedy: "type the text again if it was copied from a web page or a document",
        },
        applies: |cell| has_invisible(trim(cell)),
    },
    TextLint {
        lint: Lint {
            kind: ProblemKind::Decomposed,
            message: "contains decomposed letters (a letter and an accent apart), which are sent composed (NFC)",
            remedy: "export it in composed form, so that other programs see equal texts as equal",
        },
        applies: |cell| nfc(cell) != cell,
    },
    TextLint {
        lint: Lint {
            kind: ProblemKind::Quote,
            message: "has a space before its quote, so the quotes are part of the value",
            remedy: "remove the space between the delimiter and the quote",
        },
        applies: is_quoted_after_blank,
    },
];

/// Adds the lints of a cell to the occurrences in its column.
pub(super) fn check(cell: &str, found: &mut [Occurrences; COUNT], line: u64) {
    for (one, found) in TEXT_LINTS.iter().zip(found) {
        if (one.applies)(cell) {
            found.add(line);
        }
    }
}

/// Whether a cell may have any of these lints, by its first byte or by [`has_marks`]. Nearly all cells have none.
pub(super) fn may_apply(cell: &str, has_marks: bool) -> bool {
    let first = cell.as_bytes().first();
    has_marks
        || first.is_some_and(|byte| {
            matches!(
                byte,
                b' ' | b'\t' | b'n' | b'u' | b'(' | b'<' | b'\\' | b'-' | b'#' | b'N' | b'U'
            )
        })
}

/// Whether a text, such as a whole row, contains a character by which a lint may apply anywhere in a cell.
pub(super) fn has_marks(text: &str) -> bool {
    !text.is_ascii() || memchr::memchr3(b'&', b'\n', b'\r', text.as_bytes()).is_some()
}

/// Whether a text is UTF-8 that was decoded as windows-1252: encoding it again yields UTF-8.
fn is_decoded_twice(text: &str) -> bool {
    if text.is_ascii() {
        return false;
    }
    let (bytes, _, has_errors) = WINDOWS_1252.encode(text);
    !has_errors && std::str::from_utf8(&bytes).is_ok()
}

/// Whether a text contains a named or numeric HTML entity.
fn has_entity(text: &str) -> bool {
    const NAMES: [&str; 6] = ["amp", "lt", "gt", "quot", "apos", "nbsp"];
    let is_numeric = |code: &str| {
        let digits = code.strip_prefix('#')?;
        let hex = digits.strip_prefix(['x', 'X']);
        let is_digit = |c: char| c.is_ascii_digit() || (hex.is_some() && c.is_ascii_hexdigit());
        let digits = hex.unwrap_or(digits);
        Some(!digits.is_empty() && digits.chars().all(is_digit))
    };
    let mut parts = text.split('&').skip(1);
    parts.any(|part| {
        let code = part.split_once(';').map(|(code, _)| code);
        code.is_some_and(|code| NAMES.contains(&code) || is_numeric(code) == Some(true))
    })
}

/// Whether a text contains an invisible character that is probably not intended. Joiners join
/// emoji and the letters of some scripts, and are not intended after ASCII characters.
fn has_invisible(text: &str) -> bool {
    if text.is_ascii() {
        return false;
    }
    let mut before = ' ';
    text.chars().any(|c| {
        let is_unintended = match c {
            '\u{a0}'
            | '\u{ad}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202f}'
            | '\u{2060}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}' => true,
            '\u{200c}' | '\u{200d}' => before.is_ascii(),
            _ => false,
        };
        before = c;
        is_unintended
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joiners_are_allowed_between_joined_characters() {
        for text in ["👩\u{200d}💻", "می\u{200c}خواهم", "né", "“a”"] {
            assert!(!has_invisible(text), "{text}");
        }
        for text in [
            "a\u{200b}b",
            "a\u{a0}b",
            "a\u{200d}b",
            "a\u{feff}b",
            "\u{200f}אb",
        ] {
            assert!(has_invisible(text), "{text:?}");
        }
    }

    #[test]
    fn recognises_text_that_was_decoded_twice() {
        for text in ["MÃ¼ller", "JosÃ©", "â‚¬ 5", "Zoâ€™s"] {
            assert!(is_decoded_twice(text), "{text}");
        }
        for text in ["Müller", "José", "€ 5", "Ã", "São Paulo", "東京", "Muller"] {
            assert!(!is_decoded_twice(text), "{text}");
        }
    }

    #[test]
    fn recognises_html_entities() {
        for text in ["R&amp;D", "&#39;", "&#x27;a", "a &lt; b"] {
            assert!(has_entity(text), "{text}");
        }
        for text in ["R&D", "a & b; c", "&;", "&#;", "&#xg;", "AT&T;"] {
            assert!(!has_entity(text), "{text}");
        }
    }

    #[test]
    fn every_lint_passes_the_first_check() {
        for cell in [
            "NULL",
            "undefined",
            "-",
            "(null)",
            "\\N",
            "#N/A",
            "—",
            "a\nb",
            "a&amp;b",
            "Ã¼",
            " \"a\"",
        ] {
            assert!(may_apply(cell, has_marks(cell)), "{cell}");
        }
    }
}
