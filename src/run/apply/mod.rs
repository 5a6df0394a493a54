//! Sends the changes that passed the guard.
//!
//! - **Order**: transfers of schedules, removals, leaves from groups, updates, creations, joins, roles, each with
//!   `omni.max_in_flight` at once. So if a run is interrupted, access has been revoked before any was granted.
//! - **Errors don't stop other changes.** Only what concerns all of them (a rejected key, too many failures in a row)
//!   ends the run; changes that were not sent by then are skipped.
//! - **A run stops between two changes**, never within one.
//! - **A write whose response was lost is looked up before it is sent again**, because it may have been applied.
//! - **Stale observations are corrected in the same run**: a user that exists already is updated, a user that was
//!   created again is found by email. Only clears that the guard has evaluated are sent.
//! - **A cached id may belong to another address by now.** A removal reads the user first; an update compares the
//!   address in the response, and is reverted if the address differs. The response to a membership or a role shows no
//!   address, so their users are read again before the plan ([`prepare`](super::prepare)), and nothing is sent for a user
//!   that could not be read again.
//! - **Memberships are sent by group**, with one request for up to 100 members. A user who is created in a run joins in
//!   this run; a user whose own change fails joins no group.
//! - **Roles are sent last**, one with each request: by then, users and groups that this run creates exist.
//! - **Every change is recorded before it is sent**, and its outcome once it is known. The next run resolves unknown
//!   outcomes.

mod attempt;
mod follow_up;
mod group_write;
mod identity;
mod members;
mod memberships;
mod new_group;
mod roles;
mod transfers;
mod worker;

use super::cache::Effect;
use super::effects::Effects;
use super::{Applied, AppliedChange, ChangeRecorder, Completion, Prepared};
use crate::model::{Change, MembershipChange, Operation, Policy};
use crate::omni::Writer;
use crate::util::sync::{into_inner, lock};
use chrono::{DateTime, Utc};
use memberships::{GroupChanges, OwnChanges};
use roles::OwnGroups;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use transfers::Kept;
use worker::Worker;

pub use attempt::CHANGES;

/// What is to be sent, and by what means.
#[derive(Debug)]
pub(super) struct ApplyContext<'a> {
    pub(super) writer: Writer,
    pub(super) prepared: &'a Prepared,
    pub(super) recorder: &'a ChangeRecorder<'a>,
    pub(super) policy: &'a Policy,
    pub(super) max_in_flight: usize,
    /// When the run started.
    pub(super) started: DateTime<Utc>,
    /// The maximum age of what was read of schedules when their owner is removed.
    pub(super) max_age: Duration,
}

/// A change that has ended.
struct EndedChange {
    /// The change that was sent last.
    change: Change,
    applied: AppliedChange,
    effect: Option<Effect>,
}

/// Receives each change as it ends.
type OnEnd<'a> = &'a (dyn Fn(EndedChange) + Sync);

/// Sends the changes. `on_change` is called for each change as it ends.
pub(super) async fn apply(
    work: &ApplyContext<'_>,
    on_change: impl FnMut(&AppliedChange) + Send,
) -> (Applied, Effects) {
    let worker = Worker::new(work);
    let ended = Mutex::new((Vec::new(), on_change));
    let on_end = |one: EndedChange| {
        let (ended, on_change) = &mut *lock(&ended);
        on_change(&one.applied);
        ended.push(one);
    };
    let phases = Phases {
        worker: &worker,
        on_end: &on_end,
    };
    phases
        .users(|operation| operation == Operation::Transfer)
        .await;
    let kept = Kept::new(&lock(&ended).0);
    phases.removals(&kept).await;
    let none = OwnChanges::new(&[]);
    phases.memberships(MembershipChange::Leave, &none).await;
    phases
        .users(|operation| operation == Operation::Update)
        .await;
    phases
        .users(|operation| operation == Operation::Create)
        .await;
    let own = OwnChanges::new(&lock(&ended).0);
    phases.memberships(MembershipChange::Join, &own).await;
    let groups = OwnGroups::new(worker.created_groups());
    phases.roles(&own, &groups).await;

    let (cut_short, unlisted, groups) = worker.finish();
    let (mut changes, mut effects) = (Vec::new(), Vec::new());
    for one in into_inner(ended).0 {
        changes.push(one.applied);
        effects.extend(one.effect.map(|effect| (one.change, effect)));
    }
    let applied = Applied {
        changes,
        unlisted,
        completion: cut_short.map_or(Completion::Complete, Completion::from),
    };
    let effects = Effects {
        users: effects,
        groups,
    };
    (applied, effects)
}

/// Sends the changes of one phase after the other.
struct Phases<'a, 'w> {
    worker: &'a Worker<'w>,
    on_end: OnEnd<'a>,
}

impl Phases<'_, '_> {
    /// Removes users, except those with a schedule that was not transferred.
    async fn removals(&self, kept: &Kept) {
        let changes = self.of(Operation::is_removal);
        self.in_lanes(&changes, |change| async {
            (self.on_end)(self.worker.remove(change, kept).await);
        })
        .await;
    }

    /// Sends changes of users, or transfers of their schedules.
    async fn users(&self, is_in_phase: impl Fn(Operation) -> bool) {
        let changes = self.of(is_in_phase);
        self.in_lanes(&changes, |change| async {
            (self.on_end)(self.worker.apply(change).await);
        })
        .await;
    }

    /// Sends changes of memberships, by group.
    async fn memberships(&self, direction: MembershipChange, own: &OwnChanges) {
        let groups = GroupChanges::all(self.passed(), direction);
        self.in_lanes(&groups, |group| {
            self.worker.apply_group(group, own, self.on_end)
        })
        .await;
    }

    /// Sends assignments of roles.
    async fn roles(&self, own: &OwnChanges, groups: &OwnGroups) {
        let changes = self.of(Operation::is_role);
        self.in_lanes(&changes, |change| async {
            (self.on_end)(self.worker.apply_role(change, own, groups).await);
        })
        .await;
    }

    /// The changes with these operations.
    fn of(&self, is_in_phase: impl Fn(Operation) -> bool) -> Vec<&Change> {
        let passed = self.passed().iter();
        passed
            .filter(|change| is_in_phase(change.operation()))
            .collect()
    }

    fn passed(&self) -> &[Change] {
        self.worker.work.prepared.assessment.verdict.passed()
    }

    /// Calls a function for each item, `omni.max_in_flight` at once. Each lane takes the next item when it has ended
    /// one, so waiting items cost nothing.
    async fn in_lanes<'i, T, F: Future<Output = ()>>(
        &self,
        items: &'i [T],
        send: impl Fn(&'i T) -> F,
    ) {
        let next = AtomicUsize::new(0);
        let lanes = (0..self.worker.work.max_in_flight).map(|_| async {
            while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                // On the heap, because these futures are large.
                Box::pin(send(item)).await;
            }
        });
        futures_util::future::join_all(lanes).await;
    }
}
