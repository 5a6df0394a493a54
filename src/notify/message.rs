//! Builds messages: a pure function of the alerts sent before and of the run.

use super::run_summary::{Alert, RunSummary};
use crate::model::GuardRule;
use crate::util::text::plural;
use chrono::SecondsFormat;
use serde_json::{Value, json};

/// The event that a message reports: its most severe alert, or a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A run failed.
    Failed,
    /// Files of the roster are rejected.
    Rejected,
    /// Changes are held, or removals blocked.
    Held,
    /// A run succeeded after a failure.
    Recovered,
}

impl Event {
    /// The word for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Held => "held",
            Self::Recovered => "recovered",
        }
    }

    fn of(alert: &Alert) -> Self {
        match alert {
            Alert::Failed { .. } => Self::Failed,
            Alert::Rejected { .. } | Alert::GroupsRejected { .. } | Alert::RolesRejected { .. } => {
                Self::Rejected
            }
            Alert::Held { .. } | Alert::Blocked => Self::Held,
        }
    }
}

/// A message to a webhook.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The event.
    pub event: Event,
    /// The text for people.
    pub text: String,
    /// The same for programs.
    pub fields: Value,
}

/// The message about a run, if there is anything new: an alert that was not sent before, or the first
/// success after a failure that was.
#[must_use]
pub fn message(notified: &[Alert], run: &RunSummary, organisation: &str) -> Option<Message> {
    let alerts = &run.alerts;
    let recovered = notified.iter().any(Alert::is_failure) && !alerts.iter().any(Alert::is_failure);
    let is_new = alerts.iter().any(|alert| !notified.contains(alert));
    if !recovered && !is_new {
        return None;
    }
    let event = alerts.first().map_or(Event::Recovered, Event::of);
    let name = match run.run {
        Some(number) => format!("run {number}"),
        None => "a run".into(),
    };
    let recovery = recovered.then(|| format!("{name} succeeded again."));
    let sentences = alerts.iter().map(|alert| sentence(alert, run, &name));
    let text: Vec<_> = recovery.into_iter().chain(sentences).collect();
    Some(Message {
        event,
        text: format!("omni-user-sync ({organisation}): {}", text.join("\n")),
        fields: json!({
            "event": event.as_str(),
            "organisation": organisation,
            "run": run.run.map(|number| number.0),
            "ended": run.ended.to_rfc3339_opts(SecondsFormat::Secs, true),
            "result": run.result,
            "recovered": recovered,
            "alerts": alerts,
        }),
    })
}

fn sentence(alert: &Alert, run: &RunSummary, name: &str) -> String {
    match alert {
        Alert::Failed { reason } => {
            let history = run.run.map_or_else(String::new, |number| {
                format!(" and `omni-user-sync history {number}`")
            });
            format!(
                "{name} failed: {reason}. It will be retried. For details, see the log{history}."
            )
        }
        Alert::Rejected { files, all } => {
            let files: Vec<_> = files.iter().map(|file| format!("`{file}`")).collect();
            let files = files.join(", ");
            let rejected = match all {
                true => format!("{name} rejected the roster and made no changes: {files}."),
                false => {
                    format!("{name} rejected files of the roster and removed no users: {files}.")
                }
            };
            format!("{rejected} For details, run `omni-user-sync check`.")
        }
        Alert::GroupsRejected { file } => format!(
            "{name} could not read source.groups and took no user out of a group: `{file}`. For details, run \
             `omni-user-sync check`."
        ),
        Alert::RolesRejected { file } => format!(
            "{name} could not read source.roles and assigned no role: `{file}`. For details, run \
             `omni-user-sync check`."
        ),
        Alert::Held { rule, count } => {
            let commands = run.run.map_or_else(String::new, |number| {
                format!(
                    " To list them, run `omni-user-sync history {number}`; to approve them, run \
                     `omni-user-sync approve {number}`."
                )
            });
            let changes = plural(*count, "change");
            let rule = GuardRule::parse(rule).map_or_else(|| rule.clone(), GuardRule::label);
            format!("{name} holds {changes} by {rule}.{commands}")
        }
        Alert::Blocked => format!(
            "{name} blocked removals of users or leaves from groups, because the roster or Omni could not be read \
             completely. For details, see the log."
        ),
    }
}
