//! The outcome of a run, from which the report, history, metrics, log, notifications and pages are made.

use super::Prepared;
use crate::model::{
    ChangeOutcome, Counts, Email, Fingerprint, GroupName, Leaver, Operation, Problem, RoleChange,
    RunNumber, RunResult, Subject, Trigger,
};
use crate::omni::{ClientError, OmniError};
use crate::plan::HeldSummary;
use crate::roster::SourceError;
use crate::settings::{KeyError, SettingsError};
use crate::state::{ApproveError, StateError};
use crate::util::text::plural;
use chrono::{DateTime, Utc};
use std::time::Duration;

/// A change with its outcome.
#[derive(Clone, Debug)]
pub struct AppliedChange {
    /// The user or group.
    pub subject: Subject,
    /// The operation.
    pub operation: Operation,
    /// The group of a membership, or the group that gets a role.
    pub group: Option<GroupName>,
    /// The role that changes.
    pub role: Option<RoleChange>,
    /// The name of the schedule that is transferred.
    pub schedule: Option<String>,
    /// The outcome.
    pub outcome: ChangeOutcome,
    /// Details, or an empty text.
    pub detail: String,
    /// Whether Omni rejected the change, and will again.
    pub rejected: bool,
}

impl AppliedChange {
    /// The failure of a row whose email several users in Omni share.
    pub(crate) fn ambiguous(email: &Email) -> Self {
        Self {
            subject: email.into(),
            operation: Operation::Update,
            group: None,
            role: None,
            schedule: None,
            outcome: ChangeOutcome::Failed,
            detail: "several users in Omni have this email; none of them is changed".into(),
            rejected: false,
        }
    }
}

/// The roster that a run read.
#[derive(Clone, Debug)]
pub struct RosterSummary {
    /// The number of data rows.
    pub rows: u64,
    /// The content.
    pub fingerprint: Fingerprint,
    /// The problems in rows.
    pub bad_rows: Vec<Problem>,
    /// Files that could not be read, beside others that could.
    pub rejected: Vec<Problem>,
    /// Why `source.groups` could not be read.
    pub groups: Option<Problem>,
    /// Why `source.roles` could not be read.
    pub roles: Option<Problem>,
}

impl RosterSummary {
    /// The problems of all files that could not be read.
    pub fn unreadable(&self) -> impl Iterator<Item = &Problem> + Clone {
        self.rejected.iter().chain(&self.groups).chain(&self.roles)
    }
}

/// What a run planned.
#[derive(Clone, Debug)]
pub struct PlanSummary {
    /// The roster.
    pub roster: RosterSummary,
    /// The number of users in Omni.
    pub users: usize,
    /// The planned changes, before the guard.
    pub pending: Counts,
    /// What the safety limits hold.
    pub held: Vec<HeldSummary>,
    /// Removals that were not planned, as sentences.
    pub blocked: Vec<String>,
    /// The number of users in quarantine.
    pub quarantined: usize,
    /// Emails that several users in Omni share.
    pub ambiguous: Vec<Email>,
    /// The number of users and groups whose fields or roles Omni has not shown yet.
    pub unread: usize,
    /// The users who leave within two weeks, by day.
    pub leaving: Vec<Leaver>,
    /// Whether the plan rests on a cached observation, and a run that reads all users should follow.
    pub needs_listing: bool,
    /// Warnings.
    pub warnings: Vec<String>,
}

impl From<&Prepared> for PlanSummary {
    fn from(prepared: &Prepared) -> Self {
        let Prepared {
            desired,
            cache,
            memory: _,
            assessment,
        } = prepared;
        let bad_rows = desired.bad_rows.iter().chain(&assessment.problems);
        let verdict = &assessment.verdict;
        Self {
            roster: RosterSummary {
                rows: desired.rows,
                fingerprint: desired.fingerprint,
                bad_rows: bad_rows.cloned().collect(),
                rejected: desired.rejected.clone(),
                groups: desired.memberships.unreadable.clone(),
                roles: desired.unreadable_roles().cloned(),
            },
            users: cache.observed.count(),
            pending: assessment.pending,
            held: verdict.held().iter().map(HeldSummary::from).collect(),
            blocked: assessment.blocked.iter().map(ToString::to_string).collect(),
            quarantined: verdict.quarantined().len(),
            ambiguous: assessment.ambiguous.clone(),
            unread: assessment.unread.len() + assessment.unread_roles.len(),
            leaving: assessment.leaving.clone(),
            needs_listing: false,
            warnings: assessment.warnings.clone(),
        }
    }
}

