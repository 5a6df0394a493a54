//! Reading a stable roster.
//!
//! A file that is still being written looks like a shorter roster, or a broken one. So the roster is
//! used, and its problems are reported, only after it has been stable for `source.settle`.

use super::{SourceError, SourceReading};
use crate::model::Fingerprint;
use crate::util::blocking::{self, BlockingError};
use std::path::Path;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// The time after which a roster that keeps changing is an error; at least ten times `source.settle`.
const MAX_UNSTABLE: Duration = Duration::from_mins(3);

/// The maximum time of one read: enough for a gigabyte over a slow line.
const IO_TIMEOUT: Duration = Duration::from_mins(15);

/// The time that a reading took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadTime {
    pub(crate) start: Instant,
    pub(crate) end: Instant,
}

impl ReadTime {
    pub(crate) fn since(start: Instant) -> Self {
        let end = Instant::now();
        Self { start, end }
    }
}

/// Decides when a source is stable: all readings over at least `settle` are equal, measured from the end
/// of the first one to the start of the last one.
#[derive(Debug)]
pub(crate) struct StabilityDetector<T> {
    settle: Duration,
    /// The last reading, and the end of the first reading equal to it.
    candidate: Option<(T, Instant)>,
}

/// The result of a reading.
#[derive(Debug)]
pub(crate) enum Stability<T> {
    Stable(T),
    /// Read again at this time.
    Unstable(Instant),
}

impl<T: PartialEq> StabilityDetector<T> {
    pub(crate) fn new(settle: Duration) -> Self {
        Self {
            settle,
            candidate: None,
        }
    }

    /// The last reading, until it is stable.
    pub(crate) fn candidate(&self) -> Option<&T> {
        self.candidate.as_ref().map(|(candidate, _)| candidate)
    }

    /// Forgets all readings.
    pub(crate) fn reset(&mut self) {
        self.candidate = None;
    }

    /// Adds a reading.
    pub(crate) fn add(&mut self, reading: T, time: ReadTime) -> Stability<T> {
        let since = match self.candidate.take() {
            Some((candidate, since)) if candidate == reading => {
                if time.start >= since + self.settle {
                    return Stability::Stable(reading);
                }
                since
            }
            _ => time.end,
        };
        self.candidate = Some((reading, since));
        Stability::Unstable(since + self.settle)
    }
}

/// Reads a source once it is stable, as [`read_stable`](super::read_stable) does.
///
/// # Errors
/// As `read` and `fingerprint`; [`SourceError::StillChanging`]; [`SourceError::Unresponsive`].
pub(super) async fn read_until_stable<T: Send + 'static>(
    path: &Path,
    settle: Duration,
    stable_fingerprint: Option<Fingerprint>,
    read: impl Fn() -> Result<SourceReading<T>, SourceError> + Clone + Send + 'static,
    fingerprint: impl Fn() -> Result<Fingerprint, SourceError> + Clone + Send + 'static,
) -> Result<T, SourceError> {
    let give_up = Instant::now() + MAX_UNSTABLE.max(settle.saturating_mul(10));
    let mut detector = StabilityDetector::new(settle);
    loop {
        let start = Instant::now();
        let reading = blocking(path, read.clone()).await?;
        if is_stable(&reading, stable_fingerprint, settle) {
            return Ok(reading.outcome);
        }
        match detector.add(reading.fingerprint, ReadTime::since(start)) {
            Stability::Stable(_) if reading.is_unchanged => return Ok(reading.outcome),
            Stability::Stable(_) => {}
            Stability::Unstable(due) => sleep_until(due).await,
        }
        let start = Instant::now();
        let again = blocking(path, fingerprint.clone()).await?;
        if let Stability::Stable(_) = detector.add(again, ReadTime::since(start))
            && again == reading.fingerprint
            && reading.is_unchanged
        {
            return Ok(reading.outcome);
        }
        if Instant::now() >= give_up {
            return Err(SourceError::StillChanging {
                path: path.to_path_buf(),
            });
        }
    }
}

/// Runs `reading` until `stop` is cancelled. A read in progress is then abandoned, since it may hang.
///
/// # Errors
/// [`SourceError::Stopped`], or the error of `reading`.
pub async fn unless_stopped<T, E: From<SourceError>>(
    stop: &CancellationToken,
    reading: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let read = stop.run_until_cancelled(reading).await;
    read.unwrap_or(Err(SourceError::Stopped.into()))
}

/// Whether a reading is known to be stable without a second one.
fn is_stable<T>(
    reading: &SourceReading<T>,
    stable_fingerprint: Option<Fingerprint>,
    settle: Duration,
) -> bool {
    if !reading.is_unchanged {
        return false;
    }
    if let Some(stable_fingerprint) = stable_fingerprint {
        return stable_fingerprint == reading.fingerprint;
    }
    // A time in the future gives no age.
    let age = |touched| SystemTime::now().duration_since(touched).ok();
    reading
        .touched
        .and_then(age)
        .is_some_and(|age| age >= settle)
}

/// Runs file system calls for `path` off the async threads, since a mount can hang. Work that does not
/// end in time is abandoned.
///
/// # Errors
/// The error of `work`, or [`SourceError::Unresponsive`] after [`IO_TIMEOUT`].
pub(crate) async fn blocking<T, E>(
    path: &Path,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<SourceError> + Send + 'static,
{
    let error = match blocking::run(IO_TIMEOUT, work).await {
        Ok(result) => return result,
        Err(BlockingError::ShuttingDown) => SourceError::Stopped,
        Err(BlockingError::TimedOut(_)) => SourceError::Unresponsive {
            path: path.to_owned(),
        },
    };
    Err(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_hung_read_is_abandoned() {
        let (end, ended) = mpsc::channel::<()>();
        let hanging = move || {
            let _ = ended.recv();
            Ok::<_, SourceError>(())
        };
        let read = tokio::spawn(async { blocking(Path::new("/mnt/users.csv"), hanging).await });
        tokio::task::yield_now().await;
        advance(IO_TIMEOUT - Duration::from_millis(1)).await;
        assert!(!read.is_finished());
        advance(Duration::from_millis(2)).await;
        let error = read.await.expect("no panic").expect_err("the read hangs");
        assert!(matches!(error, SourceError::Unresponsive { .. }), "{error}");
        assert!(error.is_unavailable());
        drop(end);
    }
}
