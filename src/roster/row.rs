//! A row → what it wants of its user, or everything that is wrong with it.
//!
//! Whom a bad row freezes is decided on the safe side:
//!
//! - A row of the right length freezes the address in its email cell. If that can't be read, the
//!   row may be anybody's: it is unnamed, and nobody is pruned.
//! - In a row of another length, cells may have moved: an address under `email` may be somebody's
//!   manager. So every address anywhere in it is frozen, and the row is unnamed all the same.
//! - The same goes for a cell over several lines that looks like rows swallowed by a stray quote.

use super::cell::Cells;
use super::header::Columns;
use super::words::{Issue, did_you_mean, nearest, shown};
use crate::model::{
    AttributeName, Attributes, DesiredUser, Email, Interner, Location, Problem, ProblemKind,
    UserSpec, Value, is_blank, is_control_or_bidi, trim,
};
use crate::settings::BlankCells;
use crate::util::text::plural;
use ::csv::StringRecord;
use std::sync::Arc;

/// A row that can be followed.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) email: Email,
    pub(super) want: DesiredUser,
}

/// A row that can't.
#[derive(Debug, Default)]
pub(super) struct BadRow {
    pub(super) problems: Vec<Problem>,
    /// Whose it is or may be.
    pub(super) frozen: Vec<Email>,
    /// It may be somebody else's.
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

/// Reads the rows of one file.
pub(super) struct Rows<'a> {
    pub(super) columns: &'a Columns,
    file: &'a Arc<str>,
    delimiter: u8,
    blank_cells: BlankCells,
    /// Of each attribute's column.
    cells: Vec<Cells>,
    known: Interner,
}

impl<'a> Rows<'a> {
    pub(super) fn new(
        columns: &'a Columns,
        file: &'a Arc<str>,
        delimiter: u8,
        blank_cells: BlankCells,
    ) -> Self {
        let attributes = &columns.attributes;
        let cells = attributes
            .iter()
            .map(|column| Cells::new(column.shape, attributes.len()));
        Self {
            columns,
            file,
            delimiter,
            blank_cells,
            cells: cells.collect(),
            known: Interner::default(),
        }
    }

    /// Reads the row that starts on `line`.
    pub(super) fn read(&mut self, cells: &StringRecord, line: u64) -> Result<Row, BadRow> {
        if cells.len() != self.columns.labels.len() {
            return Err(self.other_length(cells, line));
        }
        let mut bad = BadRow::default();
        let email = self.email(cells, line, &mut bad);
        let want = self.want(cells, line, &mut bad);
        self.check_swallowed(cells, line, &mut bad);
        match (email, want) {
            (Some(email), Some(want)) if bad.problems.is_empty() => Ok(Row { email, want }),
            (email, _) => {
                bad.unnamed |= email.is_none();
                bad.problems
                    .iter_mut()
                    .for_each(|problem| problem.email.clone_from(&email));
                bad.frozen.extend(email);
                Err(bad)
            }
        }
    }

    fn email(&self, cells: &StringRecord, line: u64, bad: &mut BadRow) -> Option<Email> {
        let at = self.columns.email;
        match Email::parse(&cells[at]) {
            Ok(email) => Some(email),
            Err(error) => {
                let what = match trim(&cells[at]) {
                    "" => error.to_string(),
                    text => format!("{}: {error}", shown(text)),
                };
                let remedy = email_remedy(&cells[at]);
                let flaw = Issue::new(what, remedy).kind(ProblemKind::Email);
                bad.problems.push(self.problem(line, at, flaw));
                None
            }
        }
    }

    fn want(&mut self, cells: &StringRecord, line: u64, bad: &mut BadRow) -> Option<DesiredUser> {
        let Some(at) = self.columns.op else {
            return self.upsert(cells, line, bad);
        };
        match op(&cells[at]) {
            Ok(Op::Upsert) => self.upsert(cells, line, bad),
            // Nothing else of the user matters, so nothing else can be wrong.
            Ok(Op::Delete) => Some(DesiredUser::Delete),
            Ok(Op::Deactivate) => Some(DesiredUser::Deactivate),
            Err(flaw) => {
                bad.problems.push(self.problem(line, at, flaw));
                None
            }
        }
    }

