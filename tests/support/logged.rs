//! What is logged, for tests that read it.

use std::sync::{Arc, Mutex, OnceLock};
use tracing::subscriber::{DefaultGuard, set_default};
use tracing::{Dispatch, Level};
use tracing_subscriber::Registry;

/// Takes what is logged, as text.
#[derive(Clone, Default)]
pub struct Logged(Arc<Mutex<Vec<u8>>>);

impl Logged {
    /// Takes what this thread logs while the guard lives.
    pub fn listen(&self) -> DefaultGuard {
        self.listen_at(Level::INFO)
    }

    /// Takes what this thread logs at a level or above while the guard lives.
    pub fn listen_at(&self, level: Level) -> DefaultGuard {
        ask_every_thread();
        let written = self.clone();
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_max_level(level)
            .with_writer(move || written.clone());
        set_default(log.finish())
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

/// Where only one listens, `tracing` decides whether a line is wanted by the thread that comes upon it
/// first, for all threads and for good; a test that listens to nothing would silence the one that does.
/// With two it asks each time. The second listens to nothing and stays.
fn ask_every_thread() {
    static SECOND: OnceLock<Dispatch> = OnceLock::new();
    SECOND.get_or_init(|| Dispatch::new(Registry::default()));
}
