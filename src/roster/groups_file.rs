//! `source.groups`: single memberships, one a row.
//!
//! - A row with a problem changes nothing, and freezes every membership that it may be about: its own, all memberships
//!   of its user if its group can't be read, and those of the users that its address probably means. If the row has no
//!   readable address, it may be about any user, so no user leaves a group.
//! - Rows of one membership with opposite ops are all invalid. Names that differ in letter case alone may mean two
//!   groups, which the planner decides.
//! - A file that can't be read, is rejected or has no rows takes no user out of a group, and stops nothing else.

use super::budget::{MAX_LISTED_LINTS, MAX_PROBLEMS};
use super::repetition::{Repetition, repetitions, skipped};
use super::table::{self, Table, TableKind, TableReading, TableRow};
use super::text::{Issue, did_you_mean, quoted};
use super::{BesideReading, SourceError, address};
use crate::model::{
    ChangeKey, DesiredMemberships, DoubtfulMembership, Email, GroupName, GroupNameError, Location,
    MembershipChange, MembershipRow, Problem, ProblemKind,
};
use crate::settings::SourceSettings;
use crate::util::text::nearest;
use ::csv::StringRecord;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

const KIND: TableKind<3> = TableKind {
    setting: "source.groups",
    columns: MembershipRow::COLUMNS,
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
    table::has_column(record, KIND.columns[OP])
}

