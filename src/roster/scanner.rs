//! Line numbers and quote balance of a CSV text, which the csv crate does not report.
//!
//! The csv crate accepts an unclosed quote silently, so that every row after it is missing from the
//! roster. Its line numbers are wrong after CRLF, a lone CR and blank lines, and it reads a record of
//! any length into memory. [`Scanner`] follows the same states as the csv crate. It reports where
//! records, cells and lines begin and end, and keeps the first error.

use super::text::Issue;
use crate::model::ProblemKind;

/// The maximum length of a record, in bytes.
pub(super) const MAX_RECORD: u64 = 1 << 20;

const QUOTE: u8 = b'"';

/// An error in the text, and the line to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScanError {
    pub(super) line: u64,
    pub(super) issue: Issue,
}

/// A boundary in the text. Offsets are in bytes from the start of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScanEvent {
    /// A record starts on this line.
    Record {
        line: u64,
    },
    CellStart {
        offset: u64,
    },
    /// A cell ends at its delimiter or line break.
    CellEnd {
        offset: u64,
    },
    /// A line ends at its line break, inside a quoted cell too.
    LineEnd {
        offset: u64,
    },
}

/// The states of the csv crate, and `Closed`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ScanState {
    /// Between two records, where blank lines are skipped.
    Between,
    /// At the first byte of a cell.
    CellStart,
    /// In an unquoted cell, where a quote is text.
    Plain,
    Quoted,
    /// After a quote in a quoted cell: the closing quote, or the first of a doubled one.
    Closing,
    /// After the closing quote. The csv crate takes what follows as text of the cell.
    Closed,
}

/// Scans a text in chunks. After an error it continues as the csv crate does.
pub(super) struct Scanner {
    delimiter: u8,
    state: ScanState,
    /// The offset of the current chunk.
    offset: u64,
    line: u64,
    /// The offset after the last CR, where an LF belongs to the same line break.
    after_cr: Option<u64>,
    record: RecordStart,
    /// The number of the current cell in its record, from 1.
    cell: u64,
    quote: OpeningQuote,
    error: Option<ScanError>,
}

#[derive(Clone, Copy, Default)]
struct RecordStart {
    offset: u64,
    line: u64,
}

/// The position of the last opening quote.
#[derive(Clone, Copy, Default)]
struct OpeningQuote {
    line: u64,
    cell: u64,
}

impl Scanner {
    /// `line` is the number of the text's first line.
    pub(super) fn new(delimiter: u8, line: u64) -> Self {
        Self {
            delimiter,
            state: ScanState::Between,
            offset: 0,
            line,
            after_cr: None,
            record: RecordStart::default(),
            cell: 0,
            quote: OpeningQuote::default(),
            error: None,
        }
    }

    /// The number of the current line.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The first error since the last call.
    pub(super) fn take_error(&mut self) -> Option<ScanError> {
        self.error.take()
    }

    /// Scans the next chunk of the text.
    pub(super) fn scan(&mut self, chunk: &[u8], report: &mut impl FnMut(ScanEvent)) {
        let mut at = 0;
        while at < chunk.len() {
            at += self.step(&chunk[at..], self.offset + at as u64, report);
        }
        self.offset += chunk.len() as u64;
        self.check_length(self.offset);
    }

    /// Takes the end of the text.
    pub(super) fn finish(&mut self) {
        if self.state == ScanState::Quoted {
            self.fail(Self::unclosed);
        }
    }

    /// Scans up to and including the next byte that matters, and returns the number of bytes scanned.
    /// `here` is the offset of `rest`, which is not empty.
    fn step(&mut self, rest: &[u8], here: u64, report: &mut impl FnMut(ScanEvent)) -> usize {
        let first = rest[0];
        match self.state {
            ScanState::Between if matches!(first, b'\r' | b'\n') => {
                self.line_break(first, here, report);
            }
            ScanState::Between => {
                self.start_record(here, report);
                return 0;
            }
            ScanState::CellStart if first == QUOTE => self.open_quote(),
            ScanState::CellStart => {
                self.state = ScanState::Plain;
                return 0;
            }
            ScanState::Plain => {
                let Some(at) = memchr::memchr3(self.delimiter, b'\n', b'\r', rest) else {
                    return rest.len();
                };
                self.end_cell(rest[at], here + at as u64, report);
                return at + 1;
            }
            ScanState::Quoted => {
                let Some(at) = memchr::memchr3(QUOTE, b'\n', b'\r', rest) else {
                    return rest.len();
                };
                self.in_quotes(rest[at], here + at as u64, report);
                return at + 1;
            }
            ScanState::Closing if first == QUOTE => self.state = ScanState::Quoted,
            ScanState::Closing => {
                self.state = ScanState::Closed;
                return 0;
            }
            ScanState::Closed if first == self.delimiter || matches!(first, b'\r' | b'\n') => {
                self.end_cell(first, here, report);
            }
            // Blanks before the delimiter are harmless, since cells are trimmed.
            ScanState::Closed if matches!(first, b' ' | b'\t') => {}
            ScanState::Closed => {
                self.fail(Self::text_after_quote);
                self.state = ScanState::Plain;
            }
        }
        1
    }

