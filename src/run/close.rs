//! The end of a run: it is told to whoever dropped the roster, and to the journal.

use super::outcome::{Completion, RunOutcome};
use super::prepare::Prepared;
use super::row_report;
use super::run::{Reconciler, Run};
use crate::model::{ChangeOutcome, Fingerprint, RunEnd, RunState};
use crate::report::ReportsError;
use crate::state::StateError;
use chrono::Utc;
use std::collections::HashSet;
use std::sync::Arc;

/// How many runs back it is looked for what was reported before.
const RECENT: usize = 100;

impl Reconciler {
    /// Ends a run that does not come to its changes.
    pub async fn abandon(&self, mut run: Run, end: Completion) -> RunOutcome {
        run.outcome.end = end;
        self.finish(run, None).await
    }

    /// Ends a run that whoever was asked did not want.
    ///
    /// # Errors
    /// When that can't be written.
    pub async fn decline(&self, mut run: Run) -> Result<(), StateError> {
        self.count(&mut run.outcome);
        let end = RunEnd {
            outcome: "declined".into(),
            ..run_end(&run.outcome)
        };
        self.journal.finish(run.number, &end).await
    }

    /// Ends a run: it is told to the journal and to whoever dropped the roster.
    pub async fn finish(&self, mut run: Run, prepared: Option<&Arc<Prepared>>) -> RunOutcome {
        self.count(&mut run.outcome);
        if let Err(error) = self.answer(prepared, &run.outcome).await {
            run.outcome.warnings.push(error.to_string());
        }
        if let Err(error) = self.close(&run, prepared).await {
            run.outcome.end = Completion::Failed(error.into());
        }
        run.outcome
    }

    /// Tells whoever dropped the roster what became of each row.
    async fn answer(
        &self,
        prepared: Option<&Arc<Prepared>>,
        outcome: &RunOutcome,
    ) -> Result<(), ReportsError> {
        let Some((report, name)) = row_report::answer(prepared, outcome) else {
            return Ok(());
        };
        let before = match prepared {
            Some(prepared) => self.told_before(prepared.desired.fingerprint).await,
            None => None,
        };
        let is_final = !matches!(outcome.end, Completion::Stopped)
            && (outcome.is_success() || prepared.is_none());
        self.reporter
            .write_last(report, name, before, outcome.started, is_final)
            .await
    }

    /// The name of a content, if a run over it has come to its end before.
    async fn told_before(&self, content: Fingerprint) -> Option<String> {
        let runs = self.journal.runs(RECENT).await.unwrap_or_default();
        let told = runs.iter().any(|run| match &run.state {
            RunState::Ended(end) => {
                end.fingerprint == Some(content)
                    && run.start.is_source
                    && ["converged", "partial", "held"].contains(&end.outcome.as_str())
            }
            RunState::Open | RunState::Interrupted => false,
        });
        told.then(|| row_report::name(content))
    }

    async fn close(&self, run: &Run, prepared: Option<&Arc<Prepared>>) -> Result<(), StateError> {
        let saw_all = |prepared: &&Arc<Prepared>| {
            let Prepared {
                desired,
                known,
                withheld,
                ..
            } = &***prepared;
            desired.is_source
                && desired.rejected.is_empty()
                // What is kept takes Omni at its word: whether it did as it said is not seen.
                && !known.is_kept()
                && known.observed.doubt().is_none()
                && withheld.is_empty()
        };
        if let Some(prepared) = prepared.filter(saw_all) {
            self.end_quarantines(prepared).await?;
        }
        let (quarantined, _) = self.journal.quarantined(Utc::now(), 0).await?;
        let quarantined = i64::try_from(quarantined).unwrap_or(i64::MAX);
        self.metrics.quarantined_users.set(quarantined);
        self.journal
            .finish(run.number, &run_end(&run.outcome))
            .await?;
        self.journal
            .prune_old(Utc::now(), self.settings.state.retain)
            .await
    }

    /// Whoever needs nothing any more is out of quarantine.
    async fn end_quarantines(&self, prepared: &Prepared) -> Result<(), StateError> {
        let needed: HashSet<_> = prepared.verdict.all().map(|change| &change.email).collect();
        let over = prepared
            .memory
            .quarantined
            .keys()
            .filter(|email| !needed.contains(email));
        self.journal.quarantine_clear(over).await
    }
}

fn run_end(outcome: &RunOutcome) -> RunEnd {
    let roster = outcome.roster.as_ref();
    let count = |number: usize| number as u64;
    RunEnd {
        ended: Utc::now(),
        outcome: outcome.as_str().into(),
        fingerprint: roster.map(|roster| roster.fingerprint),
        rows: roster.map(|roster| roster.rows),
        users: outcome.users.map(count),
        needed: outcome.drift,
        done: count(outcome.count(ChangeOutcome::Done)),
        failed: count(outcome.count(ChangeOutcome::Failed) + outcome.count(ChangeOutcome::NotKept)),
        held: count(outcome.held.iter().map(|held| held.count).sum()),
        bad_rows: roster.map_or(0, |roster| count(roster.bad_rows.len())),
        requests: outcome.requests,
        detail: match &outcome.end {
            Completion::Failed(error) => error.to_string(),
            Completion::Complete | Completion::PlanOnly | Completion::Stopped => {
                outcome.withheld.join("\n")
            }
        },
    }
}
