//! Version and commit, set by build.rs.

/// The version, with the commit if known: `0.1.0 (0123456789ab)`.
pub(crate) const VERSION: &str = env!("BUILT_VERSION");

/// The version number.
pub(crate) const NUMBER: &str = env!("CARGO_PKG_VERSION");

/// The commit; empty if unknown.
pub(crate) const COMMIT: &str = env!("BUILT_COMMIT");
