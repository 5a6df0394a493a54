//! Updates the metrics from runs: the plan and each change as they happen, the result at the end.

use crate::metrics::{Metrics, seconds};
use crate::model::{ChangeOutcome, Fingerprint, GuardRule, Mode, Operation, RunResult, Trigger};
use crate::plan::HeldSummary;
use crate::run::{AppliedChange, Completion, PlanSummary, RunError, RunEvent, RunOutcome};
use crate::state::{StateDb, StateError};
use crate::util::sync::lock;
use chrono::{DateTime, Utc};
use prometheus::IntGauge;
use std::sync::Mutex;
use tracing::warn;

/// The label of `held_changes` for each safety limit.
const HELD: [(GuardRule, &str); GuardRule::ALL.len()] = [
    (GuardRule::Prune, "pruning"),
    (GuardRule::MaxRemovals, "removals"),
    (GuardRule::MaxClears, "clears"),
    (GuardRule::MaxUpdates, "updates"),
    (GuardRule::NewDomain, "new_domain"),
    (GuardRule::NewGroups, "new_groups"),
    (GuardRule::MaxLeaves, "leaves"),
    (GuardRule::MaxJoins, "joins"),
    (GuardRule::MaxRoleChanges, "roles"),
    (GuardRule::OwnedSchedules, "schedules"),
    (GuardRule::Transfers, "transfers"),
];

/// Creates the counters of runs and changes: a counter that appears with its first event hides that
/// event from `rate()`.
pub(super) fn initialise(metrics: &Metrics) {
    let triggers = Trigger::ALL.iter().filter(|it| **it != Trigger::Command);
    for trigger in triggers {
        // Only a command can be declined.
        for result in RunResult::ALL
            .into_iter()
            .filter(|it| *it != RunResult::Declined)
        {
            let labels = [trigger.as_str(), result.as_str()];
            metrics.runs.with_label_values(&labels);
        }
    }
    for operation in Operation::ALL {
        for outcome in ChangeOutcome::ALL
            .iter()
            .filter(|it| **it != ChangeOutcome::Skipped)
        {
            let labels = [operation.as_str(), outcome.as_str()];
            metrics.changes.with_label_values(&labels);
        }
    }
}

/// Updates the metrics during a run, so that the progress of a long run is visible.
#[derive(Debug)]
pub(super) struct RunMetrics {
    metrics: Metrics,
    /// The fingerprint of the roster when last read.
    roster: Mutex<Option<Fingerprint>>,
}

impl RunMetrics {
    /// Restores the times of the last success and of the last roster change, so that a restart hides
    /// neither an outage nor a roster that is no longer updated. An unreadable state database does
    /// not prevent the start.
    pub(super) async fn restore(metrics: Metrics, state: &StateDb, mode: Mode) -> Self {
        metrics.dry_run.set((mode == Mode::DryRun).into());
        let times = LastTimes::read(state).await.unwrap_or_else(|error| {
            warn!(%error, "earlier runs can't be read; time metrics start at 0");
            LastTimes::default()
        });
        let (roster, changed) = times.roster.unzip();
        for (gauge, time) in [
            (&metrics.last_success, times.success),
            (&metrics.last_converged, times.converged),
            (&metrics.held_since, times.held_since),
            (&metrics.roster_changed, changed),
        ] {
            gauge.set(time.map_or(0.0, seconds));
        }
        Self {
            metrics,
            roster: Mutex::new(roster),
        }
    }

    /// Updates the metrics from an event of the current run.
    pub(super) fn on_event(&self, event: RunEvent<'_>) {
        match event {
            RunEvent::Planned(started, plan) => {
                self.record_roster_change(started, plan);
                record_plan(&self.metrics, plan);
                record_held(&self.metrics, started, &plan.held);
            }
            RunEvent::Change(applied) => {
                count_change(&self.metrics, applied);
                if applied.outcome == ChangeOutcome::Applied {
                    count_done(&self.metrics, applied.operation);
                }
            }
        }
    }

    fn record_roster_change(&self, started: DateTime<Utc>, plan: &PlanSummary) {
        let now = Some(plan.roster.fingerprint);
        let mut last = lock(&self.roster);
        if *last != now {
            *last = now;
            self.metrics.roster_changed.set(seconds(started));
        }
    }
}

/// Times that outlast a restart.
#[derive(Default)]
struct LastTimes {
    success: Option<DateTime<Utc>>,
    converged: Option<DateTime<Utc>>,
    held_since: Option<DateTime<Utc>>,
    /// The last roster, and since when it is unchanged.
    roster: Option<(Fingerprint, DateTime<Utc>)>,
}

