//! One run: what is wanted and what is there become a plan, the guard rules on it, and what passes
//! is carried out.
//!
//! ```text
//! Desired + Observed + Memory + Policy → Plan → guard → Verdict → apply → RunOutcome
//! ```
//!
//! The rules of the room:
//!
//! - [`Plan::new`] and [`rule`] are functions of values: no I/O, no log, no clock.
//! - Looking has a reader, so that a dry run can't write; what is carried out is a [`Verdict`], which
//!   only the guard makes, and nothing is sent that the [`ChangeRecorder`] does not have.
//! - Not the first error: all of them. One user's failure never stops another's change.

mod apply;
mod close;
mod explain;
mod looking;
mod observe;
mod outcome;
mod prepare;
mod progress;
mod recorder;
mod row_report;
mod run;

pub use apply::CHANGES;
pub use explain::{Explanation, Next};
pub use observe::{Effect, ObservationCache};
pub use outcome::{AppliedChange, Completion, HeldRule, Roster, RunError, RunOutcome};
pub use prepare::{Prepared, Target};
pub use recorder::ChangeRecorder;
pub(crate) use recorder::fields_of;
pub use run::{Reconciler, Run, RunEvent, Stop, span};
