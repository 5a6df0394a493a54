//! Failures in a row, over all requests of a run.

use super::{Failure, OmniError};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many failures in a row end a run.
const MOST_FAILURES: u32 = 20;

/// What was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Read,
    Write,
}

/// The failures since the last answer, and those of writes since the last answer to a write: after each write
/// that fails its user is looked up, and that works may say nothing of the next write.
#[derive(Debug, Default)]
pub(super) struct Streak(Mutex<Runs>);

#[derive(Debug, Default)]
struct Runs {
    all: Run,
    writes: Run,
}

/// How many there are, and the last of them.
type Run = Option<(u32, Failure)>;

impl Streak {
    /// A new run begins.
    pub(super) fn begin(&self) {
        *self.lock() = Runs::default();
    }

    /// There was an answer.
    pub(super) fn end(&self, sent: Sent) {
        let mut runs = self.lock();
        runs.all = None;
        if sent == Sent::Write {
            runs.writes = None;
        }
    }

    pub(super) fn add(&self, sent: Sent, failure: &Failure) {
        let mut runs = self.lock();
        add(&mut runs.all, failure);
        if sent == Sent::Write {
            add(&mut runs.writes, failure);
        }
    }

    /// To be asked before a request is sent, and only then: what was sent may have been done, and
    /// must not be told as given up.
    ///
    /// # Errors
    /// After too many failures in a row.
    pub(super) fn check(&self) -> Result<(), OmniError> {
        let runs = self.lock();
        let runs = [&runs.all, &runs.writes].into_iter().flatten();
        match runs.max_by_key(|(in_a_row, _)| *in_a_row) {
            Some((in_a_row, last)) if *in_a_row >= MOST_FAILURES => Err(OmniError::GivenUp {
                in_a_row: *in_a_row,
                failure: last.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// No panic leaves anything half done here.
    fn lock(&self) -> MutexGuard<'_, Runs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(run: &mut Run, failure: &Failure) {
    let before = run.as_ref().map_or(0, |(in_a_row, _)| *in_a_row);
    *run = Some((before + 1, failure.clone()));
}
