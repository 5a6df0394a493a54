//! The text that problems refer to, read again from the roster. It is only for display, and is
//! never logged.

use super::files::{self, Candidate};
use super::format::{CsvFormat, IsHeader};
use super::header::has_email;
use super::records::{BUFFER, FileText};
use super::scanner::{MAX_RECORD, ScanEvent, Scanner};
use super::text::push_visible;
use super::{groups_file, roles};
use crate::model::{Problem, ProblemKind, trim};
use crate::settings::SourceSettings;
use std::collections::HashMap;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

/// The maximum number of characters of a line that are shown, and of these before the mark.
const MAX_SHOWN: usize = 100;
const MAX_BEFORE: usize = 30;

/// A line of the roster, and the part of it that a problem refers to. Invisible characters are
/// escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProblemSnippet {
    /// The number of the line.
    pub line: u64,
    /// The line, or a part of it.
    pub text: String,
    /// The part of the text that the problem refers to, in bytes.
    pub mark: Range<usize>,
}

/// The snippet of each problem of the roster, `source.groups` or `source.roles`; `None` if the problem refers to no
/// text, or the file has changed. Reads each file once. Blocks.
#[must_use]
pub fn snippets(
    settings: &SourceSettings,
    path: &Path,
    problems: &[&Problem],
) -> Vec<Option<ProblemSnippet>> {
    let files = files::find(settings, path);
    let files = files.map(|found| found.files).unwrap_or_default();
    let mut found = snippets_in(&files, settings, problems, has_email);
    let beside: [(_, IsHeader); 2] = [
        (&settings.groups, groups_file::is_header),
        (&settings.roles, roles::is_header),
    ];
    for (path, is_header) in beside {
        let Some(path) = path else {
            continue;
        };
        let files = files::find_one(settings, path);
        let files = files.map(|found| found.files).unwrap_or_default();
        let others = snippets_in(&files, settings, problems, is_header);
        for (snippet, other) in found.iter_mut().zip(others) {
            *snippet = snippet.take().or(other);
        }
    }
    found
}

/// The snippets of problems in these files.
pub(super) fn snippets_in(
    files: &[Candidate],
    settings: &SourceSettings,
    problems: &[&Problem],
    is_header: IsHeader,
) -> Vec<Option<ProblemSnippet>> {
    let mut found = vec![None; problems.len()];
    for file in files {
        let mut finder = SnippetFinder::new(&file.name, problems);
        if finder.wanted.is_empty() {
            continue;
        }
        let Ok((opened, _)) = file.open(settings.max_bytes) else {
            continue;
        };
        let text = FileText::new(opened.take(settings.max_bytes), settings.encoding);
        finder.read(text, settings.delimiter, is_header);
        for (index, snippet) in finder.found {
            found[index] = Some(snippet);
        }
    }
    found
}

