//! The data that pages and the API show, each read at one moment.

use super::state::AppState;
use crate::model::{
    ChangeId, ChangeKey, ChangeRecord, Email, HeldChange, HeldRecord, Pause, Policy, Problem,
    Quarantined, RunNumber, RunRecord, RunRef,
};
use crate::plan::{is_near, nearest_email};
use crate::run::ProgressReport;
use crate::state::{
    ChangeFilter, ChangePage, HeldIn, RunFilter, StateDb, StateError, UserList, UserQuery,
    UserState,
};
use crate::status::{Facts, Findings, Incompleteness};
use crate::util::error_chain::error_chain;
use chrono::{DateTime, Utc};
use std::collections::HashSet;
use std::sync::Arc;

/// Runs in the charts.
pub(super) const CHART_RUNS: usize = 50;
/// Users in quarantine that are listed.
const MAX_QUARANTINED: usize = 50;
/// Recent changes of a user that are listed.
const MAX_USER_CHANGES: usize = 20;

/// Similar emails that are compared.
const MAX_NEAR: usize = 100;

/// The overall state.
#[derive(Debug)]
pub(super) struct Overview {
    pub(super) now: DateTime<Utc>,
    pub(super) facts: Facts,
    pub(super) progress: Option<ProgressReport>,
    pub(super) next_due: Option<DateTime<Utc>>,
    pub(super) not_ready: Option<String>,
    pub(super) findings: Arc<Findings>,
    /// From the state database, or why it can't be read.
    pub(super) history: Result<HistoryView, String>,
}

impl Overview {
    /// The last runs, newest first; empty if the state database can't be read.
    pub(super) fn runs(&self) -> &[RunRecord] {
        self.history.as_ref().map_or(&[], |history| &history.runs)
    }
}

/// The history, as far as the overview shows it.
#[derive(Debug)]
pub(super) struct HistoryView {
    /// The pause in force.
    pub(super) paused: Option<Pause>,
    /// The last runs, newest first.
    pub(super) runs: Vec<RunRecord>,
    /// The held changes of the last run that made a plan.
    pub(super) held: Option<HeldView>,
    /// The number of users in quarantine, and the first of them.
    pub(super) quarantined: (usize, Vec<(ChangeKey, Quarantined)>),
}

/// The held changes of a run, and their approvals.
#[derive(Debug)]
pub(super) struct HeldView {
    pub(super) run: RunNumber,
    pub(super) held: Vec<HeldRecord>,
    /// The approver and the time of each approval of this run, the latest first.
    pub(super) approvals: Vec<(String, DateTime<Utc>)>,
    /// The changes that need no approval any more.
    approved: HashSet<HeldChange>,
    /// What a dry run would hold can't be approved.
    pub(super) is_dry_run: bool,
}

impl HeldView {
    async fn read(db: &StateDb, run: RunNumber, now: DateTime<Utc>) -> Result<Self, StateError> {
        Ok(Self {
            run,
            held: db.held(run).await?,
            approvals: db.approvals_of(run).await?,
            approved: db.approved_in(run, now).await?.into_iter().collect(),
            is_dry_run: db.is_dry_run(run).await?,
        })
    }

    /// The number of held changes.
    pub(super) fn count(&self) -> usize {
        self.held.iter().map(|held| held.changes.len()).sum()
    }

    pub(super) fn is_approved(&self, change: &HeldChange) -> bool {
        self.approved.contains(change)
    }

    /// The changes that wait for an approval.
    pub(super) fn open(&self) -> impl Iterator<Item = &HeldChange> {
        let held = self.held.iter().flat_map(|held| &held.changes);
        held.filter(|change| !self.is_approved(change))
    }

    /// The latest approval, if no change waits for one.
    pub(super) fn approval(&self) -> Option<&(String, DateTime<Utc>)> {
        let is_open = self.open().next().is_some();
        self.approvals.first().filter(|_| !is_open)
    }
}

/// One run.
#[derive(Debug)]
pub(super) struct RunView {
    pub(super) run: RunRecord,
    pub(super) page: ChangePage,
    pub(super) held: HeldView,
}

/// Selects runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunQuery {
    pub(super) filter: RunFilter,
    pub(super) before: Option<RunNumber>,
    pub(super) limit: usize,
}

/// Selects changes of a run.
#[derive(Clone, Debug)]
pub(super) struct ChangeQuery {
    pub(super) filter: ChangeFilter,
    pub(super) skip: usize,
    pub(super) limit: usize,
}

/// One user.
#[derive(Debug)]
pub(super) struct UserView {
    pub(super) email: Email,
    pub(super) state: UserState,
    pub(super) problems: Vec<Problem>,
    /// Why `problems` may be incomplete.
    pub(super) incompleteness: Option<Incompleteness>,
    /// Whether the user is never removed.
    pub(super) is_protected: bool,
    held: Option<HeldIn>,
    pub(super) changes: Vec<ChangeRecord>,
}

