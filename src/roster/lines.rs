//! The truth about lines and quotes that the csv crate does not tell.
//!
//! csv takes an unclosed quote without a word, and everything after it has vanished from the
//! roster; its line numbers are wrong after CRLF, lone CR and blank lines; and it reads a row of any
//! length into memory. [`Lines`] lets the text through to it unchanged and follows the same states
//! on the way: it knows the line on which each record starts, and fails on what must not be read.

use super::decode::Undecodable;
use super::words::Issue;
use crate::model::ProblemKind;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};

/// The most bytes a record may have.
pub(super) const MAX_RECORD: u64 = 1 << 20;

const QUOTE: u8 = b'"';

/// Why the text can't be read on; the line is where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScanError {
    pub(super) line: u64,
    pub(super) flaw: Issue,
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.flaw.what)
    }
}

impl std::error::Error for ScanError {}

impl From<ScanError> for io::Error {
    fn from(fault: ScanError) -> Self {
        Self::new(io::ErrorKind::InvalidData, fault)
    }
}

/// Lets text through and follows its lines and quotes.
pub(super) struct Lines<R> {
    text: R,
    scanner: Scanner,
}

impl<R: Read> Lines<R> {
    /// `line` is the number of the text's first line.
    pub(super) fn new(text: R, delimiter: u8, line: u64) -> Self {
        Self {
            text,
            scanner: Scanner::new(delimiter, line),
        }
    }

    /// The line on which the next record starts; to be asked once per record.
    pub(super) fn next_record(&mut self) -> u64 {
        let line = self.scanner.starts.pop_front();
        debug_assert!(line.is_some(), "csv reads a record that was not seen here");
        line.unwrap_or(self.scanner.line)
    }

    /// Adds the line to a decoder's error.
    fn placed(&self, error: io::Error) -> io::Error {
        match error.downcast::<Undecodable>() {
            Ok(undecodable) => self.scanner.fault(undecodable.flaw()).into(),
            Err(error) => error,
        }
    }
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.text.read(buffer).map_err(|error| self.placed(error))?;
        if read == 0 && !buffer.is_empty() {
            self.scanner.finish()?;
        }
        self.scanner.scan(&buffer[..read])?;
        Ok(read)
    }
}

/// Where in the text we are: csv's own states, and one more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between two records: blank lines are none.
    Between,
    /// At the first byte of a cell.
    CellStart,
    /// In a cell without quotes; a quote in it is text.
    Plain,
    Quoted,
    /// After a quote in a quoted cell: it was the closing one, or half of a doubled one.
    Closing,
    /// After the closing quote; csv would take what follows as text of the cell.
    Closed,
}

struct Scanner {
    delimiter: u8,
    state: State,
    /// Bytes before the present chunk.
    offset: u64,
    line: u64,
    /// The offset after the last CR: an LF there belongs to it.
    after_cr: Option<u64>,
    record: Start,
    cell: u64,
    quote: Quote,
    starts: VecDeque<u64>,
}

#[derive(Clone, Copy, Default)]
struct Start {
    offset: u64,
    line: u64,
}

/// Where the last opening quote stands.
#[derive(Clone, Copy, Default)]
struct Quote {
    line: u64,
    cell: u64,
}

impl Scanner {
    fn new(delimiter: u8, line: u64) -> Self {
        Self {
            delimiter,
            state: State::Between,
            offset: 0,
            line,
            after_cr: None,
            record: Start::default(),
            cell: 0,
            quote: Quote::default(),
            starts: VecDeque::new(),
        }
    }

    fn scan(&mut self, chunk: &[u8]) -> Result<(), ScanError> {
        let mut at = 0;
        while at < chunk.len() {
            at += self.step(&chunk[at..], self.offset + at as u64)?;
        }
        self.offset += chunk.len() as u64;
        self.check_length(self.offset)
    }

    /// Follows the text to the next byte that matters and takes it; gives the bytes taken. `here`
    /// is the offset of `rest`, which is not empty.
    fn step(&mut self, rest: &[u8], here: u64) -> Result<usize, ScanError> {
        let first = rest[0];
        match self.state {
            State::Between if matches!(first, b'\r' | b'\n') => self.line_break(first, here),
            State::Between => {
                self.start_record(here);
                return Ok(0);
            }
            State::CellStart if first == QUOTE => self.open_quote(),
            State::CellStart => {
                self.state = State::Plain;
                return Ok(0);
            }
            State::Plain => {
                let Some(at) = memchr::memchr3(self.delimiter, b'\n', b'\r', rest) else {
                    return Ok(rest.len());
                };
                self.end_cell(rest[at], here + at as u64)?;
                return Ok(at + 1);
            }
            State::Quoted => {
                let Some(at) = memchr::memchr3(QUOTE, b'\n', b'\r', rest) else {
                    return Ok(rest.len());
                };
                self.in_quotes(rest[at], here + at as u64);
                return Ok(at + 1);
            }
            State::Closing if first == QUOTE => self.state = State::Quoted,
            State::Closing => {
                self.state = State::Closed;
                return Ok(0);
            }
            State::Closed if first == self.delimiter || matches!(first, b'\r' | b'\n') => {
                self.end_cell(first, here)?;
            }
            // Blanks before the next delimiter hide nothing, and the cell is trimmed anyway.
            State::Closed if matches!(first, b' ' | b'\t') => {}
            State::Closed => return Err(self.text_after_quote()),
        }
        Ok(1)
    }

