//! How long to wait after a run that failed.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);

/// The waits, each twice the one before. Jitter keeps daemons that were started together, and
/// failed together, from coming back together.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The next wait: a fifth more or less than planned.
    pub(super) fn next(&mut self) -> Duration {
        let planned = self.next;
        self.next = (planned * 2).min(LONGEST);
        planned.mul_f64(0.8 + 0.4 * fastrand::f64())
    }

    /// Starts over, after a run that did not fail.
    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_five_minutes_and_starts_over() {
        let mut backoff = Backoff::new();
        for planned in [10, 20, 40, 80, 160, 300, 300] {
            let wait = backoff.next().as_secs_f64() / f64::from(planned);
            assert!((0.8..=1.2).contains(&wait), "{wait} of {planned} s");
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_secs(12));
    }
}
