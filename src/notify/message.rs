//! From what was told and what is new to what is to be told: a function of values.

use super::news::{RunSummary, Trouble};
use crate::util::text::plural;
use chrono::SecondsFormat;
use serde_json::{Value, json};

/// What a message is about: the worst of what it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A run failed.
    Failed,
    /// Files of the roster are rejected.
    Rejected,
    /// Changes are held.
    HeldRule,
    /// A run succeeded after one that had failed.
    Recovered,
}

impl Event {
    /// The word for machines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::HeldRule => "held",
            Self::Recovered => "recovered",
        }
    }

    fn of(trouble: &Trouble) -> Self {
        match trouble {
            Trouble::Failed { .. } => Self::Failed,
            Trouble::Rejected { .. } => Self::Rejected,
            Trouble::HeldRule { .. } | Trouble::Blocked => Self::HeldRule,
        }
    }
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// What it is about.
    pub event: Event,
    /// What people read.
    pub text: String,
    /// The same for machines.
    pub fields: Value,
}

/// What is to be told of a run, where that is something new: a trouble that was not told yet, or the
/// first success after a failure that was.
#[must_use]
pub fn message(told: &[Trouble], news: &RunSummary, organisation: &str) -> Option<Message> {
    let troubles = &news.troubles;
    let recovered =
        told.iter().any(Trouble::is_failure) && !troubles.iter().any(Trouble::is_failure);
    let is_new = troubles.iter().any(|trouble| !told.contains(trouble));
    if !recovered && !is_new {
        return None;
    }
    let event = troubles.first().map_or(Event::Recovered, Event::of);
    let run = match news.run {
        Some(number) => format!("run {number}"),
        None => "a run".into(),
    };
    let again = recovered.then(|| format!("{run} succeeded again."));
    let said = troubles.iter().map(|trouble| sentence(trouble, news, &run));
    let text: Vec<_> = again.into_iter().chain(said).collect();
    Some(Message {
        event,
        text: format!("omni-user-sync ({organisation}): {}", text.join("\n")),
        fields: json!({
            "event": event.as_str(),
            "organisation": organisation,
            "run": news.run.map(|number| number.0),
            "ended": news.ended.to_rfc3339_opts(SecondsFormat::Secs, true),
            "outcome": news.outcome,
            "recovered": recovered,
            "troubles": troubles,
        }),
    })
}

fn sentence(trouble: &Trouble, news: &RunSummary, run: &str) -> String {
    let more = news
        .run
        .map(|number| format!(" and `omni-user-sync history {number}`"));
    let more = more.unwrap_or_default();
    match trouble {
        Trouble::Failed { why } => format!(
            "{run} failed: {why}. It is tried again by itself; the log{more} will tell more."
        ),
        Trouble::Rejected { files, whole } => {
            let files: Vec<_> = files.iter().map(|file| format!("`{file}`")).collect();
            let files = files.join(", ");
            let what = match whole {
                true => format!("{run} can't use the roster, so nothing was changed: {files}."),
                false => format!("{run} left out files of the roster and removed nobody: {files}."),
            };
            format!("{what} `omni-user-sync check` says what is wrong.")
        }
        Trouble::HeldRule { rule, count } => {
            let approve = news.run.map_or_else(String::new, |number| {
                format!(
                    " `omni-user-sync history {number}` says of whom, and `omni-user-sync approve \
                     {number}` lets them through."
                )
            });
            let changes = plural(*count, "change");
            format!("{run} holds {changes} by policy.{rule}.{approve}")
        }
        Trouble::Blocked => format!(
            "{run} left out removals, since not all of the roster or of Omni could be read; the \
             log says why."
        ),
    }
}
