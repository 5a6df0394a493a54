//! Changes of users: the kinds there are, their fields, and how they end.

use super::{AttributeName, Value};
use std::fmt;

/// The kinds of change, in the order in which they are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// The membership is revoked.
    Delete,
    /// The user stays and can't log in.
    Deactivate,
    /// Fields change.
    Update,
    /// A user is made.
    Create,
}

impl Operation {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Delete, Self::Deactivate, Self::Update, Self::Create];

    /// The word for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Deactivate => "deactivate",
            Self::Update => "update",
            Self::Create => "create",
        }
    }

    /// Whether it takes a user's access.
    #[must_use]
    pub fn is_removal(self) -> bool {
        matches!(self, Self::Delete | Self::Deactivate)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A number for each kind of change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([usize; 4]);

impl Counts {
    /// Counts what an iterator yields.
    #[must_use]
    pub fn of(kinds: impl IntoIterator<Item = Operation>) -> Self {
        let mut counts = Self::default();
        kinds
            .into_iter()
            .for_each(|kind| counts.0[kind as usize] += 1);
        counts
    }

    /// The number of each kind, in the order of [`Operation::ALL`].
    #[must_use]
    pub fn new(numbers: [usize; 4]) -> Self {
        Self(numbers)
    }

    /// How many of a kind.
    #[must_use]
    pub fn get(&self, kind: Operation) -> usize {
        self.0[kind as usize]
    }

    /// How many in all.
    #[must_use]
    pub fn total(&self) -> usize {
        self.0.iter().sum()
    }
}

/// What became of one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeOutcome {
    /// Omni did it, and what it answered is what was asked.
    Done,
    /// Omni accepted it and did not keep it.
    NotKept,
    /// Omni refused it, or it could not be sent, or two users answer to the email.
    Failed,
    /// The run ended before its turn: it was not sent.
    Unsent,
}

impl ChangeOutcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Done, Self::NotKept, Self::Failed, Self::Unsent];

    /// The word for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::NotKept => "not_kept",
            Self::Failed => "failed",
            Self::Unsent => "unsent",
        }
    }
}

/// A field of a user. An attribute may well be called `active`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// The name shown.
    DisplayName,
    /// Whether the user may log in; its values are `true` and `false`.
    Active,
    /// An attribute.
    Attribute(AttributeName),
}

/// One field that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRecord {
    /// Which.
    pub field: Field,
    /// What it is.
    pub from: Option<Value>,
    /// What it is to be; `None` clears it.
    pub to: Option<Value>,
}
