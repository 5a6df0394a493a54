//! Carries out what passed the guard.
//!
//! - **Order**: removals, then updates, then creations; within one, `omni.max_in_flight` at once. So
//!   that when a run is cut short, the access that had to go is gone, and nobody new has come.
//! - **Not the first error, all of them**: a user's failure is that user's. Only what concerns
//!   everybody (a refused key, too many failures in a row) ends the run; what was not sent by then
//!   is told as unsent.
//! - **It stops between two changes**, never inside one.
//! - **A write whose answer was lost is looked up before it is sent again**: it may have been done.
//! - **What turns out to be stale is mended at once**: who exists already is updated, who was made
//!   again is found by email. Values are cleared only as the guard has seen it.
//! - **Nothing is sent that the ledger does not have**, and it is told what became of it once that is
//!   known. What is not known, the next run's look at Omni says.

mod attempt;
mod recover;
mod worker;

use super::observe::Effect;
use super::{AppliedChange, ChangeRecorder, Prepared, RunError};
use crate::model::Operation;
use crate::omni::Writer;
use crate::plan::Change;
use crate::util::sync::{into_inner, lock};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use worker::Worker;

pub use attempt::CHANGES;

/// What is to be carried out, and with what.
#[derive(Debug)]
pub(super) struct Work<'a> {
    pub(super) writer: Writer,
    pub(super) prepared: &'a Prepared,
    pub(super) ledger: &'a ChangeRecorder<'a>,
    pub(super) max_in_flight: usize,
}

/// What became of all changes.
#[derive(Debug)]
pub(super) struct Report {
    /// One for each change that passed, in the order in which they ended.
    pub(super) applied: Vec<AppliedChange>,
    /// What is known to have changed in Omni.
    pub(super) effects: Vec<(Change, Effect)>,
    /// Why nothing more was sent, where the run was cut short.
    pub(super) cut_short: Option<RunError>,
}

/// A change that has ended.
struct Ended {
    /// What was sent last.
    change: Change,
    applied: AppliedChange,
    effect: Option<Effect>,
}

/// Carries out what passed. `told` hears of each change as it ends.
pub(super) async fn apply(work: &Work<'_>, told: impl FnMut(&AppliedChange) + Send) -> Report {
    let worker = Worker::new(work);
    let ends = Mutex::new((Vec::new(), Vec::new(), told));
    let phases: [fn(Operation) -> bool; 3] = [
        Operation::is_removal,
        |kind| kind == Operation::Update,
        |kind| kind == Operation::Create,
    ];
    for phase in phases {
        let passed = work.prepared.verdict.passed().iter();
        let changes: Vec<_> = passed.filter(|change| phase(change.kind())).collect();
        let next = AtomicUsize::new(0);
        // Each takes the next change when it has ended one: what waits costs nothing.
        let hands = (0..work.max_in_flight).map(|_| async {
            while let Some(change) = changes.get(next.fetch_add(1, Ordering::Relaxed)) {
                let Ended {
                    change,
                    applied: one,
                    effect,
                } = worker.carry_out(change).await;
                let (applied, effects, told) = &mut *lock(&ends);
                told(&one);
                applied.push(one);
                effects.extend(effect.map(|effect| (change, effect)));
            }
        });
        futures_util::future::join_all(hands).await;
    }
    let (applied, effects, _) = into_inner(ends);
    Report {
        applied,
        effects,
        cut_short: worker.cut_short(),
    }
}
