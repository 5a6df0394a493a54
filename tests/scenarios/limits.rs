//! Safety limits: those of a scenario, and whether the changes stay within them. Only an approval of the same user and
//! operation before the run exempts a change.

use crate::access::is_of_groups;
use crate::invariants::{ATTRIBUTES, Invariants, deactivates, whose};
use crate::record::{Approved, Window};
use crate::roster::is_blank;
use crate::schedules::is_of_schedules;
use crate::trouble::Trouble;
use fastrand::Rng;
use omni_user_sync::model::Operation;
use omni_user_sync::sandbox::{Changed, Request, What};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Allowance {
    Count(usize),
    Percent(usize),
}

/// As in the settings.
impl std::fmt::Display for Allowance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count(most) => write!(f, "{most}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// The limits of `policy`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) removals: Allowance,
    pub(crate) clears: Allowance,
    pub(crate) updates: Option<Allowance>,
    pub(crate) floor: usize,
}

impl Limits {
    pub(crate) fn new(random: &mut Rng) -> Self {
        // Percentages of plain counts below `most` and of tight limits; the others allow everything.
        let mut limit = |counts: u32, tight: u32, percent, most| match random.u32(..100) {
            at if at < counts => Allowance::Count(random.usize(..most)),
            at if at < counts + tight => Allowance::Percent(percent),
            _ => Allowance::Percent(100),
        };
        let (removals, clears) = (limit(25, 25, 10, 4), limit(20, 25, 10, 3));
        let updates = limit(12, 15, 30, 5);
        Self {
            removals,
            clears,
            updates: Some(updates).filter(|limit| !matches!(limit, Allowance::Percent(100))),
            floor: [5, 5, 5, 1, 0][random.usize(..5)],
        }
    }

    /// The largest number of removals that the limit allows for a base.
    pub(crate) fn allows_removals(&self, base: usize) -> usize {
        match self.removals {
            Allowance::Count(most) => most,
            Allowance::Percent(100) => usize::MAX,
            Allowance::Percent(percent) => {
                (percent * base / 100).max(self.floor.min((base / 2).max(1)))
            }
        }
    }

    /// The same without limits of updates and clears.
    pub(crate) fn of_removals(self) -> Self {
        Self {
            clears: Allowance::Percent(100),
            updates: None,
            ..self
        }
    }

    pub(crate) fn settings(&self) -> [(&'static str, String); 5] {
        [
            ("policy.max_removals", self.removals.to_string()),
            ("policy.max_clears", self.clears.to_string()),
            (
                "policy.max_updates",
                self.updates
                    .map_or_else(String::new, |limit| limit.to_string()),
            ),
            ("policy.max_removals_floor", self.floor.to_string()),
            ("policy.max_updates_floor", self.floor.to_string()),
        ]
    }

    /// The number of changes that a limit allows.
    pub(crate) fn allows(&self, limit: Allowance, users: usize) -> usize {
        match limit {
            Allowance::Count(most) => most,
            Allowance::Percent(percent) => (percent * users / 100).max(self.floor),
        }
    }
}

/// The id that a request names.
fn id_of(request: &Request) -> &str {
    request.path.rsplit('/').next().unwrap_or_default()
}

/// Whether a change cleared a value.
fn clears(change: &Changed) -> bool {
    let (Some(before), Some(after)) = (&change.before, &change.after) else {
        return false;
    };
    let mut had = before[ATTRIBUTES].as_object().into_iter().flatten();
    had.any(|(name, value)| !is_blank(value) && is_blank(&after[ATTRIBUTES][name]))
}

fn is_active(user: Option<&Value>) -> bool {
    user.is_some_and(|user| user["active"] == json!(true))
}

/// Whether a change removed a user, or deactivated an active one.
fn removes(change: &Changed) -> bool {
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => is_active(Some(before)) && !is_active(Some(after)),
        (_, after) => after.is_none(),
    }
}

