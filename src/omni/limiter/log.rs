//! A sliding log: what one process has sent with one key in the last minute. Values alone: no clock,
//! no file.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// The time over which Omni counts.
pub(super) const WINDOW: Duration = Duration::from_secs(60);

/// Requests that count towards the limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestWindow {
    /// Until when each that is under way may arrive: later it has been given up.
    open: Vec<Instant>,
    /// When the answered ones were, oldest first, and how many at that moment.
    answered: VecDeque<(Instant, u32)>,
}

impl RequestWindow {
    /// A log of requests that are known to be answered and no more.
    pub(super) fn of(open: Vec<Instant>, mut answered: Vec<(Instant, u32)>) -> Self {
        answered.sort_unstable();
        Self {
            open,
            answered: answered.into(),
        }
    }

    /// One more is sent, and arrives by then or not at all.
    pub(super) fn send(&mut self, arrives_by: Instant) {
        self.open.push(arrives_by);
    }

    /// The answer came to one of those that arrive by then.
    pub(super) fn answer(&mut self, arrives_by: Instant, now: Instant) {
        if let Some(at) = self.open.iter().position(|open| *open == arrives_by) {
            self.open.swap_remove(at);
            self.add(now);
        }
    }

    /// One of those that arrive by then was not sent after all.
    pub(super) fn give_back(&mut self, arrives_by: Instant) {
        if let Some(at) = self.open.iter().position(|open| *open == arrives_by) {
            self.open.swap_remove(at);
        }
    }

    fn add(&mut self, now: Instant) {
        match self.answered.back_mut() {
            Some((last, count)) if *last == now => *count = count.saturating_add(1),
            _ => self.answered.push_back((now, 1)),
        }
    }

    /// Drops what no longer counts.
    pub(super) fn forget(&mut self, now: Instant) {
        while self
            .answered
            .front()
            .is_some_and(|(answered, _)| *answered + WINDOW <= now)
        {
            self.answered.pop_front();
        }
    }

    /// Takes what can't arrive any more for answered at the last moment at which it could have
    /// arrived. For logs of others, who may have been killed before they could say so.
    pub(super) fn give_up(&mut self, now: Instant) {
        let (over, open) = self.open.iter().partition(|arrives_by| **arrives_by <= now);
        self.open = open;
        let over: Vec<Instant> = over;
        if !over.is_empty() {
            self.answered.extend(over.into_iter().map(|time| (time, 1)));
            self.answered.make_contiguous().sort_unstable();
        }
    }

    /// How many count.
    pub(super) fn count(&self) -> usize {
        let answered = self.answered.iter().map(|(_, count)| *count as usize);
        answered.fold(self.open.len(), usize::saturating_add)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.answered.is_empty()
    }

    /// Until when each that is under way may arrive.
    pub(super) fn open(&self) -> &[Instant] {
        &self.open
    }

    /// When the answered ones were, and how many at that moment.
    pub(super) fn answered(&self) -> impl Iterator<Item = (Instant, u32)> + '_ {
        self.answered.iter().copied()
    }

    /// When each of the answered ones stops counting.
    pub(super) fn ends(&self) -> impl Iterator<Item = Instant> + '_ {
        self.answered()
            .flat_map(|(answered, count)| std::iter::repeat_n(answered + WINDOW, count as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_from_the_sending_to_a_minute_after_the_answer() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut log = RequestWindow::default();
        log.send(start + 30 * second);
        log.send(start + 31 * second);
        log.answer(start + 30 * second, start + 2 * second);
        log.forget(start + 61 * second);
        assert_eq!(log.count(), 2);
        log.forget(start + 62 * second);
        assert_eq!((log.count(), log.open().len()), (1, 1));
    }

    #[test]
    fn what_nobody_answers_for_counts_a_minute_from_when_it_could_last_arrive() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut log = RequestWindow::default();
        log.send(start + 30 * second);
        for at in [29, 30, 89] {
            log.give_up(start + at * second);
            log.forget(start + at * second);
            assert_eq!(log.count(), 1, "after {at} s");
        }
        log.forget(start + 90 * second);
        assert!(log.is_empty());
    }
}