impl LastTimes {
    async fn read(state: &StateDb) -> Result<Self, StateError> {
        Ok(Self {
            success: state.last_success().await?,
            converged: state.last_converged().await?,
            held_since: state.held_since().await?,
            roster: state.last_read().await?,
        })
    }
}

/// Records the result of a run. Its plan and its changes were recorded by [`RunMetrics::on_event`].
pub(super) fn record_result(metrics: &Metrics, run: &RunOutcome) {
    let labels = [run.trigger.as_str(), run.result().as_str()];
    metrics.runs.with_label_values(&labels).inc();
    metrics.run_duration.observe(run.duration.as_secs_f64());
    let ended = seconds(run.started) + run.duration.as_secs_f64();
    if run.is_success() {
        metrics.last_success.set(ended);
    }
    if run.result() == RunResult::Converged {
        metrics.last_converged.set(ended);
    }
    // A change that was applied as another operation was not counted as applied.
    if let Some(pending) = run.pending() {
        for operation in Operation::ALL {
            pending_of(metrics, operation).set(gauge(pending.get(operation)));
        }
    }
    if let Completion::Failed(RunError::Source(cause)) = &run.completion {
        let rejected = metrics.roster_problems.with_label_values(&["file"]);
        // A missing roster counts as one rejected file.
        rejected.set(gauge(cause.problems().len().max(1)));
        if cause.is_unavailable() {
            metrics.set_source_up(false);
        }
    }
}

fn count_change(metrics: &Metrics, applied: &AppliedChange) {
    if applied.outcome != ChangeOutcome::Skipped {
        let labels = [applied.operation.as_str(), applied.outcome.as_str()];
        metrics.changes.with_label_values(&labels).inc();
    }
}

/// Records what the run has read and planned. Values that it did not reach keep their last state.
fn record_plan(metrics: &Metrics, plan: &PlanSummary) {
    for email in &plan.ambiguous {
        count_change(metrics, &AppliedChange::ambiguous(email));
    }
    let roster = &plan.roster;
    metrics.set_source_up(true);
    metrics.roster_rows.set(gauge(roster.rows));
    let problems = |kind| metrics.roster_problems.with_label_values(&[kind]);
    problems("row").set(gauge(roster.bad_rows.len()));
    problems("file").set(gauge(roster.unreadable().count()));
    metrics.users.set(gauge(plan.users));
    for operation in Operation::ALL {
        let count = gauge(plan.pending.get(operation));
        metrics
            .planned
            .with_label_values(&[operation.as_str()])
            .set(count);
        pending_of(metrics, operation).set(count);
    }
    for (rule, label) in HELD {
        let held = plan.held.iter().filter(|held| held.rule == rule);
        let count = held.map(|held| held.count).sum::<usize>();
        metrics.held.with_label_values(&[label]).set(gauge(count));
    }
}

/// Records since when changes are held without interruption.
fn record_held(metrics: &Metrics, started: DateTime<Utc>, held: &[HeldSummary]) {
    let since = &metrics.held_since;
    if held.is_empty() {
        since.set(0.0);
    } else if since.get() == 0.0 {
        since.set(seconds(started));
    }
}

fn count_done(metrics: &Metrics, operation: Operation) {
    let pending = pending_of(metrics, operation);
    if pending.get() > 0 {
        pending.dec();
    }
    match operation {
        Operation::Create => metrics.users.inc(),
        Operation::Delete => metrics.users.dec(),
        Operation::Update
        | Operation::Deactivate
        | Operation::Leave
        | Operation::Join
        | Operation::Assign
        | Operation::Transfer => {}
    }
}

fn pending_of(metrics: &Metrics, operation: Operation) -> IntGauge {
    metrics.pending.with_label_values(&[operation.as_str()])
}

