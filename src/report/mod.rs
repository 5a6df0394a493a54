//! Row reports: what became of each row, for whoever dropped the file. What that is,
//! [`reconcile`](crate::run) says; here it becomes a file.
//!
//! The rules of the room:
//!
//! - A report is written whole and renamed: nobody ever sees half of one.
//! - It tells everything of its rows, values included; it is as readable as the roster itself.
//! - A cell that a spreadsheet would run as a formula is neutralised: a roster is anybody's text.
//! - Each content of the roster is reported on once, and a run of over a minute each minute.
//! - A folder that can't be written, or that hangs, is a warning, never a failed run.

mod folder;
mod reporter;
mod rows;

pub use folder::{Reports, ReportsError};
pub use reporter::Reporter;
pub use rows::{Report, Row, Status};
