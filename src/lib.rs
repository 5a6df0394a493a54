//! Keeps the users of an Omni organisation and their attributes as a CSV says.

#[cfg(feature = "sandbox")]
pub mod sandbox;
