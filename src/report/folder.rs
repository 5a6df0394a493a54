//! The folder that reports lie in.

use super::rows::{Report, Row};
use chrono::{DateTime, Utc};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// So many reports stay.
const KEPT: usize = 50;

/// A folder for the reports of one roster.
#[derive(Clone, Debug)]
pub struct Reports {
    reports: PathBuf,
    roster: PathBuf,
    stem: String,
}

/// Why a report was not written.
#[derive(Debug, thiserror::Error)]
#[error(
    "the row report can't be written to {} (source.reports): {source}; see to it that this program's \
     user may write there, or set source.reports = \"\"",
    .folder.display()
)]
pub struct ReportsError {
    folder: PathBuf,
    source: io::Error,
}

impl Reports {
    /// The reports of the roster at a path: `reports` is relative to the roster's folder, which is
    /// the roster itself where that is one.
    #[must_use]
    pub fn new(roster: &Path, reports: &Path) -> Self {
        let stem = roster.file_stem().unwrap_or_default().to_string_lossy();
        Self {
            reports: reports.to_owned(),
            roster: roster.to_owned(),
            stem: if stem.is_empty() {
                "roster".into()
            } else {
                stem.into_owned()
            },
        }
    }

    /// Where they lie now: a roster's folder may come and go.
    fn folder(&self) -> PathBuf {
        let parent = || self.roster.parent().unwrap_or(&self.roster);
        let home = if self.roster.is_dir() {
            &self.roster
        } else {
            parent()
        };
        home.join(&self.reports)
    }

    /// Writes a report, whole, and removes the oldest beyond the newest 50. One of the same run that
    /// was written before goes. Blocks.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn write(&self, report: &Report, started: DateTime<Utc>) -> Result<PathBuf, ReportsError> {
        let folder = self.folder();
        self.try_write(&folder, report, started)
            .map_err(|source| ReportsError { folder, source })
    }

    /// That the folder does not answer.
    pub(super) fn hangs(&self) -> ReportsError {
        let source = io::Error::new(io::ErrorKind::TimedOut, "it does not answer");
        // Not asked of the folder: it is the one that hangs.
        ReportsError {
            folder: self.reports.clone(),
            source,
        }
    }

    fn try_write(
        &self,
        folder: &Path,
        report: &Report,
        started: DateTime<Utc>,
    ) -> io::Result<PathBuf> {
        // Not what it lies in: the roster's own folder may be away, and must not come back empty.
        match std::fs::create_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        let run = format!("{}-{}-", self.stem, started.format("%Y%m%dT%H%M%S%3fZ"));
        let path = folder.join(format!("{run}{}.csv", report.status.as_str()));
        let mut file = tempfile::Builder::new()
            .prefix(".omni-user-sync-")
            .suffix(".tmp")
            .tempfile_in(folder)?;
        write_csv(file.as_file_mut(), &report.rows)?;
        if let Ok(roster) = std::fs::metadata(&self.roster) {
            // Whoever may read the roster may read what became of it.
            let mode = roster.permissions().mode() & 0o666;
            file.as_file()
                .set_permissions(PermissionsExt::from_mode(mode))?;
        }
        file.as_file().sync_all()?;
        file.persist(&path)?;
        self.tidy(folder, &run, &path)?;
        Ok(path)
    }

    /// Removes what this run wrote before, and the oldest beyond those that stay. Only files that
    /// are named as ours are.
    fn tidy(&self, folder: &Path, run: &str, written: &Path) -> io::Result<()> {
        let mut ours: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if name.starts_with(run) && path != written {
                std::fs::remove_file(&path)?;
            } else if self.is_ours(name) {
                ours.push(path);
            }
        }
        // The time in the name sorts them.
        ours.sort();
        let oldest = ours.len().saturating_sub(KEPT);
        ours[..oldest].iter().try_for_each(std::fs::remove_file)
    }

    fn is_ours(&self, name: &str) -> bool {
        let inner = name
            .strip_prefix(&self.stem)
            .and_then(|rest| rest.strip_prefix('-'));
        let inner = inner.and_then(|rest| rest.strip_suffix(".csv"));
        inner
            .and_then(|rest| rest.split_once("Z-"))
            .is_some_and(|(time, status)| {
                time.len() == 18
                    && time
                        .bytes()
                        .all(|byte| byte.is_ascii_digit() || byte == b'T')
                    && ["ok", "problems", "held", "rejected"].contains(&status)
            })
    }
}

fn write_csv(file: &mut std::fs::File, rows: &[Row]) -> io::Result<()> {
    // A spreadsheet takes what has no mark for its own old encoding.
    file.write_all("\u{feff}".as_bytes())?;
    let mut writer = csv::Writer::from_writer(io::BufWriter::new(file));
    writer.write_record(["file", "line", "email", "op", "outcome", "detail"])?;
    for Row {
        file,
        line,
        email,
        op,
        outcome,
        detail,
    } in rows
    {
        let line = if *line == 0 {
            String::new()
        } else {
            line.to_string()
        };
        let cells: [&str; 6] = [file, &line, email, op, outcome.as_str(), detail];
        writer.write_record(cells.map(harmless))?;
    }
    writer.flush()
}

/// A cell that no spreadsheet runs: one that begins like a formula gets an apostrophe in front, which
/// spreadsheets take for "this is text".
fn harmless(cell: &str) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{cell}")
    } else {
        cell.to_owned()
    }
}
