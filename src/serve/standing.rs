//! How things stand, in a sentence.

use super::look::{HistoryView, UserLook};
use crate::model::{RunEnd, RunRecord, RunResult, RunState};
use crate::state::HeldIn;
use crate::status::{Facts, Findings, Incompleteness};
use crate::trigger::watch::SourceState;
use crate::util::text::plural;
use chrono::{DateTime, TimeDelta, Utc};

/// How good a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    Good,
    Busy,
    Warn,
    Bad,
    Plain,
}

impl Severity {
    /// The tone of an outcome's word.
    pub(super) fn of(outcome: &str) -> Self {
        match outcome {
            "converged" | "done" => Self::Good,
            "running" => Self::Busy,
            "held" | "partial" | "interrupted" | "not_kept" | "unknown" => Self::Warn,
            "failed" => Self::Bad,
            _ => Self::Plain,
        }
    }

    /// The word for style sheets and machines.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Busy => "busy",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Plain => "plain",
        }
    }
}

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) tone: Severity,
    pub(super) sentence: String,
}

fn is(tone: Severity, sentence: impl Into<String>) -> Standing {
    Standing {
        tone,
        sentence: sentence.into(),
    }
}

/// How the daemon stands. That its loop is stuck goes before all else, and then a run under way; that all is
/// well is said only of a daemon that is ready and has its roster before it.
pub(super) fn of_daemon(
    facts: &Facts,
    findings: &Findings,
    books: &Result<HistoryView, String>,
    not_ready: Option<&str>,
    now: DateTime<Utc>,
) -> Standing {
    if !facts.is_alive() {
        let said =
            "The daemon's loop has stopped: nothing is done until the daemon is started anew.";
        return is(Severity::Bad, said);
    }
    if let Some((trigger, since)) = facts.running {
        let since = since.format("%H:%M:%S UTC");
        let why = trigger.as_str();
        return is(
            Severity::Busy,
            format!("A run is under way since {since} ({why})."),
        );
    }
    let books = match books {
        Ok(books) => books,
        Err(error) => {
            return is(
                Severity::Bad,
                format!("What is remembered can't be read: {error}."),
            );
        }
    };
    let last = books.runs.iter().find_map(ended);
    if let Some(failure) = unwritten(facts, last) {
        return is(Severity::Bad, failure);
    }
    let standing = last.map_or_else(
        || is(Severity::Plain, "No run has ended yet."),
        |end| of_last(end, findings, books, now),
    );
    if !matches!(standing.tone, Severity::Good | Severity::Plain) {
        return standing;
    }
    let roster = facts
        .roster
        .and_then(|(condition, since)| of_roster(condition, since));
    // A daemon that has just begun is not ready, and nothing is wrong with that.
    let not_ready = not_ready.filter(|_| last.is_some()).map(unready);
    roster.or(not_ready).unwrap_or(standing)
}

/// That the last run failed where its end could not be written down, as on a disk that is full.
fn unwritten(facts: &Facts, written: Option<&RunEnd>) -> Option<String> {
    let last = facts.last?;
    let failure = last.failure?;
    let is_newer = written.is_none_or(|end| end.ended < last.ended - TimeDelta::seconds(5));
    is_newer.then(|| format!("The last run could not be done: {failure}."))
}

/// Why nothing comes of the roster just now, whatever the last run made of it.
fn of_roster(condition: SourceState, since: DateTime<Utc>) -> Option<Standing> {
    let since = since.format("%H:%M:%S UTC");
    Some(match condition {
        SourceState::Stable => return None,
        SourceState::Changing => is(
            Severity::Busy,
            format!(
                "The roster is being written since {since}; a run follows when it stands still."
            ),
        ),
        SourceState::Unavailable => is(
            Severity::Bad,
            format!("The roster can't be read since {since}; Omni stays as it is until it can."),
        ),
        SourceState::Unresponsive => is(
            Severity::Bad,
            format!(
                "The roster's file system does not answer since {since}; Omni stays as it is until it does."
            ),
        ),
    })
}

fn unready(why: &str) -> Standing {
    let mut letters = why.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    let sentence: String = first.into_iter().chain(letters).chain(['.']).collect();
    is(Severity::Warn, sentence)
}

pub(super) fn ended(run: &RunRecord) -> Option<&RunEnd> {
    match &run.state {
        RunState::Ended(end) => Some(end),
        RunState::Open | RunState::Interrupted => None,
    }
}

fn of_last(end: &RunEnd, findings: &Findings, books: &HistoryView, now: DateTime<Utc>) -> Standing {
    match end.result {
        RunResult::Failed => is(Severity::Bad, failed(end)),
        RunResult::Held => held(end, findings, books, now),
        RunResult::Partial => is(Severity::Warn, partial(end, books.quarantined.0)),
        RunResult::DryRun => is(Severity::Plain, planned(end)),
        RunResult::Stopped => is(Severity::Plain, "The last run was ended before its time."),
        RunResult::Converged => is(Severity::Good, "Omni is as the roster says."),
        RunResult::Declined => is(Severity::Plain, "The last run was declined."),
    }
}

fn failed(end: &RunEnd) -> String {
    let why = end.detail.lines().next().unwrap_or_default();
    format!(
        "The last run could not be done: {}.",
        why.trim_end_matches('.')
    )
}

