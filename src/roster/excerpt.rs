//! The text that problems are about, as it stands in the roster: read again, for showing it to a
//! person. Nothing is decided by it, and it is never logged.

use super::csv::delimited;
use super::decode::Decoder;
use super::lines::MAX_RECORD;
use super::source;
use super::words::push_visible;
use crate::model::{Problem, ProblemKind, trim};
use crate::settings::SourceSettings;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::path::Path;

/// The most characters of a line that are shown, and of these before the mark.
const SHOWN: usize = 100;
const BEFORE: usize = 30;

/// A line of the roster and what a problem is about in it. Harmless: what can't be seen is escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The line's number.
    pub line: u64,
    /// The line, or a part of it.
    pub text: String,
    /// The part of the text that is meant, in bytes.
    pub mark: Range<usize>,
}

/// The text that each of these problems is about; `None` where it is no place in a file's text, or
/// the file is another one by now. Reads each file once. Blocks.
#[must_use]
pub fn excerpts(
    settings: &SourceSettings,
    path: &Path,
    problems: &[&Problem],
) -> Vec<Option<Excerpt>> {
    let mut found = vec![None; problems.len()];
    let Ok(files) = source::find(settings, path) else {
        return found;
    };
    for file in files.files {
        let wanted = in_file(&file.name, problems);
        if wanted.is_empty() {
            continue;
        }
        let Ok((opened, _)) = file.open(settings.max_bytes) else {
            continue;
        };
        let bytes = opened.take(settings.max_bytes);
        let text = Decoder::new(bytes, settings.encoding);
        let (text, delimiter) = delimited(text, settings.delimiter);
        let rows = rows(text, wanted.keys().copied());
        for (at, problem) in wanted.values().flatten() {
            found[*at] = rows
                .get(&problem.place.line)
                .and_then(|row| excerpt(row, problem, delimiter));
        }
    }
    found
}

type Wanted<'a> = HashMap<u64, Vec<(usize, &'a Problem)>>;

/// The problems in one file, by line.
fn in_file<'a>(name: &str, problems: &[&'a Problem]) -> Wanted<'a> {
    let mut wanted = Wanted::new();
    for (at, problem) in problems.iter().enumerate() {
        let place = &problem.place;
        if *place.file == *name && place.line > 0 {
            wanted.entry(place.line).or_default().push((at, problem));
        }
    }
    wanted
}

/// The rows that begin on these lines, as they are written. A text that breaks off is taken as far
/// as it goes: that may be the very problem.
fn rows(text: impl Read, lines: impl Iterator<Item = u64>) -> HashMap<u64, String> {
    let mut wanted: Vec<u64> = lines.collect();
    wanted.sort_unstable_by(|a, b| b.cmp(a));
    let mut rows = HashMap::new();
    let mut lines = Lines::new(text);
    // Rows may overlap: where a quote opens a row, the end of another may be a problem's own line.
    let mut open: Vec<Row> = Vec::new();
    while !(wanted.is_empty() && open.is_empty()) {
        let starts = wanted.pop_if(|line| *line <= lines.number);
        let keep = starts.is_some() || !open.is_empty();
        let mut line = Vec::new();
        let more = lines.read(keep.then_some(&mut line));
        open.extend(starts.map(Row::new));
        open.retain_mut(|row| {
            let whole = row.take(&line) || !more;
            if whole {
                rows.insert(row.line, String::from_utf8_lossy(&row.text).into_owned());
            }
            !whole
        });
        if !more {
            break;
        }
    }
    rows
}

/// A row, read so far.
struct Row {
    line: u64,
    text: Vec<u8>,
    /// A quote is open. That is an estimate: a stray one makes the row longer here, and no more.
    quoted: bool,
}

impl Row {
    fn new(line: u64) -> Self {
        Self {
            line,
            text: Vec::new(),
            quoted: false,
        }
    }

    /// Takes its next line; says whether it is whole.
    fn take(&mut self, line: &[u8]) -> bool {
        self.text.extend_from_slice(line);
        self.quoted ^= memchr::memchr_iter(b'"', line).count() % 2 == 1;
        !self.quoted || self.text.len() as u64 > MAX_RECORD
    }
}

/// Reads line by line, however lines end.
struct Lines<R> {
    text: BufReader<R>,
    /// The number of the next line.
    number: u64,
    after_cr: bool,
}

