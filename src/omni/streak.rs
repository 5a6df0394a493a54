//! Failures in a row, over all requests of a run.

use super::{Failure, OmniError};
use crate::util::sync::lock;
use std::sync::Mutex;

/// So many failures in a row end a run.
const MOST_FAILURES: u32 = 20;

/// How many failures there were since the last answer, and the last of them.
#[derive(Debug, Default)]
pub(super) struct FailureBreaker(Mutex<Option<(u32, Failure)>>);

impl FailureBreaker {
    /// There was an answer, or a new run begins.
    pub(super) fn end(&self) {
        *lock(&self.0) = None;
    }

    pub(super) fn add(&self, failure: &Failure) {
        let mut streak = lock(&self.0);
        let before = streak.as_ref().map_or(0, |(in_a_row, _)| *in_a_row);
        *streak = Some((before + 1, failure.clone()));
    }

    /// To be asked before a request is sent, and only then: what was sent may have been done, and
    /// must not be told as given up.
    ///
    /// # Errors
    /// After too many failures in a row.
    pub(super) fn check(&self) -> Result<(), OmniError> {
        match &*lock(&self.0) {
            Some((in_a_row, last)) if *in_a_row >= MOST_FAILURES => Err(OmniError::CircuitOpen {
                in_a_row: *in_a_row,
                failure: last.clone(),
            }),
            _ => Ok(()),
        }
    }
}
