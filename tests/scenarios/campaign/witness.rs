//! What must hold whatever goes wrong, told from the mock server's own record of who changed what, with
//! no planner of ours.

use super::history_checks;
use super::play::{Tale, Window};
use super::roster::{COLUMNS, DesiredUser, Op, Row, Sheet, is_as_wanted, is_none};
use super::story::{BOSS, Policy};
use omni_user_sync::sandbox::{Changed, Request};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashSet};

pub const ATTRIBUTES: &str = "urn:omni:params:1.0:UserAttribute";

/// Says what is wrong in a tale.
pub async fn testify(tale: &Tale<'_>) -> Vec<String> {
    let org = tale.world.org();
    let mut witness = Witness {
        tale,
        policy: &tale.story.policy,
        requests: org.requests(),
        history: org.history(),
        wrong: tale.wrong.clone(),
    };
    witness.the_stand_in_is_content();
    witness.who_may_not_write_did_not();
    witness.each_change_was_wanted();
    witness.few_were_removed();
    witness.few_were_changed_at_once();
    witness.nobody_was_made_twice();
    witness.all_is_as_wanted();
    let Witness {
        requests,
        history,
        mut wrong,
        ..
    } = witness;
    wrong.extend(history_checks::audit(tale, &requests, &history).await);
    wrong
}

pub struct Witness<'a> {
    pub tale: &'a Tale<'a>,
    pub policy: &'a Policy,
    pub requests: Vec<Request>,
    pub history: Vec<Changed>,
    pub wrong: Vec<String>,
}

pub fn email_of(user: &Value) -> String {
    user["userName"].as_str().unwrap_or_default().to_lowercase()
}

/// Whom a change is of.
pub fn whose(change: &Changed) -> &Value {
    let user = change.before.as_ref().or(change.after.as_ref());
    user.expect("a change has a user before or after")
}

/// The attributes that have a value: an empty list and none are the same.
fn values(user: &Value) -> Vec<(&String, &Value)> {
    let all = user[ATTRIBUTES].as_object().into_iter().flatten();
    all.filter(|(_, value)| !is_none(value)).collect()
}

