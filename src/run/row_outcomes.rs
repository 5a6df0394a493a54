//! The outcome of each user of a run, from the verdict and the changes that were tried: one outcome for the user's own
//! change, the memberships and the roles together, the most serious one, and a detail that names groups and roles. A
//! group has one for its roles.

use super::Prepared;
use super::outcome::AppliedChange;
use crate::model::{
    Change, ChangeOutcome, Desired, Email, GroupName, Leaver, Operation, Problem, ProblemKind,
    RoleChange, RowOutcome, RunNumber, Subject,
};
use crate::plan::Verdict;
use crate::plan::render::how_to_approve;
use std::collections::{BTreeMap, HashMap};

/// The outcome of each user or group, with details.
pub(super) type RowOutcomes = HashMap<Subject, (RowOutcome, String)>;

/// The outcomes of memberships and roles by subject: each with the name of the group, or the role, and the outcome with
/// details.
type PartOutcomes = HashMap<Subject, BTreeMap<(Operation, String), (RowOutcome, String)>>;

/// The name of a group or schedule, or the role, if a change is not of the user itself.
fn part(
    group: Option<&GroupName>,
    role: Option<&RoleChange>,
    schedule: Option<String>,
) -> Option<String> {
    let role = role.map(ToString::to_string);
    role.or_else(|| group.map(ToString::to_string)).or(schedule)
}

fn part_of(change: &Change) -> Option<String> {
    let group = change.group().map(|group| &group.name);
    part(group, change.role(), change.schedule_label())
}

/// Collects outcomes. A later one replaces an earlier one of the same change.
#[derive(Default)]
struct Collector {
    subjects: RowOutcomes,
    parts: PartOutcomes,
}

impl Collector {
    fn all(&mut self, changes: &[Change], outcome: RowOutcome, detail: &str) {
        for change in changes {
            let ended = (outcome, detail.to_owned());
            self.one(&change.subject, change.operation(), part_of(change), ended);
        }
    }

    fn one(
        &mut self,
        subject: &Subject,
        operation: Operation,
        part: Option<String>,
        outcome: (RowOutcome, String),
    ) {
        match part {
            Some(part) => {
                let of_subject = self.parts.entry(subject.clone()).or_default();
                of_subject.insert((operation, part), outcome);
            }
            None => drop(self.subjects.insert(subject.clone(), outcome)),
        }
    }

    fn of_user(&mut self, email: &Email, outcome: (RowOutcome, String)) {
        self.subjects.insert(email.into(), outcome);
    }

    /// Users without planned changes.
    fn not_planned(&mut self, prepared: &Prepared) {
        let Prepared {
            desired,
            assessment,
            ..
        } = prepared;
        for email in &assessment.unread {
            let detail = "not read yet: the next run reads more users".to_owned();
            self.of_user(email, (RowOutcome::Unchanged, detail));
        }
        for email in &assessment.waiting_to_leave {
            let detail = desired.leavers.get(email).map(Leaver::detail);
            self.of_user(email, (RowOutcome::Unchanged, detail.unwrap_or_default()));
        }
        for row in &assessment.not_found {
            self.of_user(&row.email, (RowOutcome::NotFound, row.detail()));
        }
    }

    /// Joins the outcomes of each user or group.
    fn finish(self) -> RowOutcomes {
        let Self {
            mut subjects,
            parts,
        } = self;
        for (subject, parts) in parts {
            let own = subjects.remove(&subject);
            subjects.insert(subject, joined(own, parts));
        }
        subjects
    }
}

/// One outcome for a user or group: the most serious one, with all details.
fn joined(
    own: Option<(RowOutcome, String)>,
    parts: BTreeMap<(Operation, String), (RowOutcome, String)>,
) -> (RowOutcome, String) {
    let (mut outcome, own) = own.unwrap_or((RowOutcome::Unchanged, String::new()));
    let mut named: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for ((operation, part), (of_part, detail)) in parts {
        if severity(of_part) > severity(outcome) {
            outcome = of_part;
        }
        let verb = match (operation, of_part) {
            (Operation::Leave, RowOutcome::Updated) => "left".to_owned(),
            (Operation::Assign, RowOutcome::Updated) => "assigned".to_owned(),
            (Operation::Transfer, RowOutcome::Updated) => "transferred".to_owned(),
            (_, RowOutcome::Updated) => "joined".to_owned(),
            (operation, _) => operation.to_string(),
        };
        named.entry((verb, detail)).or_default().push(part);
    }
    let parts = named.into_iter().map(|((verb, detail), names)| {
        let names = names.join(", ");
        match detail.is_empty() {
            true => format!("{verb} {names}"),
            false => format!("{verb} {names}: {detail}"),
        }
    });
    let own = Some(own).filter(|own| !own.is_empty());
    let details: Vec<_> = own.into_iter().chain(parts).collect();
    (outcome, details.join("; "))
}

