//! Logs a run when it has ended: one summary line, then its problems and warnings.

use crate::model::{ChangeOutcome, Problem, RunNumber, RunResult};
use crate::plan::HeldSummary;
use crate::plan::render::how_to_approve;
use crate::roster::SourceError;
use crate::run::{Completion, RunError, RunOutcome};
use crate::util::error_chain::error_chain;
use crate::util::text::plural;
use std::collections::BTreeSet;
use tracing::{debug, error, info, warn};

/// The maximum number of lines of one type; the others are counted.
const MAX_LINES: usize = 20;

/// Logs runs. A warning that the run before gave too is not repeated as one, but counted.
#[derive(Debug, Default)]
pub(super) struct RunLog {
    last: BTreeSet<String>,
}

impl RunLog {
    /// Logs a run, at a level that depends on its result.
    pub(super) fn log(&mut self, run: &RunOutcome) {
        log_result(run);
        let warnings = warnings(run);
        // What a dry run would hold can't be approved.
        let approvable = run.number.filter(|_| run.result() != RunResult::DryRun);
        let is_known = |warning: &&LogWarning| self.last.contains(&warning.text);
        let (known, new): (Vec<_>, Vec<_>) = warnings.iter().partition(is_known);
        for warning in new {
            warn!("{}", warning.with_hint(approvable));
        }
        for warning in &known {
            debug!("{}", warning.with_hint(approvable));
        }
        if !known.is_empty() {
            info!(
                unchanged = known.len(),
                "the same warnings as after the run before; the log level debug shows them"
            );
        }
        // A run that failed or was stopped early says nothing about the warnings of others.
        if run.roster().is_some() {
            self.last = warnings.into_iter().map(|warning| warning.text).collect();
        }
    }
}

fn log_result(run: &RunOutcome) {
    macro_rules! line {
        ($log:ident $(, $more:ident = $value:expr)*) => {
            $log!(
                result = run.result().as_str(),
                trigger = run.trigger.as_str(),
                rows = run.roster().map(|roster| roster.rows),
                bad_rows = run.roster().map(|roster| roster.bad_rows.len()),
                rejected_files = run.roster().map(|roster| roster.unreadable().count()),
                users = run.users_after(),
                planned = run.planned().map(|planned| planned.total()),
                pending = run.pending().map(|pending| pending.total()),
                applied = run.count(ChangeOutcome::Applied),
                failed = run.count(ChangeOutcome::Failed) + run.count(ChangeOutcome::NotKept),
                skipped = run.count(ChangeOutcome::Skipped),
                held = run.held_count(),
                requests = run.requests,
                seconds = (run.duration.as_secs_f64() * 1000.0).round() / 1000.0,
                $($more = $value,)*
                "run ended"
            )
        };
    }
    match &run.completion {
        Completion::Failed(cause) => line!(error, error = for_log(cause)),
        _ if matches!(run.result(), RunResult::Held | RunResult::Partial) => line!(warn),
        _ => line!(info),
    }
}

/// A warning about a run.
struct LogWarning {
    text: String,
    /// Whether it is about changes that can be approved.
    is_held: bool,
}

impl LogWarning {
    fn about(text: String) -> Self {
        Self {
            text,
            is_held: false,
        }
    }

    fn held(held: &HeldSummary) -> Self {
        let HeldSummary {
            rule,
            count,
            reason,
        } = held;
        Self {
            text: format!(
                "{} held by {}: {reason}",
                plural(*count, "change"),
                rule.label()
            ),
            is_held: true,
        }
    }

    /// The text, with the commands for the changes that this run holds.
    fn with_hint(&self, run: Option<RunNumber>) -> String {
        match run.filter(|_| self.is_held) {
            Some(run) => format!("{}; {}", self.text, how_to_approve(run)),
            None => self.text.clone(),
        }
    }
}

/// The warnings of a run: problems of the roster, what is held or blocked, and others.
fn warnings(run: &RunOutcome) -> Vec<LogWarning> {
    let problems = roster_problems(run).into_iter().map(LogWarning::about);
    let held = run.held().iter().map(LogWarning::held);
    let blocked = run.blocked().iter().cloned();
    let others = blocked.chain(limited(&run.warnings)).map(LogWarning::about);
    problems.chain(held).chain(others).collect()
}

