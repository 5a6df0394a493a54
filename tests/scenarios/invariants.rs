//! The oracle: what must hold in every scenario, checked against the mock server's own record of changes, without
//! the planner.

use crate::access::is_of_groups;
use crate::history_checks;
use crate::record::{Record, Window, user_history};
use crate::roster::{COLUMNS, Op, Roster, Row, Wanted, is_as_wanted, is_blank};
use crate::scenario::{PROTECTED, ScenarioPolicy};
use omni_user_sync::sandbox::{Changed, Request};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashSet};

pub(crate) const ATTRIBUTES: &str = "urn:omni:params:1.0:UserAttribute";

/// Returns what is wrong in a record.
pub(crate) async fn check(record: &Record<'_>) -> Vec<String> {
    let org = record.world.org();
    let mut invariants = Invariants {
        record,
        policy: &record.scenario.policy,
        requests: org.requests(),
        history: user_history(org),
        wrong: record.wrong.clone(),
    };
    invariants.no_request_is_unexpected();
    invariants.only_permitted_runs_wrote();
    invariants.every_change_is_wanted();
    invariants.removals_stay_within_limits();
    invariants.updates_stay_within_limits();
    invariants.no_user_is_created_twice();
    invariants.every_row_is_applied();
    invariants.every_membership_is_stated();
    invariants.groups_are_never_replaced();
    invariants.memberships_stay_within_limits();
    invariants.every_stated_membership_is_applied();
    invariants.roles_are_as_stated();
    invariants.schedules_are_safe();
    let Invariants {
        requests,
        history,
        mut wrong,
        ..
    } = invariants;
    wrong.extend(history_checks::audit(record, &requests, &history).await);
    wrong
}

pub(crate) struct Invariants<'a> {
    pub(crate) record: &'a Record<'a>,
    pub(crate) policy: &'a ScenarioPolicy,
    pub(crate) requests: Vec<Request>,
    pub(crate) history: Vec<Changed>,
    pub(crate) wrong: Vec<String>,
}

pub(crate) fn email_of(user: &Value) -> String {
    user["userName"].as_str().unwrap_or_default().to_lowercase()
}

/// Whether a change is about a user, and not a group.
pub(crate) fn is_of_user(change: &Changed) -> bool {
    whose(change)["userName"].is_string()
}

/// The user or group of a change.
pub(crate) fn whose(change: &Changed) -> &Value {
    let subject = change.before.as_ref().or(change.after.as_ref());
    subject.expect("a change has a user or group before or after")
}

/// The attributes that have a value. An empty list is no value.
fn values(user: &Value) -> Vec<(&String, &Value)> {
    let all = user[ATTRIBUTES].as_object().into_iter().flatten();
    all.filter(|(_, value)| !is_blank(value)).collect()
}

