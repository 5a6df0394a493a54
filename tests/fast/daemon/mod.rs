//! The daemon through its public interface.

mod cycle;
mod triggers;
mod watch;
mod whole;
