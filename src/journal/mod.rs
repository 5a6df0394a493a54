//! What is remembered.

mod memory;
mod words;

pub use memory::Memory;
pub use words::{Counts, Kind, Outcome, Trigger};
