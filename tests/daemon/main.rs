//! The daemon, part by part, through its public surface.

mod cycle;
mod server;
mod watch;
mod whole;
