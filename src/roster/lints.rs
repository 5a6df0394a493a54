//! Lints: valid values that are probably not intended.
//!
//! A lint rejects no row. There is one lint per kind and column, at the first such cell, with the
//! number of cells. A lint contains no value, since lints are logged.
//!
//! Every cell of a roster is checked, so most cells are dismissed by their first byte.

use super::cell::Shape;
use super::header::Columns;
use super::lint::{Lint, Occurrences};
use super::number_shape::NumberShape;
use super::row::is_synonym;
use super::text::Issue;
use super::text_lints::{self, TEXT_LINTS};
use crate::model::{Location, Problem, ProblemKind, trim};
use crate::settings::BlankCells;
use ::csv::StringRecord;
use std::sync::Arc;

/// The maximum number of lints per file.
const MAX_LINTS: usize = 100;
/// The minimum number of rows for the lint on a blank column, which is common with fewer users.
const MIN_ROWS: u64 = 3;
/// The number of digits up to which a number may have lost its leading zeros.
const MAX_DIGITS: usize = 16;
/// Usual cells must outnumber unusual ones by this factor.
const MAJORITY: u64 = 4;

/// Collects the lints of a file while its rows are read.
#[derive(Debug)]
pub(super) struct Lints {
    upserts: u64,
    op: Option<usize>,
    /// Words of other programs for an op.
    synonyms: Occurrences,
    successor: Option<usize>,
    /// Successors of users who stay.
    idle_successors: Occurrences,
    attributes: Vec<ColumnLints>,
    groups: Option<GroupsLints>,
    /// Lints on texts, for each column.
    texts: Vec<[Occurrences; text_lints::COUNT]>,
    /// The columns whose texts are checked: all but `op` and `email`.
    text_columns: Vec<usize>,
}

/// The lints of the `groups` column.
#[derive(Debug)]
struct GroupsLints {
    lists: ColumnLints,
    /// Cells that name a group twice.
    repeats: Occurrences,
}

/// The lints of a column of values.
#[derive(Debug)]
struct ColumnLints {
    at: usize,
    list: bool,
    text: bool,
    unknown: bool,
    filled: u64,
    bracketed: u64,
    /// Lists with a wrong separator, and such separators without brackets.
    separators: Occurrences,
    bare_separators: Occurrences,
    /// Lists with quotes that are part of their items.
    quotes: Occurrences,
    shortened: Occurrences,
    dates: Occurrences,
    commas: Occurrences,
    decimals: u64,
    /// Decimals that end in `.0`.
    point_zero: Occurrences,
    /// Whole numbers by their number of digits, and how many of them have leading zeros.
    widths: [Occurrences; MAX_DIGITS + 1],
    zeros: u64,
}

impl Lints {
    pub(super) fn new(columns: &Columns) -> Self {
        let attributes = columns.attributes.iter();
        let at = attributes.clone().map(|column| column.at);
        let text_columns = at.chain(columns.display_name).chain(columns.groups);
        Self {
            upserts: 0,
            op: columns.op,
            synonyms: Occurrences::default(),
            successor: columns.successor,
            idle_successors: Occurrences::default(),
            attributes: attributes
                .map(|column| ColumnLints::new(column.at, column.shape))
                .collect(),
            groups: columns.groups.map(GroupsLints::new),
            texts: vec![Default::default(); columns.labels.len()],
            text_columns: text_columns.collect(),
        }
    }

    /// Checks the op of a valid row.
    pub(super) fn op(&mut self, cells: &StringRecord, line: u64) {
        if self.op.is_some_and(|at| is_synonym(&cells[at])) {
            self.synonyms.add(line);
        }
    }

    /// Checks a row that upserts a user, for good or until a date.
    pub(super) fn row(&mut self, cells: &StringRecord, line: u64, is_for_good: bool) {
        self.upserts += u64::from(is_for_good);
        let successor = self.successor.filter(|_| is_for_good);
        if successor.is_some_and(|at| !trim(&cells[at]).is_empty()) {
            self.idle_successors.add(line);
        }
        let groups = self.groups.iter_mut().map(|groups| &mut groups.lists);
        for column in self.attributes.iter_mut().chain(groups) {
            column.cell(&cells[column.at], line);
        }
        let row_has_marks = text_lints::has_marks(cells.as_slice());
        for &at in &self.text_columns {
            let has_marks = row_has_marks && text_lints::has_marks(&cells[at]);
            if text_lints::may_apply(&cells[at], has_marks) {
                text_lints::check(&cells[at], &mut self.texts[at], line);
            }
        }
    }

    /// Notes that the groups of a row name one twice.
    pub(super) fn repeated_group(&mut self, line: u64) {
        if let Some(groups) = &mut self.groups {
            groups.repeats.add(line);
        }
    }

