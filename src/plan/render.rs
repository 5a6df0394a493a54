//! Plans as text for people and as JSON for programs. The output is sorted, so equal plans give equal texts.

use super::{Assessment, Blocked, BlockedOperation, HeldChanges, NotFound};
use crate::model::{
    Action, Change, Counts, Desired, Email, FieldChange, Operation, Problem, ProblemKind,
    RunNumber, Value,
};
use crate::util::text::{about, plural};
use serde::{Serialize, Serializer};
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
}

impl<'a> PlanView<'a> {
    /// The problems of the roster, and the rows that Omni's state does not allow.
    #[must_use]
    pub fn problems(&self) -> Vec<&'a Problem> {
        let problems = self.desired.problems().into_iter();
        problems.chain(&self.assessment.problems).collect()
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
        write_change(out, change)?;
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
            write_change(out, change)?;
        }
    }
    for change in verdict.protected() {
        writeln!(out, "  protected, not removed: {}", change.email)?;
    }
    for change in verdict.quarantined() {
        writeln!(
            out,
            "  in quarantine, retried later (`apply --retry` retries at once): {}",
            change.email
        )?;
    }
    if !out.is_empty() {
        out.push('\n');
    }
    write_summary(out, view)
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
        (desired.frozen.len(), "frozen by invalid rows"),
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
        Operation::Update => '~',
        Operation::Create | Operation::Join => '+',
    };
    write!(out, "{sign} {:<10} {}", change.operation(), change.email)?;
    if let Some(group) = change.group() {
        write!(out, ": {group}")?;
    }
    match &change.location {
        Some(location) => writeln!(out, "  ({}:{})", location.file, location.line)?,
        None => writeln!(out, "  (not in the roster)")?,
    }
    match &change.action {
        Action::Delete(_) | Action::Deactivate(_) | Action::Membership(_) => Ok(()),
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

/// A plan for programs. Fields are only ever added. Long lists are made while they are written, because the documents
/// of a million changes take more memory than the plan.
#[derive(Debug, Serialize)]
pub struct PlanDoc<'a> {
    rows: u64,
    users: usize,
    unchanged: usize,
    unnamed: usize,
    pending: Counts,
    #[serde(serialize_with = "change_docs")]
    changes: &'a [Change],
    held: Vec<HeldDoc<'a>>,
    protected: Vec<&'a Email>,
    quarantined: Vec<&'a Email>,
    frozen: Vec<&'a Email>,
    ambiguous: &'a [Email],
    unread: &'a [Email],
    #[serde(serialize_with = "problem_docs")]
    problems: Vec<&'a Problem>,
    not_found: Vec<NotFoundDoc<'a>>,
    blocked: Vec<BlockedDoc<'a>>,
    warnings: &'a [String],
    requests: usize,
    seconds: u64,
}

#[derive(Debug, Serialize)]
struct HeldDoc<'a> {
    rule: &'static str,
    count: usize,
    reason: &'a str,
    #[serde(serialize_with = "change_docs")]
    changes: &'a [Change],
}

/// Changes that a plan leaves out for one reason.
#[derive(Debug, Serialize)]
struct BlockedDoc<'a> {
    operation: BlockedOperation,
    reason: &'a str,
    emails: &'a [Email],
}

impl<'a> From<&'a Blocked> for BlockedDoc<'a> {
    fn from(blocked: &'a Blocked) -> Self {
        Self {
            operation: blocked.operation,
            reason: &blocked.reason,
            emails: &blocked.emails,
        }
    }
}

fn change_docs<S: Serializer>(changes: &[Change], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(changes.iter().map(ChangeDoc::from))
}

fn problem_docs<S: Serializer>(problems: &[&Problem], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(problems.iter().map(|problem| ProblemDoc::from(*problem)))
}

/// A row whose user to be removed is not in Omni.
#[derive(Debug, Serialize)]
struct NotFoundDoc<'a> {
    email: &'a Email,
    file: &'a str,
    line: u64,
    nearest: Option<&'a Email>,
}

impl<'a> From<&'a NotFound> for NotFoundDoc<'a> {
    fn from(row: &'a NotFound) -> Self {
        Self {
            email: &row.email,
            file: &row.location.file,
            line: row.location.line,
            nearest: row.nearest.as_ref(),
        }
    }
}

/// A change, for programs.
#[derive(Debug, Serialize)]
pub(crate) struct ChangeDoc<'a> {
    operation: Operation,
    email: &'a Email,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<FieldChange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_id: Option<&'a str>,
}

