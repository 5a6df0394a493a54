//! One run: what is wanted and what is there become a plan, the guard rules on it, and what passes
//! is carried out.
//!
//! ```text
//! Desired + Observed + Memory + Policy → Plan → guard → Verdict → apply → RunOutcome
//! ```
//!
//! The rules of the room:
//!
//! - [`Plan::new`] and [`rule`] are functions of values: no I/O, no log, no clock.
//! - [`prepare`] is given a reader, so that a dry run can't write; [`apply`] takes nothing but a
//!   [`Verdict`], which only the guard makes.
//! - Not the first error: all of them. One user's failure never stops another's change.

mod apply;
mod guard;
mod outcome;
mod plan;
mod prepare;
mod quarantine;
pub mod render;

pub use crate::journal::{Counts, Kind, Memory, Outcome, Trigger};
pub use apply::{Report, apply};
pub use guard::{Verdict, rule};
pub use outcome::{Applied, End, Held, Roster, RunError, RunOutcome};
pub use plan::{Action, Change, FieldChange, Plan, Withheld};
pub use prepare::{Prepared, Target, prepare};

use crate::desired::Fingerprint;
use crate::metrics::Metrics;
use crate::omni::{Client, OmniError};
use crate::settings::{Mode, Settings, UpdateMethod};
use chrono::Utc;
use render::Cost;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Carries out runs, one after the other, and keeps what lasts from one to the next.
#[derive(Debug)]
pub struct Reconciler {
    settings: Arc<Settings>,
    client: Arc<Client>,
}

impl Reconciler {
    /// A reconciler for the organisation and the roster that the settings name.
    ///
    /// # Errors
    /// When they don't, or the HTTP client can't be made.
    pub fn new(settings: Arc<Settings>, metrics: Metrics) -> Result<Self, RunError> {
        let client = Client::new(&settings.omni, metrics)?;
        Ok(Self { settings, client })
    }

    /// The connection to Omni.
    #[must_use]
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// One run over the roster of `source.path`, as far as `policy.mode` lets it. `known` is the
    /// content that the watcher saw standing still. Between two changes it stops when `stop` is
    /// cancelled.
    pub async fn run(
        &self,
        trigger: Trigger,
        known: Option<Fingerprint>,
        stop: &CancellationToken,
    ) -> RunOutcome {
        let mut outcome = self.start(trigger);
        let prepared = match self.settings.source.path() {
            Ok(path) => {
                let target = Target {
                    path: path.to_owned(),
                    is_source: true,
                    known,
                };
                self.prepare(&target, stop).await
            }
            Err(error) => Err(error.into()),
        };
        match prepared {
            Ok(prepared) => {
                prepared.tell(&mut outcome);
                if self.settings.policy.mode == Mode::Plan {
                    outcome.end = End::PlanOnly;
                } else {
                    self.carry_out(&prepared, stop, &mut outcome, |_| {}).await;
                }
            }
            Err(error) => outcome.end = error.into(),
        }
        self.finish(outcome)
    }

    /// Begins to tell of a run.
    #[must_use]
    pub fn start(&self, trigger: Trigger) -> RunOutcome {
        RunOutcome {
            trigger,
            started: Utc::now(),
            took: std::time::Duration::ZERO,
            requests: self.client.requests_sent(),
            roster: None,
            users: None,
            drift: None,
            held: Vec::new(),
            withheld: Vec::new(),
            applied: Vec::new(),
            warnings: Vec::new(),
            end: End::Complete,
        }
    }

    /// Reads, compares and rules; writes nothing.
    ///
    /// # Errors
    /// When the keys, the roster or the listing can't be had.
    pub async fn prepare(
        &self,
        target: &Target,
        stop: &CancellationToken,
    ) -> Result<Prepared, RunError> {
        crate::desired::stamp(&self.settings.source, &target.path)?;
        self.client.begin(&self.settings.omni.keys.read()?);
        let memory = Memory::empty(Utc::now());
        prepare(&self.client.reader(stop), &self.settings, target, &memory).await
    }

    /// What carrying out what passed takes, from now on.
    #[must_use]
    pub fn cost(&self, prepared: &Prepared) -> Cost {
        let method = self.settings.omni.update_method;
        let each = |change: &Change| match change.kind() {
            // The user is read right before.
            Kind::Update | Kind::Deactivate if method == UpdateMethod::Put => 2,
            _ => 1,
        };
        let requests = prepared.verdict.passed().iter().map(each).sum();
        Cost {
            requests,
            time: self.client.estimate(requests),
        }
    }

    /// Carries out what passed the guard, and tells of it. `told` hears of each change as it ends.
    pub async fn carry_out(
        &self,
        prepared: &Prepared,
        stop: &CancellationToken,
        outcome: &mut RunOutcome,
        told: impl FnMut(&Applied),
    ) {
        let writer = self.client.writer(stop);
        let most = self.settings.omni.max_in_flight;
        let report = apply(&writer, &prepared.verdict, &prepared.schema, most, told).await;
        outcome.applied.extend(report.applied);
        outcome.end = report
            .cut_short
            .map_or(End::Complete, |error| RunError::from(error).into());
    }

    /// Ends what [`Reconciler::start`] began.
    #[must_use]
    pub fn finish(&self, mut outcome: RunOutcome) -> RunOutcome {
        outcome.took = (Utc::now() - outcome.started).to_std().unwrap_or_default();
        outcome.requests = self.client.requests_sent() - outcome.requests;
        outcome
    }
}

impl From<RunError> for End {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Omni(OmniError::Stopped) => Self::Stopped,
            error => Self::Failed(error),
        }
    }
}
