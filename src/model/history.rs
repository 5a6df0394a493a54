//! History: runs, their changes, and the changes they held.

use super::{
    ChangeKey, ChangeOutcome, Counts, FieldChange, FieldCount, Fingerprint, GroupId, GroupRef,
    GuardRule, HeldChange, Operation, RoleChange, RoleHolder, RunNumber, RunResult, Subject,
    Trigger, UserId,
};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::{HashMap, HashSet};
use std::fmt;

/// The start of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunStart {
    /// What started the run.
    pub trigger: Trigger,
    /// When it started.
    pub started: DateTime<Utc>,
    /// Whether the roster is the one of `source.path`. Another roster makes no user managed.
    pub is_source: bool,
    /// The longest gap between this run and the next one that counts for graces, the guard and retention.
    pub max_gap: TimeDelta,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEnd {
    /// When the run ended.
    pub ended: DateTime<Utc>,
    /// The result.
    pub result: RunResult,
    /// The content of the roster, if it could be read.
    pub fingerprint: Option<Fingerprint>,
    /// The number of data rows, if the roster could be read.
    pub rows: Option<u64>,
    /// The number of users in Omni after the run, if they could be listed.
    pub users: Option<u64>,
    /// The planned changes, if there was a plan.
    pub planned: Option<Counts>,
    /// The planned changes that the run did not apply, if there was a plan.
    pub pending: Option<Counts>,
    /// The number of applied changes.
    pub applied: u64,
    /// The number of failed changes.
    pub failed: u64,
    /// The number of held changes.
    pub held: u64,
    /// The number of problems in rows.
    pub bad_rows: u64,
    /// The number of requests sent.
    pub requests: u64,
    /// The reason for a failure, or an empty text.
    pub detail: String,
}

/// The state of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunState {
    /// The run is in progress, or was killed and no other run has started since.
    Open,
    /// The run was killed.
    Interrupted,
    /// The run ended.
    Ended(Box<RunEnd>),
}

impl RunState {
    /// The result, or `running` or `interrupted`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Open => "running",
            Self::Interrupted => "interrupted",
            Self::Ended(end) => end.result.as_str(),
        }
    }
}

/// A run in history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRecord {
    /// The number.
    pub number: RunNumber,
    /// The start.
    pub start: RunStart,
    /// The state.
    pub state: RunState,
}

impl RunRecord {
    /// The end of the run; `None` if it has not finished.
    #[must_use]
    pub fn end(&self) -> Option<&RunEnd> {
        match &self.state {
            RunState::Ended(end) => Some(end),
            RunState::Open | RunState::Interrupted => None,
        }
    }
}

/// The number of a change. Numbers ascend and are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeId(pub u64);

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A change that is about to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeIntent {
    /// When the change was recorded.
    pub intended: DateTime<Utc>,
    /// The user or group.
    pub subject: Subject,
    /// The user's id; `None` for a user to be created.
    pub user_id: Option<UserId>,
    /// The operation.
    pub operation: Operation,
    /// The group of a membership, or the group that gets a role.
    pub group: Option<GroupRef>,
    /// The role that changes.
    pub role: Option<RoleChange>,
    /// The fields.
    pub fields: Vec<FieldChange>,
    /// Whether the change was approved. Approved removals don't count for the guard.
    pub approved: bool,
}

/// Ids that a change lacked when it was recorded, because it creates a user or needs a new group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewIds {
    /// The created user.
    pub user: Option<UserId>,
    /// The group of a membership.
    pub group: Option<GroupId>,
}

impl NewIds {
    /// Adds the ids that a change lacks.
    pub(super) fn complete(&self, user_id: &mut Option<UserId>, group: Option<&mut GroupRef>) {
        let Self {
            user,
            group: group_id,
        } = self;
        *user_id = user_id.take().or_else(|| user.clone());
        if let Some(group) = group {
            group.id = group.id.take().or_else(|| group_id.clone());
        }
    }
}

impl ChangeIntent {
    /// What the change is about.
    #[must_use]
    pub fn key(&self) -> ChangeKey {
        let (group, role) = (self.group.as_ref(), self.role.as_ref());
        ChangeKey::recorded(&self.subject, group, role, &self.fields)
    }

