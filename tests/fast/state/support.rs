//! A state folder, and short words for what stands in a state database.

use super::results;
use chrono::{DateTime, TimeDelta, Utc};
use omni_user_sync::model::{
    Approvals, ApprovedChange, Attributes, ByEmail, ChangeId, ChangeIntent, ChangeKey,
    ChangeOutcome, Desired, DesiredMemberships, DesiredUser, Email, Entry, Fingerprint, GuardRule,
    HeldChange, HeldRecord, Location, NewIds, Observed, ObservedUser, Operation, RunEnd, RunNumber,
    RunRef, RunStart, Settled, Trigger, UserId, UserSpec,
};
use omni_user_sync::plan::ownership::{accepted, by_change, by_roster};
use omni_user_sync::state::{Access, StateDb, StateLock};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub(crate) const ORG: &str = "https://acme.omniapp.co";

/// A folder in which there is no state folder yet.
pub(crate) struct State(TempDir);

impl State {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.0.path().join("state")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub(crate) fn open(&self) -> StateDb {
        open(&self.dir())
    }

    pub(crate) fn read(&self) -> StateDb {
        StateDb::open(ORG, Access::Read(&self.dir())).expect("it can be read")
    }

    pub(crate) fn approve(&self) -> StateDb {
        StateDb::open(ORG, Access::Approve(&self.dir())).expect("it can be approved in")
    }
}

pub(crate) fn open(dir: &Path) -> StateDb {
    let lock = StateLock::acquire(dir, "apply").expect("the lock is free");
    StateDb::open(ORG, Access::Write(lock)).expect("it opens")
}

/// So many seconds after the beginning of these tests.
pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).expect("a time")
}

pub(crate) fn hours(hours: i64) -> TimeDelta {
    TimeDelta::hours(hours)
}

pub(crate) fn email(name: &str) -> Email {
    Email::parse(&format!("{name}@x.co")).expect("an email")
}

/// The key of a user.
pub(crate) fn key(name: &str) -> ChangeKey {
    (&email(name)).into()
}

pub(crate) fn id(name: &str) -> UserId {
    UserId::parse(&format!("id-{}", name.to_lowercase())).expect("an id")
}

pub(crate) fn start(seconds: i64) -> RunStart {
    RunStart {
        trigger: Trigger::Schedule,
        started: at(seconds),
        is_source: true,
        max_gap: TimeDelta::days(999),
    }
}

pub(crate) fn end(seconds: i64) -> RunEnd {
    results::run_end(at(seconds))
}

pub(crate) fn intent(operation: Operation, name: &str, seconds: i64) -> ChangeIntent {
    ChangeIntent {
        intended: at(seconds),
        subject: email(name).into(),
        user_id: (operation != Operation::Create).then(|| id(name)),
        operation,
        group: None,
        role: None,
        fields: Vec::new(),
        approved: false,
    }
}

pub(crate) fn settled(outcome: ChangeOutcome, seconds: i64) -> Settled {
    Settled {
        at: at(seconds),
        outcome,
        detail: String::new(),
    }
}

/// A change that comes to this end within a second.
pub(crate) async fn change(
    db: &StateDb,
    run: RunNumber,
    intent: &ChangeIntent,
    outcome: ChangeOutcome,
) -> ChangeId {
    let change = db.intend(run, intent).await.expect("it is written");
    let settled = Settled {
        at: intent.intended + TimeDelta::seconds(1),
        outcome,
        detail: String::new(),
    };
    settle(db, run, change, intent, &settled).await;
    change
}

/// Records a roster as a run does.
pub(crate) async fn record_roster(
    state: &StateDb,
    seconds: i64,
    desired: &Desired,
    observed: &Observed,
    is_suspect: bool,
) {
    let ownership = by_roster(
        desired,
        observed,
        &state.memory(at(seconds)).await.expect("readable"),
    );
    let accepted = accepted(desired, is_suspect);
    let recorded = state.record_roster(ownership, accepted, at(seconds)).await;
    recorded.expect("written");
}