impl UserView {
    /// Whether the state database has an entry for the user: managed, deactivated, in quarantine, or
    /// changed before.
    pub(super) fn is_known(&self) -> bool {
        let UserState {
            managed,
            deactivated,
            quarantined,
            observed: _,
        } = &self.state;
        let has_state = managed.is_some() || !deactivated.is_empty() || quarantined.is_some();
        has_state || !self.changes.is_empty()
    }

    /// The held change of the user, with its run and rule.
    pub(super) fn held(&self) -> Option<(RunNumber, &HeldRecord, &HeldChange)> {
        let held = self.held.as_ref()?;
        held.held.iter().find_map(|record| {
            let mut changes = record.changes.iter();
            let change = changes.find(|change| change.subject == self.email)?;
            Some((held.run, record, change))
        })
    }
}

impl AppState {
    /// The overall state. The daemon's own status is available even if the state database is not.
    pub(super) async fn overview(&self) -> Overview {
        let now = Utc::now();
        let status = &self.config.probes.status;
        let (mut facts, findings) = (status.facts(), status.findings());
        let history = self.query(async |db| history(db, now).await).await;
        // The daemon follows the state database within seconds, and an action shows at once.
        if let Ok(history) = &history {
            facts.paused.clone_from(&history.paused);
        }
        Overview {
            now,
            next_due: status.next_due(now),
            not_ready: status.readiness(now).err(),
            facts,
            progress: status.progress(),
            findings,
            history,
        }
    }

    /// Selected runs, newest first.
    pub(super) async fn runs(&self, query: RunQuery) -> Result<Vec<RunRecord>, String> {
        let RunQuery {
            filter,
            before,
            limit,
        } = query;
        self.query(async |db| db.find_runs(filter, before, limit).await)
            .await
    }

    /// The changes of a run after a change, in the order in which they were sent.
    pub(super) async fn changes_after(
        &self,
        run: RunNumber,
        after: Option<ChangeId>,
        limit: usize,
    ) -> Result<Vec<ChangeRecord>, String> {
        self.query(async |db| db.changes_after(run, after, limit).await)
            .await
    }

    /// The changes of all runs to users whose email begins with `prefix`, newest first.
    pub(super) async fn changes(
        &self,
        prefix: &str,
        before: Option<ChangeId>,
        limit: usize,
    ) -> Result<Vec<ChangeRecord>, String> {
        self.query(async |db| db.changes_by_prefix(prefix, before, limit).await)
            .await
    }

    /// One run with a page of its changes; `None` if it does not exist.
    pub(super) async fn run(
        &self,
        run: RunRef,
        changes: ChangeQuery,
    ) -> Result<Option<RunView>, String> {
        self.query(async |db| {
            let Some(run) = db.run(run).await? else {
                return Ok(None);
            };
            let ChangeQuery {
                filter,
                skip,
                limit,
            } = changes;
            let page = db.find_changes(run.number, filter, skip, limit).await?;
            Ok(Some(RunView {
                page,
                held: HeldView::read(db, run.number, Utc::now()).await?,
                run,
            }))
        })
        .await
    }

    /// One user, from the state database and the last run.
    pub(super) async fn user(&self, email: Email) -> Result<UserView, String> {
        let findings = self.config.probes.status.findings();
        let problems = findings.problems_of(&email).cloned().collect();
        self.query(async |db| {
            Ok(UserView {
                is_protected: db.is_protected(&email, self.policy()).await?,
                state: db.user(&email).await?,
                held: db.last_held().await?,
                changes: db.changes_of(&email, MAX_USER_CHANGES).await?,
                problems,
                incompleteness: findings.incompleteness(),
                email,
            })
        })
        .await
    }

    fn policy(&self) -> &Policy {
        &self.config.explainer.settings().policy
    }

    /// A part of a list of users.
    pub(super) async fn users(&self, query: UserQuery) -> Result<UserList, String> {
        self.query(async |db| db.users(query, self.policy(), Utc::now()).await)
            .await
    }

    /// The known email nearest to this one.
    pub(super) async fn nearest_email(&self, wanted: &Email) -> Result<Option<Email>, String> {
        let folded = wanted.folded().into_owned();
        let is_wanted = move |email: &str| is_near(&folded, email);
        let near = self
            .query(async |db| db.emails_where(is_wanted, MAX_NEAR, Utc::now()).await)
            .await?;
        Ok(nearest_email(wanted, &near))
    }

    /// Queries the state database, once a permit is free.
    async fn query<T>(
        &self,
        query: impl AsyncFnOnce(&StateDb) -> Result<T, StateError>,
    ) -> Result<T, String> {
        // Fails only if the semaphore is closed, which never happens.
        let _permit = self.query_permits.acquire().await;
        query(&self.config.reader)
            .await
            .map_err(|error| error_chain(&error))
    }
}

async fn history(db: &StateDb, now: DateTime<Utc>) -> Result<HistoryView, StateError> {
    let held = match db.last_held().await? {
        Some(last) => Some(HeldView::read(db, last.run, now).await?),
        None => None,
    };
    Ok(HistoryView {
        paused: db.paused(now).await?,
        runs: db.runs(CHART_RUNS).await?,
        quarantined: db.quarantined(now, MAX_QUARANTINED).await?,
        held,
    })
}