    /// Takes the end of the text.
    fn finish(&self) -> Result<(), ScanError> {
        if self.state == State::Quoted {
            return Err(self.unclosed());
        }
        Ok(())
    }

    fn start_record(&mut self, here: u64) {
        self.state = State::CellStart;
        self.cell = 1;
        self.record = Start {
            offset: here,
            line: self.line,
        };
        self.starts.push_back(self.line);
    }

    fn open_quote(&mut self) {
        self.state = State::Quoted;
        self.quote = Quote {
            line: self.line,
            cell: self.cell,
        };
    }

    fn in_quotes(&mut self, byte: u8, here: u64) {
        if byte == QUOTE {
            self.state = State::Closing;
        } else {
            self.line_break(byte, here);
        }
    }

    /// Takes the delimiter or the line break that ends a cell.
    fn end_cell(&mut self, byte: u8, here: u64) -> Result<(), ScanError> {
        if byte == self.delimiter {
            self.state = State::CellStart;
            self.cell += 1;
            return Ok(());
        }
        self.check_length(here)?;
        self.state = State::Between;
        self.line_break(byte, here);
        Ok(())
    }

    /// LF, CRLF and a lone CR each end one line.
    fn line_break(&mut self, byte: u8, here: u64) {
        if byte == b'\n' && self.after_cr == Some(here) {
            return;
        }
        self.line += 1;
        if byte == b'\r' {
            self.after_cr = Some(here + 1);
        }
    }

    fn check_length(&self, end: u64) -> Result<(), ScanError> {
        if self.state == State::Between || end - self.record.offset <= MAX_RECORD {
            return Ok(());
        }
        Err(self.too_long())
    }

    fn fault(&self, flaw: Issue) -> ScanError {
        ScanError {
            line: self.line,
            flaw,
        }
    }

    fn unclosed(&self) -> ScanError {
        let Quote { line, cell } = self.quote;
        let what = format!("the quote that opens here, in cell {cell}, is never closed");
        ScanError {
            line,
            flaw: Issue::new(what, CLOSE_IT).kind(ProblemKind::Quote),
        }
    }

    fn text_after_quote(&self) -> ScanError {
        let Quote { line, cell } = self.quote;
        let (what, remedy) = if line == self.line {
            let what = format!("cell {cell} has text right after its closing quote");
            (
                what,
                "put the whole cell in quotes and write a quote inside it twice (\"\")",
            )
        } else {
            let what = format!(
                "the quote that opens here, in cell {cell}, ends only on line {}, with text right \
                 after it: a closing quote is missing in lines {line} to {0}",
                self.line
            );
            (what, CLOSE_IT)
        };
        ScanError {
            line,
            flaw: Issue::new(what, remedy).kind(ProblemKind::Quote),
        }
    }

    fn too_long(&self) -> ScanError {
        let (mut what, mut remedy) = (
            "the row that starts here is longer than 1 MiB".to_owned(),
            "check that this is the roster and that its rows are lines",
        );
        if self.state == State::Quoted {
            let Quote { line, cell } = self.quote;
            what += &format!(
                ", and the quote that opens on line {line}, in cell {cell}, is still open"
            );
            remedy = CLOSE_IT;
        }
        ScanError {
            line: self.record.line,
            flaw: Issue::new(what, remedy).kind(ProblemKind::Quote),
        }
    }
}

const CLOSE_IT: &str =
    "write the closing quote; a quote inside a quoted cell is written twice (\"\")";

#[cfg(test)]
mod tests {
    use super::*;
    use ::csv::{Reader, ReaderBuilder, StringRecord};
    use proptest::prelude::*;

    fn reader<R: Read>(text: R, delimiter: u8) -> Reader<R> {
        ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            .buffer_capacity(7)
            .from_reader(text)
    }

    /// Each record with its line, or the fault that ends the text.
    fn read(text: &str, delimiter: u8) -> (Vec<(u64, StringRecord)>, Option<ScanError>) {
        let mut reader = reader(Lines::new(text.as_bytes(), delimiter, 1), delimiter);
        let (mut records, mut record) = (Vec::new(), StringRecord::new());
        loop {
            match reader.read_record(&mut record) {
                Ok(true) => records.push((reader.get_mut().next_record(), record.clone())),
                Ok(false) => return (records, None),
                Err(error) => return (records, Some(fault(error))),
            }
        }
    }

