//! The folder of the reports.

use super::cells::{MARK, write_row};
use super::rows::{ReportRow, ReportStatus, RowReport};
use crate::settings::SourceSettings;
use chrono::{DateTime, Utc};
use rustix::fs::OFlags;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const HEADER: [&str; 6] = ["file", "line", "email", "op", "outcome", "detail"];

/// Reports that are kept.
const MAX_REPORTS: usize = 50;

/// The folder for the reports of one roster.
#[derive(Clone, Debug)]
pub struct ReportFolder {
    reports: PathBuf,
    roster: PathBuf,
    stem: String,
}

/// A report that was written.
#[derive(Debug)]
pub struct RunReport {
    /// The overall status.
    pub status: ReportStatus,
    /// The file.
    pub bytes: Vec<u8>,
}

/// A report can't be written.
#[derive(Debug, thiserror::Error)]
#[error(
    "can't write the row report to {} (source.reports): {source}; give the service user write \
     permission, or set source.reports = \"\"",
    .folder.display()
)]
pub struct ReportError {
    folder: PathBuf,
    source: io::Error,
}

impl ReportFolder {
    /// The folder of these settings; `None` if `source.reports` or `source.path` is empty.
    #[must_use]
    pub fn of(settings: &SourceSettings) -> Option<Self> {
        let paths = settings.path.as_deref().zip(settings.reports.as_deref());
        paths.map(|(roster, reports)| Self::new(roster, reports))
    }

    /// The folder for the roster at a path. `reports` is relative to the folder of the roster, or to
    /// the roster itself if it is a folder.
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

    /// The path of the folder. It is determined for each report, because a folder of rosters may be
    /// replaced by a file.
    fn path(&self) -> PathBuf {
        let parent = || self.roster.parent().unwrap_or(&self.roster);
        let base = if self.roster.is_dir() {
            &self.roster
        } else {
            parent()
        };
        base.join(&self.reports)
    }

    /// Writes a report, and removes an earlier report of the same run and all but the newest 50
    /// reports. Blocks.
    ///
    /// # Errors
    /// If the folder is not writable.
    pub fn write(
        &self,
        report: &RowReport,
        started: DateTime<Utc>,
    ) -> Result<PathBuf, ReportError> {
        let folder = self.path();
        self.try_write(&folder, report, started)
            .map_err(|source| ReportError { folder, source })
    }

    /// Whether the report of the run that started then is there. Blocks.
    #[must_use]
    pub fn has(&self, started: DateTime<Utc>) -> bool {
        self.open(started).is_ok_and(|found| found.is_some())
    }

    /// Reads the report of the run that started then; `None` if it is not there. Blocks.
    ///
    /// # Errors
    /// If the folder can't be read, or the report has more than `max` bytes.
    pub fn read(&self, started: DateTime<Utc>, max: u64) -> io::Result<Option<RunReport>> {
        let Some((status, mut file)) = self.open(started)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        let read = file.take(max + 1).read_to_end(&mut bytes)?;
        if read as u64 > max {
            let limit = bytesize::ByteSize(max);
            return Err(io::Error::other(format!(
                "it has more than {limit}; copy it from the folder of the reports"
            )));
        }
        Ok(Some(RunReport { status, bytes }))
    }

    /// The report of the run that started then.
    fn open(&self, started: DateTime<Utc>) -> io::Result<Option<(ReportStatus, File)>> {
        let folder = self.path();
        match refuse_link(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            checked => checked?,
        }
        let prefix = self.prefix(started);
        let mut found = ReportStatus::ALL.into_iter().filter_map(|status| {
            let path = folder.join(format!("{prefix}{}.csv", status.as_str()));
            Some((status, open_report(&path)?))
        });
        Ok(found.next())
    }

    /// The beginning of the name of the report of the run that started then.
    fn prefix(&self, started: DateTime<Utc>) -> String {
        format!("{}-{}-", self.stem, started.format("%Y%m%dT%H%M%S%3fZ"))
    }

    /// The error for a folder that does not respond.
    pub(super) fn unresponsive(&self) -> ReportError {
        // The configured path: `path()` would access the file system that hangs.
        ReportError {
            folder: self.reports.clone(),
            source: io::Error::new(io::ErrorKind::TimedOut, "the file system is unresponsive"),
        }
    }

    fn try_write(
        &self,
        folder: &Path,
        report: &RowReport,
        started: DateTime<Utc>,
    ) -> io::Result<PathBuf> {
        // Does not create parent folders: if the roster's folder is unavailable, an empty one must not
        // take its place.
        match std::fs::create_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => created?,
        }
        refuse_link(folder)?;
        let run = self.prefix(started);
        let path = folder.join(format!("{run}{}.csv", report.status.as_str()));
        let mut file = tempfile::Builder::new()
            .prefix(".omni-user-sync-")
            .suffix(".tmp")
            .tempfile_in(folder)?;
        write_csv(file.as_file_mut(), &report.rows)?;
        if let Ok(roster) = std::fs::metadata(&self.roster) {
            // Users who can read the roster can read the report.
            let mode = roster.permissions().mode() & 0o666;
            file.as_file()
                .set_permissions(PermissionsExt::from_mode(mode))?;
        }
        file.as_file().sync_all()?;
        file.persist(&path)?;
        self.remove_old(folder, &run, &path)?;
        Ok(path)
    }

    /// Removes earlier reports of this run, and the oldest reports beyond the limit. Files that are not reports by
    /// their name and their first line are left unchanged.
    fn remove_old(&self, folder: &Path, run: &str, written: &Path) -> io::Result<()> {
        let mut reports: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if !self.is_report(name) || open_report(&path).is_none() {
                continue;
            }
            if name.starts_with(run) && path != written {
                std::fs::remove_file(&path)?;
            } else {
                reports.push(path);
            }
        }
        // The names contain the time.
        reports.sort();
        let excess = reports.len().saturating_sub(MAX_REPORTS);
        reports[..excess].iter().try_for_each(std::fs::remove_file)
    }

    fn is_report(&self, name: &str) -> bool {
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
                    && ReportStatus::ALL.iter().any(|it| it.as_str() == status)
            })
    }
}

/// A writer of the roster's folder could make this program read, write and remove files elsewhere.
fn refuse_link(folder: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(folder)?.is_symlink() {
        true => Err(io::Error::other("it is a link; it must be a folder")),
        false => Ok(()),
    }
}

/// Opens a file that begins as every report does. It is neither a link nor a pipe.
fn open_report(path: &Path) -> Option<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = File::options();
    let options = options.read(true).custom_flags(flags.bits().cast_signed());
    let mut file = options.open(path).ok()?;
    let expected = format!("{MARK}{}\n", HEADER.join(","));
    let mut begin = vec![0; expected.len()];
    let is_file = file.metadata().ok()?.is_file();
    let is_report = is_file && file.read_exact(&mut begin).is_ok() && begin == expected.as_bytes();
    is_report.then_some(file)
}

fn write_csv(file: &mut File, rows: &[ReportRow]) -> io::Result<()> {
    file.write_all(MARK.as_bytes())?;
    let mut writer = csv::Writer::from_writer(io::BufWriter::new(file));
    writer.write_record(HEADER)?;
    for ReportRow {
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
        write_row(&mut writer, cells)?;
    }
    writer.flush()
}
