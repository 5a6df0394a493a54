//! What wakes the loop: due times ([`schedule`]) and changes of the roster ([`watch`]).
//!
//! The rules of the room:
//!
//! - A trigger carries no data. It wakes the loop with a reason, which is for the log and the
//!   metrics; what there is to do, the run finds out itself.
//! - Wakes coalesce: ten while a run is under way make one more run.
//! - Nothing here waits for the source on an async thread: a mount can hang.

pub mod schedule;
mod wake;
pub mod watch;

pub use wake::Wake;
