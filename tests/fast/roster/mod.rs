//! Reading a roster through the public API: every rule of "The roster" in the README, and the exact
//! messages.

mod doubts;
mod files;
mod header;
mod properties;
mod removal;
mod rows;
mod settled;
mod source;
mod support;
mod values;
