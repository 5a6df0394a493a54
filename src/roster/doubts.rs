//! What may be meant otherwise than it is written. A doubt rejects no row: it is a note, one for
//! each kind and column, at the first such cell and with the number of all. It tells no value, since
//! notes are logged.
//!
//! Every cell of a roster comes by here, so most of them are let go after a look at one byte.

use super::header::{AttributeColumn, Columns};
use super::words::Issue;
use crate::model::{Location, Problem, ProblemKind, trim};
use crate::settings::BlankCells;
use ::csv::StringRecord;
use std::sync::Arc;

/// The most doubts that are told of one file.
const TOLD: usize = 100;
/// In so many rows a column of blanks is no accident of a single user.
const ROWS: u64 = 3;
/// The longest number that may have lost its zeros.
const WIDEST: usize = 16;
/// What is the rule must be so many times what is the exception.
const RULE: u64 = 4;

/// Cells of one column that have something in common.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    count: u64,
    /// The first one's line.
    line: u64,
}

impl Seen {
    fn at(&mut self, line: u64) {
        if self.count == 0 {
            self.line = line;
        }
        self.count += 1;
    }
}

/// The doubts about a file, as its rows are read.
#[derive(Debug)]
pub(super) struct Lints {
    upserts: u64,
    attributes: Vec<Column>,
    /// Of each column: characters that nobody sees.
    invisible: Vec<Seen>,
}

/// What was seen of an attribute's column.
#[derive(Debug)]
struct Column {
    at: usize,
    list: bool,
    text: bool,
    unknown: bool,
    filled: u64,
    bracketed: u64,
    /// Lists with marks that do not separate, and such marks without a list.
    separators: Seen,
    bare_separators: Seen,
    /// Lists with quotes that do not enclose.
    quotes: Seen,
    shortened: Seen,
    dates: Seen,
    commas: Seen,
    decimals: u64,
    /// Whole numbers by their digits, and how many of them have zeros before them.
    widths: [Seen; WIDEST + 1],
    zeros: u64,
}

impl Lints {
    pub(super) fn new(columns: &Columns) -> Self {
        Self {
            upserts: 0,
            attributes: columns.attributes.iter().map(Column::new).collect(),
            invisible: vec![Seen::default(); columns.labels.len()],
        }
    }

    /// Looks at a row that upserts a user.
    pub(super) fn row(&mut self, cells: &StringRecord, line: u64) {
        self.upserts += 1;
        for column in &mut self.attributes {
            column.cell(&cells[column.at], line);
        }
        // All of them begin with one of these bytes.
        if memchr::memchr3(0xc2, 0xe2, 0xef, cells.as_slice().as_bytes()).is_some() {
            for (seen, cell) in self.invisible.iter_mut().zip(cells) {
                if has_invisible(trim(cell)) {
                    seen.at(line);
                }
            }
        }
    }

    /// The notes, for a file whose header stands at `header`.
    pub(super) fn finish(
        &self,
        columns: &Columns,
        header: &Location,
        blank_cells: BlankCells,
    ) -> Vec<Problem> {
        let mut notes = Notes {
            labels: &columns.labels,
            header,
            notes: Vec::new(),
        };
        let clears = blank_cells == BlankCells::Clear && self.upserts >= ROWS;
        for column in self
            .attributes
            .iter()
            .filter(|one| clears && one.filled == 0)
        {
            notes.column(column.at, self.upserts);
        }
        for column in &self.attributes {
            column.doubts(&mut notes);
        }
        for (at, seen) in self.invisible.iter().enumerate() {
            notes.cells(at, *seen, &INVISIBLE);
        }
        notes.notes.truncate(TOLD);
        notes.notes
    }
}

impl Column {
    fn new(column: &AttributeColumn) -> Self {
        let shape = column.shape;
        Self {
            at: column.at,
            list: shape.is_none_or(|shape| shape.multiple),
            text: shape.is_none_or(|shape| !shape.multiple && !shape.number),
            unknown: shape.is_none(),
            filled: 0,
            bracketed: 0,
            separators: Seen::default(),
            bare_separators: Seen::default(),
            quotes: Seen::default(),
            shortened: Seen::default(),
            dates: Seen::default(),
            commas: Seen::default(),
            decimals: 0,
            widths: [Seen::default(); WIDEST + 1],
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
            _ if self.unknown && has_separator(cell) => self.bare_separators.at(line),
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
            self.separators.at(line);
        }
        if inner.starts_with(QUOTES) && inner.ends_with(QUOTES) {
            self.quotes.at(line);
        }
    }

    fn number(&mut self, cell: &str, line: u64) {
        match looks_like(cell) {
            Like::Whole => {
                self.widths[cell.len().min(WIDEST)].at(line);
                self.zeros += u64::from(cell.len() > 1 && cell.starts_with('0'));
            }
            Like::Decimal => self.decimals += 1,
            Like::Comma => self.commas.at(line),
            Like::Shortened => self.shortened.at(line),
            Like::Date => self.dates.at(line),
            Like::Text => {}
        }
    }

