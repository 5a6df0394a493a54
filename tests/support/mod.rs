//! What tests of any kind stand on.

#![allow(dead_code, unreachable_pub, unused_imports, missing_docs)] // each program uses its part

pub mod logged;
pub mod paused;
#[cfg(feature = "sandbox")]
mod world;

#[cfg(feature = "sandbox")]
pub use world::*;
