//! The daemon, part by part, through its public surface.

mod cycle;
mod watch;
mod whole;
