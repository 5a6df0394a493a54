//! The bytes of a file → its records, each with its line number.

use super::decode::{DecodeError, Decoder};
use super::format::{CsvFormat, csv_reader};
use super::scanner::{MAX_RECORD, ScanError, ScanEvent, Scanner};
use super::text::Issue;
use crate::model::trim;
use crate::settings::Encoding;
use ::csv::{Reader, StringRecord};
use std::collections::VecDeque;
use std::io::{self, Cursor, Read};
use std::sync::mpsc;
use std::thread::Scope;

pub(super) const BUFFER: usize = 64 * 1024;

/// The text of a file. Its first part can be examined before it is read.
pub(super) struct FileText<R> {
    /// At least as long as the longest header.
    head: Vec<u8>,
    /// The number of bytes of the head that are read.
    at: usize,
    /// The error that ends the head.
    failure: Option<DecodeError>,
    decoder: Decoder<R>,
}

impl<R: Read> FileText<R> {
    pub(super) fn new(bytes: R, encoding: Encoding) -> Self {
        let mut decoder = Decoder::new(bytes, encoding);
        let (mut head, mut failure) = (Vec::new(), None);
        let mut buffer = vec![0; BUFFER];
        while head.len() as u64 <= MAX_RECORD && failure.is_none() {
            match decoder.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => head.extend_from_slice(&buffer[..read]),
                Err(error) => failure = Some(error),
            }
        }
        Self {
            head,
            at: 0,
            failure,
            decoder,
        }
    }

    /// The first part of the text.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Skips the bytes that are not part of the CSV.
    pub(super) fn skip_to_header(&mut self, format: &CsvFormat) {
        self.at = format.skip;
    }

    /// Estimates the number of lines in `bytes` bytes from the first part.
    pub(super) fn lines_in(&self, bytes: u64) -> usize {
        let lines = memchr::memchr_iter(b'\n', &self.head).count() as u64;
        let all = lines.saturating_mul(bytes) / (self.head.len() as u64).max(1);
        usize::try_from(all).unwrap_or(usize::MAX)
    }

    /// Reads the next part of the text; 0 bytes at its end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, DecodeError> {
        let rest = &self.head[self.at..];
        if rest.is_empty() {
            let failure = self.failure.take();
            return failure.map_or_else(|| self.decoder.read(buffer), Err);
        }
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        self.at += read;
        Ok(read)
    }
}

/// A part of a text, scanned.
pub(super) struct Chunk {
    text: Vec<u8>,
    /// The lines on which records start in it.
    starts: Vec<u64>,
    /// How the text ends after this part; `None` if it goes on.
    end: Option<Result<(), ScanError>>,
}

/// Reads a text in scanned parts. The last one has an end.
pub(super) struct Chunks<R> {
    text: FileText<R>,
    scanner: Scanner,
    size: usize,
    has_ended: bool,
}

impl<R: Read> Chunks<R> {
    pub(super) fn new(text: FileText<R>, format: &CsvFormat) -> Self {
        Self::of_size(text, format, BUFFER)
    }

    fn of_size(mut text: FileText<R>, format: &CsvFormat, size: usize) -> Self {
        text.skip_to_header(format);
        Self {
            text,
            scanner: Scanner::new(format.delimiter, format.line),
            size,
            has_ended: false,
        }
    }

    /// Reads on a thread of its own, a few parts ahead: hashing, decoding and scanning take a fifth of the time of
    /// reading a roster.
    pub(super) fn read_ahead<'s>(self, scope: &'s Scope<'s, '_>) -> mpsc::IntoIter<Chunk>
    where
        R: Send + 's,
    {
        const AHEAD: usize = 8;
        let (to, chunks) = mpsc::sync_channel(AHEAD);
        scope.spawn(move || {
            let mut all = self;
            // Sending fails once the receiver is dropped, because the file was rejected.
            all.try_for_each(|chunk| to.send(chunk))
        });
        chunks.into_iter()
    }

    fn read(&mut self) -> Result<(Vec<u8>, Vec<u64>), ScanError> {
        let (mut text, mut starts) = (vec![0; self.size], Vec::new());
        let read = self.text.read(&mut text).map_err(|error| ScanError {
            line: self.scanner.line(),
            issue: error.issue(),
        })?;
        text.truncate(read);
        self.scanner.scan(&text, &mut |event| {
            if let ScanEvent::Record { line } = event {
                starts.push(line);
            }
        });
        if read == 0 {
            self.scanner.finish();
        }
        self.scanner.take_error().map_or(Ok((text, starts)), Err)
    }
}

