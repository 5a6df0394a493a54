//! Shared by all test programs.

#![allow(dead_code, unreachable_pub, unused_imports, missing_docs)] // each program uses its part

use proptest::prelude::ProptestConfig;

pub mod logged;
pub mod paused;
pub mod results;
#[cfg(feature = "sandbox")]
mod world;

#[cfg(feature = "sandbox")]
pub use world::*;

/// The cases of an expensive property test: this many by default, and in proportion with `PROPTEST_CASES`.
pub fn cases(few: u32) -> ProptestConfig {
    const DEFAULT: u32 = 256;
    let few = (ProptestConfig::default().cases * few).div_ceil(DEFAULT);
    ProptestConfig::with_cases(few)
}
