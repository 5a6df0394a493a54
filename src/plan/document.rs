//! Plans as JSON for programs. The output is sorted, so equal plans give equal documents.

use super::render::PlanView;
use super::{Assessment, Blocked, BlockedOperation, HeldChanges, NotFound};
use crate::model::{
    Change, Counts, Email, FieldChange, GroupId, GroupName, GroupRef, Leaver, ObservedUser,
    Operation, OwnedDocuments, OwnedPart, Problem, RoleChange, Subject,
};
use serde::{Serialize, Serializer};
use std::collections::BTreeSet;

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
    new_groups: Vec<&'a str>,
    held: Vec<HeldDoc<'a>>,
    protected: Vec<String>,
    quarantined: Vec<String>,
    #[serde(serialize_with = "change_docs")]
    waiting: &'a [Change],
    frozen: Vec<&'a Email>,
    ambiguous: &'a [Email],
    unread: &'a [Email],
    unread_roles: Vec<String>,
    #[serde(serialize_with = "problem_docs")]
    problems: Vec<&'a Problem>,
    not_found: Vec<NotFoundDoc<'a>>,
    leaving: &'a [Leaver],
    blocked: Vec<BlockedDoc<'a>>,
    warnings: &'a [String],
    requests: usize,
    seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    documents: Option<Vec<DocumentsDoc<'a>>>,
}

/// The documents of a user to be removed.
#[derive(Debug, Serialize)]
struct DocumentsDoc<'a> {
    email: &'a Email,
    id: &'a str,
    count: Option<usize>,
    names: Option<&'a [String]>,
    /// Why they are not known, as a clause.
    unread: Option<String>,
}

impl<'a> DocumentsDoc<'a> {
    fn new(user: &'a ObservedUser, documents: &'a OwnedPart<OwnedDocuments>) -> Self {
        let read = documents.read();
        Self {
            email: &user.email,
            id: user.id.as_str(),
            count: read.map(|documents| documents.count),
            names: read.map(|documents| &documents.names[..]),
            unread: documents.why_unread("documents"),
        }
    }
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
    email: Option<&'a Email>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<FieldChange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<GroupRefDoc<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a RoleChange>,
}

/// The group of a membership, or the group that gets a role.
#[derive(Debug, Serialize)]
struct GroupRefDoc<'a> {
    id: Option<&'a str>,
    name: &'a str,
}

impl<'a> From<&'a GroupRef> for GroupRefDoc<'a> {
    fn from(group: &'a GroupRef) -> Self {
        Self {
            id: group.id.as_ref().map(GroupId::as_str),
            name: group.name.as_str(),
        }
    }
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
            documents,
        } = view;
        let docs_of = |change: &'a Change| {
            let documents = view.documents_of(change)?;
            Some(DocumentsDoc::new(change.removed()?, documents))
        };
        let Assessment {
            verdict,
            pending,
            problems: _,
            ambiguous,
            unread,
            waiting_to_leave: _,
            leaving,
            unchanged,
            unnamed,
            has_renames: _,
            groups: _,
            roles: _,
            unread_roles,
            undecided: _,
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
            new_groups: verdict
                .new_groups()
                .into_iter()
                .map(GroupName::as_str)
                .collect(),
            held: verdict.held().iter().map(HeldDoc::from).collect(),
            protected: subjects(verdict.protected()),
            quarantined: subjects(verdict.quarantined()),
            waiting: verdict.waiting(),
            frozen,
            ambiguous,
            unread,
            unread_roles: unread_roles.iter().map(ToString::to_string).collect(),
            problems: view.problems(),
            not_found: not_found.iter().map(NotFoundDoc::from).collect(),
            leaving,
            blocked: blocked.iter().map(BlockedDoc::from).collect(),
            warnings,
            requests: cost.requests,
            seconds: cost.time.as_secs(),
            documents: documents.map(|_| verdict.sendable().filter_map(docs_of).collect()),
        }
    }
}

impl PlanDoc<'_> {
    /// Keeps the first `max` entries of each list. Returns whether any list had more.
    pub(crate) fn truncate(&mut self, max: usize) -> bool {
        let mut lists = vec![first(&mut self.changes, max), first(&mut self.waiting, max)];
        for held in &mut self.held {
            lists.push(first(&mut held.changes, max));
        }
        for subjects in [&mut self.protected, &mut self.quarantined] {
            lists.push(subjects.len() > max);
            subjects.truncate(max);
        }
        for blocked in &mut self.blocked {
            lists.push(first(&mut blocked.emails, max));
        }
        lists.extend([
            first(&mut self.ambiguous, max),
            first(&mut self.unread, max),
            first(&mut self.leaving, max),
            first(&mut self.warnings, max),
            self.frozen.len() > max,
            self.problems.len() > max,
            self.not_found.len() > max,
            self.unread_roles.len() > max,
            self.new_groups.len() > max,
        ]);
        self.new_groups.truncate(max);
        self.frozen.truncate(max);
        self.problems.truncate(max);
        self.not_found.truncate(max);
        self.unread_roles.truncate(max);
        lists.contains(&true)
    }
}

/// Keeps the first `max` entries of a list. Returns whether it had more.
fn first<T>(list: &mut &[T], max: usize) -> bool {
    let has_more = list.len() > max;
    *list = &list[..list.len().min(max)];
    has_more
}

/// The users and groups of these changes, each once.
fn subjects(changes: &[Change]) -> Vec<String> {
    let subjects: BTreeSet<_> = changes.iter().map(|change| &change.subject).collect();
    subjects.into_iter().map(Subject::cell).collect()
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
            email: change.email(),
            id: change.user_id().map(|id| id.as_str()),
            file: change.location.as_ref().map(|location| &*location.file),
            line: change.location.as_ref().map(|location| location.line),
            fields: match change.operation() {
                Operation::Update | Operation::Create | Operation::Transfer => change.fields(),
                Operation::Delete | Operation::Deactivate => change.lost_schedules(),
                Operation::Leave | Operation::Join | Operation::Assign => Vec::new(),
            },
            group: change.group().map(GroupRefDoc::from),
            role: change.role(),
        }
    }
}
