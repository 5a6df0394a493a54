//! The email cell: exactly one address, or the addresses that are probably meant.
//!
//! Junk around an address (`mailto:`, brackets, quotes, display text, trailing punctuation) makes a bad
//! row. The user that the row is probably about is frozen, since nothing may be guessed.

use super::text::{Issue, quoted};
use crate::model::{
    Email, EmailError, PERCENT_ENCODED, ProblemKind, is_blank, is_invisible, nfc, trim,
};

/// The maximum number of addresses that a problem names.
const MAX_NAMED: usize = 3;

/// Other spellings of characters, as in web pages and as people write them, and their plain forms.
const SPELLED: [(&str, &str); 7] = [
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&quot;", "\""),
    ("&#64;", "@"),
    ("(at)", "@"),
    ("[at]", "@"),
    (" at ", "@"),
];

/// The problem of a cell that is not exactly one address, and the addresses that it probably means.
pub(super) fn problem(cell: &str, error: EmailError) -> (Issue, Vec<Email>) {
    let meant = meant(cell);
    let issue = Issue::new(message(cell, error), remedy(cell, &meant)).kind(ProblemKind::Email);
    (issue, meant)
}

/// The problem of a cell in another file than the roster. `form` says what the cell may be.
pub(super) fn issue(cell: &str, error: EmailError, form: &str) -> Issue {
    let remedy = match meant(cell).first() {
        Some(meant) => format!("write only the address, such as {}", quoted(meant.as_str())),
        None => form.to_owned(),
    };
    Issue::new(message(cell, error), remedy).kind(ProblemKind::Email)
}

fn message(cell: &str, error: EmailError) -> String {
    match trim(cell) {
        "" => error.to_string(),
        text => format!("{}: {error}", quoted(text)),
    }
}

fn remedy(cell: &str, meant: &[Email]) -> String {
    let has_hidden = trim(cell).chars().any(|c| c != ' ' && is_invisible(c));
    let what = if cell.matches('@').count() > 1 && meant.len() > 1 {
        "write one row per address"
    } else if is_quoted_after_blank(cell) && !meant.is_empty() {
        "remove the space before the quote, which makes the quotes part of the cell"
    } else if has_hidden {
        "it contains an invisible character; type the address again"
    } else if meant.is_empty() {
        "write one email address"
    } else {
        "write only the address"
    };
    match meant {
        [] => what.into(),
        [one] => format!(
            "{what}; until the row is corrected, {} is frozen",
            quoted(one.as_str())
        ),
        several => {
            let names = several.iter().take(MAX_NAMED);
            let names: Vec<_> = names.map(|one| quoted(one.as_str())).collect();
            format!(
                "{what}; frozen until the row is corrected: {}",
                names.join(", ")
            )
        }
    }
}

/// Whether a cell has a blank before its quote, which is text then: quotes only count at the start.
pub(super) fn is_quoted_after_blank(cell: &str) -> bool {
    cell.starts_with(is_blank) && trim(cell).starts_with('"')
}

/// The addresses that a text with other characters in it may mean, the likeliest first.
pub(super) fn meant(text: &str) -> Vec<Email> {
    let text = plain(text);
    let mut found = Vec::new();
    if text.matches('@').count() == 1 {
        let joined: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        find(&text.replace(',', "."), &mut found);
        find(&text, &mut found);
        find(&joined, &mut found);
    } else {
        find(&text, &mut found);
    }
    found
}

/// All addresses in a text of several cells or lines, as far as they can be made out.
pub(super) fn all_in(text: &str, delimiter: u8) -> impl Iterator<Item = Email> {
    let delimiter = char::from(delimiter);
    text.split([delimiter, '\n', '\r']).flat_map(|part| {
        let known = Email::known(unquoted(part)).ok();
        let mut meant = meant(part);
        meant.retain(|email| Some(email) != known.as_ref());
        known.into_iter().chain(meant)
    })
}

/// A part of a line without surrounding blanks and quotes.
pub(super) fn unquoted(piece: &str) -> &str {
    trim(piece).trim_matches('"')
}

