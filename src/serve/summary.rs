//! The state of the daemon and of single users, in sentences.

use super::queries::{HistoryView, Overview, UserView};
use crate::model::{ChangeKey, Quarantined, RunEnd, RunRecord, RunResult};
use crate::run::ProgressReport;
use crate::status::{Facts, Findings, Incompleteness};
use crate::trigger::watch::SourceState;
use crate::util::text::{plural, plural_are};
use chrono::{DateTime, TimeDelta, Utc};

/// The severity of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    Ok,
    Busy,
    Warning,
    Error,
    Idle,
}

impl Severity {
    /// The severity of the result of a run, or of the outcome of a change.
    pub(super) fn of(word: &str) -> Self {
        match word {
            "converged" | "applied" => Self::Ok,
            "running" => Self::Busy,
            "held" | "partial" | "interrupted" | "not_kept" | "unknown" => Self::Warning,
            "failed" => Self::Error,
            _ => Self::Idle,
        }
    }

    /// The word for style sheets and the API.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Busy => "busy",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Idle => "idle",
        }
    }
}

/// A state in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) severity: Severity,
    pub(super) text: String,
}

impl Summary {
    pub(super) fn new(severity: Severity, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { severity, text }
    }

    fn ok(text: impl Into<String>) -> Self {
        Self::new(Severity::Ok, text)
    }

    fn busy(text: impl Into<String>) -> Self {
        Self::new(Severity::Busy, text)
    }

    fn warning(text: impl Into<String>) -> Self {
        Self::new(Severity::Warning, text)
    }

    fn error(text: impl Into<String>) -> Self {
        Self::new(Severity::Error, text)
    }

    fn idle(text: impl Into<String>) -> Self {
        Self::new(Severity::Idle, text)
    }
}

/// Summarises the state of the daemon: a pause, and what is going on otherwise.
pub(super) fn summary(overview: &Overview) -> Summary {
    let Summary { severity, text } = unpaused(overview);
    match &overview.facts.paused {
        None => Summary { severity, text },
        Some(_) => Summary {
            severity: match severity {
                Severity::Error => Severity::Error,
                _ => Severity::Warning,
            },
            text: format!("Paused: the daemon starts no runs. {text}"),
        },
    }
}

/// Summarises the state of the daemon without a pause. In order of priority: a stuck run loop, a run in progress,
/// errors, held changes, and the availability of the roster. `Ok` requires a ready daemon with an
/// available roster.
fn unpaused(overview: &Overview) -> Summary {
    let Overview {
        facts,
        progress,
        findings,
        history,
        not_ready,
        ..
    } = overview;
    if !facts.is_alive() {
        return Summary::error("The run loop is stuck. Restart the daemon.");
    }
    if let Some((trigger, since)) = facts.running {
        let (since, trigger) = (since.format("%H:%M:%S UTC"), trigger.as_str());
        let progress = progress.as_ref().map(ProgressReport::text);
        let progress = progress.map_or_else(String::new, |text| format!(", {text}"));
        return Summary::busy(format!(
            "Run in progress since {since} (trigger: {trigger}){progress}."
        ));
    }
    let history = match history {
        Ok(history) => history,
        Err(error) => {
            return Summary::error(format!("The state database can't be read: {error}."));
        }
    };
    let last = history.runs.iter().find_map(RunRecord::end);
    if let Some(failure) = unrecorded_failure(facts, last) {
        return Summary::error(failure);
    }
    let summary = last.map_or_else(
        || Summary::idle("No run has finished yet."),
        |end| of_last_run(end, findings, history),
    );
    if !matches!(summary.severity, Severity::Ok | Severity::Idle) {
        return summary;
    }
    let roster = facts
        .roster
        .and_then(|(state, since)| of_roster(state, since));
    // Before the first run has finished, the daemon is not ready, and that is normal.
    let not_ready = not_ready.as_ref().filter(|_| last.is_some());
    roster
        .or_else(|| not_ready.map(|reason| of_unready(reason)))
        .unwrap_or(summary)
}

/// A failure of the last run that is not in the state database, for example because the disk is full.
fn unrecorded_failure(facts: &Facts, recorded: Option<&RunEnd>) -> Option<String> {
    let last = facts.last?;
    let failure = last.failure?;
    let is_newer = recorded.is_none_or(|end| end.ended < last.ended - TimeDelta::seconds(5));
    is_newer.then(|| format!("The last run failed: {failure}."))
}

/// Why the roster can't be used at the moment, whatever the result of the last run.
fn of_roster(state: SourceState, since: DateTime<Utc>) -> Option<Summary> {
    let since = since.format("%H:%M:%S UTC");
    Some(match state {
        SourceState::Stable => return None,
        SourceState::Changing => Summary::busy(format!(
            "The roster has been changing since {since}. A run starts once it is stable."
        )),
        SourceState::Unavailable => Summary::error(format!(
            "The roster has been unavailable since {since}. No changes are made until it is available."
        )),
        SourceState::Unresponsive => Summary::error(format!(
            "The roster's file system has been unresponsive since {since}. No changes are made until it \
             responds."
        )),
    })
}

fn of_unready(reason: &str) -> Summary {
    let mut letters = reason.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    let text: String = first.into_iter().chain(letters).chain(['.']).collect();
    Summary::warning(text)
}

