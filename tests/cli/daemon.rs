//! A daemon as a process, and a wait for what it does.

use crate::support::World;
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_omni-user-sync");

/// A daemon that is killed at the end of the test.
pub(crate) struct Daemon(Child);

impl Daemon {
    pub(crate) fn start(world: &World) -> Self {
        Self::logging_to(world, Stdio::null())
    }

    pub(crate) fn logging_to(world: &World, log: impl Into<Stdio>) -> Self {
        let mut command = Command::new(PROGRAM);
        Self::spawn(world, command.arg("run").stderr(log))
    }

    /// Started by a line of a shell, in which `$0` is the program.
    pub(crate) fn by(world: &World, line: &str) -> Self {
        let mut command = Command::new("/bin/sh");
        Self::spawn(
            world,
            command.args(["-c", line, PROGRAM]).stderr(Stdio::null()),
        )
    }

    fn spawn(world: &World, command: &mut Command) -> Self {
        let child = command
            .env_clear()
            .envs(world.variables())
            .current_dir(world.folder.path())
            .stdout(Stdio::null())
            .spawn();
        Self(child.expect("it runs"))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("is sent");
    }

    /// Waits for its end, for up to a minute.
    pub(crate) async fn wait(&mut self) -> Option<i32> {
        eventually("it ends", || !self.is_running()).await;
        self.0.wait().expect("it has ended").code()
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
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(waited.is_ok(), "{what}");
}
