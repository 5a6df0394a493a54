//! Progress of a long run in the log. It needs its own process: whether a line is logged is decided once for
//! all threads.
#![cfg(feature = "sandbox")]

mod support;

use omni_user_sync::sandbox::Options;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{World, assert_converged};

/// The log of this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn start(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn lines_with(&self, text: &str) -> Vec<String> {
        let log = self.0.lock().expect("no panic");
        let log = String::from_utf8_lossy(&log);
        let lines = log.lines().filter(|line| line.contains(text));
        lines.map(str::to_owned).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_run_logs_its_progress() {
    let options = Options {
        users: 1_000,
        requests_per_minute: 10,
        ..Options::default()
    };
    let world = World::with(options).await;
    let rows = (1..26).map(|number| format!("user{number:04}@example.com,Name {number}\n"));
    world.roster(&format!("email,display_name\n{}", rows.collect::<String>()));
    let log = Log::default();
    let started = tokio::time::Instant::now();
    let outcome = {
        let _logging = log.start();
        world.run().await
    };
    assert_converged(&outcome);
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(180), "{took:?}");
    let reading = log.lines_with("reading Omni");
    assert!(reading[0].contains("requests_left="), "{reading:?}");
    let [said, progress @ ..] = &log.lines_with("changing Omni")[..] else {
        panic!("nothing was said");
    };
    assert!(said.contains("changes=25 requests=25 seconds="), "{said}");
    assert!(progress[0].contains("ended="), "{progress:?}");
    let told = reading.len() + 1 + progress.len();
    assert!(
        log.lines_with("run{number=1}:").len() >= told,
        "{reading:?}"
    );
    // Paused time also advances while the state database is written, when nothing is logged.
    assert!(told as u64 * 2 >= took.as_secs() / 10, "{told} in {took:?}");
}
