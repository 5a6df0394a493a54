//! Helpers that several rooms share. Nothing here knows the domain.

pub(crate) mod backoff;
pub(crate) mod blocking;
pub(crate) mod error_chain;
pub(crate) mod http;
pub(crate) mod sync;
pub(crate) mod text;
pub(crate) mod window;
