//! Whatever comes in whatever order: random scenarios against the mock server, under time that hurries.

mod campaign;
mod clock;
mod model;
#[path = "../support/mod.rs"]
mod support;