fn gauge(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{Counts, Email, RunEnd, RunStart};
    use crate::run::{RosterSummary, RunError};
    use crate::settings::SettingsError;
    use crate::state::{Access, StateLock};
    use std::time::Duration;

    /// A run that ended as given.
    pub(in crate::daemon) fn run(completion: Completion) -> RunOutcome {
        let applied = |operation, outcome| AppliedChange {
            subject: Email::parse("a@b.co").expect("an email").into(),
            operation,
            group: None,
            role: None,
            schedule: None,
            outcome,
            detail: String::new(),
            rejected: false,
        };
        RunOutcome {
            number: None,
            trigger: Trigger::File,
            started: "2026-03-10T12:00:00Z".parse().expect("a time"),
            duration: Duration::from_millis(1500),
            requests: 7,
            plan: Some(plan()),
            changes: vec![
                applied(Operation::Create, ChangeOutcome::Applied),
                applied(Operation::Create, ChangeOutcome::Skipped),
            ],
            warnings: Vec::new(),
            unlisted: Vec::new(),
            completion,
        }
    }

    /// A plan with one held removal.
    fn plan() -> PlanSummary {
        PlanSummary {
            roster: RosterSummary {
                rows: 40,
                fingerprint: Fingerprint([1; 32]),
                bad_rows: Vec::new(),
                rejected: Vec::new(),
                groups: None,
                roles: None,
            },
            users: 41,
            pending: Counts::of([Operation::Delete, Operation::Create, Operation::Create]),
            held: vec![HeldSummary {
                rule: GuardRule::MaxRemovals,
                count: 1,
                reason: "too many".into(),
            }],
            blocked: Vec::new(),
            quarantined: 0,
            ambiguous: Vec::new(),
            unread: 0,
            leaving: Vec::new(),
            needs_listing: false,
            warnings: Vec::new(),
        }
    }

    /// An empty state database in its own folder.
    fn state_db() -> (tempfile::TempDir, StateDb) {
        let folder = tempfile::tempdir().expect("a folder");
        let lock = StateLock::acquire(folder.path(), "run").expect("it is free");
        let state = StateDb::open("https://acme.omniapp.co", Access::Write(lock));
        (folder, state.expect("it opens"))
    }

    /// Records a run with all its events.
    async fn record(metrics: &Metrics, run: &RunOutcome) {
        let (_folder, state) = state_db();
        let run_metrics = RunMetrics::restore(metrics.clone(), &state, Mode::Apply).await;
        let plan = run.plan.as_ref().expect("a plan");
        run_metrics.on_event(RunEvent::Planned(run.started, plan));
        for one in &run.changes {
            run_metrics.on_event(RunEvent::Change(one));
        }
        record_result(metrics, run);
    }

    #[tokio::test]
    async fn counts_plan_and_changes() {
        let metrics = Metrics::new();
        record(&metrics, &run(Completion::Complete)).await;
        let text = metrics.render();
        for line in [
            r#"runs_total{result="held",trigger="file"} 1"#,
            "run_duration_seconds_sum 1.5",
            "last_success_timestamp_seconds 1773144001.5",
            r#"changes_total{operation="create",outcome="applied"} 1"#,
            r#"pending_changes{operation="delete"} 1"#,
            r#"planned_changes{operation="create"} 2"#,
            r#"pending_changes{operation="create"} 1"#,
            r#"held_changes{operation="removals"} 1"#,
            r#"held_changes{operation="updates"} 0"#,
            "held_since_timestamp_seconds 1773144000",
            "roster_rows 40",
            "roster_changed_timestamp_seconds 1773144000",
            "dry_run 0",
            "source_up 1",
            r#"roster_problems{kind="row"} 0"#,
            "last_converged_timestamp_seconds 0",
            "users 42",
        ] {
            assert!(
                text.contains(&format!("omni_user_sync_{line}\n")),
                "{line}\n{text}"
            );
        }
        assert!(
            !text.contains(ChangeOutcome::Skipped.as_str()),
            "skipped changes are not counted"
        );
    }

    #[tokio::test]
    async fn updates_metrics_before_the_run_ends() {
        let metrics = Metrics::new();
        let (_folder, state) = state_db();
        let run_metrics = RunMetrics::restore(metrics.clone(), &state, Mode::DryRun).await;
        let has = |line: &str| {
            metrics
                .render()
                .contains(&format!("omni_user_sync_{line}\n"))
        };
        let run = run(Completion::Complete);
        let plan = run.plan.as_ref().expect("a plan");
        run_metrics.on_event(RunEvent::Planned(run.started, plan));
        run_metrics.on_event(RunEvent::Change(&run.changes[0]));
        for line in [
            r#"planned_changes{operation="create"} 2"#,
            r#"pending_changes{operation="create"} 1"#,
            r#"held_changes{operation="removals"} 1"#,
            r#"changes_total{operation="create",outcome="applied"} 1"#,
            "users 42",
            "dry_run 1",
            "last_success_timestamp_seconds 0",
        ] {
            assert!(has(line), "{line}\n{}", metrics.render());
        }
        run_metrics.on_event(RunEvent::Change(&run.changes[0]));
        record_result(&metrics, &run);
        assert!(has(
            r#"changes_total{operation="create",outcome="applied"} 2"#
        ));
    }

    #[tokio::test]
    async fn an_unchanged_roster_keeps_its_time() {
        let metrics = Metrics::new();
        let (_folder, state) = state_db();
        let run_metrics = RunMetrics::restore(metrics.clone(), &state, Mode::Apply).await;
        let mut plan = plan();
        let mut started = run(Completion::Complete).started;
        let mut since = |byte: u8, minutes: i64| {
            started += chrono::TimeDelta::minutes(minutes);
            plan.roster.fingerprint = Fingerprint([byte; 32]);
            run_metrics.on_event(RunEvent::Planned(started, &plan));
            metrics.roster_changed.get()
        };
        let first = since(1, 0);
        assert_eq!(since(1, 15), first);
        assert_eq!(since(2, 15), first + 1800.0);
        assert_eq!(since(1, 15), first + 2700.0, "back to the first content");
    }

    #[tokio::test]
    async fn times_survive_a_restart() {
        let (folder, state) = state_db();
        let outcome = run(Completion::Complete);
        let at = |minutes| outcome.started + chrono::TimeDelta::minutes(minutes);
        for (minutes, result, byte, is_source) in [
            (0, RunResult::Converged, Some(1), true),
            (15, RunResult::Held, Some(2), true),
            (30, RunResult::Partial, Some(2), true),
            (45, RunResult::Converged, Some(3), false),
            (60, RunResult::Failed, None, true),
            (75, RunResult::Stopped, Some(2), true),
        ] {
            let start = RunStart {
                trigger: Trigger::Schedule,
                started: at(minutes),
                is_source,
                max_gap: chrono::TimeDelta::hours(1),
            };
            let number = state.begin(start).await.expect("begins");
            let end = RunEnd {
                ended: at(minutes + 1),
                result,
                fingerprint: byte.map(|byte| Fingerprint([byte; 32])),
                rows: None,
                users: None,
                planned: None,
                pending: None,
                applied: 0,
                failed: 0,
                held: 0,
                bad_rows: 0,
                requests: 0,
                detail: String::new(),
            };
            state.finish(number, &end).await.expect("ends");
        }
        let metrics = Metrics::new();
        let run_metrics = RunMetrics::restore(metrics.clone(), &state, Mode::Apply).await;
        assert_eq!(metrics.last_success.get(), seconds(at(31)));
        assert_eq!(metrics.last_converged.get(), seconds(at(1)));
        assert_eq!(metrics.roster_changed.get(), seconds(at(15)));
        let mut same = plan();
        same.roster.fingerprint = Fingerprint([2; 32]);
        run_metrics.on_event(RunEvent::Planned(outcome.started, &same));
        assert_eq!(metrics.roster_changed.get(), seconds(at(15)));
        drop(folder);
    }

    #[test]
    fn counters_of_runs_exist_at_start() {
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
        assert_eq!(lines(), (7 * 6, Operation::ALL.len() * 3));
        let error = RunError::Settings(SettingsError::Unreadable("gone".into()));
        let ends = [
            Completion::Complete,
            Completion::DryRun,
            Completion::Stopped,
            Completion::Failed(error),
        ];
        for end in ends {
            let held = run(end);
            record_result(&metrics, &held);
        }
        let converged = RunOutcome {
            plan: None,
            changes: Vec::new(),
            ..run(Completion::Complete)
        };
        record_result(&metrics, &converged);
        assert_eq!(
            lines(),
            (7 * 6, Operation::ALL.len() * 3),
            "no other labels"
        );
    }

    #[tokio::test]
    async fn a_failure_keeps_earlier_values() {
        let metrics = Metrics::new();
        record(&metrics, &run(Completion::Complete)).await;
        let cause = SettingsError::Unreadable("gone".into());
        let failed = RunOutcome {
            plan: None,
            ..run(Completion::Failed(RunError::Settings(cause)))
        };
        record_result(&metrics, &failed);
        let text = metrics.render();
        assert!(text.contains("omni_user_sync_users 42\n"), "{text}");
        assert!(text.contains("timestamp_seconds 1773144001.5\n"), "{text}");
        assert!(
            text.contains(r#"runs_total{result="failed",trigger="file"} 1"#),
            "{text}"
        );
    }
}
