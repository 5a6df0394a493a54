//! `source.roles`: the roles of users and groups on models and connections.
//!
//! - A row with a problem assigns nothing. So do rows of one subject, connection and model with different roles, since
//!   it is unknown which one is right.
//! - A file that can't be read, or is rejected, has problems and no rows: roles stay as they are.
//! - A file without rows is a lint and no error: it takes no role away, and an export of an organisation without roles
//!   is such a file.

use super::address;
use super::budget::limit_lints;
use super::repetition::{Repetition, repetitions, skipped};
use super::table::{self, TableKind, TableReading, TableRow};
use super::text::{Issue, quoted};
use super::{BesideReading, SourceError};
use crate::model::{
    DesiredRole, DesiredRoles, Email, EmailError, GroupNameError, Location, Problem, ProblemKind,
    RoleColumn, RoleName, RoleNameError, StandardRole, Subject, Text, UnclearRole,
};
use crate::settings::SourceSettings;
use ::csv::StringRecord;
use std::collections::HashMap;
use std::hash::Hash;
use std::path::Path;
use std::sync::Arc;

const COLUMNS: usize = RoleColumn::ALL.len();

const KIND: TableKind<COLUMNS> = TableKind {
    setting: "source.roles",
    columns: [
        RoleColumn::Subject.as_str(),
        RoleColumn::Connection.as_str(),
        RoleColumn::Model.as_str(),
        RoleColumn::Role.as_str(),
    ],
    is_header,
};

pub(super) fn is_header(record: &StringRecord) -> bool {
    table::has_column(record, RoleColumn::Subject.as_str())
}

/// Reads the file alone, once. Blocks as long as the file system does.
#[must_use]
pub fn read_roles(settings: &SourceSettings, path: &Path) -> DesiredRoles {
    read(settings, path).0
}

/// Reads the file once, together with the roster. Blocks.
pub(super) fn read(settings: &SourceSettings, path: &Path) -> (DesiredRoles, BesideReading) {
    match table::read_once(settings, path, KIND, read_row) {
        Ok(reading) => {
            let beside = BesideReading::from(&reading);
            (desired(reading.outcome), beside)
        }
        Err(error) => (unavailable(settings, path, &error), BesideReading::NONE),
    }
}

/// A file that can't be read.
pub(super) fn unavailable(
    settings: &SourceSettings,
    path: &Path,
    error: &SourceError,
) -> DesiredRoles {
    desired(TableReading {
        fingerprint: None,
        file: "".into(),
        lints: Vec::new(),
        table: Err(vec![table::unavailable_file(
            settings,
            path,
            KIND.setting,
            error,
        )]),
    })
}

fn desired(reading: TableReading<RoleRow, COLUMNS>) -> DesiredRoles {
    let mut roles = DesiredRoles {
        rows: Vec::new(),
        unclear: Vec::new(),
        bad_rows: Vec::new(),
        rejected: Vec::new(),
        lints: reading.lints,
        columns: [1, 2, 3, 4],
        count: None,
        fingerprint: reading.fingerprint,
    };
    match reading.table {
        Err(problems) => roles.rejected = problems,
        Ok(table) => {
            if table.rows.is_empty() && table.bad_rows.is_empty() {
                roles.lints.push(no_rows(&reading.file));
            }
            roles.columns = table.columns;
            roles.count = Some(table.count);
            roles.bad_rows = table.bad_rows;
            add(&mut roles, table.rows);
        }
    }
    roles.bad_rows.sort_by(Problem::in_order);
    limit_lints(&mut roles.lints, 0, more_notes);
    roles
}

/// The subject, the connection and the model of a row, as they are compared.
type RowKey = (String, Text, Text);

/// A row with a readable subject and connection.
struct RoleRow {
    key: RowKey,
    /// An invalid row has no role that could be assigned.
    role: Result<DesiredRole, UnclearRole>,
}

