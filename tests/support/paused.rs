//! Paused time.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// Stops the paused clock until dropped, so that only the test advances it. Otherwise it also jumps to the next timer
/// while a run waits for another thread, such as that of the state database.
#[must_use]
pub struct HeldClock {
    /// Closes when this is dropped, which ends the blocking task.
    _open: Sender<()>,
}

impl HeldClock {
    const LIMIT: Duration = Duration::from_secs(60);

    pub fn new() -> Self {
        let (open, closed) = channel();
        // Paused time does not advance on its own while a blocking task runs.
        drop(tokio::task::spawn_blocking(move || closed.recv().ok()));
        Self { _open: open }
    }

    /// Waits until the condition holds, without advancing the clock.
    pub async fn until(&self, condition: impl Fn() -> bool) {
        // Real time, because the clock stands still: a condition that never holds fails the test instead of hanging it.
        let start = std::time::Instant::now();
        while !condition() {
            assert!(start.elapsed() < Self::LIMIT, "the condition never held");
            tokio::task::yield_now().await;
        }
    }

    /// Runs something to its end while the clock is 20 times as fast, for work with long pauses between responses.
    pub async fn hasten<T>(&self, work: impl Future<Output = T>) -> T {
        const STEP: Duration = Duration::from_millis(1);
        let mut work = std::pin::pin!(work);
        loop {
            let step = tokio::task::spawn_blocking(|| std::thread::sleep(STEP));
            tokio::select! {
                result = &mut work => return result,
                _ = step => self.advance(20 * STEP).await,
            }
        }
    }

    pub async fn advance(&self, time: Duration) {
        tokio::time::advance(time).await;
    }
}

/// A property test under paused time: each case takes a runtime of its own.
pub fn paused<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(test)
}
