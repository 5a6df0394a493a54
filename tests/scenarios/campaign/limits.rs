//! How much is too much: the limits of a story, and whether what was done kept to them. Only an approval
//! excuses, of that user and kind, and before the run.

use super::play::{Approved, Window};
use super::roster::is_none;
use super::story::Wrong;
use super::witness::{ATTRIBUTES, Witness, deactivates, whose};
use fastrand::Rng;
use omni_user_sync::model::Operation;
use omni_user_sync::sandbox::{Changed, Request, What};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug)]
pub enum Limit {
    Count(usize),
    Percent(usize),
}

/// The limits of `policy`.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub removals: Limit,
    pub clears: Limit,
    pub updates: Option<Limit>,
    pub floor: usize,
}

impl Limits {
    pub fn new(random: &mut Rng) -> Self {
        // Out of 100: so many are plain counts below `most`, so many are tight; the others let all through.
        let mut limit = |counts: u32, tight: u32, percent, most| match random.u32(..100) {
            at if at < counts => Limit::Count(random.usize(..most)),
            at if at < counts + tight => Limit::Percent(percent),
            _ => Limit::Percent(100),
        };
        let (removals, clears) = (limit(25, 25, 10, 4), limit(20, 25, 10, 3));
        let updates = limit(12, 15, 30, 5);
        Self {
            removals,
            clears,
            updates: Some(updates).filter(|limit| !matches!(limit, Limit::Percent(100))),
            floor: [5, 5, 5, 1, 0][random.usize(..5)],
        }
    }

    pub fn settings(&self) -> [(&'static str, String); 4] {
        let text = |limit: Limit| match limit {
            Limit::Count(most) => most.to_string(),
            Limit::Percent(percent) => format!("{percent}%"),
        };
        [
            ("policy.max_removals", text(self.removals)),
            ("policy.max_clears", text(self.clears)),
            (
                "policy.max_updates",
                self.updates.map(text).unwrap_or_default(),
            ),
            ("policy.max_removals_floor", self.floor.to_string()),
        ]
    }

    /// How many changes a limit lets through where there are so many users.
    fn lets(&self, limit: Limit, users: usize) -> usize {
        match limit {
            Limit::Count(most) => most,
            Limit::Percent(percent) => (percent * users / 100).max(self.floor),
        }
    }
}

/// The id that a request names.
fn id_of(request: &Request) -> &str {
    request.path.rsplit('/').next().unwrap_or_default()
}

/// Whether a change took a value away that somebody had.
fn clears(change: &Changed) -> bool {
    let (Some(before), Some(after)) = (&change.before, &change.after) else {
        return false;
    };
    let mut had = before[ATTRIBUTES].as_object().into_iter().flatten();
    had.any(|(name, value)| !is_none(value) && is_none(&after[ATTRIBUTES][name]))
}

/// Whether a change removed somebody, or deactivated somebody who was active.
fn removes(change: &Changed) -> bool {
    let is_active = |user: &Value| user["active"] == json!(true);
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => is_active(before) && !is_active(after),
        (_, after) => after.is_none(),
    }
}

