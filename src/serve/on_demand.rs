//! Work that clients request, such as a lookup: one at a time of its kind, and bounded in time and in number.

use crate::util::window::SlidingWindow;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// The maximum number of requests of one kind per [`WINDOW`].
pub(super) const MAX_REQUESTS: usize = 6;
const WINDOW: Duration = Duration::from_secs(60);

/// The time limit of a request, including the wait for its turn. It is shorter than the time limit of a response.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Lines of an error message that are shown: a roster can have many problems.
const MAX_LINES: usize = 10;

/// Limits work of one kind. Work in progress holds the lock.
#[derive(Debug)]
pub(super) struct OnDemand(Arc<Mutex<SlidingWindow>>);

/// Why work has no result.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal {
    RateLimited(Duration),
    TimedOut,
}

impl OnDemand {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(SlidingWindow::new(WINDOW))))
    }

    /// Does the work, or says why not.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Refusal> {
        let turn = async {
            let mut recent = Arc::clone(&self.0).lock_owned().await;
            acquire(&mut recent, Instant::now()).map_err(Refusal::RateLimited)?;
            // The work keeps the lock to its end even if the client is gone: on a hung mount, it blocks a thread.
            let task = tokio::spawn(async move {
                let _recent = recent;
                work.await
            });
            task.await.map_err(|ended| match ended.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_shutting_down) => Refusal::TimedOut,
            })
        };
        let done = timeout(TIMEOUT, turn).await;
        done.unwrap_or(Err(Refusal::TimedOut))
    }
}

/// Counts a request, or returns the time to wait.
fn acquire(recent: &mut SlidingWindow, now: Instant) -> Result<(), Duration> {
    recent.expire(now);
    match recent.wait(MAX_REQUESTS, now) {
        Some(wait) => Err(wait),
        None => {
            recent.record(now);
            Ok(())
        }
    }
}

/// The first lines of a message.
pub(super) fn first_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().take(MAX_LINES).collect();
    let more = match text.lines().nth(MAX_LINES) {
        Some(_) => "\nand more",
        None => "",
    };
    lines.join("\n") + more
}