/// Why a run failed, without the text of Omni's response: it may repeat attribute values, which must
/// not be logged.
fn for_log(cause: &RunError) -> String {
    match cause {
        RunError::Omni(error) => error.redacted(),
        RunError::Source(SourceError::Rejected(problems)) => rejected_for_log(problems),
        other => error_chain(other),
    }
}

/// The problems of rejected files. They contain no values.
fn rejected_for_log(problems: &[Problem]) -> String {
    let shown = problems.iter().take(MAX_LINES).map(Problem::to_string);
    let more = problems.len().saturating_sub(MAX_LINES);
    let more = (more > 0).then(|| format!("and {more} more"));
    shown.chain(more).collect::<Vec<_>>().join("\n")
}

/// The first and the last warnings: those about the whole run come before and after those about single rows.
fn limited(warnings: &[String]) -> Vec<String> {
    let half = MAX_LINES / 2;
    let skipped = half..warnings.len().saturating_sub(half).max(half);
    let shown = warnings
        .iter()
        .enumerate()
        .filter(|(at, _)| !skipped.contains(at));
    let more = (!skipped.is_empty()).then(|| format!("{} more warnings", skipped.len()));
    shown
        .map(|(_, warning)| warning.clone())
        .chain(more)
        .collect()
}

/// Rejected files with their problem, and invalid rows with their location only: the problem of a row may repeat
/// attribute values, which must not be logged. (A roster that is rejected as a whole is the error of the run.)
fn roster_problems(run: &RunOutcome) -> Vec<String> {
    let Some(roster) = run.roster() else {
        return Vec::new();
    };
    let rejected = roster.rejected.iter().take(MAX_LINES);
    let rejected = rejected.map(|problem| format!("roster file rejected: {problem}"));
    let groups = roster.groups.iter();
    let groups = groups.map(|problem| format!("source.groups can't be read: {problem}"));
    let roles = roster.roles.iter();
    let roles = roles.map(|problem| format!("source.roles can't be read: {problem}"));
    let bad_rows = roster.bad_rows.iter().take(MAX_LINES).map(|problem| {
        let (location, kind) = (&problem.location, problem.kind.as_str());
        format!("invalid row: {kind} at {location}; for details run `omni-user-sync check`")
    });
    let hidden =
        [&roster.rejected, &roster.bad_rows].map(|all| all.len().saturating_sub(MAX_LINES));
    let more = hidden.iter().sum::<usize>();
    let more = (more > 0).then(|| format!("{more} more problems in the roster"));
    let unreadable = rejected.chain(groups).chain(roles);
    unreadable.chain(bad_rows).chain(more).collect()
}

#[cfg(test)]
mod tests {
    use super::super::run_metrics::tests::run;
    use super::*;
    use crate::model::{Location, ProblemKind};
    use crate::omni::{Failure, OmniError};

    /// The log of a run.
    fn logged(run: &RunOutcome) -> String {
        logged_by(&mut RunLog::default(), run)
    }

    fn logged_by(run_log: &mut RunLog, run: &RunOutcome) -> String {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let writer = std::sync::Arc::new(file.reopen().expect("it opens"));
        let log = tracing_subscriber::fmt()
            .with_writer(writer)
            .with_ansi(false);
        tracing::subscriber::with_default(log.finish(), || run_log.log(run));
        std::fs::read_to_string(file.path()).expect("a log is text")
    }

    #[test]
    fn responses_of_omni_are_not_logged() {
        let (status, said) = (reqwest::StatusCode::BAD_GATEWAY, || "s3cret".to_owned());
        let failure = || Failure::Status(status, said());
        for error in [
            OmniError::Unauthorized { detail: said() },
            OmniError::Malformed { detail: said() },
            OmniError::Rejected {
                status,
                detail: said(),
            },
            OmniError::Unavailable {
                attempts: 5,
                failure: failure(),
            },
            OmniError::Unavailable {
                attempts: 5,
                failure: Failure::Unreadable(said()),
            },
            OmniError::CircuitOpen {
                in_a_row: 20,
                failure: failure(),
            },
            OmniError::OutcomeUnknown(failure()),
        ] {
            let kind = format!("{error:?}");
            let log = logged(&run(Completion::Failed(error.into())));
            assert!(log.contains("ERROR") && log.contains("run ended"), "{log}");
            assert!(!log.contains("s3cret"), "{kind}: {log}");
        }
    }