fn read_row(row: &TableRow<'_, COLUMNS>, found: &mut Vec<Problem>) -> Option<RoleRow> {
    let [subject, connection, model, role] = row.cells;
    let at = |column: RoleColumn, issue| row.problem(column as usize, issue);
    let mut problems = Vec::new();
    let subject = read_subject(subject).map_err(|issue| at(RoleColumn::Subject, issue));
    if connection.is_empty() {
        problems.push(at(RoleColumn::Connection, blank_connection()));
    }
    let role = RoleName::parse(role).map_err(|error| at(RoleColumn::Role, role_issue(role, error)));
    let model_issue = role.as_ref().ok().and_then(|role| model_issue(model, role));
    problems.extend(model_issue.map(|issue| at(RoleColumn::Model, issue)));
    let role = role.map_err(|problem| problems.push(problem));
    let (subject, doubt) = match subject {
        Ok(subject) if !connection.is_empty() => subject,
        Ok((subject, _)) => {
            found.extend(about(&subject, problems));
            return None;
        }
        Err(problem) => {
            problems.push(problem);
            found.extend(problems);
            return None;
        }
    };
    let key = (subject.folded(), connection.into(), model.into());
    let named = Some(model).filter(|model| !model.is_empty());
    let row = UnclearRole {
        subject,
        connection: connection.into(),
        model: named.map(Into::into),
        location: row.location.clone(),
    };
    let role = match role {
        Ok(role) if problems.is_empty() => Ok(DesiredRole {
            doubt: doubt.map(|issue| at(RoleColumn::Subject, issue)),
            subject: row.subject,
            connection: row.connection,
            model: row.model,
            role,
            location: row.location,
        }),
        _ => {
            found.extend(about(&row.subject, problems));
            Err(row)
        }
    };
    Some(RoleRow { key, role })
}

/// Problems, with the user of their row.
fn about(subject: &Subject, mut problems: Vec<Problem>) -> Vec<Problem> {
    for problem in &mut problems {
        problem.email = subject.email().cloned();
    }
    problems
}

/// A subject, and why its address may be wrong.
fn read_subject(cell: &str) -> Result<(Subject, Option<Issue>), Issue> {
    match Subject::group_in(cell) {
        Some(Ok(name)) => Ok((Subject::Group(name), None)),
        Some(Err(error)) => Err(group_issue(error)),
        None => match Email::parse(cell) {
            Ok(email) => Ok((Subject::User(email), None)),
            Err(error) => {
                let issue = subject_issue(cell, error);
                match Email::known(cell) {
                    Ok(email) => Ok((Subject::User(email), Some(issue))),
                    Err(_) => Err(issue),
                }
            }
        },
    }
}

fn subject_issue(cell: &str, error: EmailError) -> Issue {
    let form = "write the email of a user, or group:<name>";
    if cell.is_empty() {
        return Issue::new("the subject is blank", form).kind(ProblemKind::Role);
    }
    address::issue(cell, error, form)
}

fn group_issue(error: GroupNameError) -> Issue {
    let remedy = "write group: and the name of a group, such as group:Analysts";
    Issue::new(error.to_string(), remedy).kind(ProblemKind::Role)
}

fn blank_connection() -> Issue {
    Issue::new("the connection is blank", "name a connection of Omni").kind(ProblemKind::Role)
}

fn role_issue(cell: &str, error: RoleNameError) -> Issue {
    let (message, remedy) = match error {
        RoleNameError::Respelled(role) => (
            format!("{}: {error}", quoted(cell)),
            format!("write {role}"),
        ),
        RoleNameError::Blank | RoleNameError::ControlCharacter => {
            let names = StandardRole::ALL.map(StandardRole::as_str).join(", ");
            (
                error.to_string(),
                format!("write {names}, or the name of a custom role"),
            )
        }
    };
    Issue::new(message, remedy).kind(ProblemKind::Role)
}

fn model_issue(model: &str, role: &RoleName) -> Option<Issue> {
    let (message, remedy) = match (model.is_empty(), *role == RoleName::CONNECTION_ADMIN) {
        (true, false) => (
            "the model is blank, and only CONNECTION_ADMIN is a role on a whole connection",
            "name a model of the connection",
        ),
        (false, true) => (
            "CONNECTION_ADMIN is a role on a whole connection, not on a model",
            "leave the model blank",
        ),
        (true, true) | (false, false) => return None,
    };
    Some(Issue::new(message, remedy).kind(ProblemKind::Role))
}

