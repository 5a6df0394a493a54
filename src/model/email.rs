//! Email addresses, compared without case.

use email_address::{EmailAddress, Options};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use unicode_normalization::char::is_combining_mark;

/// An email address as written. Equality, order and hash ignore case: Omni does not document how it
/// treats case, and two users whose addresses differ only in case must not be created.
#[derive(Clone)]
pub struct Email(Arc<str>);

/// The reason why a text is not an email address. `Display` is a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    /// The text is blank.
    #[error("the email is blank")]
    Blank,
    /// The text contains whitespace or a character that is not shown.
    #[error("an email can't contain spaces, control characters or invisible characters")]
    InvalidCharacter,
    /// The text contains a character that is shown like an ASCII character and is another one.
    #[error(
        "an email can't contain a character that only looks like an ASCII one (U+212A, U+037E, U+1FEF)"
    )]
    LookAlike,
    /// The text does not have exactly one `@` between two parts.
    #[error("an email has the form local@domain, with one @")]
    InvalidForm,
    /// The domain has no dot.
    #[error("the domain of an email must have a dot")]
    NoDot,
    /// The text has the parts of an address and other characters.
    #[error("not exactly one email address (RFC 5321)")]
    Malformed,
    /// The text is longer than an address can be.
    #[error("an email has at most {} bytes", Email::MAX)]
    TooLong,
}

impl Email {
    /// The maximum number of bytes of an address (RFC 5321).
    pub const MAX: usize = 254;
    /// The maximum number of characters of an address that exists.
    const MAX_KNOWN: usize = 320;

    /// Parses an address by the rule for new users, without leading and trailing whitespace. Its letters
    /// are composed (NFC).
    ///
    /// # Errors
    /// Fails if the text is not exactly one address.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let text = super::trim(text);
        match is_usual(text) {
            true => Ok(Self(text.into())),
            false => Self::parse_unusual(text),
        }
    }

    /// Parses a trimmed address of any form.
    fn parse_unusual(text: &str) -> Result<Self, EmailError> {
        let known = Self::known(text)?;
        if text.is_ascii() {
            check_form(text)?;
            return Ok(known);
        }
        if text.chars().any(super::is_invisible) {
            return Err(EmailError::InvalidCharacter);
        }
        if text.chars().any(is_look_alike) {
            return Err(EmailError::LookAlike);
        }
        let composed = super::nfc(text);
        check_form(&composed)?;
        Ok(Self(composed.into()))
    }

    /// Takes an address that exists, in Omni or in the state database. It may break the rule for new
    /// users, and is kept letter for letter.
    ///
    /// # Errors
    /// Fails if the text does not have the form of an address, or can't be shown safely.
    pub fn known(text: &str) -> Result<Self, EmailError> {
        let text = super::trim(text);
        if text.is_empty() {
            return Err(EmailError::Blank);
        }
        if text.len() > Self::MAX_KNOWN && text.chars().count() > Self::MAX_KNOWN {
            return Err(EmailError::TooLong);
        }
        let is_unsafe = |c| super::is_control_or_bidi(c) || super::is_blank(c);
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) && text.chars().any(is_unsafe) {
            return Err(EmailError::InvalidCharacter);
        }
        match text.split_once('@') {
            Some((local, domain))
                if !local.is_empty() && !domain.is_empty() && !domain.contains('@') =>
            {
                Ok(Self(text.into()))
            }
            _ => Err(EmailError::InvalidForm),
        }
    }

    /// An address from the state database, which may be older than the present rules.
    pub(crate) fn stored(text: &str) -> Result<Self, EmailError> {
        match Self::known(text) {
            Err(EmailError::InvalidCharacter | EmailError::TooLong) => Ok(Self(text.into())),
            read => read,
        }
    }

    /// The address as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A digest of the address, the same for equal addresses.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        *blake3::hash(self.folded().as_bytes()).as_bytes()
    }

    /// The address in lower case, which is the same for equal addresses.
    #[must_use]
    pub fn folded(&self) -> Cow<'_, str> {
        fold(&self.0)
    }
}

/// Whether a text is an address of ASCII letters, digits, `-`, `_` and `+` between dots, as nearly all are.
/// [`Email::parse_unusual`] accepts each of them too, and takes several times as long.
fn is_usual(text: &str) -> bool {
    const MAX_LOCAL: usize = 64;
    const MAX_LABEL: usize = 63;
    let is_dot = |byte: &u8| *byte == b'.';
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    let is_atom = |atom: &[u8]| {
        let is_allowed = |byte: &u8| is_word(byte) || matches!(byte, b'_' | b'+');
        !atom.is_empty() && atom.iter().all(is_allowed)
    };
    let is_label = |label: &[u8]| {
        let has_hyphen_outside = label.starts_with(b"-") || label.ends_with(b"-");
        let has_length = (1..=MAX_LABEL).contains(&label.len());
        has_length && !has_hyphen_outside && label.iter().all(is_word)
    };
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    let (local, domain) = (local.as_bytes(), domain.as_bytes());
    text.len() <= Email::MAX
        && local.len() <= MAX_LOCAL
        && domain.contains(&b'.')
        && local.split(is_dot).all(is_atom)
        && domain.split(is_dot).all(is_label)
}