impl Invariants<'_> {
    /// Removals are counted over all runs, which are within 24 hours. A user who is active again no longer counts.
    pub(crate) fn removals_stay_within_limits(&mut self) {
        let limits = self.policy.limits;
        let (mut removed, mut most_removed) = (BTreeSet::new(), 0);
        for change in &self.history {
            let id = whose(change)["id"].as_str();
            let is_ours = |number| removes(change) && !self.is_approved_removal(change, number);
            if change.request.is_some_and(is_ours) {
                removed.extend(id);
                most_removed = most_removed.max(removed.len());
            } else if let (Some(id), true) = (id, is_active(change.after.as_ref())) {
                removed.remove(id);
            }
        }
        let users = self.most_users(u64::MAX, true);
        let most = limits.allows(limits.removals, users);
        if most_removed > most {
            self.wrong.push(format!(
                "{most_removed} of {users} removed without approval, and the limit is {most}: {limits:?}"
            ));
        }
    }

    fn is_approved_removal(&self, change: &Changed, number: u64) -> bool {
        let id = whose(change)["id"].as_str().unwrap_or_default();
        self.approvals_before(number)
            .any(|approved| approved.id == id && approved.operation.is_removal())
    }

    /// Clears and updates are counted within a run: those that are not approved are below the limit.
    pub(crate) fn updates_stay_within_limits(&mut self) {
        let limits = self.policy.limits;
        let mut wrong = Vec::new();
        for window in &self.record.windows {
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
                    && !is_of_groups(&request.path)
                    && !is_of_schedules(&request.path)
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
                let most = limits.allows(limit, users);
                let is_counted = |id: &&&str| !self.may_change(id, window);
                let unapproved = ids.iter().filter(is_counted).count();
                if unapproved > most {
                    wrong.push(format!(
                        "{unapproved} of {users} {what} in one run, and the limit is {most}: {limits:?} {window:?}"
                    ));
                }
            }
        }
        self.wrong.extend(wrong);
    }

    /// Whether an update was approved before a run.
    fn may_change(&self, id: &str, window: &Window) -> bool {
        self.approvals_before(window.first)
            .any(|approved| approved.id == id && approved.operation == Operation::Update)
    }

    pub(crate) fn approvals_before(&self, number: u64) -> impl Iterator<Item = &Approved> {
        let all = self.record.approved.iter();
        all.filter(move |approved| approved.before <= number)
    }

    /// The largest number of users that a run could have counted until a request: users at one time, with those
    /// deleted by then if `removed`, and the surplus of wrong listings.
    fn most_users(&self, until: u64, removed: bool) -> usize {
        // A deactivation may remove a user for good.
        let deleted_before = |number: u64| {
            let is_delete =
                |request: &&Request| request.method == "DELETE" && request.number < number;
            let deletes = self.requests.iter().filter(is_delete).map(id_of);
            let is_gone = |change: &&Changed| {
                change.after.is_none() && change.request.is_some_and(|at| at < number)
            };
            let gone = self.history.iter().filter(is_gone);
            let gone = gone.filter_map(|change| whose(change)["id"].as_str());
            deletes.chain(gone).collect::<BTreeSet<_>>().len()
        };
        let last = self
            .history
            .iter()
            .rposition(|change| change.request.is_some_and(|number| number <= until));
        // With all changes by others before our first and after our last change.
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
        most + self.listing_surplus()
    }

    /// The largest surplus of a wrong listing.
    fn listing_surplus(&self) -> usize {
        let too_many = self
            .record
            .scenario
            .troubles()
            .map(|trouble| match trouble {
                Trouble::Fault { what, .. } => match what {
                    What::TotalOff(by) => usize::try_from(*by).unwrap_or(0),
                    What::RepeatUser => 1,
                    _ => 0,
                },
                _ => 0,
            });
        too_many.max().unwrap_or(0)
    }
}
