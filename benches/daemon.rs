//! The daemon as it is deployed, beside a benchmark.

#![allow(unreachable_pub, missing_docs)] // each benchmark has its own

use crate::support::World;
use std::process::{Child, Command, Stdio};

/// The daemon, killed at the end.
pub struct Daemon(Child);

impl Daemon {
    pub fn start(world: &World) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_omni-user-sync"))
            .arg("run")
            .env_clear()
            .envs(world.variables())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("the daemon starts"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A roster that appears whole.
pub fn replace_roster(world: &World, text: &str) {
    let beside = world.folder.path().join("users.csv.part");
    std::fs::write(&beside, text).expect("written");
    std::fs::rename(&beside, world.roster_path()).expect("renamed");
}
