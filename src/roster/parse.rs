//! The records of one file → its rows, or the problems for which the file is rejected.

use super::budget::{Budget, MAX_PROBLEMS};
use super::entries::{Entries, RowEntry, RowSender};
use super::format::CsvFormat;
use super::header::{Columns, has_email};
use super::lints::Lints;
use super::records::{Chunk, Chunks, FileText, Records};
use super::row::{BadRow, Doubt, RowReader, ValidRow};
use super::scanner::ScanError;
use super::text::Issue;
use crate::model::{DoubtfulRow, Email, Entry, Location, Problem, ProblemKind, Schema};
use crate::settings::SourceSettings;
use ::csv::StringRecord;
use std::io::Read;
use std::sync::Arc;
use std::thread;

/// The rows of one file.
#[derive(Debug)]
pub(super) struct ParsedFile {
    pub(super) file: Arc<str>,
    pub(super) entries: Entries,
    pub(super) bad: Vec<Problem>,
    pub(super) doubtful: Vec<DoubtfulRow>,
    pub(super) lints: Vec<Problem>,
    pub(super) frozen: Vec<(Email, Location)>,
    /// The number of invalid rows without a readable email.
    pub(super) unnamed: u64,
    /// The number of rows that are not blank, including bad ones.
    pub(super) count: u64,
    /// The budget that is left for the next files.
    pub(super) budget: Budget,
}

/// Parses a file of `size` bytes. An error rejects the whole file.
pub(super) fn parse(
    bytes: impl Read + Send,
    size: u64,
    file: &Arc<str>,
    settings: &SourceSettings,
    schema: &Schema,
    budget: Budget,
) -> Result<ParsedFile, Vec<Problem>> {
    let text = FileText::new(bytes, settings.encoding);
    let format = CsvFormat::detect(text.head(), settings.delimiter, has_email);
    let row_estimate = text.lines_in(size).min(budget.rows);
    let chunks = Chunks::new(text, &format);
    thread::scope(|scope| {
        let records = Records::new(chunks.read_ahead(scope), format.delimiter);
        parse_records(
            records,
            row_estimate,
            &format,
            file,
            settings,
            schema,
            budget,
        )
    })
}

fn parse_records(
    mut records: Records<impl Iterator<Item = Chunk>>,
    row_estimate: usize,
    format: &CsvFormat,
    file: &Arc<str>,
    settings: &SourceSettings,
    schema: &Schema,
    budget: Budget,
) -> Result<ParsedFile, Vec<Problem>> {
    let failed = |error: ScanError| vec![error.issue.at(Location::line(file, error.line))];

    let Some((line, record)) = records.next().map_err(failed)? else {
        return Err(vec![empty().at(Location::line(file, 0))]);
    };
    let header = Location::line(file, line);
    let columns = Columns::new(record, &header, schema)?;
    let mut rows = RowReader::new(&columns, file, format.delimiter, settings.blank_cells);
    let mut lints = Lints::new(&columns);
    let (mut parsed, entries) = Entries::collect(row_estimate, |valid| {
        let mut parsed = ParsedFile::new(file.clone(), budget);
        while let Some((line, record)) = records.next().map_err(failed)? {
            parsed.take(&mut rows, record, line, &mut lints, valid)?;
        }
        Ok(parsed)
    })?;
    if parsed.count == 0 {
        return Err(vec![no_rows().at(Location::line(file, 0))]);
    }
    parsed.entries = entries;
    parsed.lints = lints.finish(&columns, &header, settings.blank_cells);
    Ok(parsed)
}

fn empty() -> Issue {
    Issue::new(
        "the file is empty",
        "write a header (op,email,display_name and the attributes) and one row per user",
    )
    .kind(ProblemKind::Empty)
}

fn no_rows() -> Issue {
    Issue::new(
        "the file has a header and no rows",
        "write one row per user; a roster without rows is treated as a mistake",
    )
    .kind(ProblemKind::Empty)
}

impl ParsedFile {
    fn new(file: Arc<str>, budget: Budget) -> Self {
        Self {
            file,
            entries: Entries::default(),
            bad: Vec::new(),
            doubtful: Vec::new(),
            lints: Vec::new(),
            frozen: Vec::new(),
            unnamed: 0,
            count: 0,
            budget,
        }
    }

    /// Takes a row. An error rejects the file.
    fn take(
        &mut self,
        rows: &mut RowReader<'_>,
        record: &StringRecord,
        line: u64,
        lints: &mut Lints,
        valid: &mut RowSender,
    ) -> Result<(), Vec<Problem>> {
        self.count += 1;
        if record.len() == rows.columns.labels.len()
            && let Some(at) = rows.columns.find_unnamed(record)
        {
            let location = Location {
                column: Some((at + 1, "no header".into())),
                ..Location::line(&self.file, line)
            };
            return Err(vec![no_header().at(location)]);
        }
        let over_budget = |issue: Issue| vec![issue.at(Location::line(&self.file, line))];
        self.budget.take_row().map_err(over_budget)?;
        match rows.read(record, line) {
            Ok(row) => {
                let ValidRow {
                    email,
                    want,
                    groups,
                    doubt,
                } = row;
                let named = groups.as_ref().map_or(0, |groups| groups.cell.names.len());
                self.budget.take_values(&want, named).map_err(over_budget)?;
                lints.op(record, line);
                if want.spec().is_some() {
                    lints.row(record, line, want.leaving().is_none());
                }
                if groups.as_ref().is_some_and(|groups| groups.has_repeats) {
                    lints.repeated_group(line);
                }
                let location = Location::line(&self.file, line);
                let row = RowEntry {
                    entry: Entry { want, location },
                    groups: groups.map(|groups| groups.cell),
                };
                match doubt {
                    None => valid.push(email, row),
                    Some(doubt) => self.take_doubtful(email, row, *doubt)?,
                }
                Ok(())
            }
            Err(bad) => self.take_bad(bad, line),
        }
    }