    fn doubts(&self, notes: &mut Notes<'_>) {
        notes.cells(self.at, self.separators, &SEPARATORS);
        notes.cells(self.at, self.quotes, &LIST_QUOTES);
        if self.bracketed > 0 {
            notes.cells(self.at, self.bare_separators, &NO_BRACKETS);
        }
        notes.cells(self.at, self.shortened, &SHORTENED);
        let whole: u64 = self.widths.iter().map(|seen| seen.count).sum();
        let numbers = whole + self.decimals;
        // Among texts of all kinds they are what they are.
        for (seen, doubt) in [(self.dates, &DATE), (self.commas, &COMMA)] {
            if numbers >= RULE * seen.count {
                notes.cells(self.at, seen, doubt);
            }
        }
        if whole == self.filled {
            notes.cells(self.at, self.lost_zeros(whole), &ZEROS);
        }
    }

    /// The numbers that are shorter than nearly all others of a column of whole numbers, or than
    /// those that still have their zeros.
    fn lost_zeros(&self, whole: u64) -> Seen {
        let widest = self
            .widths
            .iter()
            .rposition(|seen| seen.count > 0)
            .unwrap_or(0);
        let long = self.widths[widest].count;
        let short = whole - long;
        let others_have_zeros = self.zeros > 0 && long >= short;
        let nearly_all_long = widest >= 4 && long >= 10 && long >= RULE * short;
        if widest == WIDEST || short == 0 || !(others_have_zeros || nearly_all_long) {
            return Seen::default();
        }
        let shorter = self.widths[..widest].iter().filter(|seen| seen.count > 0);
        Seen {
            count: short,
            line: shorter.map(|seen| seen.line).min().unwrap_or(0),
        }
    }
}

/// Trims where the edges may need it; most cells need nothing.
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

/// Quotes that do not enclose items.
const QUOTES: [char; 9] = ['\'', '‘', '’', '‚', '“', '”', '„', '«', '»'];

/// What a cell that begins as a number looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Like {
    /// Digits only.
    Whole,
    Decimal,
    /// A decimal comma.
    Comma,
    /// With an exponent, as a spreadsheet shows a long number.
    Shortened,
    Date,
    Text,
}

fn looks_like(cell: &str) -> Like {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if is_digits(cell) {
        return Like::Whole;
    }
    if looks_like_date(cell) {
        return Like::Date;
    }
    let (number, exponent) = match cell.split_once("E+") {
        Some((number, exponent)) => (number, Some(exponent)),
        None => (cell, None),
    };
    let number = number.strip_prefix(['+', '-']).unwrap_or(number);
    let (whole, mark, fraction) = match number.find(['.', ',']) {
        Some(at) => (&number[..at], &number[at..=at], &number[at + 1..]),
        None => (number, "", "0"),
    };
    match (is_digits(whole) && is_digits(fraction), exponent, mark) {
        (true, Some(exponent), _) if is_digits(exponent) => Like::Shortened,
        (true, None, ",") => Like::Comma,
        (true, None, _) => Like::Decimal,
        _ => Like::Text,
    }
}

/// `2024-01-05`, `5.1.2024`, `1/2`, `5-Jan`, with a time or without: what spreadsheets make of
/// numbers with marks.
pub(super) fn looks_like_date(text: &str) -> bool {
    const MONTHS: &str = "jan feb mar apr may jun jul aug sep oct nov dec";
    let date = text.split([' ', 'T']).next().unwrap_or_default();
    let Some(mark) = date.chars().find(|c| ['-', '/', '.'].contains(c)) else {
        return false;
    };
    let is_month = |part: &str| {
        part.len() == 3 && part.is_ascii() && MONTHS.contains(&*part.to_ascii_lowercase())
    };
    let known = |part: &&str| {
        is_month(part)
            || (matches!(part.len(), 1 | 2 | 4) && part.bytes().all(|b| b.is_ascii_digit()))
    };
    let parts: Vec<&str> = date.splitn(4, mark).collect();
    let years = parts.iter().filter(|part| part.len() == 4).count();
    let enough = match parts.len() {
        // `1.5` is a number.
        2 => mark != '.' || parts.iter().any(|part| is_month(part)),
        3 => true,
        _ => false,
    };
    enough && years <= 1 && parts.iter().all(known)
}

/// Whether there is a character in it that nobody sees, where it has no business: joiners join
/// letters of some scripts and emoji, and between other letters they are an accident.
fn has_invisible(text: &str) -> bool {
    if text.is_ascii() {
        return false;
    }
    let mut before = ' ';
    text.chars().any(|c| {
        let accident = match c {
            '\u{a0}'
            | '\u{ad}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202f}'
            | '\u{2060}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}' => true,
            '\u{200c}' | '\u{200d}' => before.is_ascii(),
            _ => false,
        };
        before = c;
        accident
    })
}

