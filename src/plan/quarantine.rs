//! Users whose change is not sent again every run: it was refused, or accepted and not kept, or in two runs there was
//! no answer to any try.
//!
//! A change is known by its mark: what is asked for, and what Omni has. Whatever changes in the row or
//! in Omni changes the mark, and ends the quarantine at once. A change that was done is remembered by
//! its mark for one run: asked for again, it was not kept, or somebody took it back; so it is sent once
//! more and looked at afterwards.

use super::Change;
use crate::model::{ChangeOutcome, Memory, Quarantined, Settled};
use chrono::Duration;

/// How long, after the first failure, the second, and every further one.
const WAITS: [Duration; 3] = [Duration::hours(1), Duration::hours(4), Duration::hours(24)];

/// Whether a change is not to be sent yet. One that was done waits for nothing, and none waits for longer than
/// the longest time, whatever the clock was when it failed.
#[must_use]
pub(crate) fn holds(change: &Change, memory: &Memory) -> bool {
    let waits = |known: &Quarantined| {
        let left = known.until - memory.now;
        known.failures > 0 && left > Duration::zero() && left <= WAITS[2]
    };
    known(change, memory).is_some_and(waits)
}

/// Whether a change was done before, and is asked for again.
#[must_use]
pub(crate) fn is_repeat(change: &Change, memory: &Memory) -> bool {
    known(change, memory).is_some()
}

/// Whether a user whom only the roster's silence removes was removed for being ours, and is still there:
/// by then they are no longer known as ours.
#[must_use]
pub(crate) fn was_managed(change: &Change, memory: &Memory) -> bool {
    let known = memory.quarantined.get(&change.email);
    known.is_some_and(|known| known.mark == mark(change, By::SilenceOnOurs))
}

fn known<'a>(change: &Change, memory: &'a Memory) -> Option<&'a Quarantined> {
    let known = memory.quarantined.get(&change.email)?;
    (known.mark == mark(change, By::of(change, memory))).then_some(known)
}

/// Why a change was not done, as far as that tells of the next try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Omni said no, and will again.
    Refused,
    /// None of its tries had an answer, and the looks after them had. It may be an outage of writes; if it is this
    /// change alone, it must not keep the others back in each run.
    Unanswered,
    /// Something else, that the next run may well find otherwise.
    #[default]
    Other,
}

/// What is to be remembered of a change that was tried; `None` where nothing is.
pub(crate) fn after(
    change: &Change,
    settled: &Settled,
    cause: Cause,
    memory: &Memory,
) -> Option<Quarantined> {
    let before = known(change, memory).map_or(0, |known| known.failures);
    let (failures, forgiven) = match (settled.outcome, cause) {
        (ChangeOutcome::Done, _) => (0, 0),
        (ChangeOutcome::Failed, Cause::Refused) | (ChangeOutcome::NotKept, _) => (before + 1, 0),
        (ChangeOutcome::Failed, Cause::Unanswered) => (before + 1, 1),
        (ChangeOutcome::Failed, Cause::Other) | (ChangeOutcome::Unsent, _) => return None,
    };
    let wait = match failures - forgiven {
        0 => Duration::zero(),
        1 => WAITS[0],
        2 => WAITS[1],
        _ => WAITS[2],
    };
    Some(Quarantined {
        until: settled.at + wait,
        failures,
        mark: mark(change, By::of(change, memory)),
        reason: settled.detail.clone(),
    })
}

/// What asks for a change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Row,
    /// The roster's silence on a user whom we made or a roster once named.
    SilenceOnOurs,
    Silence,
}

impl By {
    fn of(change: &Change, memory: &Memory) -> Self {
        if change.place.is_some() {
            Self::Row
        } else if memory.managed.contains(&change.email) || was_managed(change, memory) {
            Self::SilenceOnOurs
        } else {
            Self::Silence
        }
    }
}

/// What a change asks for and why, and what Omni has, in few letters.
fn mark(change: &Change, by: By) -> [u8; 32] {
    let by = match by {
        By::Row => "",
        By::SilenceOnOurs => "nobody, ours: ",
        By::Silence => "nobody: ",
    };
    *blake3::hash(format!("{by}{:?}", change.action).as_bytes()).as_bytes()
}
