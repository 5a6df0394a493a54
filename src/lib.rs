//! Keeps the users of an Omni organisation and their attributes as a CSV says.

pub mod cli;
pub mod daemon;
pub mod desired;
mod file_system;
pub mod journal;
pub mod metrics;
pub mod omni;
pub mod reconcile;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod serve;
pub mod settings;
pub mod shutdown;
pub mod telemetry;
pub mod trigger;
pub mod user;
