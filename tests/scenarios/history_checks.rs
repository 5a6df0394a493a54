//! Compares the state database with the mock server's record.

use crate::access::is_of_groups;
use crate::invariants::{ATTRIBUTES, email_of, whose};
use crate::membership_history;
use crate::record::{Record, Window, member_history};
use crate::role_history::{self, RoleHistory};
use crate::roles::is_of_roles;
use crate::schedules::transferred;
use omni_user_sync::model::{
    ChangeIntent, ChangeOutcome, ChangeRecord, Field, FieldChange, HeldChange, Operation,
};
use omni_user_sync::sandbox::{Changed, Request};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashSet};

/// Returns what is wrong in the state database.
pub(crate) async fn audit(
    record: &Record<'_>,
    requests: &[Request],
    history: &[Changed],
) -> Vec<String> {
    let db = record.world.state_db();
    let org = record.world.org();
    let (all, everything) = (member_history(org), org.history());
    let mut wrong = Vec::new();
    for window in &record.windows {
        let changes = match window.number {
            Some(number) => db
                .changes(number)
                .await
                .expect("the state database can be read"),
            None => Vec::new(),
        };
        let run = RunHistory {
            window,
            changes,
            requests,
            history,
            all: &all,
            roles: RoleHistory {
                all: &everything,
                at_first: record.at_first,
            },
            at_first: record.scenario.users.len(),
        };
        run.every_write_has_its_intent(&mut wrong);
        run.applied_changes_happened(&mut wrong);
        run.changes_not_applied_did_not_happen(&mut wrong);
        run.removals_wait_for_transfers(&mut wrong);
        if let Some(number) = window.number {
            let held = db.held(number).await;
            let held = held.expect("the state database can be read");
            let held = held.into_iter().flat_map(|held| held.changes);
            run.roles_wait_for_their_user(&held.collect::<Vec<_>>(), &mut wrong);
        }
    }
    let unknown = db.unknown().await.expect("the state database can be read");
    let unknown = unknown.iter().filter(|change| {
        !has_twins(history, &change.intent.subject.to_string())
            && !role_history::may_stay_unknown(&change.intent, org)
    });
    wrong.extend(unknown.map(|change| format!("the outcome stays unknown: {change:?}")));
    wrong
}

/// Users that share an email are not read, so the outcome of a change stays unknown.
fn has_twins(history: &[Changed], email: &str) -> bool {
    let of = history
        .iter()
        .map(whose)
        .filter(|user| email_of(user) == email.to_lowercase());
    of.map(|user| user["userName"].to_string())
        .collect::<BTreeSet<_>>()
        .len()
        > 1
}

struct RunHistory<'a> {
    window: &'a Window,
    changes: Vec<ChangeRecord>,
    requests: &'a [Request],
    history: &'a [Changed],
    /// The changes of users and groups.
    all: &'a [Changed],
    roles: RoleHistory<'a>,
    /// The number of users at the start, which is the number of changes that added them.
    at_first: usize,
}