/// What the file states.
#[derive(Debug, Default)]
pub(super) struct GroupsFile {
    pub(super) rows: Vec<MembershipRow>,
    pub(super) frozen: HashSet<ChangeKey>,
    pub(super) doubtful: Vec<DoubtfulMembership>,
    /// The number of invalid rows that may be about any user.
    pub(super) unnamed: u64,
    /// The number of rows; `None` if the file is not set or can't be used.
    pub(super) count: Option<u64>,
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

/// A row, as far as it can be read.
enum GroupsRow {
    Valid(StatedRow),
    Invalid(InvalidRow),
}

/// A row without problems, unless its address is doubtful.
struct StatedRow {
    row: MembershipRow,
    /// The problem, if no user has exactly this address, and the addresses that are probably meant.
    doubt: Option<(Problem, Vec<Email>)>,
}

/// What an invalid row may be about.
struct InvalidRow {
    /// The address in the row, and those that it probably means.
    emails: Vec<Email>,
    /// Whether the row may be about any other user.
    is_unnamed: bool,
    /// `None` if it may be about any group.
    group: Option<GroupName>,
    location: Location,
}

/// The addresses that a cell names or probably means.
struct ReadEmail {
    /// The address, letter for letter.
    own: Option<Email>,
    meant: Vec<Email>,
    /// Why the address may be wrong.
    doubt: Option<Problem>,
}

fn read_row(row: &TableRow<'_, 3>, problems: &mut Vec<Problem>) -> Option<GroupsRow> {
    let change = read_op(row.cells[OP]).map_err(|issue| row.problem(OP, issue));
    let ReadEmail { own, meant, doubt } = read_email(row);
    let group = GroupName::parse(row.cells[GROUP]);
    let group = group.map_err(|error| row.problem(GROUP, group_issue(row.cells[GROUP], error)));
    let location = row.location.clone();
    Some(match (change, own, group) {
        (Ok(change), Some(email), Ok(group)) => GroupsRow::Valid(StatedRow {
            row: MembershipRow {
                email,
                group,
                change,
                location,
            },
            doubt: doubt.map(|problem| (problem, meant)),
        }),
        (change, own, group) => {
            let named = own.clone().filter(|_| doubt.is_none());
            let is_unnamed = doubt.is_some() && meant.is_empty();
            let (group, no_group) = match group {
                Ok(group) => (Some(group), None),
                Err(problem) => (None, Some(problem)),
            };
            let found = change.err().into_iter().chain(doubt).chain(no_group);
            problems.extend(found.map(|problem| Problem {
                email: named.clone(),
                ..problem
            }));
            GroupsRow::Invalid(InvalidRow {
                emails: own.into_iter().chain(meant).collect(),
                is_unnamed,
                group,
                location,
            })
        }
    })
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

/// A membership as it is compared; without a group, all memberships of a user.
type MembershipKey = (Email, Option<GroupName>);

fn key(email: &Email, group: Option<&GroupName>) -> MembershipKey {
    (email.clone(), group.cloned())
}

/// The first invalid row about each membership.
#[derive(Default)]
struct InvalidRows(HashMap<MembershipKey, Location>);

impl InvalidRows {
    fn add(&mut self, email: &Email, group: Option<&GroupName>, location: &Location) {
        let first = self.0.entry(key(email, group));
        first.or_insert_with(|| location.clone());
    }

    fn about(&self, row: &MembershipRow) -> Option<&Location> {
        let about = |group| self.0.get(&key(&row.email, group));
        about(None).or_else(|| about(Some(&row.group)))
    }
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
            Ok(table) => match Self::merge(table) {
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
    fn merge(table: Table<GroupsRow, 3>) -> Self {
        let mut file = Self {
            bad_rows: table.bad_rows,
            unnamed: table.unnamed,
            count: Some(table.count),
            ..Self::default()
        };
        let mut invalid = InvalidRows::default();
        for (email, location) in &table.emails {
            invalid.add(email, None, location);
            file.freeze(email, None);
        }
        let mut valid = Vec::new();
        for row in table.rows {
            match row {
                GroupsRow::Valid(row) => valid.push(row),
                GroupsRow::Invalid(row) => {
                    file.unnamed += u64::from(row.is_unnamed);
                    for email in &row.emails {
                        invalid.add(email, row.group.as_ref(), &row.location);
                        file.freeze(email, row.group.as_ref());
                    }
                }
            }
        }
        valid.retain(|StatedRow { row, .. }| {
            let reason = invalid.about(row);
            if let Some(reason) = reason {
                file.note(|| of_row(row, skipped(reason)));
            }
            reason.is_none()
        });
        file.add_valid(valid);
        file
    }

    /// Adds the rows that no invalid row is about.
    fn add_valid(&mut self, valid: Vec<StatedRow>) {
        let about = valid.iter().map(|StatedRow { row, .. }| {
            let key = key(&row.email, Some(&row.group));
            (key, &row.change, &row.location)
        });
        let found = repetitions(about);
        for (StatedRow { row, doubt }, repetition) in valid.into_iter().zip(found) {
            match repetition {
                Repetition::First => self.add(row, doubt),
                Repetition::Duplicate(first) => self.note(|| duplicate(&row, &first)),
                Repetition::Conflict(other) => {
                    self.freeze(&row.email, Some(&row.group));
                    self.bad_rows.push(conflict(&row, &other));
                }
            }
        }
    }

    fn add(&mut self, row: MembershipRow, doubt: Option<(Problem, Vec<Email>)>) {
        let Some((problem, meant)) = doubt else {
            return self.rows.push(row);
        };
        let meant = meant.iter();
        let meant = meant.map(|email| membership(email, Some(&row.group)));
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

    fn freeze(&mut self, email: &Email, group: Option<&GroupName>) {
        self.frozen.insert(membership(email, group));
    }
}

fn membership(email: &Email, group: Option<&GroupName>) -> ChangeKey {
    ChangeKey {
        subject: email.into(),
        group: group.cloned(),
        scope: None,
        schedule: None,
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

/// The problem of a row with the opposite op of another one about the same membership.
pub(crate) fn conflict(row: &MembershipRow, other: &Location) -> Problem {
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
                self.unnamed += u64::from(doubtful.meant.is_empty());
                self.frozen.extend(doubtful.meant);
                problems.push(doubtful.problem);
            }
        }
        problems
    }
}