impl Invariants<'_> {
    pub(crate) fn window_of(&self, number: u64) -> Option<&Window> {
        let windows = self.record.windows.iter();
        windows
            .into_iter()
            .find(|window| (window.first..=window.last).contains(&number))
    }

    /// Nothing that a correct client never sends, and from no key more than its limit.
    fn no_request_is_unexpected(&mut self) {
        for what in self.record.world.org().unexpected() {
            self.wrong.push(format!("not to be sent: {what}"));
        }
        let over = self.requests.iter().filter(|request| request.over_limit);
        let over: Vec<_> = over.map(|request| request.number).collect();
        if !over.is_empty() {
            self.wrong
                .push(format!("over the limit: requests {over:?}"));
        }
    }

    /// A dry run and a run with an unreadable roster write nothing.
    fn only_permitted_runs_wrote(&mut self) {
        let writes = self
            .requests
            .iter()
            .filter(|request| request.method != "GET");
        let mut wrong = Vec::new();
        for write in writes {
            match self.window_of(write.number) {
                None => wrong.push(format!("a write outside every run: {write:?}")),
                Some(window) if window.is_dry => {
                    wrong.push(format!("a dry run has written: {write:?}"));
                }
                Some(window) if window.roster.is_none() => {
                    wrong.push(format!("written with an unreadable roster: {write:?}"));
                }
                Some(_) => {}
            }
        }
        self.wrong.extend(wrong);
    }

    fn every_change_is_wanted(&mut self) {
        let mut wrong = Vec::new();
        for (at, change) in self.history.iter().enumerate() {
            let Some(number) = change.request else {
                continue;
            };
            let Some(window) = self.window_of(number) else {
                continue;
            };
            let Some(roster) = window.roster.as_ref() else {
                continue;
            };
            if let Err(why) = self.is_wanted(at, change, window, roster) {
                wrong.push(format!("{why}: request {number} in {window:?}: {change:?}"));
            }
        }
        self.wrong.extend(wrong);
    }

    fn is_wanted(
        &self,
        at: usize,
        change: &Changed,
        window: &Window,
        roster: &Roster,
    ) -> Result<(), &'static str> {
        let email = email_of(whose(change));
        // A second user that a listing omitted is not known.
        if self.twins_before(at, &email)
            && !self.last_listing_is_wrong(window, change.request)
            && !self.a_user_vanished_before_writing(window)
        {
            return Err("one of several users with one email was changed");
        }
        let want = roster.want(&email);
        if matches!(want, Wanted::Frozen) {
            return Err("an invalid row names the user");
        }
        match (&change.before, &change.after) {
            (None, Some(after)) => self.may_be_made(want, roster, after),
            (Some(before), None) if self.is_deactivation(change) => {
                self.may_be_deactivated(at, before, want, window, roster)
            }
            (Some(_), None) if self.policy.deactivates => Err("deleted, and not deactivated"),
            (Some(before), None) => self.may_be_removed(at, before, want, window, roster),
            (Some(before), Some(after)) => {
                self.may_be_changed(at, before, after, want, window, roster)
            }
            (None, None) => Err("nothing"),
        }
    }

    fn may_be_made(
        &self,
        want: Wanted<'_>,
        roster: &Roster,
        after: &Value,
    ) -> Result<(), &'static str> {
        let Wanted::Row(row @ Row { op: Op::Upsert, .. }) = want else {
            return Err("created without an upsert row");
        };
        if after["displayName"] != json!(row.name) || after["active"] != json!(true) {
            return Err("created with other values than the row");
        }
        self.attributes(&json!({}), after, row, roster)
    }

    /// Whether changed attributes have the values of the row.
    fn attributes(
        &self,
        before: &Value,
        after: &Value,
        row: &Row,
        roster: &Roster,
    ) -> Result<(), &'static str> {
        let names: BTreeSet<_> = [before, after]
            .into_iter()
            .flat_map(|user| {
                user[ATTRIBUTES]
                    .as_object()
                    .into_iter()
                    .flat_map(|of| of.keys())
            })
            .collect();
        for name in names {
            let (from, to) = (&before[ATTRIBUTES][name], &after[ATTRIBUTES][name]);
            if from == to || is_blank(from) && is_blank(to) {
                continue;
            }
            let column = roster
                .columns
                .iter()
                .copied()
                .find(|&at| COLUMNS[at] == name);
            let Some(column) = column else {
                return Err("an attribute changed that has no column");
            };
            let cell = &row.cells[column];
            if cell.trim().is_empty() && self.policy.keeps_blanks {
                return Err("a blank cell changed a value to keep");
            }
            if !is_as_wanted(column, cell, to, false) {
                return Err("an attribute differs from its cell");
            }
        }
        Ok(())
    }

    fn may_be_removed(
        &self,
        at: usize,
        user: &Value,
        want: Wanted<'_>,
        window: &Window,
        roster: &Roster,
    ) -> Result<(), &'static str> {
        let email = email_of(user);
        if email == PROTECTED {
            return Err("protected, and removed");
        }
        match want {
            Wanted::Row(Row { op: Op::Delete, .. }) => return Ok(()),
            Wanted::Row(Row {
                op: Op::Deactivate, ..
            }) if self.policy.deactivates => return Ok(()),
            Wanted::Row(_) | Wanted::Frozen => {
                return Err("removed against its row");
            }
            Wanted::Nothing => {}
        }
        if !roster.may_prune() {
            return Err("pruned by a roster that may not prune");
        }
        if self.last_listing_is_wrong(window, self.history[at].request) {
            return Err("pruned after a listing that does not add up");
        }
        match self.policy.prune {
            "all" => Ok(()),
            "managed" if self.was_ever_managed(&email, window) => Ok(()),
            _ => Err("pruned against policy.prune"),
        }
    }

    /// Whether a roster has upserted the user, this one included.
    fn was_ever_managed(&self, email: &str, until: &Window) -> bool {
        let runs = self.record.windows.iter();
        runs.take_while(|window| window.first <= until.first)
            .filter(|window| !window.is_dry)
            .filter_map(|window| window.roster.as_ref())
            .any(|roster| roster.upserts().any(|other| other == email))
    }

    /// Whether the last listing before a request omitted or repeated a user. A wrong total alone looks like a true one
    /// while pages are read, and hides no user.
    pub(crate) fn last_listing_is_wrong(&self, window: &Window, before: Option<u64>) -> bool {
        let before = before.unwrap_or(u64::MAX);
        let is_page = |request: &&Request| {
            (window.first..before).contains(&request.number)
                && request.method == "GET"
                && !is_of_groups(&request.path)
                && request.query.contains("startIndex=")
                && !request.query.contains("filter=")
        };
        let pages: Vec<_> = self.requests.iter().filter(is_page).collect();
        let is_first = |request: &&Request| request.query.ends_with("startIndex=1");
        let first = pages.iter().rposition(is_first).unwrap_or(0);
        pages[first..]
            .iter()
            .any(|page| match page.fault.as_deref() {
                Some("skipped user") => page.status == 200,
                // The first page has nothing to repeat.
                Some("repeated user") => page.status == 200 && !is_first(page),
                _ => false,
            })
    }

    /// Whether others removed a user between the last write before a run and its first one. Later users then move up,
    /// perhaps from a page not yet read to one already read.
    pub(crate) fn a_user_vanished_before_writing(&self, window: &Window) -> bool {
        let written = |change: &Changed| change.request;
        let before = |change: &Changed| written(change).is_some_and(|at| at < window.first);
        let since = self.history.iter().rposition(before).map_or(0, |at| at + 1);
        let others = self.history[since..].iter();
        others
            .take_while(|change| written(change).is_none())
            .any(|change| change.after.is_none())
    }

    fn may_be_changed(
        &self,
        at: usize,
        before: &Value,
        after: &Value,
        want: Wanted<'_>,
        window: &Window,
        roster: &Roster,
    ) -> Result<(), &'static str> {
        let known = ["displayName", "active", "meta", ATTRIBUTES];
        let without_known = |user: &Value| {
            let mut user = user.clone();
            if let Some(fields) = user.as_object_mut() {
                fields.retain(|name, _| !known.contains(&name.as_str()));
                fields.remove("schemas");
            }
            user
        };
        if without_known(before) != without_known(after) {
            return Err("a field changed that the roster does not name");
        }
        if before["active"] == json!(true) && after["active"] == json!(false) {
            if before["displayName"] != after["displayName"] || values(before) != values(after) {
                return Err("deactivated, and changed besides");
            }
            return self.may_be_deactivated(at, before, want, window, roster);
        }
        if before["displayName"] == after["displayName"]
            && before["active"] == after["active"]
            && values(before) == values(after)
        {
            // Sent again after a lost response, without effect.
            return Ok(());
        }
        let Wanted::Row(row @ Row { op: Op::Upsert, .. }) = want else {
            return Err("changed without an upsert row");
        };
        if before["active"] != after["active"]
            && !self.policy.reactivates
            && !self.we_deactivated(at, before)
        {
            return Err("reactivated though others had deactivated the user");
        }
        let name = &after["displayName"];
        if before["displayName"] != *name && (row.name.is_empty() || *name != json!(row.name)) {
            return Err("renamed to another name than the row");
        }
        self.attributes(before, after, row, roster)
    }

    /// Whether a user is gone because a deactivation revokes the membership.
    fn is_deactivation(&self, change: &Changed) -> bool {
        let id = whose(change)["id"].as_str().unwrap_or_default();
        let mut requests = self.requests.iter();
        let request = requests.find(|request| Some(request.number) == change.request);
        request.is_some_and(|request| deactivates(request, id))
    }

    fn may_be_deactivated(
        &self,
        at: usize,
        user: &Value,
        want: Wanted<'_>,
        window: &Window,
        roster: &Roster,
    ) -> Result<(), &'static str> {
        match want {
            Wanted::Row(Row {
                op: Op::Deactivate, ..
            }) if email_of(user) != PROTECTED => Ok(()),
            _ if self.policy.deactivates => self.may_be_removed(at, user, want, window, roster),
            _ => Err("deactivated without a row"),
        }
    }

    /// Whether a request of ours asked to deactivate this user before, whether Omni kept it or not.
    fn we_deactivated(&self, at: usize, user: &Value) -> bool {
        let before = self.history[at].request.unwrap_or(u64::MAX);
        let id = user["id"].as_str().unwrap_or_default();
        let earlier = self
            .requests
            .iter()
            .filter(|request| request.number < before);
        earlier.into_iter().any(|request| deactivates(request, id))
    }

    /// Whether several users had this email before a change.
    pub(crate) fn twins_before(&self, at: usize, email: &str) -> bool {
        let mut ids = HashSet::new();
        for change in self.history[..at]
            .iter()
            .filter(|change| email_of(whose(change)) == email)
        {
            let id = whose(change)["id"].to_string();
            match change.after {
                Some(_) => ids.insert(id),
                None => ids.remove(&id),
            };
        }
        ids.len() > 1
    }
}

/// Whether a request asks to deactivate a user.
pub(crate) fn deactivates(request: &Request, id: &str) -> bool {
    let body = request.body.as_ref();
    request.path.ends_with(id)
        && body.is_some_and(|body| {
            body["active"] == json!(false)
                || body["Operations"][0]["value"]["active"] == json!(false)
        })
}
