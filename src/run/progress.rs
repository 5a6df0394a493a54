//! How far a run is: one source for the log, the bar of `apply`, the page and the API.

use super::CHANGES;
use crate::model::Phase;
use crate::omni::{Client, Priority};
use crate::util::sync::lock;
use crate::util::text::about;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// The interval of lines in the log: minutes of silence look like a hang.
const INTERVAL: Duration = Duration::from_secs(10);

/// The progress of the run in progress. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<Option<Arc<Part>>>>);

/// The progress at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct ProgressReport {
    /// What the run does.
    pub phase: Phase,
    /// Of reading: requests. Of applying: changes.
    pub done: u64,
    /// The expected value of `done` at the end of the phase.
    pub of: u64,
    /// The requests that the phase has sent.
    pub requests: u64,
    /// The requests that it will still send, as expected.
    pub requests_left: u64,
    /// Until when the next request waits for the rate limit, if it does.
    pub waiting_until: Option<DateTime<Utc>>,
    /// The expected time to the end of the phase, in seconds.
    pub seconds_left: u64,
}

impl ProgressReport {
    /// `applying changes: 20 of 130, about 1m 55s left, waiting for the request limit until 12:03:11 UTC`.
    #[must_use]
    pub fn text(&self) -> String {
        let (what, unit) = match self.phase {
            Phase::Reading => ("reading users", " requests"),
            Phase::Applying => ("applying changes", ""),
        };
        let left = about(Duration::from_secs(self.seconds_left));
        let waiting = self.waiting_until.map(|until| {
            let until = until.format("%H:%M:%S UTC");
            format!(", waiting for the request limit until {until}")
        });
        let (done, of, waiting) = (self.done, self.of, waiting.unwrap_or_default());
        format!("{what}: {done} of {of}{unit}, {left} left{waiting}")
    }
}

impl Progress {
    /// The progress, if a run reads or applies changes.
    #[must_use]
    pub fn report(&self) -> Option<ProgressReport> {
        let part = lock(&self.0).clone();
        part.map(|part| part.report())
    }

    /// Begins to read.
    pub(super) fn begin_reading(&self, client: &Arc<Client>) -> Measured {
        self.begin(client, Phase::Reading, 0)
    }

    /// Begins to apply this many changes.
    pub(super) fn begin_applying(&self, client: &Arc<Client>, changes: usize) -> Measured {
        self.begin(client, Phase::Applying, changes)
    }

    fn begin(&self, client: &Arc<Client>, phase: Phase, changes: usize) -> Measured {
        let requests_before = client.requests_sent();
        let part = Arc::new(Part {
            client: Arc::clone(client),
            phase,
            changes,
            requests_before,
            requests_at_end: AtomicU64::new(requests_before),
            ended_changes: AtomicUsize::new(0),
            estimated: Mutex::default(),
        });
        *lock(&self.0) = Some(Arc::clone(&part));
        Measured {
            progress: self.clone(),
            part,
        }
    }
}

/// A part of a run that sends requests.
#[derive(Debug)]
struct Part {
    client: Arc<Client>,
    phase: Phase,
    changes: usize,
    requests_before: u64,
    /// The expected number of requests at the end of this part.
    requests_at_end: AtomicU64,
    ended_changes: AtomicUsize,
    /// The last estimate of the remaining time, and when it was made.
    estimated: Mutex<Option<(Instant, Duration)>>,
}

/// An estimate holds the lock of the limiter, which the run needs, so many clients together don't make more than a few
/// per second.
const ESTIMATE_AGE: Duration = Duration::from_millis(200);

impl Part {
    /// The remaining time for this many requests.
    fn estimate(&self, left: usize, priority: Priority) -> Duration {
        if left == 0 {
            return Duration::ZERO;
        }
        let mut estimated = lock(&self.estimated);
        if let Some((at, time)) = *estimated
            && at.elapsed() < ESTIMATE_AGE
        {
            return time.saturating_sub(at.elapsed());
        }
        let time = self.client.estimate(left, priority);
        *estimated = Some((Instant::now(), time));
        time
    }

    fn report(&self) -> ProgressReport {
        let priority = match self.phase {
            Phase::Reading => Priority::Background,
            Phase::Applying => Priority::Urgent,
        };
        let sent = self.client.requests_sent();
        let requests = sent - self.requests_before;
        let at_end = self.requests_at_end.load(Ordering::Relaxed);
        let requests_left = at_end.saturating_sub(sent);
        let left = usize::try_from(requests_left).unwrap_or(usize::MAX);
        let wait = self.client.wait(priority).filter(|_| left > 0);
        let wait = wait.and_then(|wait| TimeDelta::from_std(wait).ok());
        let (done, of) = match self.phase {
            Phase::Reading => (requests, requests + requests_left),
            Phase::Applying => {
                let ended = self.ended_changes.load(Ordering::Relaxed);
                (ended as u64, self.changes as u64)
            }
        };
        ProgressReport {
            phase: self.phase,
            done,
            of,
            requests,
            requests_left,
            waiting_until: wait.map(|wait| Utc::now() + wait),
            seconds_left: self.estimate(left, priority).as_secs(),
        }
    }
}

/// Measures a part until it is dropped.
#[derive(Debug)]
pub(super) struct Measured {
    progress: Progress,
    part: Arc<Part>,
}

impl Measured {
    /// Expects this many more requests.
    pub(super) fn expect(&self, more: usize) {
        let at_end = self.part.client.requests_sent() + more as u64;
        self.part.requests_at_end.store(at_end, Ordering::Relaxed);
    }

    /// Counts a change that has ended.
    pub(super) fn step(&self) {
        self.part.ended_changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Logs the progress from time to time.
    pub(super) async fn log(&self) -> Infallible {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let ProgressReport {
                phase,
                done,
                of,
                requests,
                requests_left,
                waiting_until,
                seconds_left,
            } = self.part.report();
            let waiting_until = waiting_until.map(|time| time.to_rfc3339());
            match phase {
                Phase::Reading => {
                    tracing::info!(
                        requests,
                        requests_left,
                        waiting_until,
                        seconds_left,
                        "fetching users"
                    );
                }
                Phase::Applying => {
                    tracing::info!(
                        target: CHANGES,
                        ended = done,
                        of,
                        requests,
                        requests_left,
                        waiting_until,
                        seconds_left,
                        "applying changes"
                    );
                }
            }
        }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        *lock(&self.progress.0) = None;
    }
}
