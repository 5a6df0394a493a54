//! What of a run may be worth a message.

use crate::model::{Problem, RunNumber};
use crate::roster::SourceError;
use crate::run::{Completion, RunError, RunOutcome};
use crate::status;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The most rejected files that are named.
const MOST_FILES: usize = 5;

/// The most letters of a file's name.
const MOST_LETTERS: usize = 80;

/// A run, as far as a message tells of it. It names nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSummary {
    /// Its number in the journal, if it has one.
    pub run: Option<RunNumber>,
    /// When it ended.
    pub ended: DateTime<Utc>,
    /// The word for how it ended.
    pub outcome: &'static str,
    /// What somebody has to see to, the worst first.
    pub troubles: Vec<Trouble>,
}

/// Something that somebody has to see to. Two that are equal are told once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
pub enum Trouble {
    /// The run could not be done.
    Failed {
        /// Why, in a clause that names nobody and nothing.
        why: String,
    },
    /// Files of the roster are rejected.
    Rejected {
        /// Their names, with the line where one is known.
        files: Vec<String>,
        /// Whether that is all of the roster.
        whole: bool,
    },
    /// The guard holds changes.
    HeldRule {
        /// The setting that holds them, in `[policy]`.
        rule: String,
        /// How many.
        count: usize,
    },
    /// Removals that the roster asks for were not planned.
    Blocked,
}

impl Trouble {
    /// Whether the run could not do what it was for, or not with all of the roster.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Rejected { .. })
    }
}

impl RunSummary {
    /// What is new with a run; nothing with one that was only told to stop.
    #[must_use]
    pub fn of(run: &RunOutcome) -> Option<Self> {
        let took = chrono::Duration::from_std(run.duration).unwrap_or_default();
        (!matches!(run.completion, Completion::Stopped)).then(|| Self {
            run: run.number,
            ended: run.started + took,
            outcome: run.result().as_str(),
            troubles: troubles(run),
        })
    }
}

fn troubles(run: &RunOutcome) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    match &run.completion {
        Completion::Failed(RunError::Source(SourceError::Rejected(problems))) => {
            troubles.push(rejected(problems, true));
        }
        _ => troubles.extend(status::failure(run).map(|why| Trouble::Failed { why: why.into() })),
    }
    if let Some(roster) = run.roster().filter(|it| !it.rejected.is_empty()) {
        troubles.push(rejected(&roster.rejected, false));
    }
    troubles.extend(run.held().iter().map(|held| Trouble::HeldRule {
        rule: held.rule.as_str().into(),
        count: held.count,
    }));
    if !run.blocked().is_empty() {
        troubles.push(Trouble::Blocked);
    }
    troubles
}

fn rejected(problems: &[Problem], whole: bool) -> Trouble {
    let mut files: Vec<_> = problems.iter().map(place).collect();
    files.dedup();
    let more = files.len().saturating_sub(MOST_FILES);
    files.truncate(MOST_FILES);
    if more > 0 {
        files.push(format!("{more} more"));
    }
    Trouble::Rejected { files, whole }
}

/// The file's name, and the line. Whoever names a file must not write to the chat by it: neither
/// markup nor a mention is left.
fn place(problem: &Problem) -> String {
    let path = &problem.place.file;
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let plain = |c: char| match c {
        '.' | '-' | ' ' => c,
        c if c.is_alphanumeric() => c,
        _ => '_',
    };
    let name: String = name.chars().take(MOST_LETTERS).map(plain).collect();
    match problem.place.line {
        0 => name,
        line => format!("{name}:{line}"),
    }
}
