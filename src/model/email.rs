//! Email addresses, compared without case.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

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
    /// The text contains whitespace, a control character or a direction mark.
    #[error("an email can't contain spaces, control characters or direction marks")]
    InvalidCharacter,
    /// The text does not have exactly one `@` between two parts.
    #[error("an email has the form local@domain, with one @")]
    InvalidForm,
    /// The text is longer than an address can be.
    #[error("an email has at most {} characters", Email::MAX)]
    TooLong,
}

impl Email {
    /// The maximum number of characters of an address (RFC 3696: 64 + 1 + 255).
    pub const MAX: usize = 320;

    /// Parses an address, without leading and trailing whitespace.
    ///
    /// # Errors
    /// Fails if the text is not exactly one address.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let text = super::trim(text);
        if text.is_empty() {
            return Err(EmailError::Blank);
        }
        if text.len() > Self::MAX && text.chars().count() > Self::MAX {
            return Err(EmailError::TooLong);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) && text.chars().any(is_invisible) {
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
        match Self::parse(text) {
            Err(EmailError::InvalidCharacter | EmailError::TooLong) => Ok(Self(text.into())),
            read => read,
        }
    }

    /// The address as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address in lower case, which is the same for equal addresses.
    #[must_use]
    pub fn folded(&self) -> Cow<'_, str> {
        fold(&self.0)
    }
}

/// Whether a character is invisible in an address, or makes it look like another one.
fn is_invisible(c: char) -> bool {
    super::is_control_or_bidi(c) || super::is_blank(c)
}

/// A text in lower case, as addresses are compared: letter by letter, with a final sigma like any sigma.
#[must_use]
pub fn fold(text: &str) -> Cow<'_, str> {
    let is_small = |byte: u8| byte.is_ascii() & !byte.is_ascii_uppercase();
    if text.bytes().fold(true, |all, byte| all & is_small(byte)) {
        Cow::Borrowed(text)
    } else if text.is_ascii() {
        Cow::Owned(text.to_ascii_lowercase())
    } else if small(text).eq(text.chars()) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(small(text).collect())
    }
}

fn small(text: &str) -> impl Iterator<Item = char> + '_ {
    let one = |c| if c == 'ς' { 'σ' } else { c };
    text.chars().flat_map(char::to_lowercase).map(one)
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
        assert!(Email::parse(&format!("{}@x.co", "é".repeat(315))).is_ok());
        assert_eq!(
            Email::parse(&format!("{}@x.co", "é".repeat(316))),
            Err(EmailError::TooLong)
        );
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
        ] {
            let [a, b] = [one, other].map(|text| Email::parse(text).expect("valid"));
            assert_eq!((&a, a.folded()), (&b, b.folded()));
        }
        assert!(matches!(fold("ann@x.co"), Cow::Borrowed(_)));
    }
}
