//! Reading a roster, through the public surface: every rule of the README's "The roster", and
//! the exact words that a person gets to read.

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
