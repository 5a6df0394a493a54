//! Row reports: what became of each row, for whoever dropped the file.
//!
//! The rules of the room:
//!
//! - A report is written whole and renamed: nobody ever sees half of one.
//! - It tells everything of its rows, values included; it is as readable as the roster itself.
//! - A cell that a spreadsheet would run as a formula is neutralised: a roster is anybody's text.
//! - A folder that can't be written is a warning, never a failed run.

mod folder;
mod rows;

pub use folder::{Reports, ReportsError};
pub use rows::{Report, Row, Status};
