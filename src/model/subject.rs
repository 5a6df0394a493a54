//! The user or group that a change or a row is about.

use super::{Email, EmailError, GroupName, GroupNameError, fold, trim};
use std::fmt;

/// A user or a group, by the name that files give it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A user, by email.
    User(Email),
    /// A group, by name.
    Group(GroupName),
}

impl Subject {
    /// Marks a group.
    const GROUP: &str = "group:";

    /// The name of a group, if the text has its mark.
    #[must_use]
    pub fn group_in(text: &str) -> Option<Result<GroupName, GroupNameError>> {
        let text = trim(text);
        let mark = text.get(..Self::GROUP.len())?;
        let is_group = mark.eq_ignore_ascii_case(Self::GROUP);
        is_group.then(|| GroupName::parse(&text[Self::GROUP.len()..]))
    }

    /// Parses `group:<name>`, or an email by the rule for new users.
    ///
    /// # Errors
    /// If the text is neither.
    pub fn parse(text: &str) -> Result<Self, SubjectError> {
        match Self::group_in(text) {
            Some(name) => Ok(Self::Group(name?)),
            None => Ok(Self::User(Email::parse(text)?)),
        }
    }

    /// Parses `group:<name>`, or an email that Omni may have.
    ///
    /// # Errors
    /// If the text is neither.
    pub fn known(text: &str) -> Result<Self, SubjectError> {
        match Self::group_in(text) {
            Some(name) => Ok(Self::Group(name?)),
            None => Ok(Self::User(Email::known(text)?)),
        }
    }

    /// Reads the form of [`Self::cell`] from the state database.
    #[must_use]
    pub fn stored(text: &str) -> Option<Self> {
        match text.strip_prefix(Self::GROUP) {
            Some(name) => GroupName::parse(name).ok().map(Self::Group),
            None => Email::stored(text).ok().map(Self::User),
        }
    }

    /// The subject in lower case, which is the same for equal ones: Omni has no two groups that differ in case only.
    #[must_use]
    pub fn folded(&self) -> String {
        match self {
            Self::User(email) => email.folded().into_owned(),
            Self::Group(name) => format!("{}{}", Self::GROUP, fold(name.as_str())),
        }
    }

    /// The form in a file, letter for letter.
    #[must_use]
    pub fn cell(&self) -> String {
        match self {
            Self::User(email) => email.as_str().to_owned(),
            Self::Group(name) => format!("{}{}", Self::GROUP, name.as_str()),
        }
    }

    /// The user's email.
    #[must_use]
    pub fn email(&self) -> Option<&Email> {
        match self {
            Self::User(email) => Some(email),
            Self::Group(_) => None,
        }
    }

    /// The name of the group.
    #[must_use]
    pub fn group(&self) -> Option<&GroupName> {
        match self {
            Self::User(_) => None,
            Self::Group(name) => Some(name),
        }
    }
}

impl From<Email> for Subject {
    fn from(email: Email) -> Self {
        Self::User(email)
    }
}

impl From<&Email> for Subject {
    fn from(email: &Email) -> Self {
        Self::User(email.clone())
    }
}

impl PartialEq<Email> for Subject {
    fn eq(&self, other: &Email) -> bool {
        self.email() == Some(other)
    }
}

/// The form in a file, without characters that a terminal interprets.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(email) => email.fmt(f),
            Self::Group(name) => write!(f, "{}{name}", Self::GROUP),
        }
    }
}

/// The reason why a text is not a subject. `Display` is a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// Not an email.
    #[error(transparent)]
    Email(#[from] EmailError),
    /// Not the name of a group.
    #[error(transparent)]
    Group(#[from] GroupNameError),
}
