//! No user is created twice.

use crate::access::is_of_groups;
use crate::invariants::{Invariants, email_of, whose};
use crate::roles::is_of_roles;
use omni_user_sync::sandbox::Request;
use serde_json::Value;
use std::collections::HashMap;
use std::ops::Range;

/// Whether a request got the answer that it asked for.
pub(crate) fn was_answered(request: &Request) -> bool {
    let is_none = |fault: &str| {
        ["html", "cut json", "lost reply", "reset"]
            .iter()
            .any(|none| fault.starts_with(none))
    };
    request.status == 200 && !request.fault.as_deref().is_some_and(is_none)
}

/// Whether an answer shows whether a user exists: a lookup of the user, or a page of the list.
fn shows(request: &Request, email: &str) -> bool {
    let query = request.query.replace("%40", "@").to_lowercase();
    let is_theirs = query.contains("filter=") && query.contains(&format!("%22{email}%22"));
    let is_page = query.contains("startindex=") && !query.contains("filter=");
    !is_of_groups(&request.path)
        && request.method == "GET"
        && (is_theirs || is_page)
        && was_answered(request)
}

impl Invariants<'_> {
    /// A user that a request of ours created is not created again, in any run, before an answer showed that it may be
    /// gone, or it was removed.
    pub(crate) fn no_user_is_created_twice(&mut self) {
        let mut made: HashMap<String, u64> = HashMap::new();
        let mut wrong = Vec::new();
        for request in &self.requests {
            let is_other = is_of_groups(&request.path) || is_of_roles(&request.path);
            if request.method != "POST" || is_other {
                continue;
            }
            let name = |body: &Value| body["userName"].as_str().map(str::to_lowercase);
            let email = request.body.as_ref().and_then(name).unwrap_or_default();
            if let Some(before) = made.get(&email) {
                let between = *before..request.number;
                if !self.was_looked_up(&email, &between) && !self.was_removed(&email, &between) {
                    wrong.push(format!("created again without a lookup: {request:?}"));
                }
            }
            let is_it = |number: Option<u64>| number == Some(request.number);
            if self.history.iter().any(|change| is_it(change.request)) {
                made.insert(email, request.number);
            }
        }
        self.wrong.extend(wrong);
        self.no_email_has_two_users();
    }

    fn was_looked_up(&self, email: &str, between: &Range<u64>) -> bool {
        let within = |request: &&Request| between.contains(&request.number);
        let mut looks = self.requests.iter().filter(within);
        looks.any(|request| shows(request, email))
    }

    /// Whether the user was removed between the creation by one request and the change by another one; if that changed
    /// nothing, before any later change.
    fn was_removed(&self, email: &str, between: &Range<u64>) -> bool {
        let location = |is_it: &dyn Fn(u64) -> bool| {
            let of = |number: Option<u64>| number.is_some_and(is_it);
            self.history.iter().position(|change| of(change.request))
        };
        let from = location(&|number| number == between.start).unwrap_or(0);
        let to = location(&|number| number == between.end)
            .or_else(|| location(&|number| number > between.end))
            .unwrap_or(self.history.len());
        let mut since = self.history[from..to.max(from)].iter();
        since.any(|change| change.after.is_none() && email_of(whose(change)) == email)
    }

    fn no_email_has_two_users(&mut self) {
        let mut there = HashMap::new();
        for user in self.record.world.org().users() {
            *there.entry(email_of(&user)).or_insert(0) += 1;
        }
        for (email, count) in there.iter().filter(|(_, count)| **count > 1) {
            let mut ours = self
                .history
                .iter()
                .filter(|change| change.before.is_none() && change.request.is_some());
            if ours.any(|change| email_of(whose(change)) == **email) {
                self.wrong.push(format!("{email} exists {count} times"));
            }
        }
    }
}
