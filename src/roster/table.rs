//! A CSV file beside the roster, with a fixed set of columns: which file, its header, and the form of its rows.
//!
//! It is read as a roster is: the same scanner, encodings, limits and wait for a stable file. One that can't be read is
//! a problem and stops nothing else.

use super::budget::MAX_PROBLEMS;
use super::content::{self, FileError, Fingerprinter};
use super::format::{CsvFormat, IsHeader};
use super::parse::no_header;
use super::records::{Chunks, FileText, Records};
use super::scanner::ScanError;
use super::text::{Issue, did_you_mean, quoted};
use super::{SourceError, SourceReading, SourceStamp, address, files, fingerprint_of, touched};
use crate::model::{Email, Fingerprint, Location, Problem, ProblemKind, trim};
use crate::settings::SourceSettings;
use crate::util::text::{nearest, plural};
use ::csv::StringRecord;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// The maximum number of rows.
const MAX_ROWS: usize = 1_000_000;
/// The maximum number of listed problems of one header.
const MAX_LISTED: usize = 20;

/// A kind of file beside the roster.
#[derive(Clone, Copy)]
pub(super) struct TableKind<const N: usize> {
    /// The setting with its path.
    pub(super) setting: &'static str,
    /// The columns, of which all are required.
    pub(super) columns: [&'static str; N],
    /// Whether a row is the header, in any order of the columns.
    pub(super) is_header: IsHeader,
}

/// Whether a row has the header of a column, which ignores letter case.
pub(super) fn has_column(record: &StringRecord, column: &str) -> bool {
    let mut cells = record.iter();
    cells.any(|cell| trim(cell).eq_ignore_ascii_case(column))
}

/// A row of the right length, with its cells in the order of [`TableKind::columns`].
pub(super) struct TableRow<'a, const N: usize> {
    pub(super) cells: [&'a str; N],
    pub(super) location: Location,
    table: &'a Header<N>,
}

impl<const N: usize> TableRow<'_, N> {
    /// A problem of a cell.
    pub(super) fn problem(&self, column: usize, issue: Issue) -> Problem {
        issue.at(Location {
            column: Some((
                self.table.at[column] + 1,
                self.table.kind.columns[column].into(),
            )),
            ..self.location.clone()
        })
    }
}

/// The header of a file.
struct Header<const N: usize> {
    kind: TableKind<N>,
    /// The position of each column.
    at: [usize; N],
    /// The columns without a header.
    blank: Vec<usize>,
    /// The number of all columns.
    length: usize,
}

/// A file that is not rejected.
pub(super) struct Table<T, const N: usize> {
    /// The rows, as far as they can be read.
    pub(super) rows: Vec<T>,
    /// All problems of rows.
    pub(super) bad_rows: Vec<Problem>,
    /// All addresses in rows whose cells can't be assigned to columns.
    pub(super) emails: Vec<(Email, Location)>,
    /// The number of such rows that may be about any user.
    pub(super) unnamed: u64,
    /// The number of rows, with invalid rows and without blank ones.
    pub(super) count: u64,
    /// The number of each column, from 1.
    pub(super) columns: [usize; N],
}

/// The result of reading a file.
pub(super) struct TableReading<T, const N: usize> {
    /// `None` if the file can't be read.
    pub(super) fingerprint: Option<Fingerprint>,
    /// The name of the file.
    pub(super) file: Arc<str>,
    /// Lints on the file itself.
    pub(super) lints: Vec<Problem>,
    pub(super) table: Result<Table<T, N>, Vec<Problem>>,
}

