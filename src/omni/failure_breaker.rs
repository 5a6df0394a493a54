//! A circuit breaker over all requests of a run.

use super::{Failure, OmniError};
use crate::util::sync::lock;
use std::sync::Mutex;

/// After this many failures in a row a run sends nothing more.
const MAX_FAILURES: u32 = 20;

/// The failures since the last response, and the last one.
#[derive(Debug, Default)]
pub(super) struct FailureBreaker(Mutex<Option<(u32, Failure)>>);

impl FailureBreaker {
    /// Resets the count, after a response or for a new run.
    pub(super) fn reset(&self) {
        *lock(&self.0) = None;
    }

    /// Counts a failure.
    pub(super) fn add(&self, failure: &Failure) {
        let mut failures = lock(&self.0);
        let count = failures.as_ref().map_or(0, |(in_a_row, _)| *in_a_row);
        *failures = Some((count + 1, failure.clone()));
    }

    /// Fails after too many failures in a row. Call it only before a request is sent: a request that
    /// was sent may have had an effect, so its own error must be reported.
    pub(super) fn check(&self) -> Result<(), OmniError> {
        match &*lock(&self.0) {
            Some((in_a_row, last)) if *in_a_row >= MAX_FAILURES => Err(OmniError::CircuitOpen {
                in_a_row: *in_a_row,
                failure: last.clone(),
            }),
            _ => Ok(()),
        }
    }
}
