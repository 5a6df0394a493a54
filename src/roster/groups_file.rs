//! `source.groups`: single memberships, one a row.
//!
//! - A row with a problem changes nothing, and freezes its membership if its address and its group can be read. Other
//!   memberships of the user are not affected.
//! - Rows of one membership with opposite ops are all invalid.
//! - A file that can't be read, is rejected or has no rows takes no user out of a group, and stops nothing else.

use super::budget::{MAX_LISTED_LINTS, MAX_PROBLEMS};
use super::repetition::{Repetition, repetitions, skipped};
use super::table::{self, TableKind, TableReading, TableRow};
use super::text::{Issue, did_you_mean, quoted};
use super::{BesideReading, SourceError, address};
use crate::model::{
    ChangeKey, DesiredMemberships, DoubtfulMembership, Email, GroupName, GroupNameError, Location,
    MembershipChange, MembershipRow, Problem, ProblemKind, fold, trim,
};
use crate::settings::SourceSettings;
use crate::util::text::nearest;
use ::csv::StringRecord;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

const KIND: TableKind<3> = TableKind {
    setting: "source.groups",
    columns: ["op", "email", "group_name"],
    is_header,
};

/// The positions of the columns in [`KIND`].
const OP: usize = 0;
const EMAIL: usize = 1;
const GROUP: usize = 2;

/// The ops, in any case.
const OPS: [(&str, MembershipChange); 4] = [
    ("+", MembershipChange::Join),
    ("add", MembershipChange::Join),
    ("-", MembershipChange::Leave),
    ("remove", MembershipChange::Leave),
];

/// Whether a row is the header of such a file.
pub(super) fn is_header(record: &StringRecord) -> bool {
    record.iter().any(|cell| trim(cell) == KIND.columns[OP])
}

/// What the file states.
#[derive(Debug, Default)]
pub(super) struct GroupsFile {
    pub(super) rows: Vec<MembershipRow>,
    pub(super) frozen: HashSet<ChangeKey>,
    pub(super) doubtful: Vec<DoubtfulMembership>,
    pub(super) bad_rows: Vec<Problem>,
    pub(super) lints: Vec<Problem>,
    /// The number of further lints.
    pub(super) dropped_lints: usize,
    /// Why the file can't be used.
    pub(super) unreadable: Option<Problem>,
}

/// Reads the file once. Blocks.
pub(super) fn read(settings: &SourceSettings, path: &Path) -> (GroupsFile, BesideReading) {
    match table::read_once(settings, path, KIND, read_row) {
        Ok(reading) => {
            let beside = BesideReading::from(&reading);
            (GroupsFile::of(reading.outcome), beside)
        }
        Err(error) => {
            let problem = unavailable(settings, path, &error);
            (GroupsFile::unreadable(problem), BesideReading::NONE)
        }
    }
}

/// The problem of a file that can't be read.
pub(super) fn unavailable(settings: &SourceSettings, path: &Path, error: &SourceError) -> Problem {
    table::unavailable_file(settings, path, KIND.setting, error)
}

/// A row with a readable group, and at least one address that it may be about.
struct GroupsRow {
    /// The address in the row, or those that it probably means.
    emails: Vec<Email>,
    group: GroupName,
    location: Location,
    read: Result<ReadMembership, Vec<Problem>>,
}

/// A row without problems, unless its address is doubtful.
struct ReadMembership {
    email: Email,
    change: MembershipChange,
    /// The problem, if no user has exactly this address.
    doubt: Option<Problem>,
}

/// The addresses that a cell names or probably means.
struct ReadEmail {
    /// The address, letter for letter.
    own: Option<Email>,
    meant: Vec<Email>,
    /// Why the address may be wrong.
    doubt: Option<Problem>,
}