impl Witness<'_> {
    pub fn window_of(&self, number: u64) -> Option<&Window> {
        let windows = self.tale.windows.iter();
        windows
            .into_iter()
            .find(|window| (window.first..=window.last).contains(&number))
    }

    pub fn sheet_of(&self, window: &Window) -> Option<&Sheet> {
        self.tale.story.rounds[window.round].file.sheet()
    }

    /// It got nothing that a correct client never sends, and from no key more than its limit.
    fn the_stand_in_is_content(&mut self) {
        for what in self.tale.world.org().unexpected() {
            self.wrong.push(format!("not to be sent: {what}"));
        }
        let over = self.requests.iter().filter(|request| request.over_limit);
        let over: Vec<_> = over.map(|request| request.number).collect();
        if !over.is_empty() {
            self.wrong
                .push(format!("over the limit: requests {over:?}"));
        }
    }

    /// A dry run, and one whose roster can't be read.
    fn who_may_not_write_did_not(&mut self) {
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
                Some(window) if self.sheet_of(window).is_none() => {
                    wrong.push(format!("written by a roster that can't be read: {write:?}"));
                }
                Some(_) => {}
            }
        }
        self.wrong.extend(wrong);
    }

    fn each_change_was_wanted(&mut self) {
        let mut wrong = Vec::new();
        for (at, change) in self.history.iter().enumerate() {
            let Some(number) = change.request else {
                continue;
            };
            let Some(window) = self.window_of(number) else {
                continue;
            };
            let Some(sheet) = self.sheet_of(window) else {
                continue;
            };
            if let Err(why) = self.is_wanted(at, change, window, sheet) {
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
        sheet: &Sheet,
    ) -> Result<(), &'static str> {
        let email = email_of(whose(change));
        // One of two whom a listing left out can't be known to be there.
        if self.twins_before(at, &email)
            && !self.last_listing_lacks_somebody(window, change.request)
            && !self.somebody_went_before_writing(window)
        {
            return Err("one of several users with one email was changed");
        }
        let want = sheet.want(&email);
        if matches!(want, DesiredUser::Frozen) {
            return Err("a bad row names them");
        }
        match (&change.before, &change.after) {
            (None, Some(after)) => self.may_be_made(want, sheet, after),
            (Some(_), None) if self.policy.deactivates => Err("deleted, and not deactivated"),
            (Some(before), None) => self.may_be_removed(at, before, want, window, sheet),
            (Some(before), Some(after)) => {
                self.may_be_changed(at, before, after, want, window, sheet)
            }
            (None, None) => Err("nothing"),
        }
    }

    fn may_be_made(
        &self,
        want: DesiredUser<'_>,
        sheet: &Sheet,
        after: &Value,
    ) -> Result<(), &'static str> {
        let DesiredUser::Row(row @ Row { op: Op::Upsert, .. }) = want else {
            return Err("made though no row upserts them");
        };
        if after["displayName"] != json!(row.name) || after["active"] != json!(true) {
            return Err("made otherwise than told");
        }
        self.attributes(&json!({}), after, row, sheet)
    }

    /// Whether attributes that differ are as a row wants them.
    fn attributes(
        &self,
        before: &Value,
        after: &Value,
        row: &Row,
        sheet: &Sheet,
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
            if from == to || is_none(from) && is_none(to) {
                continue;
            }
            let column = sheet
                .columns
                .iter()
                .copied()
                .find(|&at| COLUMNS[at] == name);
            let Some(column) = column else {
                return Err("an attribute changed that has no column");
            };
            let cell = &row.cells[column];
            if cell.trim().is_empty() && self.policy.keeps_blanks {
                return Err("a blank cell changed what it was to leave");
            }
            if !is_as_wanted(column, cell, to, false) {
                return Err("an attribute became something else than its cell");
            }
        }
        Ok(())
    }

    fn may_be_removed(
        &self,
        at: usize,
        user: &Value,
        want: DesiredUser<'_>,
        window: &Window,
        sheet: &Sheet,
    ) -> Result<(), &'static str> {
        let email = email_of(user);
        if email == BOSS {
            return Err("protected, and removed");
        }
        match want {
            DesiredUser::Row(Row { op: Op::Delete, .. }) => return Ok(()),
            DesiredUser::Row(Row {
                op: Op::Deactivate, ..
            }) if self.policy.deactivates => return Ok(()),
            DesiredUser::Row(_) | DesiredUser::Frozen => {
                return Err("removed though a row says otherwise");
            }
            DesiredUser::Nothing => {}
        }
        if !sheet.may_prune() {
            return Err("pruned by a roster that may not prune");
        }
        if self.last_listing_lacks_somebody(window, self.history[at].request) {
            return Err("pruned after a listing that does not add up");
        }
        match self.policy.prune {
            "all" => Ok(()),
            "managed" if self.was_ever_ours(&email, window) => Ok(()),
            _ => Err("pruned against policy.prune"),
        }
    }

    /// Whether a roster has ever upserted them, this one included.
    fn was_ever_ours(&self, email: &str, until: &Window) -> bool {
        let rounds = &self.tale.story.rounds[..=until.round];
        let sheets = rounds.iter().filter_map(|round| round.file.sheet());
        sheets
            .into_iter()
            .any(|sheet| sheet.upserts().any(|other| other == email))
    }

    /// Whether the last listing before a request left somebody out, or told somebody twice. Totals that
    /// are too high or too low alone can't be told from a true one while pages are read, and hide nobody.
    fn last_listing_lacks_somebody(&self, window: &Window, before: Option<u64>) -> bool {
        let before = before.unwrap_or(u64::MAX);
        let is_page = |request: &&Request| {
            (window.first..before).contains(&request.number)
                && request.method == "GET"
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
                // Before the first page there is nobody to be told again.
                Some("repeated user") => page.status == 200 && !is_first(page),
                _ => false,
            })
    }

    /// Whether somebody else removed a user between the last write before a run and its first one: who
    /// stood behind moved up, perhaps from a page that was to be read to one that had been.
    fn somebody_went_before_writing(&self, window: &Window) -> bool {
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
        want: DesiredUser<'_>,
        window: &Window,
        sheet: &Sheet,
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
            return Err("something changed that nobody names");
        }
        if before["active"] == json!(true) && after["active"] == json!(false) {
            if before["displayName"] != after["displayName"] || values(before) != values(after) {
                return Err("deactivated, and changed besides");
            }
            return match want {
                DesiredUser::Row(Row {
                    op: Op::Deactivate, ..
                }) if email_of(before) != BOSS => Ok(()),
                _ if self.policy.deactivates => {
                    self.may_be_removed(at, before, want, window, sheet)
                }
                _ => Err("deactivated though no row does so"),
            };
        }
        if before["displayName"] == after["displayName"]
            && before["active"] == after["active"]
            && values(before) == values(after)
        {
            // Sent a second time, since the first answer was lost: nothing came of it.
            return Ok(());
        }
        let DesiredUser::Row(row @ Row { op: Op::Upsert, .. }) = want else {
            return Err("changed though no row upserts them");
        };
        if before["active"] != after["active"]
            && !self.policy.reactivates
            && !self.we_deactivated(at, before)
        {
            return Err("reactivated though somebody else had deactivated them");
        }
        let name = &after["displayName"];
        if before["displayName"] != *name && (row.name.is_empty() || *name != json!(row.name)) {
            return Err("renamed otherwise than told");
        }
        self.attributes(before, after, row, sheet)
    }

    /// Whether a request of ours asked to deactivate this user before, kept by Omni or not.
    fn we_deactivated(&self, at: usize, user: &Value) -> bool {
        let before = self.history[at].request.unwrap_or(u64::MAX);
        let id = user["id"].as_str().unwrap_or_default();
        let earlier = self
            .requests
            .iter()
            .filter(|request| request.number < before);
        earlier.into_iter().any(|request| deactivates(request, id))
    }

    /// Whether somebody shared this email before a change.
    fn twins_before(&self, at: usize, email: &str) -> bool {
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
pub fn deactivates(request: &Request, id: &str) -> bool {
    let body = request.body.as_ref();
    request.path.ends_with(id)
        && body.is_some_and(|body| {
            body["active"] == json!(false)
                || body["Operations"][0]["value"]["active"] == json!(false)
        })
}