/// Reads one row, as far as possible, and adds its problems.
pub(super) type ReadRow<T, const N: usize> = fn(&TableRow<'_, N>, &mut Vec<Problem>) -> Option<T>;

/// The fingerprint of a file; `None` if it can't be read. Blocks.
pub(super) fn fingerprint(settings: &SourceSettings, path: &Path) -> Option<Fingerprint> {
    let found = files::find_one(settings, path).ok()?;
    Some(fingerprint_of(settings, &found))
}

/// The stamp of a file; `None` if there is none. Blocks.
pub(super) fn stamp(settings: &SourceSettings, path: &Path) -> Option<SourceStamp> {
    Some(files::find_one(settings, path).ok()?.stamp())
}

/// Reads a file once. Blocks.
///
/// # Errors
/// Fails if there is no file.
pub(super) fn read_once<T, const N: usize>(
    settings: &SourceSettings,
    path: &Path,
    kind: TableKind<N>,
    row: ReadRow<T, N>,
) -> Result<SourceReading<TableReading<T, N>>, SourceError> {
    let found = files::find_one(settings, path)?;
    let touched = touched(&found, path);
    let [file] = &found.files[..] else {
        return Err(SourceError::NotFound { path: path.into() });
    };
    let reading = content::read_file(file, settings.max_bytes, |bytes, _| {
        parse(bytes, &file.name, settings, kind, row)
    });
    let mut fingerprint = Fingerprinter::default();
    fingerprint.add(file, reading.digest);
    let fingerprint = fingerprint.finish();
    let table = reading.content;
    Ok(SourceReading {
        fingerprint,
        is_unchanged: reading.is_unchanged,
        touched,
        outcome: TableReading {
            fingerprint: Some(fingerprint),
            file: file.name.clone(),
            lints: found.lints,
            table: table.map_err(|error: FileError| error.problems(&file.name)),
        },
    })
}

/// The problem of a file that can't be read.
pub(super) fn unavailable_file(
    settings: &SourceSettings,
    path: &Path,
    setting: &str,
    error: &SourceError,
) -> Problem {
    let name = files::name_beside(settings, path);
    unavailable(error, setting).at(Location::line(&name, 0))
}

fn unavailable(error: &SourceError, setting: &str) -> Issue {
    match error {
        SourceError::NotFound { .. } => Issue::new(
            "there is no such file",
            format!("put the file there, or correct {setting}"),
        ),
        SourceError::Unreadable { source, .. } => files::unreadable(source),
        SourceError::StillChanging { .. } => Issue::new(
            "the file keeps changing",
            "try again when it is completely written",
        ),
        SourceError::Unresponsive { .. } => Issue::new(
            "the file system does not respond",
            "check the mount or the share",
        ),
        // Of a stop; the others concern the roster.
        other => Issue::new(other.to_string(), "try again"),
    }
}

fn parse<T, const N: usize>(
    bytes: impl Read,
    file: &Arc<str>,
    settings: &SourceSettings,
    kind: TableKind<N>,
    read_row: ReadRow<T, N>,
) -> Result<Table<T, N>, Vec<Problem>> {
    let text = FileText::new(bytes, settings.encoding);
    let format = CsvFormat::detect(text.head(), settings.delimiter, kind.is_header);
    let mut records = Records::new(Chunks::new(text, &format), format.delimiter);
    let failed = |error: ScanError| vec![error.issue.at(Location::line(file, error.line))];
    let Some((line, record)) = records.next().map_err(failed)? else {
        let remedy = format!("begin it with the header {}", kind.columns.join(","));
        let issue = Issue::new("the file is empty", remedy).kind(ProblemKind::Empty);
        return Err(vec![issue.at(Location::line(file, 0))]);
    };
    let header = Header::new(record, &Location::line(file, line), kind)?;
    let mut table = Table {
        rows: Vec::new(),
        bad_rows: Vec::new(),
        emails: Vec::new(),
        unnamed: 0,
        count: 0,
        columns: header.at.map(|at| at + 1),
    };
    while let Some((line, record)) = records.next().map_err(failed)? {
        let location = Location::line(file, line);
        table.count += 1;
        match header.row(record, &location)? {
            Ok(row) => {
                let row = read_row(&row, &mut table.bad_rows);
                table.rows.extend(row);
            }
            Err(problem) => table.add_malformed(record, format.delimiter, problem),
        }
        if let Some(issue) = table.exceeded() {
            return Err(vec![issue.at(location)]);
        }
    }
    Ok(table)
}

impl<T, const N: usize> Table<T, N> {
    /// Adds a row whose cells can't be assigned to columns. A row that has swallowed others may be about any user.
    fn add_malformed(&mut self, record: &StringRecord, delimiter: u8, problem: Problem) {
        let emails = record.iter();
        let emails = emails.flat_map(|cell| address::all_in(cell, delimiter));
        let location = Location::line(&problem.location.file, problem.location.line);
        let before = self.emails.len();
        self.emails
            .extend(emails.map(|email| (email, location.clone())));
        let is_unnamed = self.emails.len() == before || problem.kind == ProblemKind::SwallowedRows;
        self.unnamed += u64::from(is_unnamed);
        self.bad_rows.push(problem);
    }

    fn exceeded(&self) -> Option<Issue> {
        let limit = if self.rows.len() > MAX_ROWS {
            format!("the file exceeds the limit of {MAX_ROWS} rows here")
        } else if self.bad_rows.len().max(self.emails.len()) > MAX_PROBLEMS {
            format!("the file has more than {MAX_PROBLEMS} problems in its rows up to here")
        } else {
            return None;
        };
        let issue = Issue::new(limit, "check that this is the intended file");
        Some(issue.kind(ProblemKind::LimitExceeded))
    }
}

impl<const N: usize> Header<N> {
    fn new(
        record: &StringRecord,
        location: &Location,
        kind: TableKind<N>,
    ) -> Result<Self, Vec<Problem>> {
        let rejected = |issue: Issue, at: Option<usize>| {
            let column = at.map(|at| (at + 1, record.get(at).map(shown_name).unwrap_or_default()));
            let location = Location {
                column,
                ..location.clone()
            };
            issue.kind(ProblemKind::Column).at(location)
        };
        // A first row that is no header may hold values, which a log must not contain.
        if !(kind.is_header)(record) {
            return Err(vec![rejected(kind.no_header(record.len()), None)]);
        }
        let mut at: [Option<usize>; N] = [None; N];
        let (mut blank, mut problems) = (Vec::new(), Vec::new());
        for (position, name) in record.iter().map(trim).enumerate() {
            let mut columns = kind.columns.iter();
            match columns.position(|column| column.eq_ignore_ascii_case(name)) {
                _ if name.is_empty() => blank.push(position),
                None => problems.push(rejected(kind.unknown(name), Some(position))),
                Some(column) => {
                    let first = at[column].replace(position);
                    let twice = first.map(|first| twice(name, first, position));
                    problems.extend(twice.map(|issue| rejected(issue, Some(position))));
                }
            }
        }
        let columns = kind.columns.iter().zip(at);
        let missing = columns.filter(|(_, at)| at.is_none());
        problems.extend(missing.map(|(name, _)| rejected(kind.missing(name), None)));
        problems.truncate(MAX_LISTED);
        match problems.is_empty() {
            true => Ok(Self {
                kind,
                at: at.map(|at| at.unwrap_or_default()),
                blank,
                length: record.len(),
            }),
            false => Err(problems),
        }
    }

    /// The cells of a row, or the problem of its form. The outer error rejects the file.
    fn row<'a>(
        &'a self,
        record: &'a StringRecord,
        location: &Location,
    ) -> Result<Result<TableRow<'a, N>, Problem>, Vec<Problem>> {
        if record.len() != self.length {
            let message = format!(
                "this row has {}, the header has {}",
                plural(record.len(), "cell"),
                self.length
            );
            let remedy =
                "write every cell, also blank ones, and quote cells that contain the delimiter";
            let issue = Issue::new(message, remedy).kind(ProblemKind::RowLength);
            return Ok(Err(issue.at(location.clone())));
        }
        let at = |position: usize, name: Arc<str>| Location {
            column: Some((position + 1, name)),
            ..location.clone()
        };
        let filled = self
            .blank
            .iter()
            .find(|blank| !trim(&record[**blank]).is_empty());
        if let Some(blank) = filled {
            return Err(vec![no_header().at(at(*blank, "no header".into()))]);
        }
        let row = TableRow {
            cells: self.at.map(|at| trim(&record[at])),
            location: location.clone(),
            table: self,
        };
        let mut cells = row.cells.iter();
        if let Some(column) = cells.position(|cell| cell.contains(['\n', '\r'])) {
            return Ok(Err(row.problem(column, line_break())));
        }
        Ok(Ok(row))
    }
}