fn read_row(row: &TableRow<'_, 3>) -> Result<GroupsRow, Vec<Problem>> {
    let change = read_op(row.cells[OP]).map_err(|issue| row.problem(OP, issue));
    let email = read_email(row);
    let group = GroupName::parse(row.cells[GROUP]);
    let group = group.map_err(|error| row.problem(GROUP, group_issue(row.cells[GROUP], error)));
    let emails: Vec<_> = email.own.iter().chain(&email.meant).cloned().collect();
    let named = email.own.clone().filter(|_| email.doubt.is_none());
    let (read, group) = match (change, email.own, group) {
        (Ok(change), Some(own), Ok(group)) => {
            let read = ReadMembership {
                email: own,
                change,
                doubt: email.doubt,
            };
            (Ok(read), Some(group))
        }
        (change, _, group) => {
            let (group, no_group) = match group {
                Ok(group) => (Some(group), None),
                Err(problem) => (None, Some(problem)),
            };
            let problems = change.err().into_iter().chain(email.doubt).chain(no_group);
            let of_user = |problem| Problem {
                email: named.clone(),
                ..problem
            };
            (Err(problems.map(of_user).collect()), group)
        }
    };
    match (read, group) {
        (read, Some(group)) if !emails.is_empty() => Ok(GroupsRow {
            emails,
            group,
            location: row.location.clone(),
            read,
        }),
        (read, _) => Err(read.err().unwrap_or_default()),
    }
}

fn read_email(row: &TableRow<'_, 3>) -> ReadEmail {
    let cell = row.cells[EMAIL];
    match Email::parse(cell) {
        Ok(email) => ReadEmail {
            own: Some(email),
            meant: Vec::new(),
            doubt: None,
        },
        Err(error) => ReadEmail {
            own: Email::known(cell).ok(),
            meant: address::meant(cell),
            doubt: Some(row.problem(
                EMAIL,
                address::issue(cell, error, "write one email address"),
            )),
        },
    }
}

fn read_op(cell: &str) -> Result<MembershipChange, Issue> {
    let mut ops = OPS.iter();
    if let Some((_, change)) = ops.find(|(name, _)| name.eq_ignore_ascii_case(cell)) {
        return Ok(*change);
    }
    let message = match cell {
        "" => "the op is blank".to_owned(),
        _ => {
            let near = nearest(cell, OPS.map(|(name, _)| name));
            format!("unknown op {}{}", quoted(cell), did_you_mean(near))
        }
    };
    let remedy = "write + or add to put the user in the group, - or remove to take the user out";
    Err(Issue::new(message, remedy).kind(ProblemKind::Op))
}

fn group_issue(cell: &str, error: GroupNameError) -> Issue {
    let message = match cell {
        "" => error.to_string(),
        _ => format!("{}: {error}", quoted(cell)),
    };
    Issue::new(message, "write the name as Omni shows it").kind(ProblemKind::Group)
}

/// A membership as it is compared.
fn key(email: &Email, group: &GroupName) -> (Email, String) {
    (email.clone(), fold(group.as_str()).into_owned())
}

impl GroupsFile {
    fn unreadable(problem: Problem) -> Self {
        Self {
            unreadable: Some(problem),
            ..Self::default()
        }
    }

    fn of(reading: TableReading<GroupsRow, 3>) -> Self {
        let mut file = match reading.table {
            Ok(table) if table.rows.is_empty() && table.bad_rows.is_empty() => {
                Self::unreadable(no_rows(&reading.file))
            }
            Ok(table) => match Self::merge(table.rows, table.bad_rows) {
                file if file.bad_rows.len() > MAX_PROBLEMS => {
                    Self::unreadable(too_many(&reading.file))
                }
                file => file,
            },
            // Of several problems of the header, the first.
            Err(mut problems) => Self::unreadable(problems.swap_remove(0)),
        };
        file.lints.extend(reading.lints);
        file
    }