    fn start_record(&mut self, here: u64, report: &mut impl FnMut(ScanEvent)) {
        self.state = ScanState::CellStart;
        self.cell = 1;
        self.record = RecordStart {
            offset: here,
            line: self.line,
        };
        report(ScanEvent::Record { line: self.line });
        report(ScanEvent::CellStart { offset: here });
    }

    fn open_quote(&mut self) {
        self.state = ScanState::Quoted;
        self.quote = OpeningQuote {
            line: self.line,
            cell: self.cell,
        };
    }

    fn in_quotes(&mut self, byte: u8, here: u64, report: &mut impl FnMut(ScanEvent)) {
        if byte == QUOTE {
            self.state = ScanState::Closing;
        } else {
            self.line_break(byte, here, report);
        }
    }

    /// Takes the delimiter or the line break that ends a cell.
    fn end_cell(&mut self, byte: u8, here: u64, report: &mut impl FnMut(ScanEvent)) {
        report(ScanEvent::CellEnd { offset: here });
        if byte == self.delimiter {
            self.state = ScanState::CellStart;
            self.cell += 1;
            report(ScanEvent::CellStart { offset: here + 1 });
            return;
        }
        self.check_length(here);
        self.state = ScanState::Between;
        self.line_break(byte, here, report);
    }

    /// LF, CRLF and a lone CR each end one line.
    fn line_break(&mut self, byte: u8, here: u64, report: &mut impl FnMut(ScanEvent)) {
        if byte == b'\n' && self.after_cr == Some(here) {
            return;
        }
        report(ScanEvent::LineEnd { offset: here });
        self.line += 1;
        if byte == b'\r' {
            self.after_cr = Some(here + 1);
        }
    }

    fn check_length(&mut self, end: u64) {
        if self.state != ScanState::Between && end - self.record.offset > MAX_RECORD {
            self.fail(Self::too_long);
        }
    }

    fn fail(&mut self, error: impl FnOnce(&Self) -> ScanError) {
        if self.error.is_none() {
            self.error = Some(error(self));
        }
    }

    fn unclosed(&self) -> ScanError {
        let OpeningQuote { line, cell } = self.quote;
        let message = format!("the quote opened in cell {cell} is never closed");
        quote_error(line, message, CLOSE_QUOTE)
    }

    fn text_after_quote(&self) -> ScanError {
        let OpeningQuote { line, cell } = self.quote;
        if line == self.line {
            let message = format!("cell {cell} has text after its closing quote");
            let remedy = "quote the whole cell, and write each quote inside it twice (\"\")";
            return quote_error(line, message, remedy);
        }
        let message = format!(
            "the quote opened in cell {cell} closes only on line {0}, with text right after it: a \
             closing quote is missing in lines {line} to {0}",
            self.line
        );
        quote_error(line, message, CLOSE_QUOTE)
    }

    fn too_long(&self) -> ScanError {
        let message = "the row that starts here is longer than 1 MiB";
        if self.state != ScanState::Quoted {
            let remedy = "check that this is the intended file and that each row is a line";
            return quote_error(self.record.line, message.to_owned(), remedy);
        }
        let OpeningQuote { line, cell } = self.quote;
        let message = format!(
            "{message}, and the quote opened on line {line}, in cell {cell}, is still open"
        );
        quote_error(self.record.line, message, CLOSE_QUOTE)
    }
}

const CLOSE_QUOTE: &str =
    "add the closing quote; inside a quoted cell, write each quote twice (\"\")";

fn quote_error(line: u64, message: String, remedy: &str) -> ScanError {
    ScanError {
        line,
        issue: Issue::new(message, remedy).kind(ProblemKind::Quote),
    }
}
