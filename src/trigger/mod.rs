//! Triggers: due times ([`schedule`]) and changes of the roster ([`watch`]). Both only wake the loop.
//!
//! - A wake carries its reason, and whether a file has changed that the roster does not show; no other data. The run
//!   determines what to do. The watcher also publishes the fingerprint of the stable roster, so that the loop can skip a roster that it
//!   has read, stop a run whose roster has changed, and read a stable roster without waiting.
//! - Wakes coalesce: ten during a run cause one more run.
//! - The source is never accessed on an async thread, since a mount can hang.

pub mod schedule;
mod wake;
pub mod watch;

pub use wake::Wake;
