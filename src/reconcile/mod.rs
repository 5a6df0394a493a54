//! One run: what is wanted and what is there become a plan, the guard rules on it, and what passes
//! is carried out.
//!
//! ```text
//! Desired + Observed + Memory + Policy → Plan → guard → Verdict → apply → RunOutcome
//! ```
//!
//! The rules of the room:
//!
//! - [`plan`] and [`guard`] are functions of values: no I/O, no log, no clock.
//! - [`apply`] takes nothing but a guard's [`Verdict`], which only the guard makes.
//! - Not the first error: all of them. One user's failure never stops another's change.

mod outcome;

pub use outcome::{
    Applied, Counts, End, Held, Kind, Outcome, Roster, RunError, RunOutcome, Trigger,
};

use crate::desired::Fingerprint;
use crate::metrics::Metrics;
use crate::settings::Settings;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Carries out runs, one after the other, and keeps what lasts from one to the next.
#[derive(Debug)]
pub struct Reconciler {
    settings: Arc<Settings>,
    metrics: Metrics,
}

impl Reconciler {
    /// One run over the roster of `source.path`. `known` is the content that the watcher saw
    /// standing still. Between two changes it stops when `stop` is cancelled.
    pub async fn run(
        &mut self,
        trigger: Trigger,
        known: Option<Fingerprint>,
        stop: &CancellationToken,
    ) -> RunOutcome {
        let _ = (&self.settings, &self.metrics, trigger, known, stop);
        std::future::pending().await
    }
}
