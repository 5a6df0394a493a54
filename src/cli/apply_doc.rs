//! The document of `apply --json`. Fields are only ever added.

use crate::model::{ChangeOutcome, Counts, Email, GroupName, Operation, RoleChange, RunResult};
use crate::plan::{PlanDoc, ProblemDoc};
use crate::run::{AppliedChange, Completion, RunError, RunOutcome};
use serde::Serialize;

/// What a run did.
#[derive(Debug, Serialize)]
pub(super) struct ApplyDoc<'a> {
    run: Option<u64>,
    result: RunResult,
    /// Why the run failed.
    error: Option<String>,
    /// The problems of a rejected roster.
    problems: Vec<ProblemDoc<'a>>,
    /// Users after the run.
    users: Option<usize>,
    planned: Option<Counts>,
    /// The planned changes that were not applied.
    pending: Option<Counts>,
    applied: usize,
    not_kept: usize,
    failed: usize,
    skipped: usize,
    held: usize,
    requests: u64,
    seconds: f64,
    changes: Vec<AppliedDoc<'a>>,
    warnings: &'a [String],
    /// The plan, as `plan --json` prints it; null without one.
    plan: Option<PlanDoc<'a>>,
}

#[derive(Debug, Serialize)]
struct AppliedDoc<'a> {
    operation: Operation,
    email: Option<&'a Email>,
    /// The name of the group of a membership, or of the group that gets a role.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a RoleChange>,
    outcome: ChangeOutcome,
    detail: &'a str,
}

impl<'a> ApplyDoc<'a> {
    pub(super) fn new(outcome: &'a RunOutcome, plan: Option<PlanDoc<'a>>) -> Self {
        let error = match &outcome.completion {
            Completion::Failed(error) => Some(error),
            Completion::Complete
            | Completion::DryRun
            | Completion::Declined
            | Completion::Stopped => None,
        };
        let problems = match error {
            Some(RunError::Source(error)) => error.problems(),
            _ => &[],
        };
        Self {
            run: outcome.number.map(|number| number.0),
            result: outcome.result(),
            error: error.map(ToString::to_string),
            problems: problems.iter().map(ProblemDoc::from).collect(),
            users: outcome.users_after(),
            planned: outcome.planned(),
            pending: outcome.pending(),
            applied: outcome.count(ChangeOutcome::Applied),
            not_kept: outcome.count(ChangeOutcome::NotKept),
            failed: outcome.count(ChangeOutcome::Failed),
            skipped: outcome.count(ChangeOutcome::Skipped),
            held: outcome.held_count(),
            requests: outcome.requests,
            seconds: outcome.duration.as_secs_f64(),
            changes: outcome.changes.iter().map(AppliedDoc::from).collect(),
            warnings: &outcome.warnings,
            plan,
        }
    }
}

impl<'a> From<&'a AppliedChange> for AppliedDoc<'a> {
    fn from(change: &'a AppliedChange) -> Self {
        Self {
            operation: change.operation,
            email: change.subject.email(),
            group: change.group.as_ref().map(GroupName::as_str),
            role: change.role.as_ref(),
            outcome: change.outcome,
            detail: &change.detail,
        }
    }
}