impl RunHistory<'_> {
    fn writes(&self) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(|request| {
            request.method != "GET"
                && (self.window.first..=self.window.last).contains(&request.number)
        })
    }

    fn every_write_has_its_intent(&self, wrong: &mut Vec<String>) {
        for write in self.writes() {
            let is_intended = match is_of_groups(&write.path) {
                true => membership_history::is_intended(write, &self.changes),
                false => self
                    .changes
                    .iter()
                    .any(|change| is_of(&change.intent, write)),
            };
            if !is_intended {
                wrong.push(format!("no intent for {write:?} in {:?}", self.window));
            }
        }
    }

    fn applied_changes_happened(&self, wrong: &mut Vec<String>) {
        for change in &self.changes {
            let Some(settled) = &change.settled else {
                continue;
            };
            if settled.outcome == ChangeOutcome::Applied
                && !self.has_happened(change, &settled.detail)
            {
                wrong.push(format!(
                    "applied, and it never happened: {change:?} in {:?}",
                    self.window
                ));
            }
        }
    }

    /// A later run may find a creation not applied only if it was not, or others have removed the user.
    fn changes_not_applied_did_not_happen(&self, wrong: &mut Vec<String>) {
        for change in &self.changes {
            let is_done = change.intent.operation == Operation::Create && self.is_created(change)
                || change.intent.operation == Operation::Assign
                    && self.roles.is_kept(&change.intent, self.writes());
            // How long a list lags is not known if the clock was set back.
            let is_found_not_applied = change.settled.as_ref().is_some_and(|settled| {
                settled.detail.contains("not applied") && settled.at >= change.intent.intended
            });
            if is_found_not_applied && is_done {
                wrong.push(format!(
                    "found not applied, and it happened: {change:?} in {:?}",
                    self.window
                ));
            }
        }
    }

    /// No removal is sent in a run before all transfers of the user are confirmed.
    fn removals_wait_for_transfers(&self, wrong: &mut Vec<String>) {
        let of = |is_it: fn(Operation) -> bool| {
            let all = self.changes.iter();
            all.filter(move |change| is_it(change.intent.operation))
        };
        for transfer in of(|operation| operation == Operation::Transfer) {
            let outcome = transfer.settled.as_ref().map(|settled| settled.outcome);
            let is_of_owner = |one: &&ChangeRecord| one.intent.user_id == transfer.intent.user_id;
            for removal in of(Operation::is_removal).filter(is_of_owner) {
                let is_sent = |write: &Request| is_of(&removal.intent, write);
                let was_last = self
                    .writes()
                    .filter(|one| is_of(&transfer.intent, one))
                    .last();
                let last = was_last.map_or(0, |write| write.number);
                let mut removals = self.writes().filter(|write| is_sent(write));
                let is_early = |write: &Request| write.number < last;
                let is_unconfirmed = outcome != Some(ChangeOutcome::Applied);
                if removals.any(|write| is_unconfirmed || is_early(write)) {
                    wrong.push(format!(
                        "removed before a transfer was confirmed: {transfer:?} in {:?}",
                        self.window
                    ));
                }
            }
        }
    }

    /// The roles of a user are not assigned in a run whose change of the user failed, or was held.
    fn roles_wait_for_their_user(&self, held: &[HeldChange], wrong: &mut Vec<String>) {
        let failed = self.changes.iter().filter(|change| {
            let outcome = change.settled.as_ref().map(|settled| settled.outcome);
            outcome.is_some_and(|outcome| outcome != ChangeOutcome::Applied)
        });
        let failed = failed.map(|change| (change.intent.operation, &change.intent.subject));
        let held = held
            .iter()
            .map(|change| (change.operation, &change.subject));
        let unsent = failed.chain(held);
        let unsent: HashSet<_> = unsent
            .filter(|(operation, _)| operation.is_of_user())
            .map(|(_, subject)| subject)
            .collect();
        for write in self.writes().filter(|write| is_of_roles(&write.path)) {
            let is_of = |change: &&ChangeRecord| role_history::is_of(&change.intent, write);
            let mut intents = self.changes.iter().filter(is_of);
            if intents.any(|change| unsent.contains(&change.intent.subject)) {
                wrong.push(format!(
                    "the user was not changed: {write:?} in {:?}",
                    self.window
                ));
            }
        }
    }

    /// Whether a creation was done and others have not changed the user since. A user that they changed or removed
    /// looks as if it had not been created.
    fn is_created(&self, change: &ChangeRecord) -> bool {
        let mut writes = self.writes().filter(|write| is_of(&change.intent, write));
        writes.any(|write| {
            let by_it = |done: &&Changed| done.request == Some(write.number);
            let Some(created) = self.history.iter().find(by_it) else {
                return false;
            };
            let id = &whose(created)["id"];
            let of_user = |done: &&Changed| whose(done)["id"] == *id;
            let mut all = self.history.iter().filter(of_user);
            !all.any(|done| done.after.is_none() || done.request.is_none())
        })
    }

    fn has_happened(&self, change: &ChangeRecord, detail: &str) -> bool {
        if change.intent.operation == Operation::Assign {
            let roles = self.roles;
            return roles.has_happened(change, detail, self.window, self.writes());
        }
        if change.intent.operation.is_membership() {
            return membership_history::has_happened(
                change,
                detail,
                self.window,
                self.writes(),
                self.all,
            );
        }
        // A schedule that the owner no longer has is not lost.
        if change.intent.operation == Operation::Transfer && detail.contains("no longer") {
            return true;
        }
        // DELETE 404 by an id that was just observed: done (docs/omni.md).
        if detail.contains("was already gone") {
            return true;
        }
        let mut writes = self.writes().filter(|write| is_of(&change.intent, write));
        // A success answer counts; the next run sees whether the change was kept.
        let was_done = |write: &Request| {
            (200..300).contains(&write.status)
                && !write
                    .fault
                    .as_ref()
                    .is_some_and(|fault| fault.starts_with("html"))
                || self
                    .history
                    .iter()
                    .any(|done| done.request == Some(write.number))
        };
        // After a lost response the user is looked up. That can't distinguish our change from an equal one by
        // others, or from a user that an inconsistent listing had omitted.
        let email = change.intent.subject.folded();
        let is_create = change.intent.operation == Operation::Create;
        let by_others = self.history.iter().enumerate().any(|(at, done)| {
            let is_other = is_create || done.request.is_none() && at >= self.at_first;
            is_other && email_of(whose(done)) == email
        });
        let was_lost =
            |write: &Request| !(200..500).contains(&write.status) || write.fault.is_some();
        let is_lost = self
            .writes()
            .filter(|write| is_of(&change.intent, write))
            .any(was_lost);
        let is_unanswered = is_lost || detail.contains("the response was lost");
        writes.any(was_done) || is_unanswered && by_others
    }
}

