//! Nobody is made twice, and nobody is asked for again before we looked.

use super::witness::{Witness, email_of, whose};
use omni_user_sync::sandbox::Request;
use serde_json::Value;
use std::collections::HashMap;
use std::ops::Range;

/// Whether a request was answered with what it asked for.
fn was_answered(request: &Request) -> bool {
    let is_none = |fault: &str| {
        ["html", "cut json", "lost reply", "reset"]
            .iter()
            .any(|none| fault.starts_with(none))
    };
    request.status == 200 && !request.fault.as_deref().is_some_and(is_none)
}

/// Whether an answer tells if somebody is there: it was asked for them, or for everybody.
fn tells_of(request: &Request, email: &str) -> bool {
    let query = request.query.replace("%40", "@").to_lowercase();
    let is_theirs = query.contains("filter=") && query.contains(&format!("%22{email}%22"));
    let is_page = query.contains("startindex=") && !query.contains("filter=");
    request.method == "GET" && (is_theirs || is_page) && was_answered(request)
}

impl Witness<'_> {
    /// Whom a request of ours has made is not made again, in that run or any later one, before an
    /// answer told that they may be gone, or they were removed.
    pub fn nobody_was_made_twice(&mut self) {
        let mut made: HashMap<String, u64> = HashMap::new();
        let mut wrong = Vec::new();
        for request in &self.requests {
            if request.method != "POST" {
                continue;
            }
            let name = |body: &Value| body["userName"].as_str().map(str::to_lowercase);
            let email = request.body.as_ref().and_then(name).unwrap_or_default();
            if let Some(before) = made.get(&email) {
                let between = *before..request.number;
                if !self.was_looked_for(&email, &between) && !self.was_removed(&email, &between) {
                    wrong.push(format!("made again without a look: {request:?}"));
                }
            }
            let is_it = |number: Option<u64>| number == Some(request.number);
            if self.history.iter().any(|change| is_it(change.request)) {
                made.insert(email, request.number);
            }
        }
        self.wrong.extend(wrong);
        self.nobody_is_there_twice();
    }

    fn was_looked_for(&self, email: &str, between: &Range<u64>) -> bool {
        let within = |request: &&Request| between.contains(&request.number);
        let mut looks = self.requests.iter().filter(within);
        looks.any(|request| tells_of(request, email))
    }

    /// Whether they were removed after one request had made them and before another's change, or where
    /// it made none, before any later one.
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

    fn nobody_is_there_twice(&mut self) {
        let mut there = HashMap::new();
        for user in self.tale.world.org().users() {
            *there.entry(email_of(&user)).or_insert(0) += 1;
        }
        for (email, count) in there.iter().filter(|(_, count)| **count > 1) {
            let mut ours = self
                .history
                .iter()
                .filter(|change| change.before.is_none() && change.request.is_some());
            if ours.any(|change| email_of(whose(change)) == **email) {
                self.wrong.push(format!("{email} is there {count} times"));
            }
        }
    }
}
