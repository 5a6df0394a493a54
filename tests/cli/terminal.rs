//! A command at a terminal.

use crate::support::World;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command};

/// A command at a terminal.
pub(crate) struct Session {
    terminal: File,
    child: Child,
    shown: String,
}

impl Session {
    pub(crate) fn start(world: &World, arguments: &[&str]) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&terminal).expect("granted");
        unlockpt(&terminal).expect("unlocked");
        let name = ptsname(&terminal, Vec::new()).expect("a name");
        let mut options = OpenOptions::new();
        let side = options
            .read(true)
            .write(true)
            .open(name.to_str().expect("text"));
        let side = side.expect("opens");
        let child = Command::new(env!("CARGO_BIN_EXE_omni-user-sync"))
            .args(arguments)
            .env_clear()
            .envs(world.variables())
            .current_dir(world.folder.path())
            .stdin(side.try_clone().expect("cloned"))
            .stdout(side.try_clone().expect("cloned"))
            .stderr(side)
            .spawn()
            .expect("it runs");
        Self {
            terminal: terminal.into(),
            child,
            shown: String::new(),
        }
    }

    /// Waits for a question and answers it. Returns what was shown before it.
    pub(crate) fn answer(&mut self, question: &str, answer: &str) -> String {
        let shown = self.until(question);
        writeln!(self.terminal, "{answer}").expect("typed");
        shown
    }

    /// Waits for a question. Returns what was shown before it.
    pub(crate) fn until(&mut self, question: &str) -> String {
        while !self.shown.contains(question) {
            let more = self.read();
            assert!(more, "no {question:?} in {:?}", self.shown);
        }
        let (before, after) = self.shown.split_once(question).expect("contained");
        let (before, after) = (before.replace('\r', ""), after.to_owned());
        self.shown = after;
        before
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("is sent");
    }

    /// Whether the terminal shows what is typed.
    pub(crate) fn echoes(&self) -> bool {
        let modes = tcgetattr(&self.terminal).expect("the modes").local_modes;
        modes.contains(LocalModes::ECHO)
    }

    fn read(&mut self) -> bool {
        let mut bytes = [0; 1024];
        // A terminal whose other side is closed can't be read.
        let count = self.terminal.read(&mut bytes).unwrap_or(0);
        self.shown
            .push_str(&String::from_utf8_lossy(&bytes[..count]));
        count > 0
    }

    /// The exit code, and what was shown since the last answer.
    pub(crate) fn end(&mut self) -> (Option<i32>, String) {
        while self.read() {}
        let code = self.child.wait().expect("it ends").code();
        (code, std::mem::take(&mut self.shown).replace('\r', ""))
    }
}