/// Why a run was not possible.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A required setting is missing.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The API keys can't be read.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The roster can't be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Omni can't be read, or ended the run.
    #[error(transparent)]
    Omni(#[from] OmniError),
    /// The state database can't be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The held changes can't be approved.
    #[error(transparent)]
    Approve(#[from] ApproveError),
}

impl RunError {
    /// Whether Omni refused every key or does not know the address, so that another run ends the same way until a
    /// person does something.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        let Self::Omni(error) = self else {
            return false;
        };
        matches!(
            error,
            OmniError::Unauthorized { .. }
                | OmniError::Forbidden { .. }
                | OmniError::Malformed { .. }
                | OmniError::WrongAddress { .. }
                | OmniError::NoKeyLeft
        )
    }
}

impl From<ClientError> for RunError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Settings(error) => error.into(),
            ClientError::Omni(error) => error.into(),
        }
    }
}

/// How far a run came.
#[derive(Debug)]
pub enum Completion {
    /// All changes that passed the guard were tried.
    Complete,
    /// The run was a dry run.
    DryRun,
    /// The prompt was declined.
    Declined,
    /// The run was stopped between two changes.
    Stopped,
    /// The run was not possible.
    Failed(RunError),
}

impl From<RunError> for Completion {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Omni(OmniError::Stopped) | RunError::Source(SourceError::Stopped) => {
                Self::Stopped
            }
            error => Self::Failed(error),
        }
    }
}

/// The outcome of a run.
#[derive(Debug)]
pub struct RunOutcome {
    /// The run's number; `None` if the run could not be recorded.
    pub number: Option<RunNumber>,
    /// What started the run.
    pub trigger: Trigger,
    /// When the run started.
    pub started: DateTime<Utc>,
    /// The duration.
    pub duration: Duration,
    /// The number of requests sent.
    pub requests: u64,
    /// What the run planned; `None` if the roster or Omni could not be read.
    pub plan: Option<PlanSummary>,
    /// The changes that were tried or skipped, and ambiguous rows.
    pub changes: Vec<AppliedChange>,
    /// Warnings.
    pub warnings: Vec<String>,
    /// Users that exist and that the list of this run did not show.
    pub unlisted: Vec<Email>,
    /// How far the run came.
    pub completion: Completion,
}

/// What a run did after its plan.
#[derive(Debug)]
pub struct Applied {
    /// The changes that passed the guard, in the order in which they ended.
    pub changes: Vec<AppliedChange>,
    /// Users that exist and that the list of this run did not show.
    pub unlisted: Vec<Email>,
    /// How far the run came.
    pub completion: Completion,
}

impl Applied {
    /// Nothing was sent.
    #[must_use]
    pub fn nothing(completion: impl Into<Completion>) -> Self {
        Self {
            changes: Vec::new(),
            unlisted: Vec::new(),
            completion: completion.into(),
        }
    }
}

impl RunOutcome {
    /// The outcome of a run that ends now.
    #[must_use]
    pub fn new(
        number: Option<RunNumber>,
        trigger: Trigger,
        started: DateTime<Utc>,
        requests: u64,
        plan: Option<PlanSummary>,
        applied: Applied,
    ) -> Self {
        let ambiguous = plan.iter().flat_map(|plan| &plan.ambiguous);
        let mut changes: Vec<_> = ambiguous.map(AppliedChange::ambiguous).collect();
        changes.extend(applied.changes);
        let warnings = plan.iter().flat_map(|plan| &plan.warnings);
        Self {
            number,
            trigger,
            started,
            duration: (Utc::now() - started).to_std().unwrap_or_default(),
            requests,
            warnings: warnings
                .cloned()
                .chain(unlisted_warning(&applied.unlisted))
                .collect(),
            plan,
            changes,
            unlisted: applied.unlisted,
            completion: applied.completion,
        }
    }

