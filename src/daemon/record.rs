//! What is told of a run: the metrics, as far as it is, and one line in the log when it has ended.

use crate::metrics::{Metrics, seconds};
use crate::model::{
    ChangeOutcome, Fingerprint, GuardRule, Mode, Operation, Problem, RunResult, Trigger,
};
use crate::roster::SourceError;
use crate::run::{AppliedChange, Completion, PlanSummary, RunError, RunEvent, RunOutcome};
use crate::state::{StateDb, StateError};
use crate::util::error_chain::error_chain;
use crate::util::sync::lock;
use chrono::{DateTime, Utc};
use std::sync::Mutex;
use tracing::{error, info, warn};

/// The rules of the guard, as the metrics call what they hold.
const HELD: [(GuardRule, &str); 4] = [
    (GuardRule::Prune, "pruning"),
    (GuardRule::MaxRemovals, "removals"),
    (GuardRule::MaxClears, "clears"),
    (GuardRule::MaxUpdates, "updates"),
];

/// Makes the counters that runs count in: one that is not there before hides its first event from
/// `rate()`.
pub(super) fn initialise(metrics: &Metrics) {
    let triggers = Trigger::ALL.iter().filter(|it| **it != Trigger::Command);
    for trigger in triggers {
        for result in RunResult::ALL {
            let labels = [trigger.as_str(), result.as_str()];
            metrics.runs.with_label_values(&labels);
        }
    }
    for kind in Operation::ALL {
        for outcome in ChangeOutcome::ALL
            .iter()
            .filter(|it| **it != ChangeOutcome::Skipped)
        {
            let labels = [kind.as_str(), outcome.as_str()];
            metrics.changes.with_label_values(&labels);
        }
    }
}

/// Tells the metrics of runs under way, so that one of hours is seen to go on.
#[derive(Debug)]
pub(super) struct Findings {
    metrics: Metrics,
    /// The content that was last read.
    read: Mutex<Option<Fingerprint>>,
}

impl Findings {
    /// Begins with what outlasts a restart: an outage would look younger than it is, and a dead roster
    /// alive. A journal that can't be read now ends no start.
    pub(super) async fn after_restart(metrics: Metrics, journal: &StateDb, mode: Mode) -> Self {
        metrics.applies.set((mode == Mode::Apply).into());
        let (success, read) = before(journal).await.unwrap_or_else(|error| {
            warn!(%error, "the metrics begin anew: what was before can't be read");
            (None, None)
        });
        let (read, since) = read.unzip();
        for (gauge, time) in [
            (&metrics.last_success, success),
            (&metrics.roster_changed, since),
        ] {
            gauge.set(time.map_or(0.0, seconds));
        }
        let read = Mutex::new(read);
        Self { metrics, read }
    }

    /// Counts what a run under way tells.
    pub(super) fn hear(&self, heard: RunEvent<'_>) {
        match heard {
            RunEvent::Planned(started, plan) => {
                self.look_at_roster(started, plan);
                count_findings(&self.metrics, plan);
            }
            RunEvent::Change(applied) => count_change(&self.metrics, applied),
        }
    }

    fn look_at_roster(&self, started: DateTime<Utc>, plan: &PlanSummary) {
        let now = Some(plan.roster.fingerprint);
        let mut read = lock(&self.read);
        if *read != now {
            *read = now;
            self.metrics.roster_changed.set(seconds(started));
        }
    }
}

/// When a run last succeeded; what was last read, and since when it has been so.
async fn before(
    journal: &StateDb,
) -> Result<(Option<DateTime<Utc>>, Option<(Fingerprint, DateTime<Utc>)>), StateError> {
    let success = journal.last_success().await?;
    Ok((success, journal.last_read().await?))
}

