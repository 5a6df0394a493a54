//! History as JSON documents for `history --json`, `explain --json` and the API. Fields are only ever added.

use crate::model::{ChangeRecord, GroupId, GroupRef, HeldChange, HeldRecord, RunRecord, UserId};
use serde_json::json;

/// A run.
#[must_use]
pub fn run_doc(run: &RunRecord) -> serde_json::Value {
    let mut doc = json!({
        "run": run.number.0,
        "trigger": run.start.trigger,
        "started": run.start.started,
        "result": run.state.as_str(),
    });
    if let Some(end) = run.end() {
        doc["ended"] = json!(end.ended);
        doc["roster"] = json!(end.fingerprint.map(|fingerprint| fingerprint.to_string()));
        doc["rows"] = json!(end.rows);
        doc["users"] = json!(end.users);
        doc["planned"] = json!(end.planned);
        doc["pending"] = json!(end.pending);
        doc["applied"] = json!(end.applied);
        doc["failed"] = json!(end.failed);
        doc["held_changes"] = json!(end.held);
        doc["bad_rows"] = json!(end.bad_rows);
        doc["requests"] = json!(end.requests);
        doc["detail"] = json!(end.detail);
    }
    doc
}

/// A change with its fields.
#[must_use]
pub fn change_doc(change: &ChangeRecord) -> serde_json::Value {
    let intent = &change.intent;
    json!({
        "run": change.run.0,
        "at": intent.intended,
        "email": intent.subject.email(),
        "id": intent.user_id.as_ref().map(|id| id.as_str()),
        "operation": intent.operation,
        "group": group_doc(intent.group.as_ref()),
        "role": intent.role,
        "approved": intent.approved,
        "fields": intent.fields,
        "outcome": change.outcome_word(),
        "detail": change.settled.as_ref().map(|settled| &settled.detail),
    })
}

/// The changes that one safety limit held.
#[must_use]
pub fn held_doc(held: &HeldRecord) -> serde_json::Value {
    json!({
        "rule": held.rule,
        "reason": held.reason,
        "field_counts": held.field_counts(),
        "users": held.changes.iter().map(held_change_doc).collect::<Vec<_>>(),
    })
}

/// A held change with its fields.
#[must_use]
pub fn held_change_doc(change: &HeldChange) -> serde_json::Value {
    json!({
        "operation": change.operation,
        "email": change.subject.email(),
        "id": change.user_id.as_ref().map(UserId::as_str),
        "group": group_doc(change.group.as_ref()),
        "role": change.role,
        "fields": change.fields,
    })
}

/// The group of a membership: its id and its name.
fn group_doc(group: Option<&GroupRef>) -> serde_json::Value {
    json!(group.map(|group| json!({
        "id": group.id.as_ref().map(GroupId::as_str),
        "name": group.name.as_str(),
    })))
}
