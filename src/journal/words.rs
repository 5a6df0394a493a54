//! The words for what happens: what started a run, the kinds of change, how one ends.

use std::fmt;

/// What started a run. Of several that come together the first one is told; those that want Omni read
/// anew stand before those that may be served from what was read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trigger {
    /// A command.
    Command,
    /// The daemon's start.
    Start,
    /// A due time.
    Schedule,
    /// SIGHUP.
    Signal,
    /// Somebody asked for it over HTTP.
    Request,
    /// Another try after a run that failed.
    Retry,
    /// A change of the roster.
    File,
    /// Somebody approved what was held.
    Approval,
}

impl Trigger {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Command,
        Self::Start,
        Self::Schedule,
        Self::Signal,
        Self::Request,
        Self::Retry,
        Self::File,
        Self::Approval,
    ];

    /// The word for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Start => "start",
            Self::Schedule => "schedule",
            Self::File => "file",
            Self::Signal => "signal",
            Self::Request => "request",
            Self::Retry => "retry",
            Self::Approval => "approval",
        }
    }
}

/// The kinds of change, in the order in which they are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The membership is revoked.
    Delete,
    /// The user stays and can't log in.
    Deactivate,
    /// Fields change.
    Update,
    /// A user is made.
    Create,
}

impl Kind {
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

impl fmt::Display for Kind {
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
    pub fn of(kinds: impl IntoIterator<Item = Kind>) -> Self {
        let mut counts = Self::default();
        kinds
            .into_iter()
            .for_each(|kind| counts.0[kind as usize] += 1);
        counts
    }

    /// The number of each kind, in the order of [`Kind::ALL`].
    #[must_use]
    pub fn new(numbers: [usize; 4]) -> Self {
        Self(numbers)
    }

    /// How many of a kind.
    #[must_use]
    pub fn get(&self, kind: Kind) -> usize {
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
pub enum Outcome {
    /// Omni did it, and what it answered is what was asked.
    Done,
    /// Omni accepted it and did not keep it.
    NotKept,
    /// Omni refused it, or it could not be sent, or two users answer to the email.
    Failed,
    /// The run ended before its turn: it was not sent.
    Unsent,
}

impl Outcome {
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