    fn fault(error: ::csv::Error) -> ScanError {
        match error.into_kind() {
            ::csv::ErrorKind::Io(error) => error.downcast().expect("a fault"),
            other => panic!("{other:?}"),
        }
    }

    /// The line of each byte, by a rule of its own: a line ends after LF, and after CR without LF.
    fn line_at(text: &str, offset: usize) -> u64 {
        let bytes = text.as_bytes();
        let ends = (0..offset).filter(|&at| {
            bytes[at] == b'\n' || (bytes[at] == b'\r' && bytes.get(at + 1) != Some(&b'\n'))
        });
        1 + ends.count() as u64
    }

    /// Where records start, from csv's own byte offsets.
    fn starts(text: &str, delimiter: u8) -> Vec<(u64, StringRecord)> {
        let mut reader = reader(text.as_bytes(), delimiter);
        let mut records = Vec::new();
        let mut record = StringRecord::new();
        while reader.read_record(&mut record).expect("text") {
            let from = record.position().expect("was read").byte() as usize;
            let blank = text[from..]
                .bytes()
                .take_while(|b| matches!(b, b'\r' | b'\n'));
            records.push((line_at(text, from + blank.count()), record.clone()));
        }
        records
    }

    #[test]
    fn counts_every_kind_of_line() {
        let lines = |text| {
            read(text, b',')
                .0
                .iter()
                .map(|record| record.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(lines("a\nb\r\nc\rd"), [1, 2, 3, 4]);
        assert_eq!(lines("\r\n\n\ra\r\n\r\nb"), [4, 6]);
        assert_eq!(lines("\"1\r\n2\r3\n4\"\r\nb"), [1, 5]);
    }

    #[test]
    fn names_both_ends_of_a_stray_quote() {
        for (text, line, says) in [
            ("a,b\n1,\"x\n2,y\n", 2, "in cell 2, is never closed"),
            ("a,b\n1,\"x\n2,\"y\"\n", 2, "ends only on line 3"),
            ("a\n\"x\"y\n", 2, "right after its closing quote"),
            ("a\n\"x\" \"\n", 2, "right after its closing quote"),
            ("a\r\n\"", 2, "in cell 1, is never closed"),
        ] {
            let fault = read(text, b',').1.expect(text);
            assert_eq!(fault.line, line, "{text}");
            assert!(
                fault.flaw.what.contains(says),
                "{text}: {}",
                fault.flaw.what
            );
        }
    }

    #[test]
    fn takes_blanks_after_a_closing_quote_and_quotes_inside_plain_cells() {
        for text in [
            "\"a\" ,b\n",
            "\"a\"\t\n",
            "a\"b,c\"\n",
            " \"a\n",
            "\"a\"\"b\"\r\n",
        ] {
            assert_eq!(read(text, b','), (starts(text, b','), None), "{text}");
        }
    }

    #[test]
    fn a_row_may_have_a_mebibyte_and_no_more() {
        let row = |size: usize| format!("a,b\n{}\nc\n", "x".repeat(size));
        let most = MAX_RECORD as usize;
        assert_eq!(read(&row(most), b',').1, None);
        let fault = read(&row(most + 1), b',').1.expect("too long");
        assert_eq!(
            (fault.line, &*fault.flaw.what),
            (2, "the row that starts here is longer than 1 MiB")
        );
        let open = format!("a\nb,\"{}", "x\n".repeat(most));
        let fault = read(&open, b',').1.expect("too long");
        assert!(
            fault
                .flaw
                .what
                .ends_with("and the quote that opens on line 2, in cell 2, is still open")
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn agrees_with_csv(text in "[ab ,;\t\"\"\r\n]{0,40}", delimiter in prop::sample::select(&b",;\t"[..])) {
            let (records, fault) = read(&text, delimiter);
            let want = starts(&text, delimiter);
            match fault {
                None => prop_assert_eq!(records, want),
                // What came before is as csv has it: no more, no less.
                Some(_) => prop_assert_eq!(&records, &want[..records.len()]),
            }
        }

        #[test]
        fn what_a_writer_quotes_is_never_at_fault(rows in prop::collection::vec(prop::collection::vec("[ab ,\"\r\n]{0,6}", 1..4), 0..6)) {
            let mut writer = ::csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
            for row in &rows {
                writer.write_record(row).expect("in memory");
            }
            let text = String::from_utf8(writer.into_inner().expect("in memory")).expect("text");
            let (records, fault) = read(&text, b',');
            prop_assert_eq!(fault, None);
            let back: Vec<Vec<&str>> = records.iter().map(|(_, record)| record.iter().collect()).collect();
            prop_assert_eq!(back, rows);
        }
    }
}