/// Records an outcome with what it does to the ownership of users, as a run does.
pub(crate) async fn settle(
    state: &StateDb,
    run: RunNumber,
    change: ChangeId,
    intent: &ChangeIntent,
    settled: &Settled,
) {
    settle_creation(state, run, change, intent, settled, None).await;
}

/// The same with the id of a created user.
pub(crate) async fn settle_creation(
    state: &StateDb,
    run: RunNumber,
    change: ChangeId,
    intent: &ChangeIntent,
    settled: &Settled,
    created: Option<&UserId>,
) {
    let run = state.run(RunRef::Number(run)).await.expect("readable");
    let is_source = run.expect("a run").start.is_source;
    let ids = NewIds {
        user: created.cloned(),
        group: None,
    };
    let ownership = by_change(&intent.clone().with(&ids), settled.outcome, is_source);
    let written = state.settle(change, settled, &ids, ownership).await;
    written.expect("it is written");
}

pub(crate) fn held(rule: GuardRule, operation: Operation, names: &[&str]) -> HeldRecord {
    let user = |name: &&str| HeldChange {
        user_id: Some(id(name)),
        operation,
        subject: email(name).into(),
        group: None,
        role: None,
        successor: None,
        fields: Vec::new(),
    };
    HeldRecord {
        rule,
        reason: "too many".into(),
        changes: names.iter().map(user).collect(),
    }
}

pub(crate) fn upsert() -> DesiredUser {
    DesiredUser::Upsert(UserSpec {
        display_name: None,
        attributes: Attributes::default(),
    })
}

/// A roster of `source.path` that wants this.
pub(crate) fn roster(rows: &[(&str, DesiredUser)]) -> Desired {
    let location = Location {
        file: "users.csv".into(),
        line: 2,
        column: None,
    };
    let entry = |(name, want): &(&str, DesiredUser)| {
        let (want, location) = (want.clone(), location.clone());
        (email(name), Entry { want, location })
    };
    let users: ByEmail<_> = rows.iter().map(entry).collect();
    Desired {
        rows: users.len() as u64,
        users,
        doubtful: Vec::new(),
        leavers: ByEmail::default(),
        frozen: ByEmail::default(),
        bad_rows: Vec::new(),
        unnamed: 0,
        memberships: DesiredMemberships::default(),
        roles: None,
        rejected: Vec::new(),
        lints: Vec::new(),
        files: Vec::new(),
        folder: Vec::new(),
        fingerprint: Fingerprint([7; 32]),
        is_source: true,
        only: None,
    }
}

/// These users are in Omni; a name that begins with `-` is inactive.
pub(crate) fn omni(names: &[&str]) -> Observed {
    Observed::new(names.iter().map(|name| omni_user(name)), 0)
}

pub(crate) fn omni_user(name: &str) -> ObservedUser {
    ObservedUser {
        id: id(name.trim_start_matches('-')),
        email: email(name.trim_start_matches('-')),
        display_name: "".into(),
        active: Some(!name.starts_with('-')),
        attributes: Some(Attributes::default()),
        modified: None,
        owned: None,
    }
}

/// How many users were removed in the last 24 hours: without approval, and in all.
pub(crate) async fn removed(db: &StateDb, seconds: i64) -> (usize, usize) {
    let removed = db
        .memory(at(seconds))
        .await
        .expect("it is read")
        .recent
        .removed;
    let unapproved = removed.values().filter(|removal| !removal.approved);
    (unapproved.count(), removed.len())
}

/// What is approved, by id and operation.
pub(crate) fn approved(approvals: &Approvals) -> HashSet<(UserId, Operation)> {
    let change = |one: &ApprovedChange| {
        let HeldChange {
            user_id, operation, ..
        } = one.change.clone();
        (user_id.expect("no creation"), operation)
    };
    approvals.iter().map(change).collect()
}