impl<R: Read> Iterator for Chunks<R> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        if self.has_ended {
            return None;
        }
        let (text, starts, end) = match self.read() {
            Ok((text, starts)) if text.is_empty() => (text, starts, Some(Ok(()))),
            Ok((text, starts)) => (text, starts, None),
            Err(error) => (Vec::new(), Vec::new(), Some(Err(error))),
        };
        self.has_ended = end.is_some();
        Some(Chunk { text, starts, end })
    }
}

/// Reads the records of a file.
pub(super) struct Records<C> {
    reader: Reader<ScannedText<C>>,
    record: StringRecord,
}

impl<C: Iterator<Item = Chunk>> Records<C> {
    pub(super) fn new(chunks: C, delimiter: u8) -> Self {
        Self::with_buffer(chunks, delimiter, BUFFER)
    }

    fn with_buffer(chunks: C, delimiter: u8, buffer: usize) -> Self {
        let text = ScannedText {
            chunks,
            rest: Cursor::default(),
            starts: VecDeque::new(),
            line: 0,
            end: None,
        };
        Self {
            reader: csv_reader(text, delimiter, buffer),
            record: StringRecord::new(),
        }
    }

    /// Reads the next record that has a cell that is not blank, and the line on which it starts.
    pub(super) fn next(&mut self) -> Result<Option<(u64, &StringRecord)>, ScanError> {
        while let Some(line) = self.advance()? {
            if !self.record.iter().all(|cell| trim(cell).is_empty()) {
                return Ok(Some((line, &self.record)));
            }
        }
        Ok(None)
    }

    /// Reads the next record, and returns its line.
    fn advance(&mut self) -> Result<Option<u64>, ScanError> {
        let read = self.reader.read_record(&mut self.record);
        let text = self.reader.get_mut();
        match read {
            Ok(true) => Ok(Some(text.next_record())),
            Ok(false) => Ok(None),
            Err(error) => Err(text.error(&error)),
        }
    }
}

/// Passes a scanned text to the csv crate.
struct ScannedText<C> {
    chunks: C,
    /// The rest of the part that is being passed on.
    rest: Cursor<Vec<u8>>,
    /// The lines on which the records start that are not read yet.
    starts: VecDeque<u64>,
    /// The line of the last record.
    line: u64,
    /// How the text ended. The csv crate itself only gets a placeholder of an error.
    end: Option<Result<(), ScanError>>,
}

impl<C> ScannedText<C> {
    /// The line of the next record. Call it once per record.
    fn next_record(&mut self) -> u64 {
        let line = self.starts.pop_front();
        debug_assert!(line.is_some(), "the scanner missed a record");
        self.line = line.unwrap_or(self.line);
        self.line
    }

    /// The error that ended the text, or else one of the csv crate itself, which valid UTF-8 and records of any length
    /// never cause.
    fn error(&mut self, error: &::csv::Error) -> ScanError {
        match self.end.take() {
            Some(Err(error)) => error,
            Some(Ok(())) | None => ScanError {
                line: self.line,
                issue: Issue::new(
                    format!("can't be parsed as CSV: {error}"),
                    "save the file again as 'CSV UTF-8'",
                ),
            },
        }
    }
}

