//! How much is too much: rules on a plan, and the only maker of a [`Verdict`].
//!
//! The arithmetic is in integers, so that 10% of 50 is 5 and no rounding lets a sixth through. A
//! kind that trips its limit is held whole; what is not held goes on.

use super::plan::{Change, Plan};
use super::{Held, Kind, Memory};
use crate::settings::{Limit, Policy};

/// What of a plan may be carried out. Only [`rule`] makes one, and only a verdict can be applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    passed: Vec<Change>,
    held: Vec<(Held, Vec<Change>)>,
    protected: Vec<Change>,
}

impl Verdict {
    /// What may be carried out, in order.
    #[must_use]
    pub fn passed(&self) -> &[Change] {
        &self.passed
    }

    /// What is held, by rule.
    #[must_use]
    pub fn held(&self) -> &[(Held, Vec<Change>)] {
        &self.held
    }

    /// Removals of protected users: they are not carried out.
    #[must_use]
    pub fn protected(&self) -> &[Change] {
        &self.protected
    }

    fn hold(&mut self, rule: &'static str, why: String, is_of_kind: impl Fn(&Change) -> bool) {
        let (held, passed) = std::mem::take(&mut self.passed)
            .into_iter()
            .partition(is_of_kind);
        self.passed = passed;
        let held: Vec<Change> = held;
        self.held.push((
            Held {
                rule,
                count: held.len(),
                why,
            },
            held,
        ));
    }
}

/// Rules on a plan. `users` is how many there are in Omni at the observation.
#[must_use]
pub fn rule(plan: Plan, users: usize, memory: &Memory, policy: &Policy) -> Verdict {
    let is_removal = |change: &Change| change.kind().is_removal();
    let is_protected = |change: &Change| is_removal(change) && policy.protect.covers(&change.email);
    let (protected, passed) = plan.changes.into_iter().partition(is_protected);
    let mut verdict = Verdict {
        passed,
        protected,
        ..Verdict::default()
    };
    let guard = Guard { users, policy };
    guard.removals(&mut verdict, memory);
    guard.within_run(
        &mut verdict,
        "max_clears",
        Some(policy.max_clears),
        Change::clears,
    );
    let is_update = |change: &Change| change.kind() == Kind::Update;
    guard.within_run(&mut verdict, "max_updates", policy.max_updates, is_update);
    verdict
}

struct Guard<'a> {
    users: usize,
    policy: &'a Policy,
}

impl Guard<'_> {
    /// Removals are counted over 24 hours, so that many small runs are no way around the limit.
    fn removals(&self, verdict: &mut Verdict, memory: &Memory) {
        let planned = count(verdict, |change| change.kind().is_removal());
        let (lately, base) = (memory.removed_lately, self.users + memory.removed_lately);
        let limit = self.policy.max_removals;
        if planned == 0 || !self.is_tripped(limit, planned + lately, base) {
            return;
        }
        let before = match lately {
            0 => String::new(),
            _ => format!(" after {lately} in the last 24 h"),
        };
        let why = format!(
            "{planned} of {base} users would be removed{before}, more than policy.max_removals = {}",
            quoted(limit)
        );
        verdict.hold("max_removals", why, |change| change.kind().is_removal());
    }

    fn within_run(
        &self,
        verdict: &mut Verdict,
        rule: &'static str,
        limit: Option<Limit>,
        is_of_kind: impl Fn(&Change) -> bool,
    ) {
        let Some(limit) = limit else { return };
        let planned = count(verdict, &is_of_kind);
        if planned == 0 || !self.is_tripped(limit, planned, self.users) {
            return;
        }
        let what = if rule == "max_clears" {
            "would lose a value"
        } else {
            "would be updated"
        };
        let why = format!(
            "{planned} of {} users {what}, more than policy.{rule} = {}",
            self.users,
            quoted(limit)
        );
        verdict.hold(rule, why, is_of_kind);
    }

    /// A percentage above 0 lets the floor through whatever it comes to, so that small
    /// organisations can work.
    fn is_tripped(&self, limit: Limit, count: usize, base: usize) -> bool {
        let (count, base) = (count as u128, base as u128);
        match limit {
            Limit::Count(most) => count > u128::from(most),
            Limit::Percent(percent) => {
                let below_floor =
                    percent > 0 && count <= u128::from(self.policy.max_removals_floor);
                !below_floor && 100 * count > u128::from(percent) * base
            }
        }
    }
}

fn count(verdict: &Verdict, is_of_kind: impl Fn(&Change) -> bool) -> usize {
    verdict
        .passed
        .iter()
        .filter(|change| is_of_kind(change))
        .count()
}

fn quoted(limit: Limit) -> String {
    match limit {
        Limit::Percent(_) => format!("\"{limit}\""),
        Limit::Count(_) => limit.to_string(),
    }
}