/// Finds the snippets of one file.
struct SnippetFinder<'a> {
    /// The problems that are not found yet, with their index, by line.
    wanted: HashMap<u64, Vec<(usize, &'a Problem)>>,
    found: Vec<(usize, ProblemSnippet)>,
    /// The problems of cells in the current record, and the number of the current cell.
    cells: Vec<(usize, &'a Problem)>,
    cell: usize,
    /// The marks in the current line.
    marks: Vec<Mark>,
    line: u64,
    /// The text from the start of the current line, and the offset of that start.
    text: Vec<u8>,
    start: u64,
}

/// The start and the end of a cell, as offsets in the text.
struct Mark {
    index: usize,
    start: u64,
    /// `None` while the cell is open.
    end: Option<u64>,
}

impl<'a> SnippetFinder<'a> {
    fn new(file: &str, problems: &[&'a Problem]) -> Self {
        let mut wanted: HashMap<u64, Vec<_>> = HashMap::new();
        for (index, problem) in problems.iter().copied().enumerate() {
            let location = &problem.location;
            if *location.file == *file && location.line > 0 {
                wanted
                    .entry(location.line)
                    .or_default()
                    .push((index, problem));
            }
        }
        Self {
            wanted,
            found: Vec::new(),
            cells: Vec::new(),
            cell: 0,
            marks: Vec::new(),
            line: 1,
            text: Vec::new(),
            start: 0,
        }
    }

    /// Reads the text until all snippets are found. A text that ends in an error is used up to there,
    /// since that error may be the problem. A text without the header may be any file, by a link, and is not shown.
    fn read(&mut self, mut text: FileText<impl Read>, delimiter: Option<u8>, is_header: IsHeader) {
        let format = CsvFormat::detect(text.head(), delimiter, is_header);
        if !format.has_header(text.head(), is_header) {
            return;
        }
        text.skip_to_header(&format);
        let mut scanner = Scanner::new(format.delimiter, format.line);
        self.line = format.line;
        let (mut buffer, mut events) = (vec![0; BUFFER], Vec::new());
        while let Ok(read @ 1..) = text.read(&mut buffer) {
            scanner.scan(&buffer[..read], &mut |event| events.push(event));
            self.text.extend_from_slice(&buffer[..read]);
            events.drain(..).for_each(|event| self.take(event));
            let is_found = self.wanted.is_empty() && self.cells.is_empty() && self.marks.is_empty();
            // A longer line is an error, whose snippet is the start of the line.
            if is_found || self.text.len() as u64 > MAX_RECORD {
                break;
            }
        }
        self.end_text();
    }

    fn take(&mut self, event: ScanEvent) {
        match event {
            ScanEvent::Record { line } => {
                let is_cell = |(_, problem): &mut (_, &Problem)| problem.location.column.is_some();
                let wanted = self.wanted.get_mut(&line);
                self.cells = wanted.map_or(Vec::new(), |all| all.extract_if(.., is_cell).collect());
                self.cell = 0;
            }
            ScanEvent::CellStart { offset } => {
                self.cell += 1;
                let is_here = |(_, problem): &mut (_, &Problem)| {
                    let column = problem.location.column.as_ref();
                    column.is_some_and(|(number, _)| *number == self.cell)
                };
                let marks = self.cells.extract_if(.., is_here).map(|(index, _)| Mark {
                    index,
                    start: offset,
                    end: None,
                });
                self.marks.extend(marks);
            }
            ScanEvent::CellEnd { offset } => {
                for mark in &mut self.marks {
                    mark.end.get_or_insert(offset);
                }
            }
            ScanEvent::LineEnd { offset } => self.end_line(offset),
        }
    }

    fn end_line(&mut self, end: u64) {
        let offset_in_line = |offset| usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        let length = offset_in_line(end);
        let line = String::from_utf8_lossy(&self.text[..length]);
        // The LF of a CRLF is left at the start of the next line.
        let skipped = usize::from(line.starts_with('\n'));
        let text = &line[skipped..];
        for mark in self.marks.drain(..) {
            let mark_end = mark.end.map_or(line.len(), offset_in_line);
            let range = offset_in_line(mark.start) - skipped..mark_end - skipped;
            let snippet = ProblemSnippet::new(self.line, text, trimmed(text, range));
            self.found.push((mark.index, snippet));
        }
        for (index, problem) in self.wanted.remove(&self.line).unwrap_or_default() {
            let mark = match problem.kind {
                // The text ends at the error.
                ProblemKind::Encoding => text.len()..text.len(),
                _ => 0..text.trim_end().len(),
            };
            let snippet = ProblemSnippet::new(self.line, text, mark);
            self.found.push((index, snippet));
        }
        self.text.drain(..length + 1);
        self.start = end + 1;
        self.line += 1;
    }

    /// Ends the last line.
    fn end_text(&mut self) {
        let end = self.start + self.text.len() as u64;
        self.text.push(b'\n');
        self.end_line(end);
    }
}

/// A range without the blanks at its edges.
fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let cell = &text[range.clone()];
    let trimmed = trim(cell);
    let start = range.start + cell.find(trimmed).unwrap_or(0);
    start..start + trimmed.len()
}

impl ProblemSnippet {
    /// Shows the part of a line around the mark.
    fn new(number: u64, line: &str, mark: Range<usize>) -> Self {
        let before = line[..mark.start].char_indices().rev().nth(MAX_BEFORE - 1);
        let is_whole = line.chars().nth(MAX_SHOWN).is_none();
        let from = before.filter(|_| !is_whole).map_or(0, |(at, _)| at);
        let to = line[from..]
            .char_indices()
            .nth(MAX_SHOWN)
            .map_or(line.len(), |(at, _)| from + at);
        let mark_end = mark.end.min(to);
        let mut text = String::new();
        if from > 0 {
            text.push('…');
        }
        push_escaped(&mut text, &line[from..mark.start]);
        let start = text.len();
        push_escaped(&mut text, &line[mark.start..mark_end]);
        let end = text.len();
        push_escaped(&mut text, &line[mark_end..to]);
        if to < line.len() {
            text.push('…');
        }
        Self {
            line: number,
            text,
            mark: start..end,
        }
    }
}

fn push_escaped(text: &mut String, part: &str) {
    for c in part.chars() {
        match c {
            // Not escaped, so that cells stay apart.
            '\t' => text.push(c),
            _ => push_visible(text, c),
        }
    }
}
