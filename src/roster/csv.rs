//! Text → the rows of one file, or why the file is rejected.

use super::budget::{Budget, MAX_PROBLEMS};
use super::doubts::Lints;
use super::header::{Columns, has_email};
use super::lines::{Lines, MAX_RECORD, ScanError};
use super::merge::{Entries, RowSender};
use super::row::{BadRow, Row, Rows};
use super::words::Issue;
use crate::model::{
    DesiredUser, Email, Entry, Location, Problem, ProblemKind, Schema, is_blank, trim,
};
use crate::settings::SourceSettings;
use ::csv::{ErrorKind, Reader, ReaderBuilder, StringRecord};
use std::io::{self, Cursor, Read};
use std::sync::Arc;

const BUFFER: usize = 64 * 1024;
/// Among which the delimiter is found out.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// One file, read.
#[derive(Debug)]
pub(super) struct ParsedFile {
    pub(super) file: Arc<str>,
    pub(super) entries: Entries,
    pub(super) bad: Vec<Problem>,
    /// What a person should know.
    pub(super) notes: Vec<Problem>,
    pub(super) frozen: Vec<(Email, Location)>,
    pub(super) unnamed: u64,
    /// Rows that are not blank, bad ones included.
    pub(super) count: u64,
    /// What it leaves for the files after it.
    pub(super) budget: Budget,
}

type TextReader<R> = Reader<Lines<R>>;

/// Reads the text of a file of so many bytes. The problems of an error are the file's, and it is rejected
/// whole.
pub(super) fn parse(
    text: impl Read,
    bytes: u64,
    file: &Arc<str>,
    settings: &SourceSettings,
    schema: &Schema,
    budget: Budget,
) -> Result<ParsedFile, Vec<Problem>> {
    let mut text = Head::new(text);
    let dialect = Dialect::of(text.peeked(), settings.delimiter);
    let about = text.lines_in(bytes).min(budget.rows);
    text.skip(dialect.skip);
    let mut reader = dialect.reader(text);
    let failed = |flaw: Issue, line| vec![flaw.at(place(file, line))];

    let mut record = StringRecord::new();
    let Some(line) = next(&mut reader, &mut record).map_err(|f| failed(f.flaw, f.line))? else {
        return Err(failed(empty().kind(ProblemKind::Empty), 0));
    };
    let header = place(file, line);
    let columns = Columns::new(&record, &header, schema)?;
    let mut rows = Rows::new(&columns, file, dialect.delimiter, settings.blank_cells);
    let mut doubts = Lints::new(&columns);
    let (mut sheet, entries) = Entries::gather(about, |good| {
        let mut sheet = ParsedFile::new(file.clone(), budget);
        while let Some(line) = next(&mut reader, &mut record).map_err(|f| failed(f.flaw, f.line))? {
            sheet.take(&mut rows, &record, line, &mut doubts, good)?;
        }
        Ok(sheet)
    })?;
    sheet.entries = entries;
    sheet.notes = doubts.finish(&columns, &header, settings.blank_cells);
    if sheet.count == 0 {
        return Err(failed(no_rows().kind(ProblemKind::Empty), 0));
    }
    Ok(sheet)
}

/// Reads the next record that is not all blank, and says on which line it starts.
fn next<R: Read>(
    reader: &mut TextReader<R>,
    record: &mut StringRecord,
) -> Result<Option<u64>, ScanError> {
    while reader.read_record(record).map_err(fault)? {
        let line = reader.get_mut().next_record();
        if !record.iter().all(|cell| trim(cell).is_empty()) {
            return Ok(Some(line));
        }
    }
    Ok(None)
}

fn fault(error: ::csv::Error) -> ScanError {
    let flaw = match error.into_kind() {
        ErrorKind::Io(error) => match error.downcast::<ScanError>() {
            Ok(fault) => return fault,
            Err(error) => unreadable(&error),
        },
        other => Issue::new(
            format!("it can't be read as CSV ({other:?})"),
            "save it anew",
        ),
    };
    ScanError { line: 0, flaw }
}

/// A file that the system would not let us read.
pub(super) fn unreadable(error: &io::Error) -> Issue {
    Issue::new(
        format!("it can't be read: {error}"),
        "see to it that it can be read by this program's user",
    )
}

fn empty() -> Issue {
    Issue::new(
        "the file is empty",
        "write a header (op,email,display_name and the attributes) and a row for each user",
    )
}

fn no_rows() -> Issue {
    Issue::new(
        "the file has a header and no rows",
        "write a row for each user; a roster without any is taken for a mistake",
    )
}

fn place(file: &Arc<str>, line: u64) -> Location {
    Location {
        file: file.clone(),
        line,
        column: None,
    }
}

impl ParsedFile {
    fn new(file: Arc<str>, budget: Budget) -> Self {
        Self {
            file,
            entries: Entries::default(),
            bad: Vec::new(),
            notes: Vec::new(),
            frozen: Vec::new(),
            unnamed: 0,
            count: 0,
            budget,
        }
    }