/// Counts a run that has ended. What it found and did was counted when it did.
pub(super) fn count(metrics: &Metrics, run: &RunOutcome) {
    let labels = [run.trigger.as_str(), run.result().as_str()];
    metrics.runs.with_label_values(&labels).inc();
    metrics.run_duration.observe(run.duration.as_secs_f64());
    if run.is_success() {
        metrics
            .last_success
            .set(seconds(run.started) + run.duration.as_secs_f64());
    }
    if let Completion::Failed(RunError::Source(cause)) = &run.completion {
        let rejected = metrics.roster_problems.with_label_values(&["file"]);
        // One that is not there at all is one that can't be used.
        rejected.set(gauge(cause.problems().len().max(1)));
        if cause.is_unavailable() {
            metrics.source_is_up(false);
        }
    }
}

fn count_change(metrics: &Metrics, applied: &AppliedChange) {
    if applied.outcome != ChangeOutcome::Skipped {
        let labels = [applied.operation.as_str(), applied.outcome.as_str()];
        metrics.changes.with_label_values(&labels).inc();
    }
}

/// What a run did not get to see stays as the run before found it.
fn count_findings(metrics: &Metrics, plan: &PlanSummary) {
    for email in &plan.ambiguous {
        count_change(metrics, &AppliedChange::ambiguous(email));
    }
    let roster = &plan.roster;
    metrics.source_is_up(true);
    metrics.roster_rows.set(gauge(roster.rows));
    let problem = |kind| metrics.roster_problems.with_label_values(&[kind]);
    problem("row").set(gauge(roster.bad_rows.len()));
    problem("file").set(gauge(roster.rejected.len()));
    metrics.users.set(gauge(plan.users));
    for kind in Operation::ALL {
        let needed = metrics.drift.with_label_values(&[kind.as_str()]);
        needed.set(gauge(plan.pending.get(kind)));
    }
    for (rule, label) in HELD {
        let held = plan.held.iter().filter(|held| held.rule == rule);
        let count = held.map(|held| held.count).sum::<usize>();
        metrics.held.with_label_values(&[label]).set(gauge(count));
    }
}