/// Checks an address with one `@`, without invisible characters, by RFC 5321. Characters that junk around
/// an address leaves at its edges, and encoded ones, are refused although the RFC allows them.
fn check_form(address: &str) -> Result<(), EmailError> {
    const RULE: Options = Options {
        minimum_sub_domains: 2,
        allow_domain_literal: false,
        allow_display_text: false,
        allow_long_local_parts: false,
    };
    let (local, domain) = address.split_once('@').ok_or(EmailError::InvalidForm)?;
    if address.len() > Email::MAX {
        return Err(EmailError::TooLong);
    }
    if !domain.contains('.') {
        return Err(EmailError::NoDot);
    }
    let is_letter = |c: char| c.is_ascii() || c.is_alphanumeric() || is_combining_mark(c);
    let is_plain = !local.starts_with(['"', '\'', '`'])
        && !local.ends_with(['\'', '`'])
        && !has_encoded(local)
        && address.chars().all(is_letter);
    match EmailAddress::parse_with_options(address, RULE) {
        Ok(_) if is_plain => Ok(()),
        _ => Err(EmailError::Malformed),
    }
}

/// Encoded characters, as in links, and their plain forms.
pub const PERCENT_ENCODED: [(&str, &str); 7] = [
    ("%40", "@"),
    ("%20", " "),
    ("%22", "\""),
    ("%27", "'"),
    ("%3A", ":"),
    ("%3C", "<"),
    ("%3E", ">"),
];

/// Whether a text contains an encoded character that an address can't contain.
fn has_encoded(text: &str) -> bool {
    let contains = |code: &str| {
        let starts = |rest: &str| {
            rest.get(..code.len())
                .is_some_and(|it| it.eq_ignore_ascii_case(code))
        };
        text.match_indices('%').any(|(at, _)| starts(&text[at..]))
    };
    text.contains('%') && PERCENT_ENCODED.iter().any(|(code, _)| contains(code))
}

/// Whether a character is not ASCII and its composed form (NFC) is.
fn is_look_alike(c: char) -> bool {
    matches!(c, '\u{37e}' | '\u{1fef}' | '\u{212a}')
}

/// A text in lower case and with composed letters, as addresses are compared: letter by letter, with a
/// final sigma like any sigma. A character that is not ASCII never equals an ASCII one.
#[must_use]
pub fn fold(text: &str) -> Cow<'_, str> {
    let is_small = |byte: u8| byte.is_ascii() & !byte.is_ascii_uppercase();
    if text.bytes().fold(true, |all, byte| all & is_small(byte)) {
        return Cow::Borrowed(text);
    }
    if text.is_ascii() {
        return Cow::Owned(text.to_ascii_lowercase());
    }
    match text.chars().any(is_look_alike) {
        true => Cow::Owned(small(text)),
        false => Cow::Owned(small(&super::nfc(text))),
    }
}

fn small(text: &str) -> String {
    let mut small = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            'ς' => small.push('σ'),
            _ if !c.is_ascii() && c.to_lowercase().any(|one| one.is_ascii()) => small.push(c),
            _ => small.extend(c.to_lowercase()),
        }
    }
    small
}

impl PartialEq for Email {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.folded() == other.folded()
    }
}

impl Eq for Email {}

impl Ord for Email {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded().cmp(&other.folded())
    }
}

impl PartialOrd for Email {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Email {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded().hash(state);
    }
}

