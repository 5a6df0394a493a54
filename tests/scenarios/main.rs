//! Whatever comes in whatever order: random scenarios against the stand-in for Omni, under time that hurries.

mod campaign;
mod clock;
mod model;
#[path = "../support/mod.rs"]
mod support;
