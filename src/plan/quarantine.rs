//! Quarantine: changes that are not sent again in every run, because Omni rejected them, accepted and did not keep
//! them, or did not respond to any attempt in two runs.
//!
//! A change is identified by a fingerprint of what the roster asks for and what Omni has. If either changes, the
//! fingerprint changes and the quarantine ends. A removal is identified by the user's id alone. The fingerprint of an
//! applied change is kept for one run: if the same change is planned again, Omni did not keep it or it was reverted, so
//! it is sent once more and read back. If it was kept, something else has undone it; after three such runs in a row,
//! the change goes to quarantine.

use super::fingerprint::fingerprint;
use crate::model::{Action, Change, ChangeOutcome, Memory, Operation, Quarantined, Settled};
use chrono::Duration;

/// How long a change waits after the first, the second, and every further failure.
const WAITS: [Duration; 3] = [Duration::hours(1), Duration::hours(4), Duration::hours(24)];

/// A change that this many runs running found undone goes to quarantine.
const MAX_UNDONE: u32 = 3;

/// Whether something else may undo a change and leave the user and the group as they were.
fn is_undoable(change: &Change) -> bool {
    match change.action {
        Action::Update(..) | Action::Membership(_) | Action::Role(_) => true,
        Action::Delete(_) | Action::Deactivate(_) | Action::Create(_) | Action::Transfer(_) => {
            false
        }
    }
}

/// Whether a change is in quarantine. No wait is longer than the longest one, whatever the clock showed when the change
/// failed.
#[must_use]
pub(crate) fn is_quarantined(change: &Change, memory: &Memory) -> bool {
    let waits = |known: &Quarantined| {
        let left = known.until - memory.now;
        known.failures > 0 && left > Duration::zero() && left <= WAITS[2]
    };
    known(change, memory).is_some_and(waits)
}

/// Whether the same change was tried or applied before.
#[must_use]
pub(crate) fn is_repeat(change: &Change, memory: &Memory) -> bool {
    known(change, memory).is_some()
}

fn known<'a>(change: &Change, memory: &'a Memory) -> Option<&'a Quarantined> {
    let known = memory.quarantine_of(change)?;
    (known.fingerprint == fingerprint(change)).then_some(known)
}

/// Why a change was not applied, as far as it matters for the next attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Omni rejected the change, and will again.
    Rejected,
    /// No attempt got a response, but the lookups after them did. Either all writes fail, or only this change does;
    /// then it must not delay the other changes in every run.
    Unanswered,
    /// Anything else. The next run may succeed.
    #[default]
    Other,
}

/// The quarantine entry to store after an attempt; `None` if nothing is to be stored. If a transfer fails, the removal
/// of the owner does.
pub(crate) fn after(
    change: &Change,
    settled: &Settled,
    cause: Cause,
    memory: &Memory,
) -> Option<Quarantined> {
    if change.operation() == Operation::Transfer {
        return None;
    }
    let known = known(change, memory);
    let before = known.map_or(0, |known| known.failures);
    let undone = match (settled.outcome, known) {
        (ChangeOutcome::Applied, Some(known)) if known.failures == 0 && is_undoable(change) => {
            known.undone + 1
        }
        _ => 0,
    };
    if undone >= MAX_UNDONE {
        return Some(Quarantined {
            until: settled.at + WAITS[2],
            failures: 1,
            undone,
            fingerprint: fingerprint(change),
            reason: format!(
                "the change was applied and found undone in {undone} runs running, so something else manages it"
            ),
        });
    }
    let (failures, forgiven) = match (settled.outcome, cause) {
        (ChangeOutcome::Applied, _) => (0, 0),
        (ChangeOutcome::Failed, Cause::Rejected) | (ChangeOutcome::NotKept, _) => (before + 1, 0),
        (ChangeOutcome::Failed, Cause::Unanswered) => (before + 1, 1),
        (ChangeOutcome::Failed, Cause::Other) | (ChangeOutcome::Skipped, _) => return None,
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
        undone,
        fingerprint: fingerprint(change),
        reason: settled.detail.clone(),
    })
}
