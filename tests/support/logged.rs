//! What is logged, for tests that read it.

#![allow(dead_code, unreachable_pub)] // each test binary has its own, and uses a part of it

use std::sync::{Arc, Mutex};
use tracing::Level;
use tracing::subscriber::{DefaultGuard, set_default, set_global_default};

/// Takes what is logged, as text.
#[derive(Clone, Default)]
pub struct Logged(Arc<Mutex<Vec<u8>>>);

impl Logged {
    /// Takes what this thread logs while the guard lives.
    pub fn listen(&self) -> DefaultGuard {
        let written = self.clone();
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || written.clone());
        set_default(log.finish())
    }

    /// Takes all that any crate logs, whichever test it is in: what one thread listens to may be lost while
    /// others listen to nothing.
    pub fn listen_to_all(&self) {
        let written = self.clone();
        let log = tracing_subscriber::fmt().with_max_level(Level::TRACE);
        let log = log.with_writer(move || written.clone()).finish();
        set_global_default(log).expect("it is the only one");
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("text")
    }
}

impl std::io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