    /// Takes a row; an error rejects the file.
    fn take(
        &mut self,
        rows: &mut Rows<'_>,
        record: &StringRecord,
        line: u64,
        doubts: &mut Lints,
        good: &mut RowSender,
    ) -> Result<(), Vec<Problem>> {
        self.count += 1;
        if record.len() == rows.columns.labels.len()
            && let Some(at) = rows.columns.stray(record)
        {
            let place = Location {
                column: Some((at + 1, "no header".into())),
                ..place(&self.file, line)
            };
            return Err(vec![stray().kind(ProblemKind::Column).at(place)]);
        }
        let spent = |flaw: Issue| vec![flaw.at(place(&self.file, line))];
        self.budget.row().map_err(spent)?;
        match rows.read(record, line) {
            Ok(row) => {
                self.budget.want(&row.want).map_err(spent)?;
                let Row { email, want } = row;
                if matches!(want, DesiredUser::Upsert(_)) {
                    doubts.row(record, line);
                }
                let place = place(&self.file, line);
                good.push(email, Entry { want, place });
                Ok(())
            }
            Err(bad) => self.take_bad(bad, line),
        }
    }

    /// Says so, and where they begin. What is wrong there is not told: a rejected file's problems
    /// are logged, and no log holds values.
    fn too_many(&self) -> Vec<Problem> {
        let first = self.bad.first().map_or(0, |problem| problem.place.line);
        let flaw = Issue::new(
            format!(
                "the roster has more than {MAX_PROBLEMS} problems in its rows, this file's from here on"
            ),
            "check that this is the roster and how it was exported",
        );
        vec![flaw.kind(ProblemKind::TooMuch).at(place(&self.file, first))]
    }

    fn take_bad(&mut self, bad: BadRow, line: u64) -> Result<(), Vec<Problem>> {
        let place = place(&self.file, line);
        let count = bad.problems.len().max(bad.frozen.len());
        self.bad.extend(bad.problems);
        if self.budget.problems(count).is_none() {
            return Err(self.too_many());
        }
        self.frozen
            .extend(bad.frozen.into_iter().map(|email| (email, place.clone())));
        self.unnamed += u64::from(bad.unnamed);
        Ok(())
    }
}

fn stray() -> Issue {
    Issue::new(
        "this cell is not blank and its column has no header",
        "name the column in the header, or empty it",
    )
}

/// A file's text, and what separates its cells.
pub(super) fn delimited<R: Read>(text: R, setting: Option<u8>) -> (impl Read, u8) {
    let text = Head::new(text);
    let delimiter = Dialect::of(text.peeked(), setting).delimiter;
    (text, delimiter)
}

/// A text whose first part can be looked at before it is read. It is long enough for the longest
/// header.
pub(super) struct Head<R> {
    head: Cursor<Vec<u8>>,
    /// What ended the first part too early: comes after it.
    failure: Option<io::Error>,
    rest: R,
}

impl<R: Read> Head<R> {
    fn new(mut rest: R) -> Self {
        let mut head = Vec::new();
        let size = MAX_RECORD + BUFFER as u64;
        let failure = rest.by_ref().take(size).read_to_end(&mut head).err();
        Self {
            head: Cursor::new(head),
            failure,
            rest,
        }
    }

    fn peeked(&self) -> &[u8] {
        self.head.get_ref()
    }

    /// How many lines so many bytes have, if they are like the first ones.
    fn lines_in(&self, bytes: u64) -> usize {
        let head = self.peeked();
        let lines = memchr::memchr_iter(b'\n', head).count() as u64;
        let all = lines.saturating_mul(bytes) / (head.len() as u64).max(1);
        usize::try_from(all).unwrap_or(usize::MAX)
    }

    fn skip(&mut self, bytes: u64) {
        self.head.set_position(bytes);
    }
}

impl<R: Read> Read for Head<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.head.read(buffer)? {
            0 => self
                .failure
                .take()
                .map_or_else(|| self.rest.read(buffer), Err),
            read => Ok(read),
        }
    }
}

/// How the file is written.
#[derive(Debug, PartialEq, Eq)]
struct Dialect {
    delimiter: u8,
    /// Bytes before the header: marks, and Excel's line `sep=;`.
    skip: u64,
    /// The line after them.
    line: u64,
}

impl Dialect {
    fn of(head: &[u8], setting: Option<u8>) -> Self {
        let marks = marks(head);
        let (said, length) = sep_line(&head[marks..]).unzip();
        let mut skip = marks + length.unwrap_or(0);
        // A text that breaks off there has no next line.
        let line = 1 + u64::from(matches!(head[..skip].last(), Some(b'\n' | b'\r')));
        skip += self::marks(&head[skip..]);
        let delimiter = setting
            .or(said)
            .unwrap_or_else(|| delimiter_of(&head[skip..]));
        Self {
            delimiter,
            skip: skip as u64,
            line,
        }
    }