    /// The user or group whose role changes, by id.
    #[must_use]
    pub fn holder(&self) -> Option<RoleHolder> {
        match &self.subject {
            Subject::User(_) => Some(RoleHolder::User(self.user_id.clone()?)),
            Subject::Group(_) => Some(RoleHolder::Group(self.group.as_ref()?.id.clone()?)),
        }
    }

    /// The same with the ids that it lacked.
    #[must_use]
    pub fn with(mut self, ids: &NewIds) -> Self {
        ids.complete(&mut self.user_id, self.group.as_mut());
        self
    }
}

/// The outcome of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// When the outcome was known.
    pub at: DateTime<Utc>,
    /// The outcome.
    pub outcome: ChangeOutcome,
    /// Details, or an empty text.
    pub detail: String,
}

/// The word for a change whose outcome is not known.
pub const UNKNOWN: &str = "unknown";

/// The word for a change that a dry run planned.
pub const PLANNED: &str = "planned";

/// A change in history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRecord {
    /// The number.
    pub id: ChangeId,
    /// The run that sent or planned the change.
    pub run: RunNumber,
    /// Whether a dry run planned the change. Then it was not sent, and has no outcome.
    pub is_planned: bool,
    /// The change as it was planned, or about to be sent.
    pub intent: ChangeIntent,
    /// The outcome; `None` if it is unknown, because the change is in progress, the program was killed, or the response
    /// was lost.
    pub settled: Option<Settled>,
}

impl ChangeRecord {
    /// Whether the change was sent and its outcome is not known.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        !self.is_planned && self.settled.is_none()
    }

    /// The outcome, `unknown` or `planned`.
    #[must_use]
    pub fn outcome_word(&self) -> &'static str {
        match &self.settled {
            Some(settled) => settled.outcome.as_str(),
            None if self.is_planned => PLANNED,
            None => UNKNOWN,
        }
    }
}

impl ChangeIntent {
    /// Whether this reverts another change of the same user: it ends a join, takes back a leave, or restores the former
    /// values of the same fields.
    fn reverts(&self, other: &Self) -> bool {
        let is_reverse = match (self.operation, other.operation) {
            (Operation::Leave, Operation::Join) | (Operation::Join, Operation::Leave) => {
                self.group == other.group
            }
            (Operation::Update, Operation::Update) => {
                let mut pairs = self.fields.iter().zip(&other.fields);
                let is_back = |(one, other): (&FieldChange, &FieldChange)| {
                    one.field == other.field && one.from == other.to && one.to == other.from
                };
                self.fields.len() == other.fields.len() && pairs.all(is_back)
            }
            _ => false,
        };
        self.user_id == other.user_id && is_reverse
    }
}

/// The changes of a run that revert an earlier one of the same run, because a group turned out to be renamed, or a user
/// to have another address. The reverted change is recorded as failed, and the one that reverts it as applied, so
/// neither is to be undone.
#[must_use]
pub fn reverting(changes: &[ChangeRecord]) -> HashSet<ChangeId> {
    let mut of_user: HashMap<_, Vec<&ChangeRecord>> = HashMap::new();
    for change in changes {
        if let Some(id) = &change.intent.user_id {
            of_user.entry(id).or_default().push(change);
        }
    }
    let of_user = of_user.values_mut().flat_map(|of_user| {
        of_user.sort_by_key(|change| change.id);
        let later = of_user.iter().enumerate();
        later.filter(|(at, later)| {
            let mut earlier = of_user[..*at].iter();
            earlier.any(|earlier| later.intent.reverts(&earlier.intent))
        })
    });
    of_user.map(|(_, change)| change.id).collect()
}

/// The changes that one safety limit held in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRecord {
    /// The limit.
    pub rule: GuardRule,
    /// The reason, as a clause.
    pub reason: String,
    /// The changes, by operation and subject.
    pub changes: Vec<HeldChange>,
}

impl HeldRecord {
    /// The counts by field.
    #[must_use]
    pub fn field_counts(&self) -> Vec<FieldCount> {
        FieldCount::of(&self.changes)
    }

    /// The reason why one of the changes is held, as a clause.
    #[must_use]
    pub fn text(&self, run: RunNumber) -> String {
        format!("held by {} (run {run}): {}", self.rule.label(), self.reason)
    }
}
