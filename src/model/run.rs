//! What is said of a run: its number, and what started it.

use std::fmt;

/// The number of a run: ascending, and never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunNumber(pub u64);

impl fmt::Display for RunNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a person names a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunRef {
    /// The last one.
    Latest,
    /// The one of this number.
    Number(RunNumber),
}

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