impl serde::Serialize for Email {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Reads an address that was stored.
impl<'de> serde::Deserialize<'de> for Email {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::stored(&text).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn parses_exactly_one_address() {
        for (text, want) in [
            ("ann@x.co", Ok("ann@x.co")),
            ("  Ann@x.co\u{a0}", Ok("Ann@x.co")),
            ("é+a@ü.co", Ok("é+a@ü.co")),
            ("", Err(EmailError::Blank)),
            (" \t", Err(EmailError::Blank)),
            ("ann", Err(EmailError::InvalidForm)),
            ("@x.co", Err(EmailError::InvalidForm)),
            ("ann@", Err(EmailError::InvalidForm)),
            ("a@b@c", Err(EmailError::InvalidForm)),
            ("a b@x.co", Err(EmailError::InvalidCharacter)),
            ("a\u{a0}b@x.co", Err(EmailError::InvalidCharacter)),
            ("a\0b@x.co", Err(EmailError::InvalidCharacter)),
            ("\u{feff}ann@x.co\u{200b}", Ok("ann@x.co")),
            ("ann@localhost", Err(EmailError::NoDot)),
            ("jose\u{301}@x.co", Ok("josé@x.co")),
            ("\u{212a}im@x.co", Err(EmailError::LookAlike)),
            ("a\u{ad}b@x.co", Err(EmailError::InvalidCharacter)),
            ("a\u{fffd}b@x.co", Err(EmailError::InvalidCharacter)),
            ("o'brien+a_b-c@x.co", Ok("o'brien+a_b-c@x.co")),
            ("$A12345@x.co", Ok("$A12345@x.co")),
            ("mailto:ann@x.co", Err(EmailError::Malformed)),
            ("mailto%3Aann@x.co", Err(EmailError::Malformed)),
            ("<ann@x.co>", Err(EmailError::Malformed)),
            ("ann@x..co", Err(EmailError::Malformed)),
            ("ann@x.co.", Err(EmailError::Malformed)),
            ("ann@x.co,", Err(EmailError::Malformed)),
            (".ann@x.co", Err(EmailError::Malformed)),
            ("a..b@x.co", Err(EmailError::Malformed)),
            ("'ann@x.co", Err(EmailError::Malformed)),
            ("“ann@x.co", Err(EmailError::Malformed)),
            ("\"ann\"@x.co", Err(EmailError::Malformed)),
            ("ann@[127.0.0.1]", Err(EmailError::Malformed)),
            ("ann(work)@x.co", Err(EmailError::Malformed)),
            ("a\u{200b}b@x.co", Err(EmailError::InvalidCharacter)),
            ("a\u{202e}oc.x@b", Err(EmailError::InvalidCharacter)),
        ] {
            let got = Email::parse(text);
            assert_eq!(
                got.as_ref().map(Email::as_str),
                want.as_ref().copied(),
                "{text:?}"
            );
        }
        let stored = Email::stored("\u{202a}ann@x.co").expect("a stored address");
        assert_eq!(stored.as_str(), "\u{202a}ann@x.co");
        let domain = vec!["a".repeat(61); 4].join(".");
        let long = |local| Email::parse(&format!("{}@{domain}", "a".repeat(local)));
        assert_eq!(long(6).expect("the maximum").as_str().len(), Email::MAX);
        assert_eq!(long(7), Err(EmailError::TooLong));
        assert_eq!(
            Email::known("<ann@localhost>").expect("known").as_str(),
            "<ann@localhost>"
        );
        assert!(Email::known(&format!("{}@x.co", "é".repeat(315))).is_ok());
        assert!(Email::known(&format!("{}@x.co", "é".repeat(316))).is_err());
    }

    proptest! {
        #[test]
        fn usual_addresses_are_accepted_by_all_checks(
            local in "[a-zA-Z0-9._+-]{1,3}([a-z0-9%'\"é]|[a-z]{60,62})?",
            domain in "[a-zA-Z0-9.-]{1,3}([a-z0-9_é@]|[a-z]{59,61})?([.][a-z0-9.-]{1,3}|[.a-z]{180,190})",
        ) {
            let address = format!("{local}@{domain}");
            let whole = Email::parse_unusual(&address);
            let is_accepted = whole.is_ok_and(|email| email.as_str() == address);
            prop_assert!(is_accepted || !is_usual(&address), "{}", address);
        }
    }

    #[test]
    fn equality_order_and_hash_ignore_case() {
        let emails: Vec<_> = ["Ann@X.co", "ann@x.CO", "ÉVE@x.co", "éve@x.co"]
            .iter()
            .map(|text| Email::parse(text).expect("valid"))
            .collect();
        assert_eq!(emails[0], emails[1]);
        assert_eq!(emails[2], emails[3]);
        assert!(emails[0] < emails[2]);
        assert_eq!(emails.iter().collect::<HashSet<_>>().len(), 2);
        assert_eq!(emails[0].folded(), "ann@x.co");
        assert_eq!(emails[2].folded(), "éve@x.co");
    }

    #[test]
    fn equal_addresses_fold_to_the_same_text() {
        for (one, other) in [
            ("\u{1c5}ana@x.hr", "\u{1c6}ana@x.hr"), // a title-case letter and its small one
            ("\u{1c4}ANA@x.hr", "\u{1c5}ana@x.hr"),
            ("ΝΙΚΟΣ@x.gr", "νικοσ@x.gr"),
            ("ΝΙΚΟΣ@x.gr", "νικος@x.gr"),
            ("jose\u{301}@x.co", "JOSÉ@x.co"),
        ] {
            let [a, b] = [one, other].map(|text| Email::known(text).expect("valid"));
            assert_eq!((&a, a.folded()), (&b, b.folded()));
        }
        for (one, other) in [
            ("\u{212a}im@x.co", "kim@x.co"),
            ("\u{130}da@x.co", "ida@x.co"),
        ] {
            let [a, b] = [one, other].map(|text| Email::known(text).expect("valid"));
            assert_ne!(a, b);
        }
        assert!(matches!(fold("ann@x.co"), Cow::Borrowed(_)));
    }
}