/// Adds the rows of the file. A valid row of the same subject, connection and model as an invalid one is skipped: it is
/// unknown which one is right.
fn add(roles: &mut DesiredRoles, rows: Vec<RoleRow>) {
    let mut invalid = HashMap::new();
    for row in &rows {
        if let Err(about) = &row.role {
            let location = || about.location.clone();
            invalid.entry(row.key.clone()).or_insert_with(location);
        }
    }
    let mut valid = Vec::new();
    for row in rows {
        match (row.role, invalid.get(&row.key)) {
            (Err(about), _) => roles.unclear.push(about),
            (Ok(role), None) => valid.push((row.key, role)),
            (Ok(role), Some(reason)) => roles.lints.push(skipped_role(&role, reason)),
        }
    }
    let merged = merge_roles(valid);
    roles.rows = merged.rows.into_iter().map(|(_, role)| role).collect();
    roles.unclear.extend(merged.unclear);
    roles.bad_rows.extend(merged.bad_rows);
    roles.lints.extend(merged.lints);
}

/// One row for each key.
pub(crate) struct MergedRoles<K> {
    pub(crate) rows: Vec<(K, DesiredRole)>,
    /// Rows that contradict each other.
    pub(crate) unclear: Vec<UnclearRole>,
    pub(crate) bad_rows: Vec<Problem>,
    pub(crate) lints: Vec<Problem>,
}

/// Merges rows that are about the same: equal roles become one row with a lint, different ones are all invalid.
pub(crate) fn merge_roles<K: Eq + Hash>(rows: Vec<(K, DesiredRole)>) -> MergedRoles<K> {
    let found = repetitions(
        rows.iter()
            .map(|(key, row)| (key, &row.role, &row.location)),
    );
    let mut merged = MergedRoles {
        rows: Vec::new(),
        unclear: Vec::new(),
        bad_rows: Vec::new(),
        lints: Vec::new(),
    };
    for ((key, row), repetition) in rows.into_iter().zip(found) {
        match repetition {
            Repetition::First => merged.rows.push((key, row)),
            Repetition::Duplicate(first) => merged.lints.push(duplicate(&row, &first)),
            Repetition::Conflict(other) => {
                merged.bad_rows.push(conflict(&row, &other));
                merged.unclear.push((&row).into());
            }
        }
    }
    merged
}

/// A problem of a row, with its user.
fn problem_of(row: &DesiredRole, issue: Issue) -> Problem {
    Problem {
        email: row.subject.email().cloned(),
        ..issue.at(row.location.clone())
    }
}

/// The lint on a valid row with the subject and scope of an unclear one.
pub(crate) fn skipped_role(row: &DesiredRole, reason: &Location) -> Problem {
    problem_of(row, skipped(reason))
}

fn duplicate(row: &DesiredRole, first: &Location) -> Problem {
    let message = format!("repeats {first} for {}", quoted(&row.subject.to_string()));
    let issue = Issue::new(message, "remove one of the two rows");
    problem_of(row, issue.kind(ProblemKind::DuplicateRow))
}

fn conflict(row: &DesiredRole, other: &Location) -> Problem {
    let subject = quoted(&row.subject.to_string());
    let issue = Issue::new(
        format!(
            "conflicts with {other}, which has another role for {subject} on the same model or connection"
        ),
        "keep only the correct row; until then neither role is assigned",
    );
    problem_of(row, issue.kind(ProblemKind::ConflictingRows))
}

fn no_rows(file: &Arc<str>) -> Problem {
    let issue = Issue::new(
        "the file has a header and no rows, so no role is assigned",
        "write one row for each role, or set source.roles = \"\"",
    );
    issue.kind(ProblemKind::Empty).at(Location::line(file, 0))
}

fn more_notes(more: usize) -> Issue {
    Issue::new(
        format!("{more} more rows are repeated or skipped"),
        "write one row for each subject, connection and model",
    )
}
