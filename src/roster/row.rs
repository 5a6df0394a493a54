//! A record → the desired state of its user, or all problems of the row.
//!
//! An invalid row freezes every user that it may belong to:
//!
//! - A row of the right length freezes the address in its email cell. If that address can't be read,
//!   the row may belong to any user: it counts as unnamed, which switches pruning off, and freezes the
//!   addresses that are probably meant.
//! - A row whose only problem is an address that breaks the rule for new users is doubtful: it counts
//!   if a user has exactly this address.
//! - In a row of a different length, cells may be shifted: the address under `email` may be the
//!   manager's. So every address in the row is frozen, and the row still counts as unnamed.
//! - The same applies to a cell of several lines that looks like rows swallowed by a stray quote.

use super::address;
use super::cell::CellReader;
use super::groups_cell::GroupsReader;
use super::header::Columns;
use super::leaving;
use super::text::{Issue, did_you_mean, quoted};
use crate::model::{
    AttributeName, Attributes, DesiredUser, Email, GroupsCell, Interner, LeaveOn, Leaving,
    Location, Problem, ProblemKind, SuccessorCell, UserSpec, Value, nfc, trim,
};
use crate::settings::BlankCells;
use crate::util::text::{nearest, plural};
use ::csv::StringRecord;
use std::sync::Arc;

/// A row without problems.
#[derive(Debug)]
pub(super) struct ValidRow {
    pub(super) email: Email,
    pub(super) want: DesiredUser,
    /// The cell of an upsert in the `groups` column.
    pub(super) groups: Option<ReadGroups>,
    /// Why the address may be wrong.
    pub(super) doubt: Option<Box<Doubt>>,
}

/// A valid cell in the `groups` column.
#[derive(Debug)]
pub(super) struct ReadGroups {
    pub(super) cell: GroupsCell,
    /// Whether it names a group twice.
    pub(super) has_repeats: bool,
}

/// The problem of an address that breaks the rule for new users, and the addresses that are probably
/// meant.
#[derive(Debug)]
pub(super) struct Doubt {
    pub(super) problem: Problem,
    pub(super) meant: Vec<Email>,
}

/// A row with problems.
#[derive(Debug, Default)]
pub(super) struct BadRow {
    pub(super) problems: Vec<Problem>,
    /// The users that it may belong to.
    pub(super) frozen: Vec<Email>,
    /// Whether it may belong to any other user.
    pub(super) unnamed: bool,
}

#[derive(Clone, Copy)]
enum Op {
    Upsert,
    Delete,
    Deactivate,
}

const OPS: [(&str, Op); 3] = [
    ("upsert", Op::Upsert),
    ("delete", Op::Delete),
    ("deactivate", Op::Deactivate),
];

/// Words of other programs for an op. Each is a lint.
const SYNONYMS: [(&str, Op); 5] = [
    ("create", Op::Upsert),
    ("add", Op::Upsert),
    ("update", Op::Upsert),
    ("remove", Op::Delete),
    ("disable", Op::Deactivate),
];

/// Reads the rows of one file.
pub(super) struct RowReader<'a> {
    pub(super) columns: &'a Columns,
    file: &'a Arc<str>,
    delimiter: u8,
    blank_cells: BlankCells,
    /// One for each attribute column.
    cells: Vec<CellReader>,
    groups: GroupsReader,
    interner: Interner,
}

impl<'a> RowReader<'a> {
    pub(super) fn new(
        columns: &'a Columns,
        file: &'a Arc<str>,
        delimiter: u8,
        blank_cells: BlankCells,
    ) -> Self {
        let attributes = &columns.attributes;
        let cached = attributes.len() + 1;
        let cells = attributes
            .iter()
            .map(|column| CellReader::new(column.shape, cached));
        Self {
            columns,
            file,
            delimiter,
            blank_cells,
            cells: cells.collect(),
            groups: GroupsReader::new(cached),
            interner: Interner::default(),
        }
    }

