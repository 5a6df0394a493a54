//! The requests of one process and key that count towards the limit. Values only: no clock, no file.

use crate::util::window::SlidingWindow;
use std::time::Duration;
use tokio::time::Instant;

/// The period that Omni's limit refers to.
pub(super) const WINDOW: Duration = Duration::from_secs(60);

/// Requests that count towards the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestWindow {
    /// The latest possible arrival of each request in flight.
    open: Vec<Instant>,
    /// The times of the responses.
    answered: SlidingWindow,
}

impl Default for RequestWindow {
    fn default() -> Self {
        Self::of(Vec::new(), Vec::new())
    }
}

impl RequestWindow {
    /// The window with these requests in flight and these responses.
    pub(super) fn of(open: Vec<Instant>, answered: Vec<(Instant, u32)>) -> Self {
        let mut window = SlidingWindow::new(WINDOW);
        window.record_all(answered);
        Self {
            open,
            answered: window,
        }
    }

    /// Adds a request that arrives by `arrives_by` or not at all.
    pub(super) fn send(&mut self, arrives_by: Instant) {
        self.open.push(arrives_by);
    }

    /// Records the response to one of the requests with this `arrives_by`.
    pub(super) fn answer(&mut self, arrives_by: Instant, now: Instant) {
        if let Some(at) = self.open.iter().position(|open| *open == arrives_by) {
            self.open.swap_remove(at);
            self.answered.record(now);
        }
    }

    /// Removes a request that was not sent.
    pub(super) fn give_back(&mut self, arrives_by: Instant) {
        if let Some(at) = self.open.iter().position(|open| *open == arrives_by) {
            self.open.swap_remove(at);
        }
    }

    /// Drops responses that no longer count.
    pub(super) fn expire(&mut self, now: Instant) {
        self.answered.expire(now);
    }

    /// Counts requests that can't arrive any more as answered at the last moment at which they could
    /// have arrived. For windows of other processes, which may have been killed in between.
    pub(super) fn give_up(&mut self, now: Instant) {
        let (overdue, open): (Vec<_>, _) = self.open.iter().partition(|at| **at <= now);
        self.open = open;
        self.answered
            .record_all(overdue.into_iter().map(|at| (at, 1)));
    }

    /// The number of requests that count.
    pub(super) fn count(&self) -> usize {
        self.open.len().saturating_add(self.answered.count())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.answered.is_empty()
    }

    /// The latest possible arrival of each request in flight.
    pub(super) fn open(&self) -> &[Instant] {
        &self.open
    }

    /// The times of the responses, with the number of responses at each.
    pub(super) fn answered(&self) -> impl Iterator<Item = (Instant, u32)> + '_ {
        self.answered.events()
    }

    /// The time at which each response stops counting.
    pub(super) fn expirations(&self) -> impl Iterator<Item = Instant> + '_ {
        self.answered.expirations()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_count_until_a_minute_after_the_response() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut window = RequestWindow::default();
        window.send(start + 30 * second);
        window.send(start + 31 * second);
        window.answer(start + 30 * second, start + 2 * second);
        window.expire(start + 61 * second);
        assert_eq!(window.count(), 2);
        window.expire(start + 62 * second);
        assert_eq!((window.count(), window.open().len()), (1, 1));
    }

    #[test]
    fn unanswered_requests_count_a_minute_past_their_deadline() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut window = RequestWindow::default();
        window.send(start + 30 * second);
        for at in [29, 30, 89] {
            window.give_up(start + at * second);
            window.expire(start + at * second);
            assert_eq!(window.count(), 1, "after {at} s");
        }
        window.expire(start + 90 * second);
        assert!(window.is_empty());
    }
}