    fn take_doubtful(
        &mut self,
        email: Email,
        row: RowEntry,
        Doubt { problem, meant }: Doubt,
    ) -> Result<(), Vec<Problem>> {
        let count = meant.len().max(1);
        self.doubtful.push(DoubtfulRow {
            email,
            entry: row.entry,
            groups: row.groups,
            problem,
            meant,
        });
        match self.budget.take_problems(count) {
            Some(()) => Ok(()),
            None => Err(self.too_many_problems()),
        }
    }

    fn take_bad(&mut self, bad: BadRow, line: u64) -> Result<(), Vec<Problem>> {
        let location = Location::line(&self.file, line);
        let count = bad.problems.len().max(bad.frozen.len());
        self.bad.extend(bad.problems);
        if self.budget.take_problems(count).is_none() {
            return Err(self.too_many_problems());
        }
        self.frozen.extend(
            bad.frozen
                .into_iter()
                .map(|email| (email, location.clone())),
        );
        self.unnamed += u64::from(bad.unnamed);
        Ok(())
    }

    /// Points to the first problem without its message: problems of a rejected file are logged, and a
    /// log must not contain values.
    fn too_many_problems(&self) -> Vec<Problem> {
        let doubtful = self.doubtful.iter().map(|row| &row.problem);
        let problems = self.bad.iter().chain(doubtful);
        let first = problems.map(|problem| problem.location.line).min();
        let issue = Issue::new(
            format!(
                "the roster has more than {MAX_PROBLEMS} problems in its rows, in this file from here on"
            ),
            "check that this file is the roster and how it was exported",
        );
        vec![
            issue
                .kind(ProblemKind::LimitExceeded)
                .at(Location::line(&self.file, first.unwrap_or(0))),
        ]
    }
}

pub(super) fn no_header() -> Issue {
    Issue::new(
        "this cell is not blank and its column has no header",
        "name the column in the header, or clear the cell",
    )
    .kind(ProblemKind::Column)
}

#[cfg(test)]
mod tests {
    use super::super::scanner::MAX_RECORD;
    use super::*;
    use crate::settings::{KeySource, RawSettings, Settings};

    fn settings() -> SourceSettings {
        let all = Settings::check(RawSettings::default(), KeySource::default());
        all.expect("the defaults are valid").source
    }

    /// Parses a text within a budget of rows, values and problems.
    fn within(text: &str, [rows, values, problems]: [usize; 3]) -> Result<ParsedFile, String> {
        let budget = Budget {
            rows,
            values,
            problems,
        };
        let schema = Schema::unknown();
        let parsed = parse(
            text.as_bytes(),
            text.len() as u64,
            &"a.csv".into(),
            &settings(),
            &schema,
            budget,
        );
        parsed.map_err(|problems| problems[0].to_string())
    }

    #[test]
    fn rows_values_and_problems_are_limited() {
        let text = "email,x,y\na@x.co,,\nb@x.co,\"[1,2,3]\",1\nc\n";
        let parsed = within(text, [3, 6, 1]).expect("exactly the budget");
        let Budget {
            rows,
            values,
            problems,
        } = parsed.budget;
        assert_eq!([rows, values, problems], [0, 0, 0]);
        for (left, expected) in [
            (
                [2, 6, 1],
                "a.csv:4: the roster exceeds the limit of 5000000 rows here",
            ),
            (
                [3, 5, 1],
                "a.csv:3: the roster exceeds the limit of 20000000 attribute values here",
            ),
            (
                [3, 6, 0],
                "a.csv:4: the roster has more than 100000 problems",
            ),
        ] {
            let error = within(text, left).expect_err(expected);
            assert!(error.starts_with(expected), "{error}");
        }
        let many = format!("email,x\n{}\n", "a@x.co,".repeat(50));
        assert!(
            within(&many, [1, 1, 49]).is_err(),
            "each frozen address counts"
        );
    }

    #[test]
    fn a_one_gigabyte_line_fails_early() {
        for start in ["email\na@x.co,", "email\n\"", "email,"] {
            let mut rest = std::io::repeat(b'x').take(1 << 30);
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
                    .message
                    .contains("longer than 1 MiB")
            );
            assert!((1 << 30) - rest.limit() < 2 * MAX_RECORD, "{start}");
        }
    }
}
