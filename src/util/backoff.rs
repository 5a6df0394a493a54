//! Exponential back-off.

use std::time::Duration;

/// Delays between attempts: `first`, then `factor` times as long after each further failure, up to
/// `max`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    /// The delay after the first failure.
    pub(crate) first: Duration,
    /// The longest delay.
    pub(crate) max: Duration,
    /// The growth per failure.
    pub(crate) factor: u32,
    /// The range that each delay is multiplied with at random, so that clients which failed together
    /// don't retry together.
    pub(crate) jitter: (f64, f64),
}

impl Backoff {
    /// The delay after this many failures in a row, counted from 1.
    #[must_use]
    pub(crate) fn delay(&self, failures: u32) -> Duration {
        let factor = self.factor.saturating_pow(failures.saturating_sub(1));
        let full = self.first.saturating_mul(factor).min(self.max);
        let (low, high) = self.jitter;
        full.mul_f64(low + (high - low) * fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_secs(10),
        max: Duration::from_secs(300),
        factor: 2,
        jitter: (0.8, 1.2),
    };

    #[test]
    fn doubles_up_to_the_maximum() {
        for (failures, planned) in [(1, 10), (2, 20), (5, 160), (6, 300), (1000, 300)] {
            let delay = BACKOFF.delay(failures).as_secs_f64() / f64::from(planned);
            assert!((0.8..=1.2).contains(&delay), "{delay} of {planned} s");
        }
    }
}
