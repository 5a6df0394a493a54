//! Plans as text for people. The output is sorted, so equal plans give equal texts.

use super::{Assessment, HeldChanges};
use crate::model::{
    Action, Change, Counts, Desired, DocumentsByCreator, Escaped, FieldChange, Leaver,
    MembershipChange, ObservedUser, Operation, OwnedDocuments, OwnedPart, Problem, ProblemKind,
    RunNumber, Transfer, Value,
};
use crate::util::text::{about, plural};
use std::fmt::{self, Write};
use std::time::Duration;

/// What it takes to apply a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The number of requests.
    pub requests: usize,
    /// The time at the configured rate.
    pub time: Duration,
}

/// A plan with what it was made from.
#[derive(Clone, Copy, Debug)]
pub struct PlanView<'a> {
    /// The roster.
    pub desired: &'a Desired,
    /// The number of users in Omni.
    pub users: usize,
    /// Whether only one user was looked up.
    pub is_about_one: bool,
    /// The plan and the verdict.
    pub assessment: &'a Assessment,
    /// What it takes to apply the plan.
    pub cost: Cost,
    /// The documents of users to be removed, if they were read.
    pub documents: Option<&'a DocumentsByCreator>,
}

impl<'a> PlanView<'a> {
    /// The problems of the roster, and the rows that Omni's state does not allow.
    #[must_use]
    pub fn problems(&self) -> Vec<&'a Problem> {
        let problems = self.desired.problems().into_iter();
        problems.chain(&self.assessment.problems).collect()
    }

    /// The plan with the documents of users to be removed.
    #[must_use]
    pub fn with_documents(self, documents: &'a DocumentsByCreator) -> Self {
        Self {
            documents: Some(documents),
            ..self
        }
    }

    /// The documents of the user that a change removes, if they were asked for.
    pub(super) fn documents_of(&self, change: &Change) -> Option<&'a OwnedPart<OwnedDocuments>> {
        self.documents?.get(&change.removed()?.id)
    }
}

/// `owns 2 documents: Sales overview, Churn, which stay without their owner`.
pub(super) fn documents_text(documents: &OwnedPart<OwnedDocuments>) -> String {
    match (documents.read(), documents.why_unread("documents")) {
        (Some(documents), _) => match documents.count {
            0 => documents.to_string(),
            1 => format!("{documents}, which stays without its owner"),
            _ => format!("{documents}, which stay without their owner"),
        },
        (None, why) => why.unwrap_or_default(),
    }
}

/// The counts and the cost of a plan as text, one line each.
#[must_use]
pub fn summary_text(view: PlanView<'_>) -> String {
    let mut out = String::new();
    write_summary(&mut out, view).expect("writing to a String can't fail");
    out
}

impl PlanView<'_> {
    /// `31 rows, 30 users in Omni`.
    pub(super) fn inputs(&self) -> String {
        let of = match self.is_about_one {
            true => "looked up in Omni",
            false => "in Omni",
        };
        let (rows, users) = (plural(self.desired.rows, "row"), plural(self.users, "user"));
        format!("{rows}, {users} {of}")
    }

    /// The changes that would be applied: `2 to delete`. Without any, whether others are held.
    pub(super) fn counted(&self) -> String {
        let verdict = &self.assessment.verdict;
        let passed = Counts::of(verdict.passed().iter().map(Change::operation));
        match passed.total() == 0 && !verdict.held().is_empty() {
            true => "nothing to apply until held changes are approved".into(),
            false => counted(&passed),
        }
    }
}

/// The plan as text: one block per change with old and new values, then held changes, counts and cost.
#[must_use]
pub fn text(view: PlanView<'_>) -> String {
    let mut out = String::new();
    write_text(&mut out, view).expect("writing to a String can't fail");
    out
}

fn write_text(out: &mut String, view: PlanView<'_>) -> fmt::Result {
    let verdict = &view.assessment.verdict;
    for change in verdict.passed() {
        write_planned(out, view, change)?;
    }
    for held in verdict.held() {
        let HeldChanges {
            rule,
            reason,
            changes,
        } = held;
        writeln!(
            out,
            "\nheld by {} ({}): {reason}",
            rule.label(),
            changes.len()
        )?;
        for change in changes {
            write_planned(out, view, change)?;
        }
    }
    for change in verdict.protected() {
        let effect = match change.operation() {
            Operation::Assign => "role not lowered",
            _ => "not removed",
        };
        write!(out, "  protected, {effect}")?;
        write_subject(out, change)?;
    }
    for change in verdict.quarantined() {
        write!(
            out,
            "  in quarantine, retried later (`apply --retry` retries at once)"
        )?;
        write_subject(out, change)?;
    }
    for change in verdict.waiting() {
        let what = match change.email() {
            Some(_) => "the held or quarantined change of the user",
            None => "a join that creates the group",
        };
        write!(out, "  waits for {what}")?;
        write_subject(out, change)?;
    }
    write_leavers(out, &view.assessment.leaving)?;
    if !out.is_empty() {
        out.push('\n');
    }
    write_summary(out, view)
}

fn write_planned(out: &mut String, view: PlanView<'_>, change: &Change) -> fmt::Result {
    write_change(out, change)?;
    let documents = view.documents_of(change).map(documents_text);
    documents.map_or(Ok(()), |text| writeln!(out, "    {text}"))
}

fn write_leavers(out: &mut String, leaving: &[Leaver]) -> fmt::Result {
    if !leaving.is_empty() {
        writeln!(out, "\nleaving within two weeks ({})", leaving.len())?;
    }
    leaving.iter().try_for_each(|leaver| {
        let Leaver {
            email, operation, ..
        } = leaver;
        writeln!(out, "  {email}: {operation}, {}", leaver.detail())
    })
}

