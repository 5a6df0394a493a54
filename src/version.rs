//! What is running: build.rs finds it out.

/// The version, with the commit in a release that knows it: `0.1.0 (0123456789ab)`.
pub(crate) const VERSION: &str = env!("OMNI_USER_SYNC_VERSION");

/// The version's number.
pub(crate) const NUMBER: &str = env!("CARGO_PKG_VERSION");

/// The commit; empty where it is not known.
pub(crate) const COMMIT: &str = env!("OMNI_USER_SYNC_BUILT_OF");