fn of_last_run(end: &RunEnd, findings: &Findings, history: &HistoryView) -> Summary {
    match end.result {
        RunResult::Failed => {
            let reason = end.detail.lines().next().unwrap_or_default();
            let reason = reason.trim_end_matches('.');
            Summary::error(format!("The last run failed: {reason}."))
        }
        RunResult::Held => of_held_run(end, findings, history),
        RunResult::Partial => Summary::warning(exceptions(end, &history.quarantined)),
        RunResult::DryRun => {
            let pending = match end.pending.map_or(0, |pending| pending.total()) {
                0 => "In sync".into(),
                pending => format!("{} pending", plural(pending, "change")),
            };
            Summary::idle(format!(
                "{pending}. Dry run: this daemon applies no changes (policy.mode)."
            ))
        }
        RunResult::Stopped => Summary::idle("The last run was stopped before it finished."),
        RunResult::Converged => Summary::ok("Omni is in sync with the roster."),
        RunResult::Declined => Summary::idle("The last run was declined."),
    }
}

fn of_held_run(end: &RunEnd, findings: &Findings, history: &HistoryView) -> Summary {
    if end.held == 0 {
        let reason = findings.blocked.first();
        return Summary::warning(
            reason.map_or("Some removals or leaves are blocked.", String::as_str),
        );
    }
    let held = history.held.as_ref();
    if held.is_some_and(|held| held.approval().is_some()) {
        let changes = plural(end.held, "change");
        return Summary::busy(format!("{changes} approved. The next run applies them."));
    }
    let changes_are = plural_are(end.held, "change");
    Summary::warning(format!("{changes_are} held and waiting for approval."))
}

/// The exceptions of a run that is otherwise in sync.
fn exceptions(end: &RunEnd, quarantined: &(usize, Vec<(ChangeKey, Quarantined)>)) -> String {
    let (count, first) = quarantined;
    let noun = match first
        .iter()
        .all(|(key, _)| key.group.is_none() && key.scope.is_none())
    {
        true => "user",
        false => "change",
    };
    let quarantined = (*count > 0).then(|| format!("{} in quarantine", plural(*count, noun)));
    let counts = [(end.bad_rows, "invalid row"), (end.failed, "failed change")];
    let parts: Vec<_> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, noun)| plural(count, noun))
        .chain(quarantined)
        .collect();
    match &parts[..] {
        [] => "Part of the roster could not be applied. Everything else is in sync.".into(),
        [one] => format!("In sync except for {one}."),
        [all @ .., last] => format!("In sync except for {} and {last}.", all.join(", ")),
    }
}

/// Summarises what the state database and the last run know about a user, most severe first.
pub(super) fn user_summaries(user: &UserView, now: DateTime<Utc>) -> Vec<Summary> {
    let mut all = Vec::new();
    if !user.problems.is_empty() {
        let text = "The row in the roster is invalid, so this user is not changed.";
        all.push(Summary::error(text));
    } else if let Some(incompleteness) = user.incompleteness {
        all.push(of_incompleteness(incompleteness));
    }
    if let Some((run, held, change)) = user.held() {
        all.push(Summary::warning(format!(
            "The operation {} is {}",
            change.operation,
            held.text(run)
        )));
    }
    if let Some(quarantined) = &user.state.quarantined
        && quarantined.until > now
    {
        let until = quarantined.until.format("%Y-%m-%d %H:%M:%S UTC");
        let reason = &quarantined.reason;
        all.push(Summary::warning(format!(
            "In quarantine until {until}: {reason}"
        )));
    }
    let last = user.changes.first();
    if last.is_some_and(|change| change.is_unknown()) {
        let text = "The outcome of the last change is not known yet.";
        all.push(Summary::warning(text));
    }
    if all.is_empty() {
        all.push(without_problems(user));
    }
    if user.is_protected {
        let text =
            "Protected (policy.protect, policy.protect_admins): never deleted or deactivated.";
        all.push(Summary::idle(text));
    }
    all
}

/// Why it is unknown whether the row of a user is valid.
fn of_incompleteness(incompleteness: Incompleteness) -> Summary {
    match incompleteness {
        Incompleteness::NotRead => Summary::idle(
            "No run has read the roster since the daemon started, so problems of this user are not known \
             yet.",
        ),
        Incompleteness::NotKept(count) => Summary::warning(format!(
            "The roster has {count} problems, of which not all are stored. One of the others may concern this user."
        )),
        Incompleteness::Unnamed(count) => Summary::warning(format!(
            "{} without a readable email may concern this user.",
            plural(count, "roster problem")
        )),
    }
}

/// Summarises a user without problems. `Ok` requires that the user is known: each run records the users
/// in the roster, so a misspelt address is recognised as unknown.
fn without_problems(user: &UserView) -> Summary {
    let managed = user.state.managed.as_ref();
    if let Some(since) = managed.and_then(|managed| managed.missing_since) {
        let since = since.format("%Y-%m-%d %H:%M:%S UTC");
        return Summary::idle(format!("Missing from the roster since {since}."));
    }
    if !user.is_known() {
        return Summary::idle(
            "Not in the roster, as of the last run that read the roster and Omni, and never changed by \
             omni-user-sync.",
        );
    }
    Summary::ok("No known problems.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Status;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn stuck_run_loop_has_priority() {
        let status = Status::new(None);
        status.run_starts(crate::model::Trigger::Start);
        let severity = || {
            let overview = Overview {
                progress: None,
                now: Utc::now(),
                facts: status.facts(),
                next_due: None,
                not_ready: None,
                findings: status.findings(),
                history: Err("it is damaged".into()),
            };
            summary(&overview).severity
        };
        assert_eq!(severity(), Severity::Busy);
        tokio::time::advance(Duration::from_secs(15)).await;
        assert_eq!(severity(), Severity::Error);
        status.beat();
        assert_eq!(severity(), Severity::Busy);
    }
}