    /// The roster, if it could be read.
    #[must_use]
    pub fn roster(&self) -> Option<&RosterSummary> {
        Some(&self.plan.as_ref()?.roster)
    }

    /// The number of users in Omni, if they could be listed.
    #[must_use]
    pub fn users(&self) -> Option<usize> {
        Some(self.plan.as_ref()?.users)
    }

    /// The number of users in Omni after the run, as far as it knows.
    #[must_use]
    pub fn users_after(&self) -> Option<usize> {
        let applied = self.applied();
        let before = self.users()? + applied.get(Operation::Create);
        Some(before.saturating_sub(applied.get(Operation::Delete)))
    }

    /// The applied changes.
    fn applied(&self) -> Counts {
        let changes = self.changes.iter();
        let applied = changes.filter(|change| change.outcome == ChangeOutcome::Applied);
        Counts::of(applied.map(|change| change.operation))
    }

    /// The planned changes, if there was a plan.
    #[must_use]
    pub fn planned(&self) -> Option<Counts> {
        Some(self.plan.as_ref()?.pending)
    }

    /// The planned changes that were not applied, if there was a plan.
    #[must_use]
    pub fn pending(&self) -> Option<Counts> {
        Some(self.planned()?.without(&self.applied()))
    }

    /// What the safety limits hold.
    #[must_use]
    pub fn held(&self) -> &[HeldSummary] {
        self.plan.as_ref().map_or(&[], |plan| &plan.held)
    }

    /// The number of held changes.
    #[must_use]
    pub fn held_count(&self) -> usize {
        self.held().iter().map(|held| held.count).sum()
    }

    /// Removals that were not planned, as sentences.
    #[must_use]
    pub fn blocked(&self) -> &[String] {
        self.plan.as_ref().map_or(&[], |plan| &plan.blocked)
    }

    /// The number of users in quarantine.
    #[must_use]
    pub fn quarantined(&self) -> usize {
        self.plan.as_ref().map_or(0, |plan| plan.quarantined)
    }

    /// The number of changes with this outcome.
    #[must_use]
    pub fn count(&self, outcome: ChangeOutcome) -> usize {
        let changes = self.changes.iter();
        changes.filter(|one| one.outcome == outcome).count()
    }

    /// The result.
    #[must_use]
    pub fn result(&self) -> RunResult {
        match self.completion {
            Completion::Failed(_) => RunResult::Failed,
            Completion::Stopped => RunResult::Stopped,
            Completion::Declined => RunResult::Declined,
            Completion::DryRun => RunResult::DryRun,
            Completion::Complete if !self.held().is_empty() || !self.blocked().is_empty() => {
                RunResult::Held
            }
            Completion::Complete if self.is_partial() => RunResult::Partial,
            Completion::Complete => RunResult::Converged,
        }
    }

    fn is_partial(&self) -> bool {
        let has_problems = |roster: &RosterSummary| {
            !roster.bad_rows.is_empty() || roster.unreadable().next().is_some()
        };
        self.roster().is_some_and(has_problems)
            || self.quarantined() > 0
            || !self.unlisted.is_empty()
            || self.plan.as_ref().is_some_and(|plan| plan.unread > 0)
            || self.count(ChangeOutcome::Applied) < self.changes.len()
    }

    /// Whether the run did what it could. Bad rows, failed users and held changes are not failures.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.result().is_success()
    }
}

fn unlisted_warning(unlisted: &[Email]) -> Option<String> {
    let first = unlisted.first()?;
    let users = plural(unlisted.len(), "existing user");
    Some(format!(
        "Omni's list does not show {users} (409 on creation), such as {first}: others may be missing from it \
         too, so the next run looks up the users to be removed"
    ))
}
