//! A run, as far as notifications report it.

use crate::model::{Problem, RunNumber};
use crate::roster::SourceError;
use crate::run::{Completion, RunError, RunOutcome};
use crate::status;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Rejected files that are named in a message.
const MAX_FILES: usize = 5;

/// The maximum length of a file name in a message.
const MAX_NAME_CHARS: usize = 80;

/// A run without personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSummary {
    /// The number of the run, if it has one.
    pub run: Option<RunNumber>,
    /// When the run ended.
    pub ended: DateTime<Utc>,
    /// The word for the result.
    pub result: &'static str,
    /// The active alerts, most severe first.
    pub alerts: Vec<Alert>,
}

/// A state that needs attention. Equal alerts are sent once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Alert {
    /// The run failed.
    Failed {
        /// Why, in a clause without personal data.
        reason: String,
    },
    /// Files of the roster are rejected.
    Rejected {
        /// Their names, with the line if known.
        files: Vec<String>,
        /// Whether all files are rejected.
        all: bool,
    },
    /// `source.groups` can't be read.
    GroupsRejected {
        /// The name of the file, with the line if known.
        file: String,
    },
    /// `source.roles` can't be read.
    RolesRejected {
        /// The name of the file, with the line if known.
        file: String,
    },
    /// A safety limit holds changes.
    Held {
        /// The limit, a setting in `[policy]`.
        rule: String,
        /// The number of changes.
        count: usize,
    },
    /// Removals or leaves are blocked, because the roster or Omni could not be read completely.
    Blocked,
}

impl Alert {
    /// Whether the run failed, or used only part of the roster.
    pub(super) fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::Failed { .. }
                | Self::Rejected { .. }
                | Self::GroupsRejected { .. }
                | Self::RolesRejected { .. }
        )
    }
}

impl RunSummary {
    /// Summarises a run; `None` for a run that was stopped.
    #[must_use]
    pub fn of(run: &RunOutcome) -> Option<Self> {
        let duration = chrono::Duration::from_std(run.duration).unwrap_or_default();
        (!matches!(run.completion, Completion::Stopped)).then(|| Self {
            run: run.number,
            ended: run.started + duration,
            result: run.result().as_str(),
            alerts: alerts(run),
        })
    }
}

fn alerts(run: &RunOutcome) -> Vec<Alert> {
    let mut alerts = Vec::new();
    match &run.completion {
        Completion::Failed(RunError::Source(SourceError::Rejected(problems))) => {
            alerts.push(rejected(problems, true));
        }
        _ => alerts.extend(status::failure(run).map(|reason| Alert::Failed {
            reason: reason.into(),
        })),
    }
    if let Some(roster) = run.roster().filter(|it| !it.rejected.is_empty()) {
        alerts.push(rejected(&roster.rejected, false));
    }
    let groups = run.roster().and_then(|roster| roster.groups.as_ref());
    alerts.extend(groups.map(|problem| Alert::GroupsRejected {
        file: location(problem),
    }));
    let roles = run.roster().and_then(|roster| roster.roles.as_ref());
    alerts.extend(roles.map(|problem| Alert::RolesRejected {
        file: location(problem),
    }));
    alerts.extend(run.held().iter().map(|held| Alert::Held {
        rule: held.rule.as_str().into(),
        count: held.count,
    }));
    if !run.blocked().is_empty() {
        alerts.push(Alert::Blocked);
    }
    alerts
}

fn rejected(problems: &[Problem], all: bool) -> Alert {
    let mut files: Vec<_> = problems.iter().map(location).collect();
    files.dedup();
    let more = files.len().saturating_sub(MAX_FILES);
    files.truncate(MAX_FILES);
    if more > 0 {
        files.push(format!("{more} more"));
    }
    Alert::Rejected { files, all }
}

/// The file name and the line. Markup and mentions are removed, so that a file name can't inject them
/// into a chat.
fn location(problem: &Problem) -> String {
    let path = &problem.location.file;
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let plain = |c: char| match c {
        '.' | '-' | ' ' => c,
        c if c.is_alphanumeric() => c,
        _ => '_',
    };
    let name: String = name.chars().take(MAX_NAME_CHARS).map(plain).collect();
    match problem.location.line {
        0 => name,
        line => format!("{name}:{line}"),
    }
}
