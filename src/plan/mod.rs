//! What would have to change, and what may: functions of values.
//!
//! The rules of the room: no I/O, no log, no clock. Only the guard makes a [`Verdict`].

mod change;
mod diff;
mod guard;
pub(crate) mod quarantine;
pub(crate) mod recover;
pub mod render;

pub use change::{Action, Change, FieldChange};
pub(crate) use change::{differences, edit_of};
pub use diff::{Blocked, Plan};
pub use guard::{Verdict, rule};
pub(crate) use guard::{is_approved, is_approved_past};