fn held(end: &RunEnd, findings: &Findings, books: &HistoryView, now: DateTime<Utc>) -> Standing {
    let count = |count: u64| plural(count, "change");
    if end.held == 0 {
        let why = findings.blocked.first();
        let why = why.map_or(
            "A part of what the roster asks for is blocked.",
            String::as_str,
        );
        return is(Severity::Warn, why);
    }
    let changes = count(end.held);
    if books.good_approval(now).is_some() {
        return is(
            Severity::Busy,
            format!("{changes} approved: the next run makes way for them."),
        );
    }
    let (are, wait) = match end.held {
        1 => ("is", "waits"),
        _ => ("are", "wait"),
    };
    is(
        Severity::Warn,
        format!("{changes} {are} held and {wait} for somebody to approve."),
    )
}

fn partial(end: &RunEnd, quarantined: usize) -> String {
    let count = |count: u64, what| plural(count, what);
    let parts = [
        (end.bad_rows, "bad row"),
        (end.failed, "failed change"),
        (quarantined as u64, "user in quarantine"),
    ];
    let parts: Vec<_> = parts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| count(number, what))
        .collect();
    match parts.is_empty() {
        true => "A part of the roster could not be carried out; the rest is as it says.".into(),
        false => format!("All but {} is as the roster says.", listed(&parts)),
    }
}

/// `a`, `a and b`, `a, b and c`.
fn listed(parts: &[String]) -> String {
    match parts {
        [all @ .., last] if !all.is_empty() => format!("{} and {last}", all.join(", ")),
        parts => parts.concat(),
    }
}

fn planned(end: &RunEnd) -> String {
    let needed = end.pending.map_or(0, |needed| needed.total());
    match needed {
        0 => "Omni is as the roster says; this daemon only watches (policy.mode).".into(),
        _ => format!(
            "{} needed; this daemon only watches (policy.mode).",
            plural(needed, "change")
        ),
    }
}

/// Why nobody knows whether a user's row is good.
fn doubted(doubt: Incompleteness) -> Standing {
    match doubt {
        Incompleteness::NotRead => is(
            Severity::Plain,
            "No run has read the roster since the start, so whether their row is good is not known yet.",
        ),
        Incompleteness::NotKept(count) => is(
            Severity::Warn,
            format!(
                "The roster has {count} problems, more than are kept here: their row may be among the others."
            ),
        ),
        Incompleteness::Unnamed(count) => {
            let (problems, are) = match count {
                1 => ("A problem".to_owned(), "names nobody and may concern"),
                _ => (format!("{count} problems"), "name nobody and may concern"),
            };
            is(
                Severity::Warn,
                format!("{problems} of the roster {are} them."),
            )
        }
    }
}

/// How somebody stands of whom nothing is wrong; well is only who is asked for. Each run notes whom the
/// roster asks for, so that they can be told from a slip in the address.
fn untroubled(look: &UserLook) -> Standing {
    let missing = look.state.managed.as_ref();
    if let Some(since) = missing.and_then(|managed| managed.missing_since) {
        let since = since.format("%Y-%m-%d %H:%M:%S UTC");
        return is(
            Severity::Plain,
            format!("The roster has not named them since {since}."),
        );
    }
    if !look.is_known() {
        let said = "As far as the last run that read roster and Omni tells, no row asks for them, and \
            nothing was ever done to them.";
        return is(Severity::Plain, said);
    }
    is(
        Severity::Good,
        "Nothing stands in the way of what the roster says of them.",
    )
}

/// How one user stands, as far as the journal and the last run know: the weightiest first.
pub(super) fn of_user(look: &UserLook, now: DateTime<Utc>) -> Vec<Standing> {
    let mut all = Vec::new();
    if !look.problems.is_empty() {
        let said = "The roster's row is bad, so nothing is written to them.";
        all.push(is(Severity::Bad, said));
    } else if let Some(doubt) = look.doubt {
        all.push(doubted(doubt));
    }
    if let Some((held, operation)) = look.held_by() {
        let HeldIn { run, .. } = look.held_in();
        all.push(is(
            Severity::Warn,
            format!("To {operation} them is held: {}", held.text(*run)),
        ));
    }
    if let Some(one) = &look.state.quarantined
        && one.until > now
    {
        let (until, why) = (one.until.format("%Y-%m-%d %H:%M:%S UTC"), &one.reason);
        all.push(is(
            Severity::Warn,
            format!("In quarantine until {until}, since: {why}"),
        ));
    }
    if look
        .changes
        .first()
        .is_some_and(|change| change.settled.is_none())
    {
        let said = "What became of their last change is not known yet.";
        all.push(is(Severity::Warn, said));
    }
    if all.is_empty() {
        all.push(untroubled(look));
    }
    if look.is_protected {
        let said = "They are protected (policy.protect): never removed, never deactivated.";
        all.push(is(Severity::Plain, said));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Status;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_has_stopped_is_told_before_all_else() {
        let status = Status::new(None);
        status.run_starts(crate::model::Trigger::Start);
        let tone = || {
            let books = Err("it is damaged".into());
            of_daemon(
                &status.facts(),
                &status.findings(),
                &books,
                None,
                Utc::now(),
            )
            .tone
        };
        assert_eq!(tone(), Severity::Busy);
        tokio::time::advance(Duration::from_secs(15)).await;
        assert_eq!(tone(), Severity::Bad);
        status.beat();
        assert_eq!(tone(), Severity::Busy);
    }
}