impl Witness<'_> {
    /// Removals are counted over all runs, which are within 24 hours.
    pub fn few_were_removed(&mut self) {
        let limits = self.policy.limits;
        let ours = self.history.iter().filter(|change| {
            change
                .request
                .is_some_and(|number| removes(change) && !self.is_approved_removal(change, number))
        });
        let ids: BTreeSet<_> = ours
            .filter_map(|change| whose(change)["id"].as_str())
            .collect();
        let users = self.most_users(u64::MAX, true);
        let most = limits.lets(limits.removals, users);
        if ids.len() > most {
            self.wrong.push(format!(
                "{} of {users} removed without approval, and the guard lets {most}: {limits:?}",
                ids.len()
            ));
        }
    }

    fn is_approved_removal(&self, change: &Changed, number: u64) -> bool {
        let id = whose(change)["id"].as_str().unwrap_or_default();
        self.approvals_before(number)
            .any(|approved| approved.id == id && approved.operation.is_removal())
    }

    /// Clears and updates are counted within a run: below the limit, or each of them approved.
    pub fn few_were_changed_at_once(&mut self) {
        let limits = self.policy.limits;
        let mut wrong = Vec::new();
        for window in &self.tale.windows {
            let is_within = |number: &u64| (window.first..=window.last).contains(number);
            let cleared = self.history.iter().filter(|change| {
                let within = change.request.as_ref().is_some_and(is_within);
                within && clears(change)
            });
            let cleared: BTreeSet<_> = cleared
                .filter_map(|change| whose(change)["id"].as_str())
                .collect();
            let is_update = |request: &&Request| {
                is_within(&request.number)
                    && matches!(request.method.as_str(), "PATCH" | "PUT")
                    && !deactivates(request, id_of(request))
            };
            let updates = self.requests.iter().filter(is_update);
            let updated: BTreeSet<_> = updates.map(id_of).collect();
            let both = [
                ("cleared", cleared, Some(limits.clears)),
                ("updated", updated, limits.updates),
            ];
            for (what, ids, limit) in both {
                let Some(limit) = limit else { continue };
                let users = self.most_users(window.last, false);
                let most = limits.lets(limit, users);
                if ids.len() <= most || ids.iter().all(|id| self.may_change(id, what, window)) {
                    continue;
                }
                wrong.push(format!(
                    "{} of {users} {what} in one run, and the guard lets {most}: {limits:?} {window:?}",
                    ids.len()
                ));
            }
        }
        self.wrong.extend(wrong);
    }

    /// Whether an update was approved before a run; that it clears takes an approval of that.
    fn may_change(&self, id: &str, what: &str, window: &Window) -> bool {
        self.approvals_before(window.first).any(|approved| {
            let is_it = approved.id == id && approved.operation == Operation::Update;
            is_it && (what != "cleared" || approved.rules.contains("max_clears"))
        })
    }

    fn approvals_before(&self, number: u64) -> impl Iterator<Item = &Approved> {
        let all = self.tale.approved.iter();
        all.filter(move |approved| approved.before <= number)
    }

    /// The most users whom anybody could have counted until a request: who was there at one time, with
    /// those whom we had asked to delete by then if `removed` says so, and what listings told too many.
    fn most_users(&self, until: u64, removed: bool) -> usize {
        let deleted_before = |number: u64| {
            let is_delete =
                |request: &&Request| request.method == "DELETE" && request.number < number;
            let deletes = self.requests.iter().filter(is_delete);
            deletes.map(id_of).collect::<BTreeSet<_>>().len()
        };
        let last = self
            .history
            .iter()
            .rposition(|change| change.request.is_some_and(|number| number <= until));
        // Before our first change, and after our last one, everything that others did.
        let next = last.map_or(0, |last| last + 1);
        let rest = self.history[next..].iter();
        let others = rest.take_while(|change| change.request.is_none()).count();
        let history = &self.history[..next + others];
        let (mut users, mut most) = (0, 0);
        for (at, change) in history.iter().enumerate() {
            users += usize::from(change.before.is_none());
            users -= usize::from(change.after.is_none());
            let later = history[at + 1..].iter();
            let next = later.filter_map(|change| change.request).next();
            let deleted = match removed {
                true => deleted_before(next.unwrap_or(u64::MAX)),
                false => 0,
            };
            most = most.max(users + deleted);
        }
        most + self.told_too_many()
    }

    /// By how many a listing may have told too many.
    fn told_too_many(&self) -> usize {
        let rounds = self.tale.story.rounds.iter();
        let troubles = rounds.flat_map(|round| &round.troubles);
        let too_many = troubles.map(|trouble| match &trouble.what {
            Wrong::Fault { what, .. } => match what {
                What::TotalOff(by) => usize::try_from(*by).unwrap_or(0),
                What::RepeatUser => 1,
                _ => 0,
            },
            _ => 0,
        });
        too_many.max().unwrap_or(0)
    }
}