    /// Reads the row that starts on `line`.
    pub(super) fn read(&mut self, cells: &StringRecord, line: u64) -> Result<ValidRow, BadRow> {
        if cells.len() != self.columns.labels.len() {
            return Err(self.wrong_length(cells, line));
        }
        let mut bad = BadRow::default();
        let (email, doubt) = self.email(cells, line);
        let want = self.want(cells, line, &mut bad);
        let groups = match want.as_ref().map(DesiredUser::leaving) {
            None | Some(None) => self.groups(cells, line, self.blank_cells, &mut bad),
            Some(Some(Leaving { on: Some(_), .. })) => {
                self.groups(cells, line, BlankCells::Keep, &mut bad)
            }
            Some(Some(Leaving { on: None, .. })) => None,
        };
        self.check_swallowed(cells, line, &mut bad);
        match (email, want) {
            (Some(email), Some(want)) if bad.problems.is_empty() => Ok(ValidRow {
                email,
                want,
                groups,
                doubt,
            }),
            (email, _) => {
                let is_readable = doubt.is_none();
                if let Some(doubt) = doubt {
                    let Doubt { problem, meant } = *doubt;
                    bad.problems.insert(0, problem);
                    bad.frozen.extend(meant);
                    bad.unnamed = true;
                }
                let named = email.as_ref().filter(|_| is_readable);
                bad.problems
                    .iter_mut()
                    .for_each(|problem| problem.email = named.cloned());
                bad.frozen.extend(email);
                Err(bad)
            }
        }
    }

    /// The address of a row, if it has the form of one, and why it may be wrong.
    fn email(&self, cells: &StringRecord, line: u64) -> (Option<Email>, Option<Box<Doubt>>) {
        let at = self.columns.email;
        match Email::parse(&cells[at]) {
            Ok(email) => (Some(email), None),
            Err(error) => {
                let (issue, meant) = address::problem(&cells[at], error);
                let problem = self.problem(line, at, issue);
                let doubt = Box::new(Doubt { problem, meant });
                (Email::known(&cells[at]).ok(), Some(doubt))
            }
        }
    }

    fn want(&mut self, cells: &StringRecord, line: u64, bad: &mut BadRow) -> Option<DesiredUser> {
        let Some(at) = self.columns.op else {
            return self.upsert(cells, line, bad);
        };
        match op(&cells[at]) {
            Ok(Op::Upsert) => self.upsert(cells, line, bad),
            Ok(Op::Delete) => self.leaving(cells, line, bad).map(DesiredUser::Delete),
            Ok(Op::Deactivate) => self.leaving(cells, line, bad).map(DesiredUser::Deactivate),
            Err(issue) => {
                bad.problems.push(self.problem(line, at, issue));
                None
            }
        }
    }

    fn upsert(&mut self, cells: &StringRecord, line: u64, bad: &mut BadRow) -> Option<DesiredUser> {
        let date = self.columns.leave_on;
        self.filled(cells, date, leaving::date_of_upsert, line, bad);
        let spec = self.spec(cells, line, self.blank_cells, bad)?;
        Some(DesiredUser::Upsert(spec))
    }

    /// How a user leaves. The cells of attributes count only until the date; without a date they are not read.
    fn leaving(&mut self, cells: &StringRecord, line: u64, bad: &mut BadRow) -> Option<Leaving> {
        let Columns {
            successor,
            leave_on,
            ..
        } = *self.columns;
        let named = self.filled(cells, successor, leaving::successor, line, bad);
        let successor = successor.zip(named).map(|(at, email)| {
            let location = self.location(line, at);
            Box::new(SuccessorCell { email, location })
        });
        let date = self.filled(cells, leave_on, leaving::date, line, bad);
        let on = match date {
            None => None,
            Some(date) => {
                let until = self.spec(cells, line, BlankCells::Keep, bad)?;
                Some(Box::new(LeaveOn { date, until }))
            }
        };
        Some(Leaving { successor, on })
    }

    /// Reads the cell of a column, if there is one and the cell is not blank.
    fn filled<T>(
        &self,
        cells: &StringRecord,
        column: Option<usize>,
        read: fn(&str) -> Result<T, Issue>,
        line: u64,
        bad: &mut BadRow,
    ) -> Option<T> {
        let at = column.filter(|at| !trim(&cells[*at]).is_empty())?;
        let read = read(&cells[at]).map_err(|issue| self.problem(line, at, issue));
        read.map_err(|problem| bad.problems.push(problem)).ok()
    }