    fn reader<R: Read>(&self, text: R) -> TextReader<R> {
        reader(Lines::new(text, self.delimiter, self.line), self.delimiter)
    }
}

fn reader<R: Read>(text: R, delimiter: u8) -> Reader<R> {
    ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .buffer_capacity(BUFFER)
        .from_reader(text)
}

/// How many bytes of byte order marks there are; csv would drop one of them unseen.
fn marks(text: &[u8]) -> usize {
    let mark = "\u{feff}".as_bytes();
    text.chunks(mark.len())
        .take_while(|chunk| *chunk == mark)
        .count()
        * mark.len()
}

/// Excel's first line `sep=;`: the delimiter and the line's length.
fn sep_line(text: &[u8]) -> Option<(u8, usize)> {
    let end = memchr::memchr2(b'\n', b'\r', text).unwrap_or(text.len());
    let line = &text[..end];
    let line = line
        .strip_prefix(b"\"")
        .and_then(|l| l.strip_suffix(b"\""))
        .unwrap_or(line);
    let [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', delimiter] = *line else {
        return None;
    };
    let usable = !delimiter.is_ascii_alphanumeric() && delimiter.is_ascii() && delimiter != b'"';
    let line_break = if text[end..].starts_with(b"\r\n") {
        2
    } else {
        1
    };
    usable.then(|| (delimiter, (end + line_break).min(text.len())))
}

/// The delimiter under which the header has an email column; where none does, the one that splits
/// it most, so that the message can show the columns.
fn delimiter_of(head: &[u8]) -> u8 {
    let headers = DELIMITERS.map(|delimiter| (delimiter, first_record(head, delimiter)));
    let found = headers.iter().find(|(_, header)| has_email(header));
    // The last of equals wins, so the comma goes last.
    let widest = || headers.iter().rev().max_by_key(|(_, header)| header.len());
    found
        .or_else(widest)
        .map_or(b',', |(delimiter, _)| *delimiter)
}

/// The first record with more in it than blanks and delimiters. Not by way of [`Lines`]: what is at
/// fault further down must not hide the header.
fn first_record(head: &[u8], delimiter: u8) -> StringRecord {
    let says = |c: char| !is_blank(c) && u8::try_from(c).map_or(true, |c| !DELIMITERS.contains(&c));
    let mut records = reader(head, delimiter).into_records().map_while(Result::ok);
    let header = records.find(|record| record.as_slice().contains(says));
    header.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{KeySource, RawSettings, Settings};

    fn settings() -> SourceSettings {
        let all = Settings::check(RawSettings::default(), KeySource::default());
        all.expect("the defaults are valid").source
    }

    /// What a text is read to, or why it is rejected, with so many rows, values and problems left.
    fn within(text: &str, [rows, values, problems]: [usize; 3]) -> Result<ParsedFile, String> {
        let budget = Budget {
            rows,
            values,
            problems,
        };
        let schema = Schema::unknown();
        let sheet = parse(
            text.as_bytes(),
            text.len() as u64,
            &"a.csv".into(),
            &settings(),
            &schema,
            budget,
        );
        sheet.map_err(|problems| problems[0].to_string())
    }

    #[test]
    fn a_roster_has_only_so_many_rows_values_and_problems() {
        let text = "email,x,y\na@x.co,,\nb@x.co,\"[1,2,3]\",1\nc\n";
        let sheet = within(text, [3, 6, 1]).expect("just so much");
        let Budget {
            rows,
            values,
            problems,
        } = sheet.budget;
        assert_eq!([rows, values, problems], [0, 0, 0]);
        for (left, says) in [
            (
                [2, 6, 1],
                "a.csv:4: up to here the roster has more than 5000000 rows",
            ),
            (
                [3, 5, 1],
                "a.csv:3: up to here the roster has more than 20000000 attribute values",
            ),
            (
                [3, 6, 0],
                "a.csv:4: the roster has more than 100000 problems",
            ),
        ] {
            let error = within(text, left).expect_err(says);
            assert!(error.starts_with(says), "{error}");
        }
        let many = format!("email,x\n{}\n", "a@x.co,".repeat(50));
        assert!(
            within(&many, [1, 1, 49]).is_err(),
            "whom a row freezes counts"
        );
    }

    #[test]
    fn a_gigabyte_of_one_line_is_given_up_early() {
        for start in ["email\na@x.co,", "email\n\"", "email,"] {
            let mut rest = io::repeat(b'x').take(1 << 30);
            let text = start.as_bytes().chain(&mut rest);
            let problems = parse(
                text,
                1 << 30,
                &"a.csv".into(),
                &settings(),
                &Schema::unknown(),
                Budget::WHOLE,
            );
            assert!(
                problems.expect_err("too long")[0]
                    .what
                    .contains("longer than 1 MiB")
            );
            assert!((1 << 30) - rest.limit() < 2 * MAX_RECORD, "{start}");
        }
    }
}
