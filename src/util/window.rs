//! A sliding window: the events of the last seconds that count towards a limit.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// The events of the last `span`, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlidingWindow {
    span: Duration,
    /// Events at the same instant share an entry.
    events: VecDeque<(Instant, u32)>,
}

impl SlidingWindow {
    /// An empty window.
    #[must_use]
    pub(crate) fn new(span: Duration) -> Self {
        let events = VecDeque::new();
        Self { span, events }
    }

    /// Counts one event at `now`, which is not before the last one.
    pub(crate) fn record(&mut self, now: Instant) {
        match self.events.back_mut() {
            Some((last, count)) if *last == now => *count = count.saturating_add(1),
            _ => self.events.push_back((now, 1)),
        }
    }

    /// Counts events with their times, in any order.
    pub(crate) fn record_all(&mut self, events: impl IntoIterator<Item = (Instant, u32)>) {
        let before = self.events.len();
        self.events.extend(events);
        if self.events.len() > before {
            self.events.make_contiguous().sort_unstable();
        }
    }

    /// Drops the events that no longer count.
    pub(crate) fn expire(&mut self, now: Instant) {
        let has_expired = |(at, _): &(Instant, u32)| *at + self.span <= now;
        while self.events.front().is_some_and(has_expired) {
            self.events.pop_front();
        }
    }

    /// The number of events.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        let counts = self.events.iter().map(|(_, count)| *count as usize);
        counts.fold(0, usize::saturating_add)
    }

    /// Whether there are no events.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The time of the oldest event.
    #[must_use]
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.events.front().map(|(at, _)| *at)
    }

    /// The time until another event fits under `limit`; `None` if one fits now.
    #[must_use]
    pub(crate) fn wait(&self, limit: usize, now: Instant) -> Option<Duration> {
        let oldest = self.oldest().filter(|_| self.count() >= limit)?;
        Some((oldest + self.span).saturating_duration_since(now))
    }

    /// The times of the events, with the number of events at each.
    pub(crate) fn events(&self) -> impl Iterator<Item = (Instant, u32)> + '_ {
        self.events.iter().copied()
    }

    /// The time at which each event stops counting.
    pub(crate) fn expirations(&self) -> impl Iterator<Item = Instant> + '_ {
        let expiration = |(at, count)| std::iter::repeat_n(at + self.span, count as usize);
        self.events().flat_map(expiration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_events_of_the_span_only() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut window = SlidingWindow::new(60 * second);
        window.record(start);
        window.record(start);
        window.record(start + 10 * second);
        assert_eq!((window.count(), window.oldest()), (3, Some(start)));
        assert_eq!(window.wait(4, start + 20 * second), None);
        assert_eq!(window.wait(3, start + 20 * second), Some(40 * second));
        window.expire(start + 60 * second);
        let times: Vec<_> = window.expirations().collect();
        assert_eq!(times, [start + 70 * second]);
    }
}