impl<C: Iterator<Item = Chunk>> Read for ScannedText<C> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.rest.read(buffer)?;
            match &self.end {
                _ if read > 0 => return Ok(read),
                Some(Ok(())) => return Ok(0),
                Some(Err(_)) => return Err(io::ErrorKind::InvalidData.into()),
                None => {}
            }
            // A text without its end must not look complete.
            let Some(chunk) = self.chunks.next() else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            self.rest = Cursor::new(chunk.text);
            self.starts.extend(chunk.starts);
            self.end = chunk.end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads each record with its line, and the error that ends the text.
    fn read(text: &str, delimiter: u8) -> (Vec<(u64, StringRecord)>, Option<ScanError>) {
        let format = CsvFormat {
            delimiter,
            skip: 0,
            line: 1,
        };
        let text = FileText::new(text.as_bytes(), Encoding::Auto);
        let chunks = Chunks::of_size(text, &format, 7);
        let mut reader = Records::with_buffer(chunks, delimiter, 7);
        let mut records = Vec::new();
        loop {
            match reader.advance() {
                Ok(Some(line)) => records.push((line, reader.record.clone())),
                Ok(None) => return (records, None),
                Err(error) => return (records, Some(error)),
            }
        }
    }

    /// The line of a byte by an independent rule: a line ends after LF, and after CR without LF.
    fn line_at(text: &str, offset: usize) -> u64 {
        let bytes = text.as_bytes();
        let ends = (0..offset).filter(|&at| {
            bytes[at] == b'\n' || (bytes[at] == b'\r' && bytes.get(at + 1) != Some(&b'\n'))
        });
        1 + ends.count() as u64
    }

    /// The lines of all records by the csv crate's byte offsets.
    fn starts(text: &str, delimiter: u8) -> Vec<(u64, StringRecord)> {
        let mut reader = csv_reader(text.as_bytes(), delimiter, 7);
        let mut records = Vec::new();
        let mut record = StringRecord::new();
        while reader.read_record(&mut record).expect("text") {
            let from = record.position().expect("a record was read").byte() as usize;
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
    fn reports_both_lines_of_a_stray_quote() {
        for (text, line, expected) in [
            ("a,b\n1,\"x\n2,y\n", 2, "in cell 2 is never closed"),
            ("a,b\n1,\"x\n2,\"y\"\n", 2, "closes only on line 3"),
            ("a\n\"x\"y\n", 2, "after its closing quote"),
            ("a\n\"x\" \"\n", 2, "after its closing quote"),
            ("a\r\n\"", 2, "in cell 1 is never closed"),
        ] {
            let error = read(text, b',').1.expect(text);
            assert_eq!(error.line, line, "{text}");
            assert!(
                error.issue.message.contains(expected),
                "{text}: {}",
                error.issue.message
            );
        }
    }

    #[test]
    fn accepts_blanks_after_quotes_and_quotes_in_text() {
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
    fn a_row_has_at_most_one_mebibyte() {
        let row = |size: usize| format!("a,b\n{}\nc\n", "x".repeat(size));
        let max = MAX_RECORD as usize;
        assert_eq!(read(&row(max), b',').1, None);
        let error = read(&row(max + 1), b',').1.expect("too long");
        assert_eq!(
            (error.line, &*error.issue.message),
            (2, "the row that starts here is longer than 1 MiB")
        );
        let open = format!("a\nb,\"{}", "x\n".repeat(max));
        let error = read(&open, b',').1.expect("too long");
        assert!(
            error
                .issue
                .message
                .ends_with("and the quote opened on line 2, in cell 2, is still open")
        );
    }

    proptest! {
        #[test]
        fn parsing_matches_the_csv_crate(text in "[ab ,;\t\"\"\r\n]{0,40}", delimiter in prop::sample::select(&b",;\t"[..])) {
            let (records, error) = read(&text, delimiter);
            let expected = starts(&text, delimiter);
            match error {
                None => prop_assert_eq!(records, expected),
                // The records before the error are the same.
                Some(_) => prop_assert_eq!(&records, &expected[..records.len()]),
            }
        }

        #[test]
        fn reads_output_of_the_csv_writer(rows in prop::collection::vec(prop::collection::vec("[ab ,\"\r\n]{0,6}", 1..4), 0..6)) {
            let mut writer = ::csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
            for row in &rows {
                writer.write_record(row).expect("in memory");
            }
            let text = String::from_utf8(writer.into_inner().expect("in memory")).expect("text");
            let (records, error) = read(&text, b',');
            prop_assert_eq!(error, None);
            let back: Vec<Vec<&str>> = records.iter().map(|(_, record)| record.iter().collect()).collect();
            prop_assert_eq!(back, rows);
        }
    }
}
