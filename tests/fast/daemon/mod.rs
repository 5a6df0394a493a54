//! The daemon through its public interface.

mod cycle;
mod watch;
mod whole;
