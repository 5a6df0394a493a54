//! Helpers that several modules share. They don't depend on the domain.

pub(crate) mod backoff;
pub(crate) mod blocking;
pub(crate) mod error_chain;
pub(crate) mod http;
pub(crate) mod letter_counts;
pub(crate) mod random;
pub(crate) mod sync;
pub(crate) mod text;
pub(crate) mod window;