/// What a doubt says of the cell where it is told, and of others in its column.
struct Lint {
    kind: ProblemKind,
    what: &'static str,
    remedy: &'static str,
}

const SEPARATORS: Lint = Lint {
    kind: ProblemKind::DoubtfulList,
    what: "this list is one item with ; or | in it",
    remedy: "separate items by commas: [a,b]",
};
const NO_BRACKETS: Lint = Lint {
    kind: ProblemKind::DoubtfulList,
    what: "there are ; or | here, and no brackets, though others of this column are lists",
    remedy: "write lists as [a,b]",
};
const LIST_QUOTES: Lint = Lint {
    kind: ProblemKind::DoubtfulList,
    what: "the quotes in this list are part of its items",
    remedy: r#"write [a,b], or ["a","b"] with straight double quotes, in a CSV file each twice"#,
};
const SHORTENED: Lint = Lint {
    kind: ProblemKind::Mangled,
    what: "this looks like a long number that a spreadsheet has shortened",
    remedy: "format the column as text and enter all digits again",
};
const DATE: Lint = Lint {
    kind: ProblemKind::Mangled,
    what: "this looks like a date that a spreadsheet has made, since the others of this column are numbers",
    remedy: "format the column as text and enter it again",
};
const COMMA: Lint = Lint {
    kind: ProblemKind::Mangled,
    what: "this has a decimal comma, though the others of this column are numbers without one",
    remedy: "write the decimal mark as a point (1.5)",
};
const ZEROS: Lint = Lint {
    kind: ProblemKind::LostZeros,
    what: "this number is shorter than the others of its column: a spreadsheet drops zeros before a number",
    remedy: "where there were some, format the column as text and enter them again",
};
const INVISIBLE: Lint = Lint {
    kind: ProblemKind::Invisible,
    what: "there is a character inside that nobody sees, such as a no-break space",
    remedy: "type the text again, if it came from a web page or a document",
};

/// Notes, as they come together.
struct Notes<'a> {
    labels: &'a [Arc<str>],
    header: &'a Location,
    notes: Vec<Problem>,
}

impl Notes<'_> {
    fn cells(&mut self, at: usize, seen: Seen, doubt: &Lint) {
        let what = match seen.count {
            0 => return,
            1 => doubt.what.to_owned(),
            count => format!("{} ({count} times in this column)", doubt.what),
        };
        let flaw = Issue::new(what, doubt.remedy).kind(doubt.kind);
        self.note(flaw, seen.line, at);
    }

    /// A column of blanks.
    fn column(&mut self, at: usize, rows: u64) {
        let flaw = Issue::new(
            format!(
                "every cell of this column is blank, which clears the attribute of all {rows} users here"
            ),
            "fill it, or remove the column: what has no column is never touched",
        )
        .kind(ProblemKind::BlankColumn);
        self.note(flaw, self.header.line, at);
    }

    fn note(&mut self, flaw: Issue, line: u64, at: usize) {
        let place = Location {
            line,
            column: Some((at + 1, self.labels[at].clone())),
            ..self.header.clone()
        };
        self.notes.push(flaw.at(place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_a_number_looks_like() {
        for (text, like) in [
            ("007", Like::Whole),
            ("7.5", Like::Decimal),
            ("-7", Like::Decimal),
            ("1,5", Like::Comma),
            ("1.2E+05", Like::Shortened),
            ("1,2E+15", Like::Shortened),
            ("4E+11", Like::Shortened),
            ("2024-01-05", Like::Date),
            ("2024-01-05 00:00:00", Like::Date),
            ("5.1.2024", Like::Date),
            ("1/2", Like::Date),
            ("5-Jan", Like::Date),
            ("05. Mai", Like::Text),
            ("1E5", Like::Text),
            ("1.2.3.4", Like::Text),
            ("555-0100-1234", Like::Text),
            ("5550100-1234", Like::Text),
            ("12 Main St", Like::Text),
            ("+", Like::Text),
            ("-", Like::Text),
            ("1,", Like::Text),
        ] {
            assert_eq!(looks_like(text), like, "{text}");
        }
    }

    #[test]
    fn joiners_are_no_accident_where_they_join() {
        for text in ["👩\u{200d}💻", "می\u{200c}خواهم", "né", "“a”"] {
            assert!(!has_invisible(text), "{text}");
        }
        for text in [
            "a\u{200b}b",
            "a\u{a0}b",
            "a\u{200d}b",
            "a\u{feff}b",
            "\u{200f}אb",
        ] {
            assert!(has_invisible(text), "{text:?}");
        }
    }
}