/// ` from Sales: ann@x.co`, or `: ann@x.co` for a change of the user.
fn write_subject(out: &mut String, change: &Change) -> fmt::Result {
    match change.membership() {
        Some(membership) => {
            let group = &membership.group;
            let to = match membership.change {
                MembershipChange::Leave => "from",
                MembershipChange::Join => "to",
            };
            writeln!(out, " {to} {group}: {}", change.subject)
        }
        None => match change.role() {
            Some(role) => writeln!(out, ": {}, {role}", change.subject),
            None => writeln!(out, ": {}", change.subject),
        },
    }
}

fn write_summary(out: &mut String, view: PlanView<'_>) -> fmt::Result {
    let PlanView {
        desired,
        assessment,
        cost,
        ..
    } = view;
    let verdict = &assessment.verdict;
    let held: usize = verdict.held().iter().map(|held| held.changes.len()).sum();
    writeln!(
        out,
        "{}: {}, {} unchanged",
        view.inputs(),
        view.counted(),
        assessment.unchanged
    )?;
    let others = [
        (held, "held"),
        (verdict.protected().len(), "protected"),
        (verdict.quarantined().len(), "in quarantine"),
        (verdict.waiting().len(), "waiting for their user or group"),
        (desired.frozen.len(), "frozen by invalid rows"),
        (assessment.waiting_to_leave.len(), "due to leave"),
        (
            assessment
                .problems
                .iter()
                .filter(|one| one.kind == ProblemKind::MissingName)
                .count(),
            "without a display name",
        ),
        (assessment.not_found.len(), "to be removed and not found"),
        (assessment.ambiguous.len(), "ambiguous"),
        (assessment.unnamed, "not in the roster"),
    ];
    let others: Vec<_> = others
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if !others.is_empty() {
        writeln!(out, "not changed: {}", others.join(", "))?;
    }
    for blocked in &assessment.blocked {
        writeln!(out, "blocked: {blocked}")?;
    }
    let new: Vec<_> = verdict
        .new_groups()
        .iter()
        .map(ToString::to_string)
        .collect();
    if !new.is_empty() {
        writeln!(out, "groups to create: {}", new.join(", "))?;
    }
    match cost.requests {
        0 => writeln!(out, "nothing to send"),
        requests => writeln!(
            out,
            "to send: {}, {}",
            plural(requests, "request"),
            about(cost.time)
        ),
    }
}

/// `2 to delete, 1 to update`; `nothing to do`.
#[must_use]
pub fn counted(counts: &Counts) -> String {
    let parts: Vec<_> = Operation::ALL
        .iter()
        .filter(|operation| counts.get(**operation) > 0)
        .map(|operation| format!("{} to {operation}", counts.get(*operation)))
        .collect();
    if parts.is_empty() {
        "nothing to do".into()
    } else {
        parts.join(", ")
    }
}

/// The commands that review and approve what a run holds.
#[must_use]
pub fn how_to_approve(run: RunNumber) -> String {
    format!(
        "review with `omni-user-sync history {run}`, approve with `omni-user-sync approve {run}`"
    )
}

/// One change, as a plan shows it.
#[must_use]
pub fn change_text(change: &Change) -> String {
    let mut out = String::new();
    write_change(&mut out, change).expect("writing to a String can't fail");
    out
}

fn write_change(out: &mut String, change: &Change) -> fmt::Result {
    let sign = match change.operation() {
        Operation::Delete | Operation::Deactivate | Operation::Leave => '-',
        Operation::Update | Operation::Assign | Operation::Transfer => '~',
        Operation::Create | Operation::Join => '+',
    };
    write!(out, "{sign} {:<10} {}", change.operation(), change.subject)?;
    match (change.membership(), change.role()) {
        (Some(membership), _) => write!(out, ": {}", membership.group.marked())?,
        (_, Some(role)) => write!(out, ": {role}")?,
        (None, None) => {}
    }
    match &change.location {
        Some(location) => writeln!(out, "  ({}:{})", location.file, location.line)?,
        None => writeln!(out, "  (not in the roster)")?,
    }
    match &change.action {
        Action::Membership(_) | Action::Role(_) => Ok(()),
        Action::Delete(user) | Action::Deactivate(user) => write_owned(out, user),
        Action::Transfer(transfer) => write_transfer(out, transfer),
        Action::Update(_, fields) => fields.iter().try_for_each(|field| write_field(out, field)),
        Action::Create(_) => change.fields().iter().try_for_each(|field| {
            writeln!(out, "    {}: {}", field.field, shown(field.to.as_ref()))
        }),
    }
}

fn write_field(out: &mut String, change: &FieldChange) -> fmt::Result {
    let FieldChange {
        field,
        from,
        to,
        default,
    } = change;
    let (from, to) = (shown(from.as_ref()), shown(to.as_ref()));
    write!(out, "    {field}: {from} => {to}")?;
    match default {
        Some(default) => writeln!(out, " (the default {default} applies)"),
        None => writeln!(out),
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "(none)".into(), Value::to_string)
}

/// What a removal takes: `    owns 3 schedules: daily revenue, weekly, monthly`.
fn write_owned(out: &mut String, user: &ObservedUser) -> fmt::Result {
    let owned = user.owned.as_deref().filter(|owned| !owned.is_nothing());
    owned.map_or(Ok(()), |owned| writeln!(out, "    {owned}"))
}

fn write_transfer(out: &mut String, transfer: &Transfer) -> fmt::Result {
    let Transfer {
        schedule,
        successor,
        ..
    } = transfer;
    // A schedule runs with the access of its owner.
    writeln!(
        out,
        "    schedule {}: to {heir}, with the access of {heir} from then on",
        Escaped(schedule.label()),
        heir = successor.email
    )
}