    /// The lints of a file with its header at `header`.
    pub(super) fn finish(
        &self,
        columns: &Columns,
        header: &Location,
        blank_cells: BlankCells,
    ) -> Vec<Problem> {
        let mut list = LintList {
            labels: &columns.labels,
            header,
            lints: Vec::new(),
        };
        let clears = blank_cells == BlankCells::Clear && self.upserts >= MIN_ROWS;
        for column in self
            .attributes
            .iter()
            .filter(|one| clears && one.filled == 0)
        {
            list.blank_attribute(column.at, self.upserts);
        }
        if let Some(at) = self.op {
            list.cells(at, self.synonyms, &SYNONYM);
        }
        if let Some(at) = self.successor {
            list.cells(at, self.idle_successors, &IDLE_SUCCESSOR);
        }
        for column in &self.attributes {
            column.finish(&mut list);
        }
        if let Some(GroupsLints { lists, repeats }) = &self.groups {
            if clears && lists.filled == 0 {
                list.blank_groups(lists.at, self.upserts);
            }
            lists.finish(&mut list);
            list.cells(lists.at, *repeats, &REPEATED_GROUP);
        }
        for (at, texts) in self.texts.iter().enumerate() {
            for (one, cells) in TEXT_LINTS.iter().zip(texts) {
                list.cells(at, *cells, &one.lint);
            }
        }
        list.lints.truncate(MAX_LINTS);
        list.lints
    }
}

impl GroupsLints {
    fn new(at: usize) -> Self {
        let lists = Shape {
            multiple: true,
            number: false,
        };
        Self {
            lists: ColumnLints::new(at, Some(lists)),
            repeats: Occurrences::default(),
        }
    }
}

impl ColumnLints {
    fn new(at: usize, shape: Option<Shape>) -> Self {
        Self {
            at,
            list: shape.is_none_or(|shape| shape.multiple),
            text: shape.is_none_or(|shape| !shape.multiple && !shape.number),
            unknown: shape.is_none(),
            filled: 0,
            bracketed: 0,
            separators: Occurrences::default(),
            bare_separators: Occurrences::default(),
            quotes: Occurrences::default(),
            shortened: Occurrences::default(),
            dates: Occurrences::default(),
            commas: Occurrences::default(),
            decimals: 0,
            point_zero: Occurrences::default(),
            widths: [Occurrences::default(); MAX_DIGITS + 1],
            zeros: 0,
        }
    }

    fn cell(&mut self, cell: &str, line: u64) {
        let cell = trim_if_needed(cell);
        let Some(first) = cell.as_bytes().first() else {
            return;
        };
        self.filled += 1;
        match first {
            b'[' => self.bracketed(cell, line),
            b'0'..=b'9' | b'+' | b'-' if self.text => self.number(cell, line),
            _ if self.unknown && has_separator(cell) => self.bare_separators.add(line),
            _ => {}
        }
    }

    fn bracketed(&mut self, cell: &str, line: u64) {
        self.bracketed += 1;
        let inner = cell
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let Some(inner) = inner.map(trim).filter(|_| self.list) else {
            return;
        };
        if inner.starts_with('"') {
            return;
        }
        if has_separator(inner) && !inner.contains(',') {
            self.separators.add(line);
        }
        if inner.starts_with(QUOTES) && inner.ends_with(QUOTES) {
            self.quotes.add(line);
        }
    }

    fn number(&mut self, cell: &str, line: u64) {
        match NumberShape::of(cell) {
            NumberShape::Whole => {
                self.widths[cell.len().min(MAX_DIGITS)].add(line);
                self.zeros += u64::from(cell.len() > 1 && cell.starts_with('0'));
            }
            NumberShape::Decimal => {
                self.decimals += 1;
                if cell.ends_with(".0") {
                    self.point_zero.add(line);
                }
            }
            NumberShape::DecimalComma => self.commas.add(line),
            NumberShape::Shortened => self.shortened.add(line),
            NumberShape::Date => self.dates.add(line),
            NumberShape::Text => {}
        }
    }

    fn finish(&self, list: &mut LintList<'_>) {
        list.cells(self.at, self.separators, &SEPARATORS);
        list.cells(self.at, self.quotes, &LIST_QUOTES);
        if self.bracketed > 0 {
            list.cells(self.at, self.bare_separators, &NO_BRACKETS);
        }
        list.cells(self.at, self.shortened, &SHORTENED);
        let whole: u64 = self.widths.iter().map(|width| width.count).sum();
        let numbers = whole + self.decimals;
        // In a column of mixed texts they are probably intended.
        for (cells, lint) in [(self.dates, &DATE), (self.commas, &COMMA)] {
            if numbers >= MAJORITY * cells.count {
                list.cells(self.at, cells, lint);
            }
        }
        if self.point_zero.count == self.decimals && numbers == self.filled {
            list.cells(self.at, self.point_zero, &POINT_ZERO);
        }
        if whole == self.filled {
            list.cells(self.at, self.lost_zeros(whole), &ZEROS);
        }
    }

    /// The numbers that are shorter than nearly all others in a column of whole numbers, or shorter
    /// than those with leading zeros.
    fn lost_zeros(&self, whole: u64) -> Occurrences {
        let widest = self
            .widths
            .iter()
            .rposition(|width| width.count > 0)
            .unwrap_or(0);
        let long = self.widths[widest].count;
        let short = whole - long;
        let others_have_zeros = self.zeros > 0 && long >= short;
        let nearly_all_long = widest >= 4 && long >= 10 && long >= MAJORITY * short;
        if widest == MAX_DIGITS || short == 0 || !(others_have_zeros || nearly_all_long) {
            return Occurrences::default();
        }
        let shorter = self.widths[..widest].iter().filter(|width| width.count > 0);
        Occurrences {
            count: short,
            line: shorter.map(|width| width.line).min().unwrap_or(0),
        }
    }
}