    #[test]
    fn a_failed_run_logs_its_cause() {
        let gone = std::io::Error::other("the disk is gone");
        let source = SourceError::Unreadable {
            path: "/srv/users.csv".into(),
            source: gone,
        };
        let log = logged(&run(Completion::Failed(source.into())));
        assert!(log.contains("/srv/users.csv: can't be read"), "{log}");
        assert!(log.contains("the disk is gone"), "{log}");
        let problems = (1..=50).map(|line| Problem {
            kind: ProblemKind::File,
            location: Location {
                file: "users.csv".into(),
                line,
                column: None,
            },
            message: "wrong".into(),
            remedy: "correct it".into(),
            email: None,
        });
        let log = logged(&run(Completion::Failed(
            SourceError::Rejected(problems.collect()).into(),
        )));
        assert!(log.contains("users.csv:20: wrong"), "{log}");
        assert!(!log.contains("users.csv:21: wrong"), "{log}");
        assert!(log.contains("and 30 more"), "{log}");
    }

    #[test]
    fn invalid_rows_are_logged_without_values() {
        let mut run = run(Completion::Complete);
        let roster = &mut run.plan.as_mut().expect("a plan").roster;
        roster.bad_rows.push(Problem {
            kind: ProblemKind::Number,
            location: Location {
                file: "users.csv".into(),
                line: 7,
                column: Some((3, "seats".into())),
            },
            message: "'s3cret' is no decimal number".into(),
            remedy: "not s3cret".into(),
            email: None,
        });
        let log = logged(&run);
        assert!(log.contains("users.csv:7:3 (seats)"), "{log}");
        assert!(log.contains("invalid row: number at"), "{log}");
        assert!(!log.contains("s3cret"), "{log}");
    }

    #[test]
    fn warnings_are_limited() {
        let with = |count: usize| {
            let warnings = (0..count)
                .map(|number| format!("warning {number}."))
                .collect();
            logged(&RunOutcome {
                warnings,
                ..run(Completion::Complete)
            })
        };
        let few = with(MAX_LINES);
        assert_eq!(few.matches("warning ").count(), MAX_LINES, "{few}");
        assert!(!few.contains("more warnings"), "{few}");
        let many = with(100_000);
        assert_eq!(many.matches("warning ").count(), MAX_LINES, "{many}");
        for shown in ["warning 0.", "warning 99999.", "99980 more warnings"] {
            assert!(many.contains(shown), "{many}");
        }
    }

    #[test]
    fn repeated_warnings_are_counted() {
        let with = |warnings: &[&str]| RunOutcome {
            number: Some(RunNumber(7)),
            warnings: warnings.iter().map(ToString::to_string).collect(),
            ..run(Completion::Complete)
        };
        let mut run_log = RunLog::default();
        let first = logged_by(&mut run_log, &with(&["one"]));
        assert!(first.contains("approve 7"), "{first}");
        let second = logged_by(&mut run_log, &with(&["one", "another"]));
        assert!(
            second.contains("WARN omni_user_sync::daemon::run_log: another"),
            "{second}"
        );
        assert!(
            second.contains("unchanged=2"),
            "what is held, and one: {second}"
        );
        assert!(!second.contains("approve 7"), "{second}");
        let failed = RunOutcome {
            plan: None,
            ..with(&[])
        };
        logged_by(&mut run_log, &failed);
        let third = logged_by(&mut run_log, &with(&["one"]));
        assert!(third.contains("unchanged=2"), "{third}");
        logged_by(&mut run_log, &with(&[]));
        let back = logged_by(&mut run_log, &with(&["one"]));
        assert!(back.contains("run_log: one"), "{back}");
    }
}