/// Whether an intent is about a write: the same user and the same fields.
fn is_of(intent: &ChangeIntent, write: &Request) -> bool {
    let empty = Value::Null;
    let body = write.body.as_ref().unwrap_or(&empty);
    let id = intent.user_id.as_ref().map(|id| id.as_str());
    let is_path = id.is_some_and(|id| write.path.ends_with(id));
    match intent.operation {
        Operation::Create => {
            write.method == "POST"
                && body["userName"] == json!(intent.subject.to_string())
                && fields(body) == intended(intent)
        }
        Operation::Delete => write.method == "DELETE" && is_path,
        Operation::Leave | Operation::Join => membership_history::is_of(intent, write),
        Operation::Assign => role_history::is_of(intent, write),
        Operation::Transfer => {
            let schedule = intent.fields.iter().find_map(FieldChange::schedule);
            schedule.is_some_and(|id| transferred(&write.path) == Some(id.as_str()))
        }
        Operation::Update | Operation::Deactivate if write.method == "PUT" => is_path,
        Operation::Update | Operation::Deactivate => {
            write.method == "PATCH"
                && is_path
                && fields(&body["Operations"][0]["value"]) == intended(intent)
        }
    }
}

/// The fields that a body sets or clears.
fn fields(value: &Value) -> BTreeSet<String> {
    let top = ["displayName", "active"]
        .into_iter()
        .filter(|name| !value[*name].is_null());
    let attributes = value[ATTRIBUTES]
        .as_object()
        .into_iter()
        .flat_map(|of| of.keys());
    top.map(str::to_owned).chain(attributes.cloned()).collect()
}

fn intended(intent: &ChangeIntent) -> BTreeSet<String> {
    let name = |field: &Field| match field {
        Field::DisplayName => Some("displayName".to_owned()),
        Field::Active => Some("active".to_owned()),
        Field::Attribute(name) => Some(name.as_str().to_owned()),
        // The record of what a removal takes.
        Field::Schedule(_) | Field::Group(_) | Field::Role(_) => None,
    };
    let fields = intent.fields.iter();
    fields.filter_map(|one| name(&one.field)).collect()
}
