//! Progress of a long run in the log, every ten seconds: minutes of silence look like a hang.

use super::CHANGES;
use crate::omni::{Client, Priority};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(10);

/// A part of a run that sends requests.
pub(super) struct Progress<'a> {
    client: &'a Client,
    requests_before: u64,
    /// The expected number of requests at the end of this part.
    requests_at_end: AtomicU64,
    ended_changes: AtomicUsize,
}

impl<'a> Progress<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        let requests_before = client.requests_sent();
        Self {
            client,
            requests_before,
            requests_at_end: AtomicU64::new(requests_before),
            ended_changes: AtomicUsize::new(0),
        }
    }

    /// Expects this many more requests.
    pub(super) fn expect(&self, more: usize) {
        let at_end = self.client.requests_sent() + more as u64;
        self.requests_at_end.store(at_end, Ordering::Relaxed);
    }

    /// Counts a change that has ended.
    pub(super) fn step(&self) {
        self.ended_changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests sent, requests left, and the seconds that these take.
    fn requests(&self, priority: Priority) -> (u64, usize, u64) {
        let sent = self.client.requests_sent();
        let at_end = self.requests_at_end.load(Ordering::Relaxed);
        let left = usize::try_from(at_end.saturating_sub(sent)).unwrap_or(usize::MAX);
        let seconds = self.client.estimate(left, priority).as_secs();
        (sent - self.requests_before, left, seconds)
    }

    pub(super) async fn report_reading(&self) -> Infallible {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let (requests, requests_left, seconds_left) = self.requests(Priority::Background);
            tracing::info!(requests, requests_left, seconds_left, "fetching users");
        }
    }

    pub(super) async fn report_changes(&self, of: usize) -> Infallible {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let (requests, requests_left, seconds_left) = self.requests(Priority::Urgent);
            let ended = self.ended_changes.load(Ordering::Relaxed);
            tracing::info!(target: CHANGES, ended, of, requests, requests_left, seconds_left, "applying changes");
        }
    }
}
