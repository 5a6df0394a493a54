//! Lints on files as the file system shows them.

use super::text::{Issue, visible_name};
use crate::file_system;
use crate::model::{FileRead, Location, Problem, ProblemKind};
use chrono::{DateTime, SecondsFormat, Utc};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// The endings of workbooks, which people take for the roster.
const WORKBOOKS: [&str; 5] = ["xlsx", "xlsm", "xlsb", "xls", "ods"];

fn lint(kind: ProblemKind, name: &Arc<str>, message: &str, remedy: &str) -> Problem {
    let issue = Issue::new(message, remedy).kind(kind);
    issue.at(Location::line(name, 0))
}

/// A lint on a file without links. A file that is mounted alone stays the old one if another one is renamed over it on
/// the host. On a share, the number of links means nothing.
pub(super) fn replaced(name: &Arc<str>, path: &Path, metadata: &Metadata) -> Option<Problem> {
    let is_replaced =
        metadata.is_file() && metadata.nlink() == 0 && file_system::shared(path).is_none();
    is_replaced.then(|| {
        lint(
            ProblemKind::ReplacedFile,
            name,
            "this file was replaced or removed where it comes from (link count 0), and its mount still shows the old one",
            "mount the folder instead of the file, and set source.path to the file in it",
        )
    })
}

/// A lint on a workbook in the folder of the roster, except for hidden files and lock files of spreadsheet programs.
pub(super) fn workbook(name: &OsStr) -> Option<Problem> {
    let bytes = name.as_encoded_bytes();
    let is_temporary = bytes.starts_with(b".") || bytes.starts_with(b"~$");
    let extension = Path::new(name).extension()?;
    let is_workbook = WORKBOOKS
        .iter()
        .any(|workbook| extension.eq_ignore_ascii_case(workbook));
    (is_workbook && !is_temporary).then(|| {
        lint(
            ProblemKind::PassedOver,
            &visible_name(name).into(),
            "this workbook is not read",
            "save it as 'CSV UTF-8', or move it elsewhere",
        )
    })
}

/// A lint on a file dated in the future.
pub(super) fn future(file: &FileRead, now: SystemTime) -> Option<Problem> {
    file.is_in_future(now).then(|| {
        let time = DateTime::<Utc>::from(file.modified).to_rfc3339_opts(SecondsFormat::Secs, true);
        lint(
            ProblemKind::FutureFile,
            &file.name,
            &format!("dated {time}, in the future"),
            "give it its real date (`touch -d`), and correct the clock that dated it",
        )
    })
}
