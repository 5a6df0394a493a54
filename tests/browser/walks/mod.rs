//! The walks, one per file.

pub mod keyboard;
mod look;
pub mod operator;
mod preview;
mod runs;
pub mod status;
pub mod without_script;
