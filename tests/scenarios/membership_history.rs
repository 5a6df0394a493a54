//! Compares changes of memberships in the state database with the mock server's record.

use crate::access::is_of_groups;
use crate::invariants::{is_of_user, whose};
use crate::memberships::{id_of, members_of};
use crate::record::Window;
use omni_user_sync::model::{ChangeIntent, ChangeRecord, Operation};
use omni_user_sync::sandbox::{Changed, Request};
use serde_json::{Value, json};

/// The memberships that a write changes: the id of each user, and whether the user joins.
fn changed_by(write: &Request) -> Vec<(&str, bool)> {
    let body = write.body.as_ref().unwrap_or(&Value::Null);
    let operations = body["Operations"].as_array().into_iter().flatten();
    operations.flat_map(members_in).collect()
}

fn members_in(operation: &Value) -> Vec<(&str, bool)> {
    match operation["value"].as_array() {
        Some(joining) => {
            let ids = joining.iter().filter_map(|member| member["value"].as_str());
            ids.map(|id| (id, true)).collect()
        }
        None => {
            let path = operation["path"].as_str().unwrap_or_default();
            let id = path.trim_start_matches("members[value eq \"");
            vec![(id.trim_end_matches("\"]"), false)]
        }
    }
}

/// Whether an intent is about a write to a group: the same group, user and direction, or the group to be created.
pub(crate) fn is_of(intent: &ChangeIntent, write: &Request) -> bool {
    let (Some(group), Some(user)) = (&intent.group, &intent.user_id) else {
        return false;
    };
    if write.method == "POST" {
        let name = write.body.as_ref().map(|body| &body["displayName"]);
        return is_of_groups(&write.path) && name == Some(&json!(group.name.as_str()));
    }
    let joins = intent.operation == Operation::Join;
    let is_group = group
        .id
        .as_ref()
        .is_some_and(|id| write.path.ends_with(id.as_str()));
    is_group && changed_by(write).contains(&(user.as_str(), joins))
}

/// Whether each membership that a write to a group changes has an intent.
pub(crate) fn is_intended(write: &Request, changes: &[ChangeRecord]) -> bool {
    let mut members = changed_by(write).into_iter();
    let intended = |user: &str, joins: bool| {
        let operation = if joins {
            Operation::Join
        } else {
            Operation::Leave
        };
        changes.iter().any(|change| {
            let id = change.intent.user_id.as_ref();
            change.intent.operation == operation
                && id.is_some_and(|id| id.as_str() == user)
                && is_of(&change.intent, write)
        })
    };
    let is_created = || changes.iter().any(|change| is_of(&change.intent, write));
    members.all(|(user, joins)| intended(user, joins)) && (write.method != "POST" || is_created())
}

/// Whether a change of a membership that counts as applied was answered, or the membership was as intended at some time
/// since the run began: others may have done the same.
pub(crate) fn has_happened<'a>(
    change: &ChangeRecord,
    detail: &str,
    window: &Window,
    mut writes: impl Iterator<Item = &'a Request>,
    all: &[Changed],
) -> bool {
    let is_html = |write: &Request| {
        let fault = write.fault.as_ref();
        fault.is_some_and(|fault| fault.starts_with("html"))
    };
    let was_answered = |write: &&Request| {
        is_of(&change.intent, write)
            && write.method == "PATCH"
            && (200..300).contains(&write.status)
            && !is_html(write)
    };
    let until = match detail.contains("a later run") {
        true => u64::MAX,
        false => window.last,
    };
    writes.any(|write| was_answered(&write))
        || was_as_intended(&change.intent, window.first, until, all)
}

/// Whether a membership was as intended at some time between two requests. Of changes by others only the order is
/// known.
fn was_as_intended(intent: &ChangeIntent, from: u64, until: u64, all: &[Changed]) -> bool {
    let group = intent.group.as_ref().and_then(|group| group.id.as_ref());
    let group = group.map_or("", |id| id.as_str());
    let user = intent.user_id.as_ref().map_or("", |id| id.as_str());
    let joins = intent.operation == Operation::Join;
    let mut is_member = false;
    let mut was = false;
    for change in all {
        if change.request.is_some_and(|number| number < from) {
            was = false;
        } else if change.request.is_some_and(|number| number > until) {
            break;
        } else {
            was |= is_member == joins;
        }
        let subject = id_of(whose(change));
        if is_of_user(change) && subject == user && change.after.is_none() {
            is_member = false;
        } else if !is_of_user(change) && subject == group {
            is_member = members_of(change.after.as_ref()).contains(user);
        }
        was |= is_member == joins;
    }
    was
}
