//! What is remembered.

mod memory;
mod words;

pub use memory::{Memory, Quarantined};
pub use words::{Counts, Kind, Outcome, Trigger};
