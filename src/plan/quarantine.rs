//! Quarantine: changes that are not sent again in every run, because Omni rejected them, accepted and did not keep them,
//! or did not respond to any attempt in two runs.
//!
//! A change is identified by a fingerprint of what the roster asks for and what Omni has. If either changes, the
//! fingerprint changes and the quarantine ends. The fingerprint of an applied change is kept for one run: if the same
//! change is planned again, Omni did not keep it or somebody reverted it, so it is sent once more and read back.

use super::ownership;
use crate::model::{Action, Attributes, Change, ChangeOutcome, Memory, Quarantined, Settled};
use chrono::Duration;
use serde::Serialize;
use serde_json::json;

/// How long a change waits after the first, the second, and every further failure.
const WAITS: [Duration; 3] = [Duration::hours(1), Duration::hours(4), Duration::hours(24)];

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

/// Whether Omni confirmed the pruning of a managed user who is still there.
#[must_use]
pub(crate) fn removal_was_not_kept(change: &Change, memory: &Memory) -> bool {
    let known = memory.quarantined.get(&change.email);
    !memory.managed.contains(&change.email)
        && known
            .is_some_and(|known| known.fingerprint == fingerprint(change, Origin::MissingManaged))
}

fn known<'a>(change: &Change, memory: &'a Memory) -> Option<&'a Quarantined> {
    let known = memory.quarantined.get(&change.email)?;
    let fingerprint = fingerprint(change, Origin::of(change, memory));
    (known.fingerprint == fingerprint).then_some(known)
}

/// Why a change was not applied, as far as it matters for the next attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Omni rejected the change, and will again.
    Rejected,
    /// Omni responded to no attempt, but to the lookups after them. Either all writes fail, or only this change does; then
    /// it must not delay the other changes in every run.
    Unanswered,
    /// Anything else. The next run may succeed.
    #[default]
    Other,
}

/// The quarantine entry to store after an attempt; `None` if nothing is to be stored.
pub(crate) fn after(
    change: &Change,
    settled: &Settled,
    cause: Cause,
    memory: &Memory,
) -> Option<Quarantined> {
    let before = known(change, memory).map_or(0, |known| known.failures);
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
        fingerprint: fingerprint(change, Origin::of(change, memory)),
        reason: settled.detail.clone(),
    })
}

/// What asks for a change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// A row.
    Row,
    /// The roster does not name a managed user.
    MissingManaged,
    /// The roster does not name a user that is not managed.
    Missing,
}

impl Origin {
    fn of(change: &Change, memory: &Memory) -> Self {
        if !change.is_pruning() {
            Self::Row
        } else if ownership::is_managed(change, memory) {
            Self::MissingManaged
        } else {
            Self::Missing
        }
    }
}

/// Identifies a change in the state database. The encoding is explicit, so that a renamed type or field does not end
/// quarantines.
fn fingerprint(change: &Change, origin: Origin) -> [u8; 32] {
    let origin = match origin {
        Origin::Row => "row",
        Origin::MissingManaged => "missing, managed",
        Origin::Missing => "missing",
    };
    let (user, wanted) = match &change.action {
        Action::Delete(user) | Action::Deactivate(user) => (Some(user), json!(null)),
        Action::Update(user, fields) => (Some(user), json!(fields)),
        Action::Create(spec) => {
            let attributes = pairs(&spec.attributes);
            (None, json!([spec.display_name, attributes]))
        }
    };
    let user = user.map(|user| {
        let (id, email, name) = (user.id.as_str(), user.email.as_str(), &user.display_name);
        json!([
            id,
            email,
            name,
            user.active,
            user.attributes.as_ref().map(pairs)
        ])
    });
    let encoded = json!([origin, change.operation().as_str(), user, wanted]).to_string();
    *blake3::hash(encoded.as_bytes()).as_bytes()
}

fn pairs<T: Serialize>(attributes: &Attributes<T>) -> Vec<(&str, &T)> {
    let pairs = attributes.iter();
    pairs.map(|(name, value)| (name.as_str(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AttributeName, Email, Field, FieldChange, ObservedUser, UserId, Value};
    use std::sync::Arc;

    /// State databases hold these, so they must not change.
    #[test]
    fn fingerprints_stay_the_same() {
        let user = Arc::new(ObservedUser {
            id: UserId::parse("id-1").expect("an id"),
            email: Email::parse("Ann@x.co").expect("an email"),
            display_name: "Ann".into(),
            active: Some(true),
            attributes: Value::one("north")
                .map(|north| (AttributeName::new("region"), north))
                .map(|one| [one].into_iter().collect()),
            modified: None,
        });
        let field = Field::Attribute(AttributeName::new("region"));
        let update = vec![FieldChange::new(
            field,
            Value::one("north"),
            Value::one("south"),
        )];
        let digests = [Action::Delete(user.clone()), Action::Update(user, update)].map(|action| {
            let change = Change {
                email: Email::parse("ann@x.co").expect("an email"),
                action,
                location: None,
            };
            blake3::Hash::from_bytes(fingerprint(&change, Origin::Row)).to_string()
        });
        assert_eq!(
            digests,
            [
                "2b2662fd2c319099573b521e7652d8248229053059a28bef83aece6e6b32749e",
                "11cc4254e0b4b05695442903661b06ae4196f699a7750add3dc13960fb540bb1",
            ]
        );
    }
}