/// Trims a cell if its first or last byte requires it. Most cells need no trimming.
fn trim_if_needed(cell: &str) -> &str {
    let plain = |byte: Option<&u8>| byte.is_some_and(|byte| (b'!'..=b'~').contains(byte));
    let bytes = cell.as_bytes();
    if plain(bytes.first()) && plain(bytes.last()) {
        cell
    } else {
        trim(cell)
    }
}

fn has_separator(text: &str) -> bool {
    memchr::memchr2(b';', b'|', text.as_bytes()).is_some()
}

/// Quotes that a list does not treat as quotes.
const QUOTES: [char; 9] = ['\'', '‘', '’', '‚', '“', '”', '„', '«', '»'];

const SYNONYM: Lint = Lint {
    kind: ProblemKind::OpSynonym,
    message: "this is the word of another program for an op",
    remedy: "write upsert for create, add and update; delete for remove; deactivate for disable",
};
const IDLE_SUCCESSOR: Lint = Lint {
    kind: ProblemKind::NoEffect,
    message: "a successor has no effect while the user stays",
    remedy: "write delete or deactivate as op once the user leaves, or clear the cell",
};
const SEPARATORS: Lint = Lint {
    kind: ProblemKind::SuspiciousList,
    message: "this list is a single item that contains ; or |",
    remedy: "separate items with commas: [a,b]",
};
const NO_BRACKETS: Lint = Lint {
    kind: ProblemKind::SuspiciousList,
    message: "contains ; or | without brackets, while other cells in this column are lists",
    remedy: "write lists as [a,b]",
};
const LIST_QUOTES: Lint = Lint {
    kind: ProblemKind::SuspiciousList,
    message: "the quotes in this list are part of its items",
    remedy: r#"write [a,b], or ["a","b"] with straight double quotes; in a CSV file, write each quote twice"#,
};
const REPEATED_GROUP: Lint = Lint {
    kind: ProblemKind::RepeatedGroup,
    message: "this list names a group twice",
    remedy: "write each group once",
};
const SHORTENED: Lint = Lint {
    kind: ProblemKind::Reformatted,
    message: "looks like a long number that a spreadsheet shortened",
    remedy: "format the column as text and enter all digits again",
};
const DATE: Lint = Lint {
    kind: ProblemKind::Reformatted,
    message: "looks like a date that a spreadsheet made of a number, since the other values in this column are numbers",
    remedy: "format the column as text and enter the value again",
};
const COMMA: Lint = Lint {
    kind: ProblemKind::Reformatted,
    message: "has a decimal comma, while the other numbers in this column have none",
    remedy: "write a decimal point (1.5)",
};
const ZEROS: Lint = Lint {
    kind: ProblemKind::LeadingZeros,
    message: "shorter than the other numbers in this column; a spreadsheet may have dropped leading zeros",
    remedy: "if zeros are missing, format the column as text and enter the numbers again",
};
const POINT_ZERO: Lint = Lint {
    kind: ProblemKind::Reformatted,
    message: "ends in .0, as programs write whole numbers that they read as decimals",
    remedy: "write the number as before (1001), and read the column as text wherever it is imported",
};

/// Collects lints.
struct LintList<'a> {
    labels: &'a [Arc<str>],
    header: &'a Location,
    lints: Vec<Problem>,
}

impl LintList<'_> {
    fn cells(&mut self, at: usize, cells: Occurrences, lint: &Lint) {
        let message = match cells.count {
            0 => return,
            1 => lint.message.to_owned(),
            count => format!("{} ({count} cells in this column)", lint.message),
        };
        let issue = Issue::new(message, lint.remedy).kind(lint.kind);
        self.add(issue, cells.line, at);
    }

    fn blank_attribute(&mut self, at: usize, rows: u64) {
        let message = format!(
            "every readable cell in this column is blank, which clears the attribute of all {rows} users in this file"
        );
        let remedy =
            "fill in the column or remove it; an attribute without a column is never changed";
        self.blank_column(at, Issue::new(message, remedy));
    }

    fn blank_groups(&mut self, at: usize, rows: u64) {
        let message = format!(
            "every readable cell in this column is blank, which takes all {rows} users in this file out of every \
             managed group"
        );
        let remedy = "fill in the column or remove it; without the column no membership is changed";
        self.blank_column(at, Issue::new(message, remedy));
    }

    fn blank_column(&mut self, at: usize, issue: Issue) {
        self.add(issue.kind(ProblemKind::BlankColumn), self.header.line, at);
    }

    fn add(&mut self, issue: Issue, line: u64, at: usize) {
        let location = Location {
            line,
            column: Some((at + 1, self.labels[at].clone())),
            ..self.header.clone()
        };
        self.lints.push(issue.at(location));
    }
}
