//! Row reports: the outcome of each row, for the person who provides the roster.
//! [`run`](crate::run) determines the outcomes; this module writes the file.
//!
//! The rules of this module:
//!
//! - A report is written to a temporary file and renamed, so readers never see a partial one.
//! - A report contains values and has the file permissions of the roster.
//! - A cell that a spreadsheet would run as a formula is neutralised, because the roster is untrusted.
//! - Each content of the roster is reported once. A run of over a minute writes interim reports.
//! - A folder that is not writable or that hangs causes a warning, and never fails a run.

mod folder;
mod reporter;
mod rows;

pub use folder::{ReportError, ReportFolder};
pub use reporter::Reporter;
pub use rows::{ReportRow, ReportStatus, RowReport};
