//! Sends the changes that passed the guard.
//!
//! - **Order**: removals, then updates, then creations, each with `omni.max_in_flight` at once. So if a run is
//!   interrupted, access has been revoked before any was granted.
//! - **Errors don't stop other changes.** Only what concerns all of them (a rejected key, too many failures in a row)
//!   ends the run; changes that were not sent by then are skipped.
//! - **A run stops between two changes**, never within one.
//! - **A write whose response was lost is looked up before it is sent again**, because it may have been applied.
//! - **Stale observations are corrected in the same run**: a user that exists already is updated, a user that was
//!   created again is found by email. Only clears that the guard has evaluated are sent.
//! - **A cached id may belong to another address by now.** A removal reads the user first; an update compares the
//!   address in the response, and is reverted if the address differs.
//! - **Every change is recorded before it is sent**, and its outcome once it is known. The next run resolves unknown
//!   outcomes.

mod attempt;
mod follow_up;
mod identity;
mod worker;

use super::cache::Effect;
use super::{Applied, AppliedChange, ChangeRecorder, Completion, Prepared};
use crate::model::{Change, Operation, Policy};
use crate::omni::Writer;
use crate::util::sync::{into_inner, lock};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
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
}

/// A change that has ended.
struct EndedChange {
    /// The change that was sent last.
    change: Change,
    applied: AppliedChange,
    effect: Option<Effect>,
}

/// Sends the changes. `on_change` is called for each change as it ends.
pub(super) async fn apply(
    work: &ApplyContext<'_>,
    on_change: impl FnMut(&AppliedChange) + Send,
) -> (Applied, Vec<(Change, Effect)>) {
    let worker = Worker::new(work);
    let ended = Mutex::new((Vec::new(), Vec::new(), on_change));
    let phases: [fn(Operation) -> bool; 3] = [
        Operation::is_removal,
        |operation| operation == Operation::Update,
        |operation| operation == Operation::Create,
    ];
    for phase in phases {
        let passed = work.prepared.assessment.verdict.passed().iter();
        let changes: Vec<_> = passed.filter(|change| phase(change.operation())).collect();
        let next = AtomicUsize::new(0);
        // Each lane takes the next change when it has ended one, so waiting changes cost nothing.
        let lanes = (0..work.max_in_flight).map(|_| async {
            while let Some(change) = changes.get(next.fetch_add(1, Ordering::Relaxed)) {
                let EndedChange {
                    change,
                    applied: one,
                    effect,
                } = worker.apply(change).await;
                let (applied, effects, on_change) = &mut *lock(&ended);
                on_change(&one);
                applied.push(one);
                effects.extend(effect.map(|effect| (change, effect)));
            }
        });
        futures_util::future::join_all(lanes).await;
    }
    let (changes, effects, _) = into_inner(ended);
    let (cut_short, unlisted) = worker.finish();
    let applied = Applied {
        changes,
        unlisted,
        completion: cut_short.map_or(Completion::Complete, Completion::from),
    };
    (applied, effects)
}
