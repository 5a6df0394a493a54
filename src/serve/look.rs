//! What pages and the API tell: read once, at one moment.

use super::site::AppState;
use super::standing::{self, Standing};
use crate::model::{
    ChangeRecord, Email, HeldRecord, Operation, Problem, Quarantined, RunNumber, RunRecord, RunRef,
};
use crate::state::{
    APPROVAL_VALID, ChangeFilter, ChangePage, HeldIn, StateDb, StateError, UserState,
};
use crate::status::{Facts, Findings, Incompleteness};
use crate::util::error_chain::error_chain;
use chrono::{DateTime, Utc};
use std::sync::Arc;

/// So many runs make the picture.
pub(super) const PICTURED: usize = 50;
/// So many users in quarantine are named.
const NAMED: usize = 50;
/// So many of a user's last changes are told.
const LAST: usize = 20;

/// How everything is.
#[derive(Debug)]
pub(super) struct Overview {
    pub(super) now: DateTime<Utc>,
    pub(super) standing: Standing,
    pub(super) facts: Facts,
    pub(super) next_due: Option<DateTime<Utc>>,
    pub(super) not_ready: Option<String>,
    pub(super) findings: Arc<Findings>,
    pub(super) books: Result<HistoryView, String>,
}

/// What the journal says.
#[derive(Debug)]
pub(super) struct HistoryView {
    /// The last runs, the last one first.
    pub(super) runs: Vec<RunRecord>,
    /// What the last run held that came to a plan.
    pub(super) held: Option<HeldIn>,
    /// Who approved that, and when.
    pub(super) approvals: Vec<(String, DateTime<Utc>)>,
    /// How many users are in quarantine, and some of them.
    pub(super) quarantined: (usize, Vec<(Email, Quarantined)>),
}

impl HistoryView {
    /// The approval of what is held that is still good.
    pub(super) fn good_approval(&self, now: DateTime<Utc>) -> Option<&(String, DateTime<Utc>)> {
        good(&self.approvals, now)
    }
}

fn good(
    approvals: &[(String, DateTime<Utc>)],
    now: DateTime<Utc>,
) -> Option<&(String, DateTime<Utc>)> {
    approvals.iter().find(|(_, at)| *at + APPROVAL_VALID > now)
}

/// One run.
#[derive(Debug)]
pub(super) struct RunLook {
    pub(super) run: RunRecord,
    pub(super) page: ChangePage,
    pub(super) held: Vec<HeldRecord>,
    pub(super) approvals: Vec<(String, DateTime<Utc>)>,
}

impl RunLook {
    pub(super) fn good_approval(&self, now: DateTime<Utc>) -> Option<&(String, DateTime<Utc>)> {
        good(&self.approvals, now)
    }
}

/// Which changes of a run are asked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) filter: ChangeFilter,
    pub(super) skip: usize,
    pub(super) limit: usize,
}

/// One user.
#[derive(Debug)]
pub(super) struct UserLook {
    pub(super) email: Email,
    pub(super) state: UserState,
    pub(super) problems: Vec<Problem>,
    /// Why these may not be all.
    pub(super) doubt: Option<Incompleteness>,
    /// Whether they are never removed, by `policy.protect`.
    pub(super) is_protected: bool,
    held: HeldIn,
    pub(super) changes: Vec<ChangeRecord>,
}

impl UserLook {
    pub(super) fn held_in(&self) -> &HeldIn {
        &self.held
    }

    /// Whether anything is remembered of them: that the roster asked for them, or what was done to them.
    pub(super) fn is_known(&self) -> bool {
        let UserState {
            managed,
            deactivated,
            quarantined,
        } = &self.state;
        let is_noted = managed.is_some() || !deactivated.is_empty() || quarantined.is_some();
        is_noted || !self.changes.is_empty()
    }

    /// What holds a change of theirs.
    pub(super) fn held_by(&self) -> Option<(&HeldRecord, Operation)> {
        self.held.held.iter().find_map(|record| {
            let user = record.users.iter().find(|user| user.email == self.email)?;
            Some((record, user.operation))
        })
    }
}

impl AppState {
    /// How everything is. What the daemon itself knows is told even where the journal can't be read.
    pub(super) async fn overview(&self) -> Overview {
        let now = Utc::now();
        let status = &self.site.probes.status;
        let (facts, findings) = (status.facts(), status.findings());
        let books = self.look(async |journal| books(journal, now).await).await;
        let not_ready = status.readiness(now).err();
        Overview {
            now,
            standing: standing::of_daemon(&facts, &findings, &books, not_ready.as_deref(), now),
            next_due: status.next_due(now),
            not_ready,
            facts,
            findings,
            books,
        }
    }

    /// The last runs, or those before one.
    pub(super) async fn runs(
        &self,
        before: Option<RunNumber>,
        limit: usize,
    ) -> Result<Vec<RunRecord>, String> {
        self.look(async |journal| match before {
            None => journal.runs(limit).await,
            Some(before) => journal.runs_before(before, limit).await,
        })
        .await
    }

    /// One run, if it is there.
    pub(super) async fn run(&self, run: RunRef, wanted: Wanted) -> Result<Option<RunLook>, String> {
        self.look(async |journal| {
            let Some(run) = journal.run(run).await? else {
                return Ok(None);
            };
            let Wanted {
                filter,
                skip,
                limit,
            } = wanted;
            let page = journal
                .find_changes(run.number, filter, skip, limit)
                .await?;
            Ok(Some(RunLook {
                page,
                held: journal.held(run.number).await?,
                approvals: journal.approvals_of(run.number).await?,
                run,
            }))
        })
        .await
    }

    /// One user, as far as the journal and the last run know them.
    pub(super) async fn user(&self, email: Email) -> Result<UserLook, String> {
        let findings = self.site.probes.status.findings();
        let problems = findings.problems_of(&email).cloned().collect();
        let is_protected = self.site.protect.covers(&email);
        self.look(async |journal| {
            let none = HeldIn {
                run: RunNumber(0),
                held: Vec::new(),
            };
            Ok(UserLook {
                state: journal.user(&email).await?,
                held: journal.last_held().await?.unwrap_or(none),
                changes: journal.changes_of(&email, LAST).await?,
                problems,
                doubt: findings.doubt(),
                is_protected,
                email,
            })
        })
        .await
    }

    /// Looks into the journal, in turn.
    async fn look<T>(
        &self,
        look: impl AsyncFnOnce(&StateDb) -> Result<T, StateError>,
    ) -> Result<T, String> {
        // Never closed.
        let _turn = self.looks.acquire().await;
        look(&self.site.reader)
            .await
            .map_err(|error| error_chain(&error))
    }
}

async fn books(journal: &StateDb, now: DateTime<Utc>) -> Result<HistoryView, StateError> {
    let held = journal.last_held().await?;
    let approvals = match &held {
        Some(held) => journal.approvals_of(held.run).await?,
        None => Vec::new(),
    };
    Ok(HistoryView {
        runs: journal.runs(PICTURED).await?,
        quarantined: journal.quarantined(now, NAMED).await?,
        held,
        approvals,
    })
}
