//! Blocking calls with a time limit.

use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Why a blocking call has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BlockingError {
    /// It takes longer than the limit. Its thread continues.
    #[error("timed out after {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The runtime is shutting down.
    #[error("the program is shutting down")]
    ShuttingDown,
}

/// Runs `work` on a blocking thread, since a call to a mounted file system can hang, and waits for it
/// up to `limit`. A panic in `work` continues in the caller.
///
/// # Errors
/// If there is no result in time.
pub(crate) async fn run<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BlockingError> {
    match timeout(limit, spawn_blocking(work)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(ended)) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Err(BlockingError::ShuttingDown),
        },
        Err(_elapsed) => Err(BlockingError::TimedOut(limit)),
    }
}
