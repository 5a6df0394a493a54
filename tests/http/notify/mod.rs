//! What a webhook receives about runs, and that no webhook does harm.

mod messages;
mod webhook;

use crate::support::results::plan_summary;
use omni_user_sync::model::{
    ChangeOutcome, Email, GuardRule, Location, Operation, Problem, ProblemKind, RunNumber, Trigger,
};
use omni_user_sync::omni::{Failure, OmniError};
use omni_user_sync::plan::HeldSummary;
use omni_user_sync::roster::SourceError;
use omni_user_sync::run::{AppliedChange, Completion, PlanSummary, RunError, RunOutcome};
use std::time::Duration;

/// A successful run. Its users must not appear in a message.
fn run(number: u64) -> RunOutcome {
    RunOutcome {
        number: Some(RunNumber(number)),
        trigger: Trigger::Schedule,
        started: "2026-03-10T12:00:00Z".parse().expect("a time"),
        duration: Duration::from_secs(90),
        requests: 7,
        plan: Some(plan()),
        changes: vec![AppliedChange {
            subject: Email::parse("ann@x.co").expect("an email").into(),
            operation: Operation::Update,
            group: None,
            role: None,
            schedule: None,
            outcome: ChangeOutcome::Failed,
            detail: "s3cret".into(),
            rejected: false,
        }],
        warnings: vec!["ann@x.co has s3cret".into()],
        unlisted: Vec::new(),
        completion: Completion::Complete,
    }
}

fn plan() -> PlanSummary {
    let mut plan = plan_summary();
    plan.roster.rows = 40;
    plan.roster.bad_rows = vec![problem("/srv/secret/users.csv", 7)];
    plan.users = 41;
    plan
}

fn problem(file: &str, line: u64) -> Problem {
    Problem {
        location: Location {
            file: file.into(),
            line,
            column: None,
        },
        kind: ProblemKind::File,
        message: "the department 's3cret' is none".into(),
        remedy: "ask ann@x.co".into(),
        email: None,
    }
}

fn failed(number: u64, error: impl Into<RunError>) -> RunOutcome {
    RunOutcome {
        plan: None,
        completion: Completion::Failed(error.into()),
        ..run(number)
    }
}

fn away(number: u64) -> RunOutcome {
    let failure = Failure::Unreadable("s3cret".into());
    failed(
        number,
        OmniError::Unavailable {
            attempts: 5,
            failure,
        },
    )
}

fn denied(number: u64) -> RunOutcome {
    let detail = "the key s3cret of ann@x.co".into();
    failed(number, OmniError::Unauthorized { detail })
}

fn unusable(number: u64, problems: Vec<Problem>) -> RunOutcome {
    failed(number, SourceError::Rejected(problems))
}

fn holding(number: u64, count: usize) -> RunOutcome {
    RunOutcome {
        plan: Some(PlanSummary {
            held: vec![HeldSummary {
                rule: GuardRule::MaxRemovals,
                count,
                reason: "ann@x.co and others".into(),
            }],
            ..plan()
        }),
        ..run(number)
    }
}

fn stopped(number: u64) -> RunOutcome {
    RunOutcome {
        completion: Completion::Stopped,
        ..run(number)
    }
}
