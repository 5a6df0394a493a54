//! Detection of how a CSV file is written: its byte order marks, Excel's `sep=` line, its delimiter.

use crate::model::is_blank;
use ::csv::{Reader, ReaderBuilder, StringRecord};
use std::io::Read;

/// The delimiters that are detected.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// Whether a row is the header of the kind of file that is read.
pub(super) type IsHeader = fn(&StringRecord) -> bool;

/// How a file is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CsvFormat {
    pub(super) delimiter: u8,
    /// The bytes before the header: byte order marks and the line `sep=;`.
    pub(super) skip: usize,
    /// The number of the first line after them.
    pub(super) line: u64,
}

impl CsvFormat {
    /// Detects the format from the first part of the text. A delimiter in the settings takes
    /// precedence.
    pub(super) fn detect(head: &[u8], setting: Option<u8>, is_header: IsHeader) -> Self {
        let marks = byte_order_marks(head);
        let (from_file, length) = sep_line(&head[marks..]).unzip();
        let mut skip = marks + length.unwrap_or(0);
        // A text that ends in the line `sep=;` has no second line.
        let line = 1 + u64::from(matches!(head[..skip].last(), Some(b'\n' | b'\r')));
        skip += byte_order_marks(&head[skip..]);
        let delimiter = setting
            .or(from_file)
            .unwrap_or_else(|| detect_delimiter(&head[skip..], is_header));
        Self {
            delimiter,
            skip,
            line,
        }
    }

    /// Whether the first part of the text has such a header.
    pub(super) fn has_header(&self, head: &[u8], is_header: IsHeader) -> bool {
        is_header(&first_record(&head[self.skip..], self.delimiter))
    }
}

/// The csv crate's reader as it is used everywhere.
pub(super) fn csv_reader<R: Read>(text: R, delimiter: u8, buffer: usize) -> Reader<R> {
    ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .buffer_capacity(buffer)
        .from_reader(text)
}

/// The length of the leading byte order marks. The csv crate would skip only one of them.
fn byte_order_marks(text: &[u8]) -> usize {
    let mark = "\u{feff}".as_bytes();
    text.chunks(mark.len())
        .take_while(|chunk| *chunk == mark)
        .count()
        * mark.len()
}

/// Excel's first line `sep=;`: the delimiter, and the length of the line.
fn sep_line(text: &[u8]) -> Option<(u8, usize)> {
    let end = memchr::memchr2(b'\n', b'\r', text).unwrap_or(text.len());
    let line = &text[..end];
    let line = line
        .strip_prefix(b"\"")
        .and_then(|line| line.strip_suffix(b"\""))
        .unwrap_or(line);
    let [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', delimiter] = *line else {
        return None;
    };
    let is_usable = !delimiter.is_ascii_alphanumeric() && delimiter.is_ascii() && delimiter != b'"';
    let line_break = if text[end..].starts_with(b"\r\n") {
        2
    } else {
        1
    };
    is_usable.then(|| (delimiter, (end + line_break).min(text.len())))
}

/// The delimiter with which the first row is a header. If there is none, the delimiter that splits the
/// row into the most columns, so that the error message can name them.
fn detect_delimiter(head: &[u8], is_header: IsHeader) -> u8 {
    let headers = DELIMITERS.map(|delimiter| (delimiter, first_record(head, delimiter)));
    let found = headers.iter().find(|(_, header)| is_header(header));
    // `max_by_key` returns the last maximum, so the comma is compared last.
    let widest = || headers.iter().rev().max_by_key(|(_, header)| header.len());
    found
        .or_else(widest)
        .map_or(b',', |(delimiter, _)| *delimiter)
}

/// The first record that contains more than blanks and delimiters. It is not scanned for errors: an
/// error further down must not hide the header.
fn first_record(head: &[u8], delimiter: u8) -> StringRecord {
    let is_text =
        |c: char| !is_blank(c) && u8::try_from(c).map_or(true, |c| !DELIMITERS.contains(&c));
    let records = csv_reader(head, delimiter, 64 * 1024).into_records();
    let mut records = records.map_while(Result::ok);
    let header = records.find(|record| record.as_slice().contains(is_text));
    header.unwrap_or_default()
}
