//! Files about runs: row reports, the outcome of each row, for the person who provides the roster; the changes of a run
//! as CSV; and the files that undo a run. [`run`](crate::run) determines the outcomes; this module writes the files.
//!
//! The rules of this module:
//!
//! - A report is written to a temporary file and renamed, so readers never see a partial one.
//! - A report contains values and has the file permissions of the roster.
//! - A cell that a spreadsheet would run as a formula is neutralised, because the roster is untrusted.
//! - Each content of the roster is reported once. A run of over a minute writes interim reports.
//! - A folder that is not writable or that hangs causes a warning, and never fails a run.

mod cells;
pub mod changes;
mod folder;
mod reporter;
mod rows;
mod undo;
mod undo_groups;
mod undo_roles;

pub use folder::{ReportError, ReportFolder, RunReport};
pub use reporter::Reporter;
pub use rows::{ReportRow, ReportStatus, RowReport};
pub use undo::{Undo, undo};
pub use undo_groups::undo_groups;
pub use undo_roles::undo_roles;