fn gauge(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// Logs a run: one line, as loud as it matters, and one for each thing that a person should know.
pub(super) fn log(run: &RunOutcome) {
    macro_rules! line {
        ($log:ident $(, $more:ident = $value:expr)*) => {
            $log!(
                outcome = run.result().as_str(),
                trigger = run.trigger.as_str(),
                rows = run.roster().map(|roster| roster.rows),
                bad_rows = run.roster().map(|roster| roster.bad_rows.len()),
                rejected_files = run.roster().map(|roster| roster.rejected.len()),
                users = run.users(),
                needed = run.pending().map(|drift| drift.total()),
                done = run.count(ChangeOutcome::Applied),
                failed = run.count(ChangeOutcome::Failed) + run.count(ChangeOutcome::NotKept),
                unsent = run.count(ChangeOutcome::Skipped),
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
    log_problems(run);
    for held in run.held() {
        warn!(
            rule = held.rule.as_str(),
            count = held.count,
            "held: {}",
            held.reason
        );
    }
    for why in run.blocked() {
        warn!("{why}");
    }
    log_warnings(&run.warnings);
}

/// Why a run failed. Not with what Omni said of it, which may repeat attribute values, and no log
/// holds those.
fn for_log(cause: &RunError) -> String {
    match cause {
        RunError::Omni(error) => error.redacted(),
        RunError::Source(SourceError::Rejected(problems)) => rejected_for_log(problems),
        other => error_chain(other),
    }
}

/// The problems of rejected files, which tell no values.
fn rejected_for_log(problems: &[Problem]) -> String {
    let shown = problems.iter().take(MOST_LINES).map(Problem::to_string);
    let more = problems.len().saturating_sub(MOST_LINES);
    let more = (more > 0).then(|| format!("and {more} more"));
    shown.chain(more).collect::<Vec<_>>().join("\n")
}

/// The most lines that are logged of one kind of thing; the rest is counted.
const MOST_LINES: usize = 20;

/// What a person should know, from both ends: what concerns the whole run stands before and after
/// what concerns single rows.
fn log_warnings(warnings: &[String]) {
    let half = MOST_LINES / 2;
    let left_out = half..warnings.len().saturating_sub(half).max(half);
    for (at, warning) in warnings.iter().enumerate() {
        if !left_out.contains(&at) {
            warn!("{warning}");
        }
    }
    if !left_out.is_empty() {
        warn!(more = left_out.len(), "more warnings");
    }
}

/// What is wrong with files, and where rows are bad. What is wrong there may repeat attribute
/// values, which no log holds. (A roster that was rejected whole is the run's error.)
fn log_problems(run: &RunOutcome) {
    let Some(roster) = run.roster() else { return };
    for problem in roster.rejected.iter().take(MOST_LINES) {
        warn!("a file of the roster is rejected: {problem}");
    }
    for problem in roster.bad_rows.iter().take(MOST_LINES) {
        warn!(place = %problem.place, kind = problem.kind.as_str(), "a bad row; `omni-user-sync check` says what is wrong");
    }
    let more = [&roster.rejected, &roster.bad_rows].map(|all| all.len().saturating_sub(MOST_LINES));
    if more != [0, 0] {
        warn!(
            more = more.iter().sum::<usize>(),
            "more problems in the roster"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Counts, Email, Location, ProblemKind, RunEnd, RunStart};
    use crate::omni::{Failure, OmniError};
    use crate::plan::HeldRule;
    use crate::run::Roster;
    use crate::settings::SettingsError;
    use crate::state::{Access, StateLock};
    use std::time::Duration;

    fn run(end: Completion) -> RunOutcome {
        let applied = |kind, outcome| AppliedChange {
            email: Email::parse("a@b.co").expect("an email"),
            kind,
            outcome,
            detail: String::new(),
            refused: false,
        };
        RunOutcome {
            number: None,
            trigger: Trigger::File,
            started: "2026-03-10T12:00:00Z".parse().expect("a time"),
            took: Duration::from_millis(1500),
            requests: 7,
            roster: Some(Roster {
                rows: 40,
                fingerprint: Fingerprint([1; 32]),
                bad_rows: Vec::new(),
                rejected: Vec::new(),
            }),
            users: Some(41),
            drift: Some(Counts::of([
                Operation::Delete,
                Operation::Create,
                Operation::Create,
            ])),
            held: vec![HeldRule {
                rule: "max_removals",
                count: 1,
                why: "too many".into(),
            }],
            blocked: Vec::new(),
            quarantined: 0,
            applied: vec![
                applied(Operation::Create, ChangeOutcome::Applied),
                applied(Operation::Create, ChangeOutcome::Skipped),
            ],
            warnings: Vec::new(),
            end,
        }
    }

    /// What is logged of a run.
    fn logged(run: &RunOutcome) -> String {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let writer = std::sync::Arc::new(file.reopen().expect("it is there"));
        let log = tracing_subscriber::fmt()
            .with_writer(writer)
            .with_ansi(false);
        tracing::subscriber::with_default(log.finish(), || super::log(run));
        std::fs::read_to_string(file.path()).expect("a log is text")
    }

    #[test]
    fn what_omni_said_of_a_failed_run_is_not_logged() {
        let (status, said) = (reqwest::StatusCode::BAD_GATEWAY, || "s3cret".to_owned());
        let failure = || Failure::Status(status, said());
        for error in [
            OmniError::Unauthorized { detail: said() },
            OmniError::Forbidden { detail: said() },
            OmniError::Refused {
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
    fn a_failed_run_says_why_and_no_more_than_fits() {
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
            place: Location {
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
    fn of_a_bad_row_place_and_kind_are_logged_and_no_value() {
        let mut run = run(Completion::Complete);
        let roster = run.roster.as_mut().expect("a roster");
        roster.bad_rows.push(Problem {
            kind: ProblemKind::Number,
            place: Location {
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
        assert!(log.contains(r#"kind="number""#), "{log}");
        assert!(!log.contains("s3cret"), "{log}");
    }

    #[test]
    fn warnings_are_logged_up_to_a_number() {
        let with = |count: usize| {
            let warnings = (0..count)
                .map(|number| format!("warning {number}."))
                .collect();
            logged(&RunOutcome {
                warnings,
                ..run(Completion::Complete)
            })
        };
        let few = with(MOST_LINES);
        assert_eq!(few.matches("warning ").count(), MOST_LINES, "{few}");
        assert!(!few.contains("more warnings"), "{few}");
        let many = with(100_000);
        assert_eq!(many.matches("warning ").count(), MOST_LINES, "{many}");
        for shown in ["warning 0.", "warning 99999.", "more warnings more=99980"] {
            assert!(many.contains(shown), "{many}");
        }
    }

    /// A journal without runs, in a folder of its own.
    fn journal() -> (tempfile::TempDir, StateDb) {
        let folder = tempfile::tempdir().expect("a folder");
        let lock = StateLock::acquire(folder.path(), "run").expect("nobody else has it");
        let journal = StateDb::open("https://acme.omniapp.co", Access::Write(lock));
        (folder, journal.expect("it opens"))
    }

    /// Tells all of a run, as it is told when it is carried out.
    async fn tell(metrics: &Metrics, run: &RunOutcome) {
        let (_folder, journal) = journal();
        let findings = Findings::after_restart(metrics.clone(), &journal, Mode::Apply).await;
        let RunOutcome { applied, .. } = run;
        findings.hear(RunEvent::Found(&RunOutcome {
            number: None,
            applied: Vec::new(),
            roster: run.roster.clone(),
            held: run.held().clone(),
            blocked: Vec::new(),
            quarantined: 0,
            warnings: Vec::new(),
            end: Completion::Complete,
            ..*run
        }));
        for one in applied {
            findings.hear(RunEvent::Change(one));
        }
        count(metrics, run);
    }

    #[tokio::test]
    async fn counts_what_was_found_and_done() {
        let metrics = Metrics::new();
        tell(&metrics, &run(Completion::Complete)).await;
        let text = metrics.render();
        for line in [
            r#"runs_total{outcome="held",trigger="file"} 1"#,
            "run_duration_seconds_sum 1.5",
            "last_success_timestamp_seconds 1773144001.5",
            r#"changes_total{kind="create",outcome="done"} 1"#,
            r#"drift{kind="delete"} 1"#,
            r#"drift{kind="create"} 2"#,
            r#"held_changes{kind="removals"} 1"#,
            r#"held_changes{kind="updates"} 0"#,
            "roster_rows 40",
            "roster_changed_timestamp_seconds 1773144000",
            "applies 1",
            "source_up 1",
            r#"roster_problems{kind="row"} 0"#,
            "users 41",
        ] {
            assert!(
                text.contains(&format!("omni_user_sync_{line}\n")),
                "{line}\n{text}"
            );
        }
        assert!(
            !text.contains("unsent"),
            "what was not sent is no change sent"
        );
    }

    #[tokio::test]
    async fn what_is_found_is_told_before_the_run_ends_and_counted_once() {
        let metrics = Metrics::new();
        let (_folder, journal) = journal();
        let findings = Findings::after_restart(metrics.clone(), &journal, Mode::Plan).await;
        let has = |line: &str| {
            metrics
                .render()
                .contains(&format!("omni_user_sync_{line}\n"))
        };
        let run = run(Completion::Complete);
        findings.hear(RunEvent::Found(&run));
        for line in [
            r#"drift{kind="create"} 2"#,
            r#"held_changes{kind="removals"} 1"#,
            r#"changes_total{kind="create",outcome="done"} 1"#,
            "users 41",
            "applies 0",
            "last_success_timestamp_seconds 0",
        ] {
            assert!(has(line), "{line}\n{}", metrics.render());
        }
        findings.hear(RunEvent::Change(&run.changes[0]));
        count(&metrics, &run);
        assert!(has(r#"changes_total{kind="create",outcome="done"} 2"#));
    }

    #[tokio::test]
    async fn a_roster_that_stays_the_same_keeps_its_age() {
        let metrics = Metrics::new();
        let (_folder, journal) = journal();
        let findings = Findings::after_restart(metrics.clone(), &journal, Mode::Apply).await;
        let mut next = run(Completion::Complete);
        let mut since = |byte: u8, minutes: i64| {
            next.started += chrono::TimeDelta::minutes(minutes);
            let roster = next.roster.as_mut().expect("a roster");
            roster.fingerprint = Fingerprint([byte; 32]);
            findings.hear(RunEvent::Found(&next));
            metrics.roster_changed.get()
        };
        let first = since(1, 0);
        assert_eq!(since(1, 15), first);
        assert_eq!(since(2, 15), first + 1800.0);
        assert_eq!(since(1, 15), first + 2700.0, "back to what it was");
    }

    #[tokio::test]
    async fn a_restart_forgets_neither_the_last_success_nor_the_age_of_the_roster() {
        let (folder, journal) = journal();
        let outcome = run(Completion::Complete);
        let at = |minutes| outcome.started + chrono::TimeDelta::minutes(minutes);
        for (minutes, word, byte, is_source) in [
            (0, "converged", Some(1), true),
            (15, "held", Some(2), true),
            (30, "partial", Some(2), true),
            (45, "converged", Some(3), false),
            (60, "failed", None, true),
            (75, "stopped", Some(2), true),
        ] {
            let start = RunStart {
                trigger: Trigger::Schedule,
                started: at(minutes),
                is_source,
            };
            let number = journal.begin(start).await.expect("begins");
            let end = RunEnd {
                ended: at(minutes + 1),
                outcome: word.into(),
                fingerprint: byte.map(|byte| Fingerprint([byte; 32])),
                rows: None,
                users: None,
                needed: None,
                done: 0,
                failed: 0,
                held: 0,
                bad_rows: 0,
                requests: 0,
                detail: String::new(),
            };
            journal.finish(number, &end).await.expect("ends");
        }
        let metrics = Metrics::new();
        let findings = Findings::after_restart(metrics.clone(), &journal, Mode::Apply).await;
        assert_eq!(metrics.last_success.get(), seconds(at(31)));
        assert_eq!(metrics.roster_changed.get(), seconds(at(15)));
        let mut same = run(Completion::Complete);
        same.roster.as_mut().expect("a roster").fingerprint = Fingerprint([2; 32]);
        findings.hear(RunEvent::Found(&same));
        assert_eq!(metrics.roster_changed.get(), seconds(at(15)));
        drop(folder);
    }

    #[test]
    fn what_a_run_counts_in_is_there_before() {
        let metrics = Metrics::new();
        initialise(&metrics);
        let lines = || {
            let text = metrics.render();
            let of = |name| text.lines().filter(|line| line.starts_with(name)).count();
            (
                of("omni_user_sync_runs_total{"),
                of("omni_user_sync_changes_total{"),
            )
        };
        assert_eq!(lines(), (7 * 6, 4 * 3));
        let error = RunError::Settings(SettingsError::Unreadable("gone".into()));
        let ends = [
            Completion::Complete,
            Completion::DryRun,
            Completion::Stopped,
            Completion::Failed(error),
        ];
        for end in ends {
            let held = run(end);
            assert!(RunOutcome::WORDS.contains(&held.as_str()));
            assert_eq!(
                RunOutcome::SUCCESSES.contains(&held.as_str()),
                held.is_success()
            );
            count(&metrics, &held);
        }
        let converged = RunOutcome {
            held: Vec::new(),
            applied: Vec::new(),
            ..run(Completion::Complete)
        };
        count(&metrics, &converged);
        assert_eq!(lines(), (7 * 6, 4 * 3), "no other words");
    }

    #[tokio::test]
    async fn a_failure_is_no_success_and_forgets_nothing() {
        let metrics = Metrics::new();
        tell(&metrics, &run(Completion::Complete)).await;
        let cause = SettingsError::Unreadable("gone".into());
        let failed = RunOutcome {
            drift: None,
            users: None,
            roster: None,
            ..run(Completion::Failed(RunError::Settings(cause)))
        };
        count(&metrics, &failed);
        let text = metrics.render();
        assert!(text.contains("omni_user_sync_users 41\n"), "{text}");
        assert!(text.contains("timestamp_seconds 1773144001.5\n"), "{text}");
        assert!(
            text.contains(r#"runs_total{outcome="failed",trigger="file"} 1"#),
            "{text}"
        );
    }
}
