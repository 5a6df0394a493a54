//! The end of a run: row report, quarantine and history.

use super::{Applied, Completion, Prepared, Reconciler, Run, RunOutcome, row_report};
use crate::model::{
    ChangeKey, ChangeOutcome, Fingerprint, Observed, RoleHolder, RunEnd, RunResult, Subject,
    UserMatch,
};
use crate::plan::NameIndex;
use crate::report::ReportError;
use crate::state::StateError;
use chrono::{DateTime, Utc};
use std::collections::HashSet;
use std::sync::Arc;

/// The number of runs that are searched for an earlier report on the same content.
const MAX_SEARCHED_RUNS: usize = 100;

impl Reconciler {
    /// Ends a run: writes the row report and records the end.
    pub async fn finish(
        &self,
        run: Run,
        prepared: Option<&Arc<Prepared>>,
        applied: Applied,
    ) -> RunOutcome {
        let is_about_one = run.is_about_one();
        let mut outcome = RunOutcome::new(
            Some(run.number),
            run.options.trigger,
            run.started,
            self.client.client().requests_sent() - run.requests_before,
            run.plan,
            applied,
        );
        outcome.duration = outcome.duration.saturating_sub(run.asked);
        if let Err(error) = self.report(prepared, &outcome).await {
            outcome.warnings.push(error.to_string());
        }
        if let Err(error) = self.close(&outcome, prepared, is_about_one).await {
            outcome.completion = Completion::Failed(error.into());
        }
        outcome
    }

    /// Writes the row report.
    async fn report(
        &self,
        prepared: Option<&Arc<Prepared>>,
        outcome: &RunOutcome,
    ) -> Result<(), ReportError> {
        let Some((report, name)) = row_report::report_on(prepared, outcome) else {
            return Ok(());
        };
        let before = match prepared {
            // The report of an earlier run says that these users stay.
            Some(prepared) if removes_leavers(prepared, outcome) => {
                self.reporter.repeat();
                None
            }
            Some(prepared) => self.reported_before(prepared.desired.fingerprint).await,
            None => None,
        };
        let was_stopped = matches!(outcome.completion, Completion::Stopped);
        let is_final = !was_stopped && (outcome.is_success() || prepared.is_none());
        self.reporter
            .write_last(report, name, before, outcome.started, is_final)
            .await
    }

    /// The name of a content, if an earlier run over it came to its end.
    async fn reported_before(&self, content: Fingerprint) -> Option<String> {
        let runs = self.state().runs(MAX_SEARCHED_RUNS).await;
        let was_reported = runs.unwrap_or_default().iter().any(|run| {
            run.end().is_some_and(|end| {
                end.fingerprint == Some(content)
                    && run.start.is_source
                    && end.result.is_success()
                    && end.result != RunResult::DryRun
            })
        });
        was_reported.then(|| row_report::name(content))
    }

    async fn close(
        &self,
        outcome: &RunOutcome,
        prepared: Option<&Arc<Prepared>>,
        is_about_one: bool,
    ) -> Result<(), StateError> {
        let Some(number) = outcome.number else {
            return Ok(());
        };
        if let Some(prepared) = prepared.filter(|prepared| saw_everything(prepared)) {
            self.end_quarantines(prepared, outcome.started).await?;
        }
        let (quarantined, _) = self.state().quarantined(Utc::now(), 0).await?;
        let quarantined = i64::try_from(quarantined).unwrap_or(i64::MAX);
        self.metrics.quarantined_users.set(quarantined);
        let mut end = run_end(outcome);
        if is_about_one {
            // What is held by the last plan for all users can still be approved.
            (end.planned, end.pending) = (None, None);
        }
        self.state().finish(number, &end).await?;
        let retain = self.settings().state.retain;
        self.state().prune_old(Utc::now(), retain).await
    }