    fn upsert(&mut self, cells: &StringRecord, line: u64, bad: &mut BadRow) -> Option<DesiredUser> {
        let display_name = self.columns.display_name.map(|at| trim(&cells[at]));
        let attributes = self.attributes(cells, line, bad)?;
        Some(DesiredUser::Upsert(UserSpec {
            display_name: display_name.filter(|name| !name.is_empty()).map(Into::into),
            attributes,
        }))
    }

    fn attributes(
        &mut self,
        cells: &StringRecord,
        line: u64,
        bad: &mut BadRow,
    ) -> Option<Attributes<Option<Value>>> {
        let columns = &self.columns.attributes;
        let mut values = Vec::with_capacity(columns.len());
        let mut flaws = Vec::new();
        for (column, known) in columns.iter().zip(&mut self.cells) {
            let cell = &cells[column.at];
            if is_kept(cell, self.blank_cells) {
                continue;
            }
            match known.value(cell) {
                Ok(value) => values.push(value),
                Err(flaw) => flaws.push((column.at, flaw)),
            }
        }
        if !flaws.is_empty() {
            let problem = |(at, flaw)| self.problem(line, at, flaw);
            bad.problems.extend(flaws.into_iter().map(problem));
            return None;
        }
        let names = if values.len() == columns.len() {
            self.columns.names.clone()
        } else {
            self.names_in(cells)
        };
        Some(Attributes::of(names, values))
    }

    /// The attributes that a row with kept cells names.
    fn names_in(&mut self, cells: &StringRecord) -> Arc<Vec<AttributeName>> {
        let columns = self.columns.attributes.iter();
        let named = columns.filter(|column| !is_kept(&cells[column.at], self.blank_cells));
        let names = named.map(|column| column.name.clone()).collect();
        self.known.names(Arc::new(names))
    }

    fn other_length(&self, cells: &StringRecord, line: u64) -> BadRow {
        let (have, want) = (cells.len(), self.columns.labels.len());
        let flaw = if have < want {
            Issue::new(
                format!(
                    "this row has {} and the header {want}: it is too short",
                    plural(have, "cell")
                ),
                "write every cell, blank ones too; a missing cell is never taken for a blank one",
            )
        } else {
            Issue::new(
                format!(
                    "this row has {} and the header {want}: it is too long",
                    plural(have, "cell")
                ),
                "put cells that have the delimiter in them in quotes, or remove what is too much",
            )
        };
        BadRow {
            problems: vec![flaw.kind(ProblemKind::RowLength).at(self.place(line))],
            frozen: cells.iter().flat_map(|cell| self.addresses(cell)).collect(),
            unnamed: true,
        }
    }

    /// Two quotes that are both missing their partner make one cell of all rows between them, and
    /// no parser can tell. But such a cell has a line in it that reads like a row.
    fn check_swallowed(&self, cells: &StringRecord, line: u64, bad: &mut BadRow) {
        if memchr::memchr2(b'\n', b'\r', cells.as_slice().as_bytes()).is_none() {
            return;
        }
        for (at, cell) in cells.iter().enumerate() {
            if self.has_rows(cell, at) {
                let flaw = Issue::new(
                    "this cell has whole rows in it, so a quote is missing or too many",
                    "close the quote where the cell ends; a quote inside it is written twice (\"\")",
                )
                .kind(ProblemKind::SwallowedRows);
                bad.problems.push(self.problem(line, at, flaw));
                bad.frozen.extend(self.addresses(cell));
                bad.unnamed = true;
            }
        }
    }

    /// Whether a cell reads as if rows were swallowed by a quote that opens in one row and closes
    /// in the same column of a later one. Then its first line is the rest of the one row, from this
    /// column on; its last line is the beginning of the other, up to this column; and those between
    /// are whole. Of the first and the last only the part with the email column tells anything.
    fn has_rows(&self, cell: &str, at: usize) -> bool {
        let lines: Vec<&str> = cell.split(['\n', '\r']).collect();
        let [first, between @ .., last] = &lines[..] else {
            return false;
        };
        let (email, end) = (self.columns.email, self.columns.labels.len() - 1);
        let to = if email < at { at } else { end };
        (email > at && self.reads_like_cells(first, at, end))
            || self.reads_like_cells(last, 0, to)
            || between
                .iter()
                .any(|line| self.reads_like_cells(line, 0, end))
    }

