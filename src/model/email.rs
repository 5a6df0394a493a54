//! One e-mail address, compared without case.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// One e-mail address as it was written. Equality, order and hash ignore case, since Omni's
/// treatment of case is not published and two memberships that differ only in it must not be made.
#[derive(Clone)]
pub struct Email(Arc<str>);

/// Why a text is no e-mail address. `Display` is a whole clause for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    /// Nothing there.
    #[error("the email is blank")]
    Blank,
    /// A blank, a control character or a mark of direction inside.
    #[error("an email has no blanks, control characters or marks of direction inside")]
    Blanks,
    /// Not exactly one `@` with something on both sides.
    #[error("an email has the form local@domain, with one @")]
    Form,
    /// Longer than an address can be.
    #[error("an email has at most {} characters", Email::MAX)]
    Long,
}

impl Email {
    /// The most characters an address can have (RFC 3696: 64 + 1 + 255).
    pub const MAX: usize = 320;

    /// Reads an address; edge blanks are no part of it.
    ///
    /// # Errors
    /// Says what keeps the text from being one address.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let text = super::trim(text);
        if text.is_empty() {
            return Err(EmailError::Blank);
        }
        if text.len() > Self::MAX && text.chars().count() > Self::MAX {
            return Err(EmailError::Long);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) && text.chars().any(is_unseen) {
            return Err(EmailError::Blanks);
        }
        match text.split_once('@') {
            Some((local, domain))
                if !local.is_empty() && !domain.is_empty() && !domain.contains('@') =>
            {
                Ok(Self(text.into()))
            }
            _ => Err(EmailError::Form),
        }
    }

    /// Takes what was an address when it was stored, whatever rule has come since.
    pub(crate) fn stored(text: &str) -> Result<Self, EmailError> {
        match Self::parse(text) {
            Err(EmailError::Blanks | EmailError::Long) => Ok(Self(text.into())),
            read => read,
        }
    }

    /// The address as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address in lower case: equal addresses have the same.
    #[must_use]
    pub fn folded(&self) -> Cow<'_, str> {
        fold(&self.0)
    }
}

/// What nobody sees in an address, and what shows it as another one.
fn is_unseen(c: char) -> bool {
    super::is_control_or_bidi(c) || super::is_blank(c)
}

/// A text in lower case as addresses are compared: letter by letter, and a sigma at a word's end as any other.
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
    fn takes_one_address_and_nothing_else() {
        for (text, want) in [
            ("ann@x.co", Ok("ann@x.co")),
            ("  Ann@x.co\u{a0}", Ok("Ann@x.co")),
            ("é+a@ü.co", Ok("é+a@ü.co")),
            ("", Err(EmailError::Blank)),
            (" \t", Err(EmailError::Blank)),
            ("ann", Err(EmailError::Form)),
            ("@x.co", Err(EmailError::Form)),
            ("ann@", Err(EmailError::Form)),
            ("a@b@c", Err(EmailError::Form)),
            ("a b@x.co", Err(EmailError::Blanks)),
            ("a\u{a0}b@x.co", Err(EmailError::Blanks)),
            ("a\0b@x.co", Err(EmailError::Blanks)),
            ("\u{feff}ann@x.co\u{200b}", Ok("ann@x.co")),
            ("a\u{200b}b@x.co", Err(EmailError::Blanks)),
            ("a\u{202e}oc.x@b", Err(EmailError::Blanks)),
        ] {
            let got = Email::parse(text);
            assert_eq!(
                got.as_ref().map(Email::as_str),
                want.as_ref().copied(),
                "{text:?}"
            );
        }
        let stored = Email::stored("\u{202a}ann@x.co").expect("it was one");
        assert_eq!(stored.as_str(), "\u{202a}ann@x.co");
        assert!(Email::parse(&format!("{}@x.co", "é".repeat(315))).is_ok());
        assert_eq!(
            Email::parse(&format!("{}@x.co", "é".repeat(316))),
            Err(EmailError::Long)
        );
    }

    #[test]
    fn ignores_case_in_equality_order_and_hash() {
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
    fn equal_addresses_fold_to_the_same() {
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
