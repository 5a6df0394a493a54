//! The schedules of users to be removed. Omni deletes them with the user, for good.
//!
//! The other limits are evaluated first: what users own is read only for removals that pass them. A removal that would
//! delete schedules is held, or its schedules go to a successor first. A schedule runs with the access of its owner, so
//! a transfer to a user with other access is held too.

use super::{Guard, HeldChanges, Verdict};
use crate::model::{Action, Change, GuardRule, ObservedUser, OwnedSchedulesPolicy, Transfer};
use crate::plan::successors::{Successor, Successors};
use crate::util::text::{agree, first_few, plural};
use std::sync::Arc;

impl Guard<'_> {
    pub(super) fn schedules(&self, verdict: &mut Verdict, successors: &Successors) {
        if self.policy.owned_schedules == OwnedSchedulesPolicy::Ignore {
            return;
        }
        let (mut transfers, mut others) = (Vec::new(), Vec::new());
        let (mut lost, mut differing) = (Held::default(), Held::default());
        for change in std::mem::take(&mut verdict.passed) {
            let is_lost = |user: &&Arc<ObservedUser>| !user.schedules().is_empty();
            let Some(owner) = change.removed().filter(is_lost).cloned() else {
                others.push(change);
                continue;
            };
            match successors.get(&owner.id) {
                Some(Ok(successor)) => {
                    let (handed_over, removal) = transfer_all(change, &owner, successor);
                    let is_approved = |one| self.memory.approved.covers(one);
                    if successor.differences.is_empty() || handed_over.iter().all(is_approved) {
                        transfers.extend(handed_over);
                        others.push(removal);
                    } else {
                        let changes = handed_over.into_iter().chain([removal]);
                        differing.add(new_access(&owner, successor), changes);
                    }
                }
                None | Some(Err(_)) if self.memory.approved.covers_loss(&change) => {
                    others.push(change);
                }
                None if self.policy.owned_schedules == OwnedSchedulesPolicy::Transfer => {
                    let why = "no successor is named, and policy.transfer_to is not set";
                    lost.add(format!("{}; {why}", loss(&owner)), [change]);
                }
                None => lost.add(loss(&owner), [change]),
                Some(Err(why)) => lost.add(format!("{}; {why}", loss(&owner)), [change]),
            }
        }
        transfers.extend(others);
        verdict.passed = transfers;
        lost.hold(verdict, GuardRule::OwnedSchedules, |count| {
            let (removals, delete) = (plural(count, "removal"), agree(count, "deletes", "delete"));
            format!("{removals} that {delete} schedules for good")
        });
        differing.hold(verdict, GuardRule::Transfers, |count| {
            format!(
                "schedules of {} would run with other access",
                plural(count, "user")
            )
        });
    }
}

/// Changes to hold, with a clause for each owner.
#[derive(Default)]
struct Held {
    owners: Vec<String>,
    changes: Vec<Change>,
}

impl Held {
    fn add(&mut self, owner: String, changes: impl IntoIterator<Item = Change>) {
        self.owners.push(owner);
        self.changes.extend(changes);
    }

    fn hold(self, verdict: &mut Verdict, rule: GuardRule, what: impl Fn(usize) -> String) {
        let Self {
            owners,
            mut changes,
        } = self;
        if owners.is_empty() {
            return;
        }
        changes.sort_by(|a, b| (a.operation(), &a.subject).cmp(&(b.operation(), &b.subject)));
        verdict.held.push(HeldChanges {
            rule,
            reason: format!("{}: {}", what(owners.len()), first_few(owners.iter())),
            changes,
        });
    }
}

/// `ann@x.co owns 3 schedules (daily revenue, weekly, monthly)`.
fn loss(owner: &ObservedUser) -> String {
    let schedules = owner.schedules();
    let names = first_few(schedules.iter().map(|one| one.label()));
    let count = plural(schedules.len(), "schedule");
    format!("{} owns {count} ({names})", owner.email)
}

/// How the access changes with which the schedules of a user run.
fn new_access(owner: &ObservedUser, successor: &Successor) -> String {
    let Successor { user, differences } = successor;
    let schedules = owner.schedules();
    let names = first_few(schedules.iter().map(|one| one.label()));
    let recipients: u64 = schedules.iter().filter_map(|one| one.recipients).sum();
    let recipients = match recipients {
        0 => String::new(),
        count => format!(", {}", plural(count, "recipient")),
    };
    let differences = differences.join(", ");
    format!(
        "{} of {} ({names}{recipients}) to {}, who differs in {differences}",
        plural(schedules.len(), "schedule"),
        owner.email,
        user.email
    )
}

/// The transfers of all schedules of a user, and the removal that deletes none then.
fn transfer_all(
    removal: Change,
    owner: &Arc<ObservedUser>,
    successor: &Successor,
) -> (Vec<Change>, Change) {
    let transfers = owner.schedules().iter().map(|schedule| {
        removal.with(Action::Transfer(Transfer {
            owner: owner.clone(),
            schedule: schedule.clone(),
            successor: successor.user.clone(),
            differences: successor.differences.clone(),
        }))
    });
    let transfers = transfers.collect();
    let without = Arc::new(owner.without_schedules());
    let removal = removal.with(match &removal.action {
        Action::Deactivate(_) => Action::Deactivate(without),
        _ => Action::Delete(without),
    });
    (transfers, removal)
}