/// The order in which outcomes matter to the author of the roster.
fn severity(outcome: RowOutcome) -> u8 {
    match outcome {
        RowOutcome::Unchanged => 0,
        RowOutcome::Planned
        | RowOutcome::Created
        | RowOutcome::Updated
        | RowOutcome::Removed
        | RowOutcome::Deactivated => 1,
        RowOutcome::Protected => 2,
        RowOutcome::Quarantined => 3,
        RowOutcome::Held => 4,
        RowOutcome::NotFound | RowOutcome::Frozen => 5,
        RowOutcome::Failed | RowOutcome::Rejected => 6,
    }
}

pub(super) fn row_outcomes(
    run: Option<RunNumber>,
    prepared: &Prepared,
    applied: &[AppliedChange],
) -> RowOutcomes {
    let assessment = &prepared.assessment;
    let verdict = &assessment.verdict;
    let mut outcomes = Collector::default();
    let approve = run.map(|run| format!("; {}", how_to_approve(run)));
    let approve = approve.unwrap_or_default();
    for held in verdict.held() {
        let detail = format!("held by {}: {}{approve}", held.rule.label(), held.reason);
        outcomes.all(&held.changes, RowOutcome::Held, &detail);
    }
    outcomes.all(
        verdict.protected(),
        RowOutcome::Protected,
        "by policy.protect or policy.protect_admins",
    );
    outcomes.all(
        verdict.quarantined(),
        RowOutcome::Quarantined,
        "failed before; retried later, or when the row or the user changes",
    );
    for change in verdict.waiting() {
        let ended = (RowOutcome::Held, Verdict::why_waiting(change).to_owned());
        outcomes.one(&change.subject, change.operation(), part_of(change), ended);
    }
    for blocked in &assessment.blocked {
        for email in &blocked.emails {
            outcomes.of_user(email, (RowOutcome::Held, blocked.reason.clone()));
        }
    }
    // In a run in progress, these are not tried yet.
    for change in verdict.passed() {
        let part = part_of(change);
        let detail = match part {
            Some(_) => "pending".to_owned(),
            None => format!("pending: {}", change.operation()),
        };
        let pending = (RowOutcome::Unchanged, detail);
        outcomes.one(&change.subject, change.operation(), part, pending);
    }
    outcomes.not_planned(prepared);
    for problem in &assessment.problems {
        let is_of_user = problem.kind != ProblemKind::NotFound && !problem.kind.is_of_part();
        if let Some(email) = problem.email.as_ref().filter(|_| is_of_user) {
            let frozen = (RowOutcome::Frozen, detail(problem));
            outcomes.of_user(email, frozen);
        }
    }
    for one in applied {
        let ended = (row_outcome(one), one.detail.clone());
        let part = part(one.group.as_ref(), one.role.as_ref(), one.schedule.clone());
        outcomes.one(&one.subject, one.operation, part, ended);
    }
    let mut outcomes = outcomes.finish();
    for problem in &assessment.problems {
        if let (Some(email), true) = (&problem.email, problem.kind.is_of_part()) {
            let frozen = (RowOutcome::Unchanged, String::new());
            add_group_problem(outcomes.entry(email.into()).or_insert(frozen), problem);
        }
    }
    add_leavers(&mut outcomes, &prepared.desired);
    outcomes
}

/// Adds the day of leaving to the outcomes of users who leave later.
fn add_leavers(outcomes: &mut RowOutcomes, desired: &Desired) {
    for leaver in desired.upcoming_leavers() {
        let unchanged = (RowOutcome::Unchanged, String::new());
        let (_, text) = outcomes.entry((&leaver.email).into()).or_insert(unchanged);
        add_clause(text, &leaver.detail());
    }
}

/// Adds a problem about a group, a role or a successor, which does not freeze the user.
fn add_group_problem((outcome, text): &mut (RowOutcome, String), problem: &Problem) {
    if severity(*outcome) < severity(RowOutcome::Frozen) {
        *outcome = RowOutcome::Frozen;
    }
    add_clause(text, &detail(problem));
}

fn add_clause(text: &mut String, clause: &str) {
    if !text.is_empty() {
        text.push_str("; ");
    }
    text.push_str(clause);
}

fn row_outcome(applied: &AppliedChange) -> RowOutcome {
    match (applied.outcome, applied.operation) {
        (ChangeOutcome::Applied, Operation::Create) => RowOutcome::Created,
        (ChangeOutcome::Applied, Operation::Update) => RowOutcome::Updated,
        (ChangeOutcome::Applied, Operation::Delete) => RowOutcome::Removed,
        (ChangeOutcome::Applied, Operation::Deactivate) => RowOutcome::Deactivated,
        (
            ChangeOutcome::Applied,
            Operation::Leave | Operation::Join | Operation::Assign | Operation::Transfer,
        ) => RowOutcome::Updated,
        (ChangeOutcome::NotKept | ChangeOutcome::Failed | ChangeOutcome::Skipped, _) => {
            RowOutcome::Failed
        }
    }
}

/// A problem with its cell and its remedy.
pub(super) fn detail(problem: &Problem) -> String {
    let column = problem
        .location
        .column
        .as_ref()
        .map(|(number, name)| format!("cell {number} ({name}): "));
    format!(
        "{}{}; {}",
        column.unwrap_or_default(),
        problem.message,
        problem.remedy
    )
}