    /// What a row states about a user who exists.
    fn spec(
        &mut self,
        cells: &StringRecord,
        line: u64,
        blank_cells: BlankCells,
        bad: &mut BadRow,
    ) -> Option<UserSpec> {
        let display_name = self.columns.display_name.map(|at| trim(&cells[at]));
        Some(UserSpec {
            attributes: self.attributes(cells, line, blank_cells, bad)?,
            display_name: display_name
                .filter(|name| !name.is_empty())
                .map(|name| nfc(name).into()),
        })
    }

    fn attributes(
        &mut self,
        cells: &StringRecord,
        line: u64,
        blank_cells: BlankCells,
        bad: &mut BadRow,
    ) -> Option<Attributes<Option<Value>>> {
        let columns = &self.columns.attributes;
        let mut values = Vec::with_capacity(columns.len());
        let mut issues = Vec::new();
        for (column, reader) in columns.iter().zip(&mut self.cells) {
            let cell = &cells[column.at];
            if is_kept(cell, blank_cells) {
                continue;
            }
            match reader.value(cell) {
                Ok(value) => values.push(value),
                Err(issue) => issues.push((column.at, issue)),
            }
        }
        if !issues.is_empty() {
            let problem = |(at, issue)| self.problem(line, at, issue);
            bad.problems.extend(issues.into_iter().map(problem));
            return None;
        }
        let names = if values.len() == columns.len() {
            self.columns.names.clone()
        } else {
            self.names_in(cells, blank_cells)
        };
        Some(Attributes::of(names, values))
    }

    /// The cell in the `groups` column; `None` if it states nothing.
    fn groups(
        &mut self,
        cells: &StringRecord,
        line: u64,
        blank_cells: BlankCells,
        bad: &mut BadRow,
    ) -> Option<ReadGroups> {
        let at = self.columns.groups?;
        if is_kept(&cells[at], blank_cells) {
            return None;
        }
        match self.groups.read(&cells[at]) {
            Ok(list) => Some(ReadGroups {
                cell: GroupsCell {
                    names: list.names,
                    location: self.location(line, at),
                },
                has_repeats: list.has_repeats,
            }),
            Err(issue) => {
                bad.problems.push(self.problem(line, at, issue));
                None
            }
        }
    }

    /// The attributes of a row in which blank cells are left out.
    fn names_in(
        &mut self,
        cells: &StringRecord,
        blank_cells: BlankCells,
    ) -> Arc<Vec<AttributeName>> {
        let columns = self.columns.attributes.iter();
        let named = columns.filter(|column| !is_kept(&cells[column.at], blank_cells));
        let names = named.map(|column| column.name.clone()).collect();
        self.interner.names(Arc::new(names))
    }

    fn wrong_length(&self, cells: &StringRecord, line: u64) -> BadRow {
        let (found, expected) = (cells.len(), self.columns.labels.len());
        let (reason, remedy) = if found < expected {
            (
                "too short",
                "write every cell, also blank ones; a missing cell is never treated as a blank one",
            )
        } else if cells.iter().any(address::is_quoted_after_blank) {
            (
                "too long",
                "remove the blanks before the quotes, which make the quotes part of the cell, so that \
                 delimiters within them split it",
            )
        } else {
            (
                "too long",
                "quote the cells that contain the delimiter, or remove the extra cells",
            )
        };
        let cells_found = plural(found, "cell");
        let message = format!("{reason}: this row has {cells_found}, the header has {expected}");
        let issue = Issue::new(message, remedy);
        BadRow {
            problems: vec![
                issue
                    .kind(ProblemKind::RowLength)
                    .at(Location::line(self.file, line)),
            ],
            frozen: cells.iter().flat_map(|cell| self.addresses(cell)).collect(),
            unnamed: true,
        }
    }