impl<const N: usize> TableKind<N> {
    fn no_header(&self, cells: usize) -> Issue {
        let [first, ..] = &self.columns[..] else {
            return no_header();
        };
        Issue::new(
            format!(
                "the first row, of {}, is not a header: it has no column {}",
                plural(cells, "cell"),
                quoted(first)
            ),
            format!(
                "begin the file with {}, separated by commas, semicolons or tabs",
                self.columns.join(",")
            ),
        )
    }

    fn unknown(&self, name: &str) -> Issue {
        let suggestion = did_you_mean(nearest(name, self.columns));
        Issue::new(
            format!(
                "there is no column {}{suggestion} in this file",
                quoted(name)
            ),
            format!("the columns are {}", self.columns.join(",")),
        )
    }

    fn missing(&self, name: &str) -> Issue {
        Issue::new(
            format!("the column {} is missing", quoted(name)),
            format!("the columns are {}", self.columns.join(",")),
        )
    }
}

fn twice(name: &str, first: usize, second: usize) -> Issue {
    Issue::new(
        format!(
            "the column {} appears twice, as columns {} and {}",
            quoted(name),
            first + 1,
            second + 1
        ),
        "keep one of them",
    )
}

/// No name has several lines, so these are rows that a stray quote turned into one cell.
fn line_break() -> Issue {
    Issue::new(
        "this cell contains a line break, so a quote is missing or misplaced",
        "close the quote where the cell ends; inside a quoted cell, write each quote twice (\"\")",
    )
    .kind(ProblemKind::SwallowedRows)
}

fn shown_name(cell: &str) -> Arc<str> {
    super::text::truncated(trim(cell)).into()
}
