//! Reading a roster through the public API: every rule of docs/roster.md, and the exact
//! messages.

mod files;
mod groups;
mod groups_file;
mod header;
mod junk;
mod leaving;
mod lints;
mod properties;
mod removal;
mod roles;
mod rows;
mod source;
mod stable;
mod support;
mod values;
