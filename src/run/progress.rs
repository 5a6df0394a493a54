//! How far a long run is, told every ten seconds: silence of minutes looks like a hang.

use super::CHANGES;
use crate::omni::Client;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// How often.
const EVERY: Duration = Duration::from_secs(10);

/// A part of a run that sends requests.
pub(super) struct Progress<'a> {
    client: &'a Client,
    before: u64,
    /// How many requests will have been sent at its end, as far as is known.
    at_end: AtomicU64,
    /// How many changes have ended.
    done: AtomicUsize,
}

impl<'a> Progress<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        let before = client.requests_sent();
        Self {
            client,
            before,
            at_end: AtomicU64::new(before),
            done: AtomicUsize::new(0),
        }
    }

    /// So many more requests are to come.
    pub(super) fn expect(&self, more: usize) {
        let at_end = self.client.requests_sent() + more as u64;
        self.at_end.store(at_end, Ordering::Relaxed);
    }

    /// One more change has ended.
    pub(super) fn step(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests sent so far, those left, and how many seconds they take.
    fn requests(&self) -> (u64, usize, u64) {
        let sent = self.client.requests_sent();
        let left = self.at_end.load(Ordering::Relaxed).saturating_sub(sent);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        (
            sent - self.before,
            left,
            self.client.estimate(left).as_secs(),
        )
    }

    pub(super) async fn tell_reading(&self) -> Infallible {
        loop {
            tokio::time::sleep(EVERY).await;
            let (requests, requests_left, seconds_left) = self.requests();
            tracing::info!(requests, requests_left, seconds_left, "reading Omni");
        }
    }

    pub(super) async fn tell_changes(&self, of: usize) -> Infallible {
        loop {
            tokio::time::sleep(EVERY).await;
            let (requests, requests_left, seconds_left) = self.requests();
            let ended = self.done.load(Ordering::Relaxed);
            tracing::info!(target: CHANGES, ended, of, requests, requests_left, seconds_left, "changing Omni");
        }
    }
}