    /// Two unbalanced quotes turn all rows between them into one cell, which is valid CSV. Such a
    /// cell contains a line that looks like a row.
    fn check_swallowed(&self, cells: &StringRecord, line: u64, bad: &mut BadRow) {
        if memchr::memchr2(b'\n', b'\r', cells.as_slice().as_bytes()).is_none() {
            return;
        }
        for (at, cell) in cells.iter().enumerate() {
            if self.has_rows(cell, at) {
                let issue = Issue::new(
                    "this cell contains whole rows, so a quote is missing or misplaced",
                    "close the quote where the cell ends; inside a quoted cell, write each quote twice (\"\")",
                )
                .kind(ProblemKind::SwallowedRows);
                bad.problems.push(self.problem(line, at, issue));
                bad.frozen.extend(self.addresses(cell));
                bad.unnamed = true;
            }
        }
    }

    /// Whether a cell looks like rows swallowed by a quote that opens in one row and closes in the
    /// same column of a later row. Its first line is then the rest of the first row, from this column
    /// on. Its last line is the start of the last row, up to this column. The lines between are whole
    /// rows. Of the first and the last line, only the one with the email column is conclusive.
    fn has_rows(&self, cell: &str, at: usize) -> bool {
        let lines: Vec<&str> = cell.split(['\n', '\r']).collect();
        let [first, between @ .., last] = &lines[..] else {
            return false;
        };
        let (email, end) = (self.columns.email, self.columns.labels.len() - 1);
        let to = if email < at { at } else { end };
        (email > at && self.looks_like_cells(first, at, end))
            || self.looks_like_cells(last, 0, to)
            || between
                .iter()
                .any(|line| self.looks_like_cells(line, 0, end))
    }

    /// Whether a line looks like the cells of a row from one column to another. This is so if an
    /// address is in the email column and is not the whole line. It is also so if the line contains an
    /// address anywhere and has enough delimiters for all cells: quotes are ignored here, since they
    /// are what went wrong, so the address may appear further right.
    ///
    /// An address without a real domain may be any text with an @ in it, since cells may have several
    /// lines.
    fn looks_like_cells(&self, line: &str, from: usize, to: usize) -> bool {
        let pieces: Vec<&str> = line.split(char::from(self.delimiter)).collect();
        let is_email_column = |at: usize| pieces.len() > 1 && from + at == self.columns.email;
        let is_complete = pieces.len() > to - from;
        let is_conclusive =
            |(at, piece): (usize, &&str)| (is_complete || is_email_column(at)) && is_address(piece);
        pieces.iter().enumerate().any(is_conclusive)
    }

    fn addresses<'t>(&self, text: &'t str) -> impl Iterator<Item = Email> + use<'t> {
        address::all_in(text, self.delimiter)
    }

    fn problem(&self, line: u64, at: usize, issue: Issue) -> Problem {
        issue.at(self.location(line, at))
    }

    /// The location of a cell.
    fn location(&self, line: u64, at: usize) -> Location {
        Location {
            column: Some((at + 1, self.columns.labels[at].clone())),
            ..Location::line(self.file, line)
        }
    }
}

/// Whether a cell is blank and keeps the current value.
fn is_kept(cell: &str, blank_cells: BlankCells) -> bool {
    blank_cells == BlankCells::Keep && trim(cell).is_empty()
}

/// Whether a part of a line is an address.
fn is_address(piece: &str) -> bool {
    Email::parse(address::unquoted(piece)).is_ok()
}

fn op(cell: &str) -> Result<Op, Issue> {
    let text = trim(cell);
    if let Some(op) = find(&OPS, text).or_else(|| find(&SYNONYMS, text)) {
        return Ok(op);
    }
    let message = if text.is_empty() {
        "the op is blank".to_owned()
    } else {
        let suggestion = nearest(text, OPS.map(|(name, _)| name));
        format!("unknown op {}{}", quoted(text), did_you_mean(suggestion))
    };
    let remedy = match text {
        "+" | "-" => {
            "write upsert, delete or deactivate; a file with + and - belongs in source.groups"
        }
        _ => "write upsert, delete or deactivate",
    };
    Err(Issue::new(message, remedy).kind(ProblemKind::Op))
}

/// Whether an op is a word of other programs.
pub(super) fn is_synonym(cell: &str) -> bool {
    let text = trim(cell);
    find(&OPS, text).is_none() && find(&SYNONYMS, text).is_some()
}

fn find(ops: &[(&str, Op)], text: &str) -> Option<Op> {
    let mut ops = ops.iter();
    let found = ops.find(|(name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(_, op)| *op)
}
