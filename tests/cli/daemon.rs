//! A daemon as a process, and a wait for what it does.

use crate::support::World;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A daemon that is killed at the end of the test.
pub(crate) struct Daemon(Child);

impl Daemon {
    pub(crate) fn start(world: &World) -> Self {
        Self::logging_to(world, Stdio::null())
    }

    pub(crate) fn logging_to(world: &World, log: impl Into<Stdio>) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_omni-user-sync"))
            .arg("run")
            .env_clear()
            .envs(world.variables())
            .current_dir(world.folder.path())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Self(child.expect("it runs"))
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("its state").is_none()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until a condition holds, for up to a minute.
pub(crate) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(waited.is_ok(), "{what}");
}
