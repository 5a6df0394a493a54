//! The process: a runtime, and the command line on it.

use omni_user_sync::cli::{self, Exit};
use omni_user_sync::shutdown;

fn main() -> Exit {
    shutdown::block_on(cli::main()).unwrap_or_else(|error| {
        cli::tell(&anyhow::Error::new(error).context("the runtime can't be started"))
    })
}