    /// Merges the rows. A valid row about the same membership as an invalid one is skipped.
    fn merge(rows: Vec<GroupsRow>, bad_rows: Vec<Problem>) -> Self {
        let mut file = Self {
            bad_rows,
            ..Self::default()
        };
        let mut invalid = HashMap::new();
        for row in rows.iter().filter(|row| row.read.is_err()) {
            for email in &row.emails {
                let reason = invalid.entry(key(email, &row.group));
                reason.or_insert_with(|| row.location.clone());
                file.freeze(email, &row.group);
            }
        }
        let mut valid = Vec::new();
        for row in rows {
            let read = match row.read {
                Ok(read) => read,
                Err(problems) => {
                    file.bad_rows.extend(problems);
                    continue;
                }
            };
            let membership = MembershipRow {
                email: read.email,
                group: row.group,
                change: read.change,
                location: row.location,
            };
            match invalid.get(&key(&membership.email, &membership.group)) {
                Some(reason) => file.note(|| of_row(&membership, skipped(reason))),
                None => valid.push((membership, read.doubt, row.emails)),
            }
        }
        let about = valid.iter().map(|(row, ..)| {
            let key = key(&row.email, &row.group);
            (key, &row.change, &row.location)
        });
        let found = repetitions(about);
        for ((row, doubt, emails), repetition) in valid.into_iter().zip(found) {
            match repetition {
                Repetition::First => file.add(row, doubt, &emails),
                Repetition::Duplicate(first) => file.note(|| duplicate(&row, &first)),
                Repetition::Conflict(other) => {
                    file.freeze(&row.email, &row.group);
                    file.bad_rows.push(conflict(&row, &other));
                }
            }
        }
        file
    }

    fn add(&mut self, row: MembershipRow, doubt: Option<Problem>, emails: &[Email]) {
        let Some(problem) = doubt else {
            return self.rows.push(row);
        };
        let meant = emails.iter().map(|email| membership(email, &row.group));
        self.doubtful.push(DoubtfulMembership {
            meant: meant.collect(),
            row,
            problem,
        });
    }

    fn note(&mut self, lint: impl FnOnce() -> Problem) {
        match self.lints.len() < MAX_LISTED_LINTS {
            true => self.lints.push(lint()),
            false => self.dropped_lints += 1,
        }
    }

    fn freeze(&mut self, email: &Email, group: &GroupName) {
        self.frozen.insert(membership(email, group));
    }
}

fn membership(email: &Email, group: &GroupName) -> ChangeKey {
    ChangeKey {
        subject: email.into(),
        group: Some(group.clone()),
        scope: None,
    }
}

fn no_rows(file: &Arc<str>) -> Problem {
    let issue = Issue::new(
        "the file has a header and no rows",
        "write one row for each membership, or set source.groups = \"\"",
    );
    issue.kind(ProblemKind::Empty).at(Location::line(file, 0))
}

fn too_many(file: &Arc<str>) -> Problem {
    let issue = Issue::new(
        format!("the file has more than {MAX_PROBLEMS} problems in its rows"),
        "check that this is the intended file",
    );
    issue
        .kind(ProblemKind::LimitExceeded)
        .at(Location::line(file, 0))
}

fn of_row(row: &MembershipRow, issue: Issue) -> Problem {
    issue.at(row.location.clone()).of(&row.email)
}

fn duplicate(row: &MembershipRow, first: &Location) -> Problem {
    let message = format!("repeats {first} for {}", named(row));
    let issue = Issue::new(message, "remove one of the two rows");
    of_row(row, issue.kind(ProblemKind::DuplicateRow))
}

fn conflict(row: &MembershipRow, other: &Location) -> Problem {
    let message = format!(
        "conflicts with {other}, which has the opposite op for {}",
        named(row)
    );
    let remedy = "keep only the correct row; until then this membership is not changed";
    of_row(
        row,
        Issue::new(message, remedy).kind(ProblemKind::ConflictingRows),
    )
}

fn named(row: &MembershipRow) -> String {
    let (email, group) = (row.email.as_str(), row.group.as_str());
    format!("{} and the group {}", quoted(email), quoted(group))
}

impl DesiredMemberships {
    /// Decides on the doubtful rows of `source.groups`: a row counts if `is_known` says that a user has exactly its
    /// address. Returns the problems of the others, whose memberships are frozen.
    pub(super) fn settle_doubtful(&mut self, is_known: impl Fn(&Email) -> bool) -> Vec<Problem> {
        let mut problems = Vec::new();
        for doubtful in std::mem::take(&mut self.doubtful) {
            if is_known(&doubtful.row.email) {
                self.rows.push(doubtful.row);
            } else {
                self.frozen.extend(doubtful.meant);
                problems.push(doubtful.problem);
            }
        }
        problems
    }
}
