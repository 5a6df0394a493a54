//! Checks that no schedule was lost without being shown, and that each transfer was to the successor.

use crate::invariants::{ATTRIBUTES, Invariants, email_of, is_of_user, whose};
use crate::record::{Approved, Window, is_of_schedule};
use crate::roster::{Op, Roster, Row, Wanted, is_blank};
use crate::schedules::{OwnedPolicy, Schedules, is_of_schedules};
use omni_user_sync::model::Operation;
use omni_user_sync::sandbox::{Changed, Request};
use serde_json::Value;
use std::collections::BTreeMap;

/// The users and the owners of schedules at one time.
#[derive(Default)]
struct Replay {
    /// By id.
    users: BTreeMap<String, Value>,
    /// The owner of each schedule, and the number of the first request that arrived after the owner got it.
    schedules: BTreeMap<String, (String, u64)>,
}

/// A change by a request of a run.
struct Sent<'a> {
    change: &'a Changed,
    number: u64,
    window: &'a Window,
    /// What there was before it.
    replay: &'a Replay,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Replay {
    fn take(&mut self, change: &Changed) {
        let id = text(&whose(change)["id"]);
        if is_of_schedule(change) {
            match &change.after {
                Some(after) => {
                    let owner = text(&after["ownerId"]);
                    self.schedules.insert(id, (owner, change.next_request));
                }
                None => drop(self.schedules.remove(&id)),
            }
        } else if is_of_user(change) {
            match &change.after {
                Some(after) => drop(self.users.insert(id, after.clone())),
                None => {
                    self.users.remove(&id);
                    self.schedules.retain(|_, (owner, _)| *owner != id);
                }
            }
        }
    }

    fn of<'a>(&'a self, owner: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
        let all = self.schedules.iter();
        all.filter(move |(_, (one, _))| one == owner)
            .map(|(id, (_, since))| (id.as_str(), *since))
    }
}

impl Invariants<'_> {
    /// No removal deletes a schedule that was not approved, and each transfer is to the successor.
    pub(crate) fn schedules_are_safe(&mut self) {
        let Some(schedules) = &self.record.scenario.schedules else {
            return;
        };
        let mut replay = Replay::default();
        let mut wrong = Vec::new();
        for change in self.record.world.org().history() {
            let window = change.request.and_then(|number| self.window_of(number));
            if let (Some(number), Some(window)) = (change.request, window) {
                let sent = Sent {
                    change: &change,
                    number,
                    window,
                    replay: &replay,
                };
                let found = if is_of_schedule(&change) {
                    self.may_be_transferred(&sent, schedules)
                } else if is_of_user(&change) && change.after.is_none() {
                    self.may_be_lost(&sent, schedules)
                } else {
                    Ok(())
                };
                if let Err(why) = found {
                    wrong.push(format!("{why}: request {number} in {window:?}: {change:?}"));
                }
            }
            replay.take(&change);
        }
        self.wrong.extend(wrong);
    }

    /// Whether all schedules of a user who is removed may be deleted.
    fn may_be_lost(&self, sent: &Sent<'_>, schedules: &Schedules) -> Result<(), String> {
        if schedules.policy == OwnedPolicy::Ignore {
            return Ok(());
        }
        let owner = text(&whose(sent.change)["id"]);
        for (schedule, since) in sent.replay.of(&owner) {
            let is_shown = |approved: &Approved| {
                approved.id == owner
                    && approved.operation.is_removal()
                    && approved.schedules.iter().any(|one| one == schedule)
            };
            let is_approved = self.approvals_before(sent.number).any(is_shown);
            if !is_approved && self.was_looked_at(&owner, since, sent.number, sent.window) {
                return Err(format!("the schedule {schedule} was lost without approval"));
            }
        }
        Ok(())
    }

    /// Whether the run could know a schedule of a user: it was there before the request that counts, and Omni did
    /// not refuse to show schedules.
    fn was_looked_at(&self, owner: &str, since: u64, until: u64, window: &Window) -> bool {
        let is_look = |request: &&Request| {
            is_of_schedules(&request.path)
                && request.method == "GET"
                && request.number < until
                && (!request.query.contains("ownerId=") || request.query.contains(owner))
        };
        let refused = |request: &Request| matches!(request.status, 403 | 404);
        let looks: Vec<_> = self.requests.iter().filter(is_look).collect();
        let in_run = |request: &&&Request| request.number >= window.first;
        if looks.iter().filter(in_run).any(|look| refused(look)) {
            return false;
        }
        let answered = looks.iter().rfind(|look| look.status == 200);
        // A process keeps what it read for a few minutes.
        let kept_since = self.record.started_before(until);
        let is_kept = answered.is_some_and(|look| look.number >= kept_since && look.number < since);
        !is_kept
    }

    fn may_be_transferred(&self, sent: &Sent<'_>, schedules: &Schedules) -> Result<(), String> {
        let Sent {
            change,
            number,
            window,
            replay,
        } = sent;
        let (Some(before), Some(after)) = (&change.before, &change.after) else {
            return Err("a schedule was made or deleted".to_owned());
        };
        let Some(roster) = &window.roster else {
            return Err("transferred with an unreadable roster".to_owned());
        };
        if schedules.policy != OwnedPolicy::Transfer {
            return Err("transferred against policy.owned_schedules".to_owned());
        }
        let user = |id: &Value| replay.users.get(&text(id));
        let (Some(owner), Some(to)) = (user(&before["ownerId"]), user(&after["ownerId"])) else {
            return Err("transferred from or to an unknown user".to_owned());
        };
        let (from_email, to_email) = (email_of(owner), email_of(to));
        let row = match roster.want(&from_email) {
            Wanted::Row(Row { op: Op::Upsert, .. }) | Wanted::Frozen => {
                return Err("transferred, and the owner is not to be removed".to_owned());
            }
            Wanted::Row(row) => Some(row),
            Wanted::Nothing => None,
        };
        let named = row.filter(|_| schedules.has_column && roster.has_successor);
        let named = named.map(|row| row.successor.clone());
        let named = named.filter(|email| !email.is_empty());
        if named.or(schedules.transfer_to.clone()) != Some(to_email.clone()) {
            return Err("transferred to a user other than the successor".to_owned());
        }
        if is_leaving(roster, &to_email) {
            return Err("transferred to a user who does not stay".to_owned());
        }
        let id = text(&before["id"]);
        let is_it = |approved: &Approved| {
            approved.operation == Operation::Transfer && approved.schedules.contains(&id)
        };
        let is_approved = self.approvals_before(*number).any(is_it);
        if !is_approved && attributes(owner) != attributes(to) {
            return Err("transferred to other access without approval".to_owned());
        }
        Ok(())
    }
}

fn is_leaving(roster: &Roster, email: &str) -> bool {
    match roster.want(email) {
        Wanted::Row(Row { op, .. }) => *op != Op::Upsert,
        Wanted::Frozen => true,
        Wanted::Nothing => false,
    }
}

/// The attributes that have a value: numbers as numbers, and lists without order.
fn attributes(user: &Value) -> Vec<(&String, Vec<String>)> {
    let all = user[ATTRIBUTES].as_object().into_iter().flatten();
    let all = all.filter(|(_, value)| !is_blank(value));
    all.map(|(name, value)| (name, plain(value))).collect()
}

fn plain(value: &Value) -> Vec<String> {
    if let Some(items) = value.as_array() {
        let mut items: Vec<_> = items.iter().map(text).collect();
        items.sort();
        return items;
    }
    let number = text(value).parse::<f64>().map(|number| number.to_string());
    vec![number.unwrap_or_else(|_| text(value))]
}