    /// Ends the quarantine of users, memberships and roles that need no change any more, as far as the run has compared
    /// them with the roster.
    async fn end_quarantines(
        &self,
        prepared: &Prepared,
        started: DateTime<Utc>,
    ) -> Result<(), StateError> {
        let (desired, observed) = (&prepared.desired, &prepared.cache.observed);
        let roles = desired.roles.iter().flat_map(|roles| &roles.rows);
        let subjects: HashSet<_> = roles.map(|row| &row.subject).collect();
        let is_unstated = |key: &ChangeKey| key.scope.is_some() && !subjects.contains(&key.subject);
        let is_over = |key: &ChangeKey| is_unstated(key) || is_verified(key, observed, started);
        let quarantined = prepared.memory.quarantined.keys();
        let settled = prepared.assessment.settled(desired, quarantined);
        let over = settled.into_iter().filter(|key| is_over(key));
        self.state().quarantine_clear(over).await
    }
}

/// Whether a run tried to remove users on the day in their row.
fn removes_leavers(prepared: &Prepared, outcome: &RunOutcome) -> bool {
    let leavers = &prepared.desired.leavers;
    let mut removals = outcome.changes.iter();
    removals.any(|change| {
        let email = change.subject.email();
        change.operation.is_removal() && email.is_some_and(|email| leavers.contains_key(email))
    })
}

/// Whether a run that started at this time has seen what a change is about. It reads the roles of some users only;
/// those of the others are as assigned, and do not show whether something has undone them.
fn is_verified(key: &ChangeKey, observed: &Observed, started: DateTime<Utc>) -> bool {
    let Some(scope) = &key.scope else {
        return true;
    };
    let holder = match &key.subject {
        Subject::User(email) => match observed.get(email) {
            Some(UserMatch::One(user)) => RoleHolder::User(user.id.clone()),
            Some(UserMatch::Several(_)) | None => return true,
        },
        Subject::Group(name) => match NameIndex::of_groups(observed.groups()).get(name.as_str()) {
            Ok(group) => RoleHolder::Group(group.id.clone()),
            Err(_) => return true,
        },
    };
    let known = observed.roles().holders.get(&holder);
    scope.is_hidden_of(&holder)
        || known.is_some_and(|known| known.read.is_some_and(|read| read >= started))
}

/// Whether a run saw all users and all rows, so that a user without a pending change is in sync. A cached observation
/// relies on Omni's responses and does not show whether Omni kept what it accepted.
fn saw_everything(prepared: &Prepared) -> bool {
    let Prepared {
        desired,
        cache,
        memory: _,
        assessment,
    } = prepared;
    desired.is_source
        && desired.rejected.is_empty()
        && desired.memberships.unreadable.is_none()
        && desired.unreadable_roles().is_none()
        && assessment.unread_roles.is_empty()
        && !cache.is_cached()
        && cache.observed.doubt().is_none()
        && assessment.blocked.is_empty()
}

fn run_end(outcome: &RunOutcome) -> RunEnd {
    let roster = outcome.roster();
    let count = |number: usize| number as u64;
    let failed = outcome.count(ChangeOutcome::Failed) + outcome.count(ChangeOutcome::NotKept);
    RunEnd {
        ended: Utc::now(),
        result: outcome.result(),
        fingerprint: roster.map(|roster| roster.fingerprint),
        rows: roster.map(|roster| roster.rows),
        users: outcome.users_after().map(count),
        planned: outcome.planned(),
        pending: outcome.pending(),
        applied: count(outcome.count(ChangeOutcome::Applied)),
        failed: count(failed),
        held: count(outcome.held_count()),
        bad_rows: roster.map_or(0, |roster| count(roster.bad_rows.len())),
        requests: outcome.requests,
        detail: match &outcome.completion {
            Completion::Failed(error) => error.to_string(),
            Completion::Complete
            | Completion::DryRun
            | Completion::Declined
            | Completion::Stopped => left_out(outcome),
        },
    }
}

/// Why a run planned less than the roster states, one sentence each line.
fn left_out(outcome: &RunOutcome) -> String {
    let unreadable = outcome.roster().and_then(|roster| roster.roles.as_ref());
    let roles = unreadable.map(|problem| {
        let location = &problem.location;
        format!("source.roles could not be read ({location}), so no role is assigned.")
    });
    let sentences = outcome.blocked().iter().cloned().chain(roles);
    sentences.collect::<Vec<_>>().join("\n")
}
