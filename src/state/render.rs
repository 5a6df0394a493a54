//! What is remembered, as documents for machines: what `history --json`, `explain --json` and the API
//! say is said here. Fields are only ever added.

use crate::model::{ChangeRecord, Counts, Field, HeldRecord, Operation, RunRecord, RunState};
use serde_json::json;

/// A field as the roster calls it.
#[must_use]
pub fn field_name(field: &Field) -> &str {
    match field {
        Field::DisplayName => "display_name",
        Field::Active => "active",
        Field::Attribute(name) => name.as_str(),
    }
}

/// A run.
#[must_use]
pub fn run_doc(run: &RunRecord) -> serde_json::Value {
    let mut doc = json!({
        "run": run.number.0,
        "trigger": run.start.trigger.as_str(),
        "started": run.start.started,
        "outcome": "running",
    });
    match &run.state {
        RunState::Open => {}
        RunState::Interrupted => doc["outcome"] = "interrupted".into(),
        RunState::Ended(end) => {
            doc["outcome"] = end.outcome.clone().into();
            doc["ended"] = json!(end.ended);
            doc["roster"] = json!(end.fingerprint.map(|fingerprint| fingerprint.to_string()));
            doc["rows"] = json!(end.rows);
            doc["users"] = json!(end.users);
            doc["needed"] = json!(end.needed.map(counts_doc));
            doc["done"] = json!(end.done);
            doc["failed"] = json!(end.failed);
            doc["held_changes"] = json!(end.held);
            doc["bad_rows"] = json!(end.bad_rows);
            doc["requests"] = json!(end.requests);
            doc["detail"] = json!(end.detail);
        }
    }
    doc
}

/// A number for each kind of change.
#[must_use]
pub fn counts_doc(counts: Counts) -> serde_json::Value {
    Operation::ALL
        .iter()
        .map(|kind| (kind.as_str().to_owned(), json!(counts.get(*kind))))
        .collect()
}

/// A change with its fields.
#[must_use]
pub fn change_doc(change: &ChangeRecord) -> serde_json::Value {
    let intent = &change.intent;
    let fields = intent
        .fields
        .iter()
        .map(|one| json!({ "name": field_name(&one.field), "from": one.from, "to": one.to }));
    json!({
        "run": change.run.0,
        "at": intent.intended,
        "email": intent.email.as_str(),
        "id": intent.user_id.as_ref().map(|id| id.as_str()),
        "kind": intent.kind.as_str(),
        "approved": intent.approved,
        "fields": fields.collect::<Vec<_>>(),
        "outcome": change.settled.as_ref().map_or("unknown", |settled| settled.outcome.as_str()),
        "detail": change.settled.as_ref().map(|settled| &settled.detail),
    })
}

/// What one rule held.
#[must_use]
pub fn held_doc(held: &HeldRecord) -> serde_json::Value {
    let users = held.users.iter().map(|user| {
        json!({ "kind": user.kind.as_str(), "email": user.email.as_str(), "id": user.user_id.as_str() })
    });
    json!({ "rule": held.rule, "why": held.why, "users": users.collect::<Vec<_>>() })
}