/// A problem in the roster, for programs.
#[derive(Debug, Serialize)]
pub struct ProblemDoc<'a> {
    kind: &'static str,
    file: &'a str,
    line: u64,
    column: Option<usize>,
    column_name: Option<&'a str>,
    email: Option<&'a Email>,
    message: &'a str,
    remedy: &'a str,
}

impl<'a> From<&'a Problem> for ProblemDoc<'a> {
    fn from(problem: &'a Problem) -> Self {
        let column = problem.location.column.as_ref();
        Self {
            kind: problem.kind.as_str(),
            file: &problem.location.file,
            line: problem.location.line,
            column: column.map(|(number, _)| *number),
            column_name: column.map(|(_, name)| &**name),
            email: problem.email.as_ref(),
            message: &problem.message,
            remedy: &problem.remedy,
        }
    }
}

impl<'a> PlanDoc<'a> {
    /// The document of a plan.
    #[must_use]
    pub fn new(view: PlanView<'a>) -> Self {
        let PlanView {
            desired,
            users,
            is_about_one: _,
            assessment,
            cost,
        } = view;
        let Assessment {
            verdict,
            pending,
            problems: _,
            ambiguous,
            unread,
            unchanged,
            unnamed,
            has_renames: _,
            groups: _,
            not_found,
            blocked,
            warnings,
        } = assessment;
        let mut frozen: Vec<_> = desired.frozen.keys().collect();
        frozen.sort();
        Self {
            rows: desired.rows,
            users,
            unchanged: *unchanged,
            unnamed: *unnamed,
            pending: *pending,
            changes: verdict.passed(),
            held: verdict.held().iter().map(HeldDoc::from).collect(),
            protected: emails(verdict.protected()),
            quarantined: emails(verdict.quarantined()),
            frozen,
            ambiguous,
            unread,
            problems: view.problems(),
            not_found: not_found.iter().map(NotFoundDoc::from).collect(),
            blocked: blocked.iter().map(BlockedDoc::from).collect(),
            warnings,
            requests: cost.requests,
            seconds: cost.time.as_secs(),
        }
    }
}

impl PlanDoc<'_> {
    /// Keeps the first `max` entries of each list. Returns whether any list had more.
    pub(crate) fn truncate(&mut self, max: usize) -> bool {
        let mut lists = vec![first(&mut self.changes, max)];
        for held in &mut self.held {
            lists.push(first(&mut held.changes, max));
        }
        for emails in [&mut self.protected, &mut self.quarantined, &mut self.frozen] {
            lists.push(emails.len() > max);
            emails.truncate(max);
        }
        for blocked in &mut self.blocked {
            lists.push(first(&mut blocked.emails, max));
        }
        lists.extend([
            first(&mut self.ambiguous, max),
            first(&mut self.unread, max),
            first(&mut self.warnings, max),
            self.problems.len() > max,
            self.not_found.len() > max,
        ]);
        self.problems.truncate(max);
        self.not_found.truncate(max);
        lists.contains(&true)
    }
}

/// Keeps the first `max` entries of a list. Returns whether it had more.
fn first<T>(list: &mut &[T], max: usize) -> bool {
    let has_more = list.len() > max;
    *list = &list[..list.len().min(max)];
    has_more
}

fn emails(changes: &[Change]) -> Vec<&Email> {
    changes.iter().map(|change| &change.email).collect()
}

impl<'a> From<&'a HeldChanges> for HeldDoc<'a> {
    fn from(held: &'a HeldChanges) -> Self {
        Self {
            rule: held.rule.as_str(),
            count: held.changes.len(),
            reason: &held.reason,
            changes: &held.changes,
        }
    }
}

impl<'a> From<&'a Change> for ChangeDoc<'a> {
    fn from(change: &'a Change) -> Self {
        Self {
            operation: change.operation(),
            email: &change.email,
            id: change.user_id().map(|id| id.as_str()),
            file: change.location.as_ref().map(|location| &*location.file),
            line: change.location.as_ref().map(|location| location.line),
            fields: match change.operation() {
                Operation::Update | Operation::Create => change.fields(),
                Operation::Delete | Operation::Deactivate | Operation::Leave | Operation::Join => {
                    Vec::new()
                }
            },
            group: change.group().map(|group| group.name.as_str()),
            group_id: change
                .group()
                .and_then(|group| Some(group.id.as_ref()?.as_str())),
        }
    }
}
