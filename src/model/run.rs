//! Runs: number, trigger, options, result and the rule that holds a change.

use super::word::word_enum;
use std::fmt;
use std::time::Duration;

/// The number of a run. Numbers ascend and are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunNumber(pub u64);

impl fmt::Display for RunNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A reference to a run, as given on the command line or in a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunRef {
    /// The latest run.
    Latest,
    /// The run with this number.
    Number(RunNumber),
}

word_enum! {
    /// What started a run.
    pub enum Trigger {
        /// A command.
        Command = "command",
        /// The start of the daemon.
        Start = "start",
        /// A due time of the schedule.
        Schedule = "schedule",
        /// SIGHUP.
        Signal = "signal",
        /// A request over HTTP.
        Request = "request",
        /// A retry after a failed run.
        Retry = "retry",
        /// A change of the roster.
        File = "file",
        /// An approval of held changes.
        Approval = "approval",
    }
}

impl Trigger {
    /// Whether a person asks for the run now.
    #[must_use]
    pub fn is_personal(self) -> bool {
        match self {
            Self::Command | Self::Signal | Self::Request | Self::Approval => true,
            Self::Start | Self::Schedule | Self::Retry | Self::File => false,
        }
    }
}

/// How a run is done. The trigger is for logs and history only; it decides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// What started the run.
    pub trigger: Trigger,
    /// Whether a cached observation may be used instead of reading Omni again.
    pub may_use_cache: bool,
    /// The time that `observe.budget` is a share of.
    pub reading_time: ReadingTime,
    /// Whether changes in quarantine are tried as well.
    pub ignore_quarantine: bool,
}

/// The time that a run may spend on reading, as the base of `observe.budget`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadingTime {
    /// Without a limit: the run reads all it can use.
    Unlimited,
    /// From the start of the run to the next due time. Reading stops for a new roster.
    UntilNextRun,
    /// This time, whatever the clock says. Reading stops for a new roster.
    Within(Duration),
}

impl From<Trigger> for RunOptions {
    fn from(trigger: Trigger) -> Self {
        let is_whole = matches!(
            trigger,
            Trigger::Command | Trigger::Request | Trigger::Signal
        );
        Self {
            trigger,
            may_use_cache: matches!(trigger, Trigger::Start | Trigger::File | Trigger::Approval),
            reading_time: match is_whole {
                true => ReadingTime::Unlimited,
                false => ReadingTime::UntilNextRun,
            },
            ignore_quarantine: is_whole,
        }
    }
}

word_enum! {
    /// The result of a run.
    pub enum RunResult {
        /// Omni matches the roster.
        Converged = "converged",
        /// Some rows, changes or users have problems; everything else is in sync.
        Partial = "partial",
        /// A safety limit held changes, or removals were blocked.
        Held = "held",
        /// The run was a dry run.
        DryRun = "dry_run",
        /// The run was stopped between two changes.
        Stopped = "stopped",
        /// The run was not possible.
        Failed = "failed",
        /// The prompt of `apply` was declined.
        Declined = "declined",
    }
}

word_enum! {
    /// What a run in progress does.
    pub enum Phase {
        /// It reads users.
        Reading = "reading",
        /// It applies changes.
        Applying = "applying",
    }
}

impl RunResult {
    /// Whether the run did what it could. Bad rows, failed users and held changes are not failures.
    #[must_use]
    pub fn is_success(self) -> bool {
        match self {
            Self::Converged | Self::Partial | Self::Held | Self::DryRun => true,
            Self::Stopped | Self::Failed | Self::Declined => false,
        }
    }
}

word_enum! {
    /// A rule that holds changes. All but `new_domain`, `new_groups` and `transfers` are named after their setting in
    /// `[policy]`.
    pub enum GuardRule {
        /// `prune`: pruning by a roster that lost files or most of its rows.
        Prune = "prune",
        /// `max_removals`.
        MaxRemovals = "max_removals",
        /// `max_clears`.
        MaxClears = "max_clears",
        /// `max_updates`.
        MaxUpdates = "max_updates",
        /// Creations in a domain that is probably misspelt.
        NewDomain = "new_domain",
        /// Leaves from a group that was not managed before, or that has another name or id by now.
        NewGroups = "new_groups",
        /// `max_leaves`.
        MaxLeaves = "max_leaves",
        /// `max_joins`.
        MaxJoins = "max_joins",
        /// `max_role_changes`.
        MaxRoleChanges = "max_role_changes",
        /// `owned_schedules`: removals that would delete schedules.
        OwnedSchedules = "owned_schedules",
        /// Transfers of schedules to a user with other access.
        Transfers = "transfers",
    }
}

impl GuardRule {
    /// The rule in a sentence, after "held by".
    #[must_use]
    pub fn label(self) -> String {
        match self {
            Self::NewDomain | Self::NewGroups | Self::Transfers => format!("the rule {self}"),
            Self::Prune
            | Self::MaxRemovals
            | Self::MaxClears
            | Self::MaxUpdates
            | Self::MaxLeaves
            | Self::MaxJoins
            | Self::MaxRoleChanges
            | Self::OwnedSchedules => format!("policy.{self}"),
        }
    }
}

word_enum! {
    /// The outcome of one row, as the row report shows it.
    pub enum RowOutcome {
        /// The user was created.
        Created = "created",
        /// The user was updated.
        Updated = "updated",
        /// The user was removed.
        Removed = "removed",
        /// The user was deactivated.
        Deactivated = "deactivated",
        /// A dry run planned the change.
        Planned = "planned",
        /// Nothing to do, or not done yet.
        Unchanged = "unchanged",
        /// The user to be removed is not in Omni, and this program never removed one with this email.
        NotFound = "not_found",
        /// A safety limit holds the change.
        Held = "held",
        /// `policy.protect` covers the user.
        Protected = "protected",
        /// The change is in quarantine.
        Quarantined = "quarantined",
        /// The change failed.
        Failed = "failed",
        /// The user is frozen because of an invalid row.
        Frozen = "frozen",
        /// The row or file is invalid.
        Rejected = "rejected",
    }
}