    /// Whether a line reads like a row's cells from one column to another. It does where an address
    /// stands in the email column and is not all of the line. It also does where an address stands
    /// anywhere in it and the line has enough delimiters for all the cells: cells are not counted
    /// by their quotes, which are what went wrong, so the address may seem to stand further right.
    ///
    /// An address without a real domain may be anything with an @ in it: text over several lines is
    /// allowed.
    fn reads_like_cells(&self, line: &str, from: usize, to: usize) -> bool {
        let pieces: Vec<&str> = line.split(char::from(self.delimiter)).collect();
        let in_place = |at: usize| pieces.len() > 1 && from + at == self.columns.email;
        let enough = pieces.len() > to - from;
        let tells = |(at, piece): (usize, &&str)| (enough || in_place(at)) && is_address(piece);
        pieces.iter().enumerate().any(tells)
    }

    /// Every address in a text that may be several cells and lines.
    fn addresses<'t>(&self, text: &'t str) -> impl Iterator<Item = Email> + use<'t> {
        let delimiter = char::from(self.delimiter);
        text.split([delimiter, '\n', '\r'])
            .filter_map(|part| Email::parse(unquoted(part)).ok())
    }

    fn place(&self, line: u64) -> Location {
        Location {
            file: self.file.clone(),
            line,
            column: None,
        }
    }

    fn problem(&self, line: u64, at: usize, flaw: Issue) -> Problem {
        let column = Some((at + 1, self.columns.labels[at].clone()));
        flaw.at(Location {
            column,
            ..self.place(line)
        })
    }
}

/// Whether a blank cell leaves the attribute as it is.
fn is_kept(cell: &str, blank_cells: BlankCells) -> bool {
    blank_cells == BlankCells::Keep && trim(cell).is_empty()
}

/// What to write instead of a cell that is not one address.
fn email_remedy(cell: &str) -> String {
    let inside = |open: char, close: char| Some(cell.split_once(open)?.1.split_once(close)?.0);
    let addresses = cell.split([',', ';', '|', '/', '<', '>', ' ', '\n', '\r']);
    let mut addresses = addresses.filter_map(|part| Email::parse(part).ok());
    match (addresses.next(), addresses.next()) {
        (Some(_), Some(_)) => "write a row for each of these addresses".into(),
        (Some(one), None) if inside('<', '>').is_some() => {
            format!("write the bare address: {}", shown(one.as_str()))
        }
        _ if trim(cell)
            .chars()
            .any(|c| c != ' ' && (is_blank(c) || is_control_or_bidi(c))) =>
        {
            "there is a character inside that nobody sees: type the address again".into()
        }
        _ => "write the one address of this row's user".into(),
    }
}

/// Whether a piece of a line is an address with a dot in its domain.
fn is_address(piece: &str) -> bool {
    let is_label =
        |label: &str| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-');
    let email = Email::parse(unquoted(piece)).ok();
    let domain = email
        .as_ref()
        .and_then(|email| email.as_str().split_once('@'));
    domain.is_some_and(|(_, domain)| domain.contains('.') && domain.split('.').all(is_label))
}

/// A piece of a line without blanks and quotes around it.
fn unquoted(piece: &str) -> &str {
    trim(piece).trim_matches('"')
}

fn op(cell: &str) -> Result<Op, Issue> {
    let text = trim(cell);
    if let Some((_, op)) = OPS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
        return Ok(*op);
    }
    let what = if text.is_empty() {
        "the op is blank".to_owned()
    } else {
        let meant = nearest(text, OPS.map(|(name, _)| name));
        format!("there is no op {}{}", shown(text), did_you_mean(meant))
    };
    Err(Issue::new(what, "write upsert, delete or deactivate").kind(ProblemKind::Op))
}