/// The text decoded, with composed letters, and without invisible characters and repeated marks.
fn plain(text: &str) -> String {
    let shown = text
        .chars()
        .filter(|c| c.is_whitespace() || !is_invisible(*c));
    let shown: String = shown.map(|c| if c == '＠' { '@' } else { c }).collect();
    let mut text = nfc(&shown).into_owned();
    for (encoded, plain) in PERCENT_ENCODED.into_iter().chain(SPELLED) {
        let small = encoded.to_ascii_lowercase();
        text = text.replace(encoded, plain).replace(&small, plain);
    }
    for repeated in ["@@", ".."] {
        while text.contains(repeated) {
            text = text.replace(repeated, &repeated[1..]);
        }
    }
    text
}

/// Finds the address around each `@`, whole and from its last mark on.
fn find(text: &str, found: &mut Vec<Email>) {
    for (at, _) in text.match_indices('@') {
        let (before, after) = (&text[..at], &text[at + 1..]);
        let start = before.rfind(|c| !is_local(c));
        let local = &before[start.map_or(0, |at| at + width(before, at))..];
        let end = after.find(|c: char| !(is_letter(c) || c == '-' || c == '.'));
        let domain = after[..end.unwrap_or(after.len())].trim_matches(['.', '-']);
        let local = local.trim_start_matches(|c| !is_letter(c) && c != '_');
        let local = local.trim_end_matches(['.', '\'', '`']);
        let short = local
            .rsplit(|c| !is_letter(c) && !".+-_'".contains(c))
            .next();
        for local in [Some(local), short].into_iter().flatten() {
            if let Ok(email) = Email::parse(&format!("{local}@{domain}"))
                && !found.contains(&email)
            {
                found.push(email);
            }
        }
    }
}

fn width(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(0, char::len_utf8)
}

fn is_letter(c: char) -> bool {
    c.is_alphanumeric() || (!c.is_ascii() && unicode_normalization::char::is_combining_mark(c))
}

fn is_local(c: char) -> bool {
    is_letter(c) || "!#$%&'*+-/=?^_`{|}~.".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str) -> Option<String> {
        Some(meant(text).first()?.to_string())
    }

    #[test]
    fn finds_the_meant_address() {
        for text in [
            "mailto:ann@x.co",
            "MAILTO:ann@x.co?subject=hi",
            "mailto%3Aann%40x.co",
            "smtp:ann@x.co",
            "<ann@x.co>",
            "Ann Example <ann@x.co>",
            "\"Ann\" <ann@x.co>",
            "ann@x.co (Ann)",
            "\"ann@x.co\"",
            "'ann@x.co'",
            "“ann@x.co”",
            "«ann@x.co»",
            "`ann@x.co`",
            "(ann@x.co)",
            "[ann@x.co]",
            "{ann@x.co}",
            "ann@x.co,",
            "ann@x.co;",
            "ann@x.co.",
            "ann@x.co...",
            ",ann@x.co",
            ".ann@x.co",
            "ann.@x.co",
            "ann@.x.co",
            "ann@x..co",
            "ann@@x.co",
            "ann @x.co",
            "ann@ x.co",
            "ann@x,co",
            "ann＠x.co",
            "ann(at)x.co",
            "ann at x.co",
            "&lt;ann@x.co&gt;",
            "a\u{200b}nn@x.co",
            "ann\u{ad}@x.co",
            "i:0#.f|membership|ann@x.co",
            "<a href=\"mailto:ann@x.co\">",
            "ann@x.co/",
            "=ann@x.co",
            "\u{202a}ann@x.co\u{202c}",
            "user=ann@x.co",
            "ann@x.co\tx",
        ] {
            let meant = meant(text);
            assert!(
                meant.iter().any(|email| email.as_str() == "ann@x.co"),
                "{text}: {meant:?}"
            );
        }
        assert_eq!(first("\u{212a}im@x.co").as_deref(), Some("Kim@x.co"));
        for text in ["", "ann", "ann@", "@x.co", "ann@localhost", "@", "a@b@"] {
            assert_eq!(first(text), None, "{text}");
        }
    }

    #[test]
    fn finds_several_addresses() {
        for text in ["a@x.co;b@x.co", "a@x.co b@x.co", "A <a@x.co>, B <b@x.co>"] {
            let meant = meant(text);
            for one in ["a@x.co", "b@x.co"] {
                assert!(
                    meant.iter().any(|email| email.as_str() == one),
                    "{text}: {meant:?}"
                );
            }
        }
    }
}
