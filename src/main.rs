//! Starts the runtime and runs the command line on it.

use omni_user_sync::cli::{self, Exit};
use omni_user_sync::shutdown;

fn main() -> Exit {
    shutdown::block_on(cli::main()).unwrap_or_else(|error| {
        cli::report_error(&anyhow::Error::new(error).context("can't start the runtime"))
    })
}