impl<R: Read> Lines<R> {
    fn new(text: R) -> Self {
        Self {
            text: BufReader::with_capacity(64 * 1024, text),
            number: 1,
            after_cr: false,
        }
    }

    /// Reads a line with what ends it; says whether there may be more.
    fn read(&mut self, mut line: Option<&mut Vec<u8>>) -> bool {
        loop {
            // What can't be decoded ends the text.
            let Ok(text @ [first, ..]) = self.text.fill_buf() else {
                return false;
            };
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                self.text.consume(1);
                continue;
            }
            let end = memchr::memchr2(b'\n', b'\r', text);
            let taken = end.map_or(text.len(), |end| end + 1);
            // No row is longer, and of a line that is, its beginning tells enough.
            if let Some(line) = line.as_deref_mut()
                && line.len() as u64 <= MAX_RECORD
            {
                line.extend_from_slice(&text[..taken]);
            }
            self.after_cr = text[taken - 1] == b'\r';
            self.text.consume(taken);
            if end.is_some() {
                self.number += 1;
                return true;
            }
        }
    }
}

/// The line of a row in which the meant cell begins.
fn excerpt(row: &str, problem: &Problem, delimiter: u8) -> Option<Excerpt> {
    let meant = match &problem.place.column {
        Some((number, _)) => cell(row, *number, delimiter)?,
        // The text breaks off right there.
        None if problem.kind == ProblemKind::Encoding => row.len()..row.len(),
        None => 0..row.trim_end().len(),
    };
    let breaks = |text: &str| text.replace("\r\n", "\n").matches(['\n', '\r']).count() as u64;
    let start = row[..meant.start]
        .rfind(['\n', '\r'])
        .map_or(0, |at| at + 1);
    let end = row[meant.start..]
        .find(['\n', '\r'])
        .map_or(row.len(), |at| meant.start + at);
    let mark = meant.start - start..meant.end.min(end) - start;
    let (text, mark) = window(&row[start..end], mark);
    Some(Excerpt {
        line: problem.place.line + breaks(&row[..start]),
        text,
        mark,
    })
}

/// Where a cell of a row stands, by its number, without the blanks around it.
fn cell(row: &str, number: usize, delimiter: u8) -> Option<Range<usize>> {
    let mut start = 0;
    for _ in 1..number {
        start = cell_end(row, start, delimiter)? + 1;
    }
    let end = cell_end(row, start, delimiter).unwrap_or(row.len());
    let text = trim(&row[start..end]);
    let start = start + row[start..end].find(text).unwrap_or(0);
    Some(start..start + text.len())
}

/// The delimiter after the cell that begins at `start`.
fn cell_end(row: &str, start: usize, delimiter: u8) -> Option<usize> {
    let mut at = start;
    if row[start..].starts_with('"') {
        at += 1;
        loop {
            at += memchr::memchr(b'"', &row.as_bytes()[at..])? + 1;
            if !row[at..].starts_with('"') {
                break;
            }
            at += 1;
        }
    }
    Some(at + memchr::memchr(delimiter, &row.as_bytes()[at..])?)
}

/// A part of a line around a mark, with what can't be seen escaped, and the mark in it.
fn window(line: &str, mark: Range<usize>) -> (String, Range<usize>) {
    let before = line[..mark.start].char_indices().rev().nth(BEFORE - 1);
    let all = line.chars().nth(SHOWN).is_none();
    let from = before.filter(|_| !all).map_or(0, |(at, _)| at);
    let to = line[from..]
        .char_indices()
        .nth(SHOWN)
        .map_or(line.len(), |(at, _)| from + at);
    let mut text = if from > 0 {
        "…".to_owned()
    } else {
        String::new()
    };
    push_shown(&mut text, &line[from..mark.start]);
    let start = text.len();
    push_shown(&mut text, &line[mark.start..mark.end.min(to)]);
    let end = text.len();
    push_shown(&mut text, &line[mark.end.min(to)..to]);
    if to < line.len() {
        text.push('…');
    }
    (text, start..end)
}

fn push_shown(text: &mut String, piece: &str) {
    for c in piece.chars() {
        match c {
            // Not escaped, so that the cells stay apart.
            '\t' => text.push(c),
            _ => push_visible(text, c),
        }
    }
}
