//! Results of runs, for tests that need a few of their fields.

use chrono::{DateTime, Utc};
use omni_user_sync::model::{Counts, Fingerprint, RunEnd, RunResult};
use omni_user_sync::run::{PlanSummary, RosterSummary};

/// The summary of a plan without changes and problems: one row, one user.
pub fn plan_summary() -> PlanSummary {
    PlanSummary {
        roster: RosterSummary {
            rows: 1,
            fingerprint: Fingerprint([1; 32]),
            bad_rows: Vec::new(),
            rejected: Vec::new(),
            groups: None,
            roles: None,
        },
        users: 1,
        pending: Counts::default(),
        held: Vec::new(),
        blocked: Vec::new(),
        quarantined: 0,
        ambiguous: Vec::new(),
        unread: 0,
        leaving: Vec::new(),
        needs_listing: false,
        warnings: Vec::new(),
    }
}

/// The end of a run without a plan that converged.
pub fn run_end(ended: DateTime<Utc>) -> RunEnd {
    RunEnd {
        ended,
        result: RunResult::Converged,
        fingerprint: None,
        rows: None,
        users: None,
        planned: None,
        pending: None,
        applied: 0,
        failed: 0,
        held: 0,
        bad_rows: 0,
        requests: 0,
        detail: String::new(),
    }
}
