//! How much is too much: rules on a plan, and the only maker of a [`Verdict`].
//!
//! - The arithmetic is in integers, so that 10% of 50 is 5 and no rounding lets a sixth through.
//! - A kind that trips its limit is held whole; what is not held goes on.
//! - An approval is of a set of users: a kind whose changes all lie within it passes, one with anyone
//!   else is held whole.
//! - Protected users, and those whose change is in quarantine, are set apart before anything is
//!   counted.

use super::diff::Plan;
use super::{Change, quarantine};
use crate::model::{Limit, Memory, Operation, Policy, Prune, RunNumber};
use crate::run::HeldRule;
use crate::util::text::plural;

/// The rule that holds removals.
const REMOVALS: &str = "max_removals";
/// The rule that holds pruning.
const PRUNE: &str = "prune";
/// The rule that holds clears.
const CLEARS: &str = "max_clears";

/// What of a plan may be carried out. Only [`rule`] makes one, and only a verdict can be applied. The
/// default lets nothing through, and nobody else can put a change into one:
///
/// ```
/// use omni_user_sync::plan::{Change, Verdict};
/// fn pass(_passed: Vec<Change>) -> Verdict {
///     Verdict::default()
/// }
/// assert!(pass(Vec::new()).passed().is_empty());
/// ```
///
/// ```compile_fail,E0451
/// use omni_user_sync::plan::{Change, Verdict};
/// fn pass(passed: Vec<Change>) -> Verdict {
///     Verdict { passed, ..Verdict::default() }
/// }
/// ```
///
/// ```compile_fail,E0616
/// use omni_user_sync::plan::{Change, Verdict};
/// fn pass(passed: Vec<Change>) -> Verdict {
///     let mut verdict = Verdict::default();
///     verdict.passed = passed;
///     verdict
/// }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    passed: Vec<Change>,
    held: Vec<(HeldRule, Vec<Change>)>,
    protected: Vec<Change>,
    quarantined: Vec<Change>,
    /// Whether no limit counts updates, so that one more needs no ruling.
    updates_are_free: bool,
    /// That files of the roster are gone, whose users may be missing for that reason alone.
    lost: Option<String>,
    /// Whether there are users whom the roster does not name and who are left alone for now.
    spares: bool,
}

impl Verdict {
    /// What may be carried out, in order.
    #[must_use]
    pub fn passed(&self) -> &[Change] {
        &self.passed
    }

    /// What is held, by rule.
    #[must_use]
    pub fn held(&self) -> &[(HeldRule, Vec<Change>)] {
        &self.held
    }

    /// Removals of protected users: they are not carried out.
    #[must_use]
    pub fn protected(&self) -> &[Change] {
        &self.protected
    }

    /// Changes that failed before and are not sent again yet.
    #[must_use]
    pub fn quarantined(&self) -> &[Change] {
        &self.quarantined
    }

    /// What is held says the exact command that lets it through, wherever it is told.
    pub(crate) fn say_how_to_approve(&mut self, run: RunNumber) {
        for (held, _) in &mut self.held {
            held.why.push_str(&format!(
                "; look with `omni-user-sync history {run}`, and let them through with \
                 `omni-user-sync approve {run}`"
            ));
        }
    }

    /// Whether a roster that lost most of its rows, or files of which somebody would be missed, is still
    /// to be taken for what it was before: until somebody let its pruning through.
    #[must_use]
    pub fn roster_is_suspect(&self, rows: u64, memory: &Memory, policy: &Policy) -> bool {
        let prunes = |changes: &[Change]| changes.iter().any(|change| change.place.is_none());
        let is_held = self.held.iter().any(|(held, _)| held.rule == PRUNE);
        let may_be_missed = is_held || self.spares || prunes(&self.quarantined);
        (has_shrunk(rows, memory).is_some() || (self.lost.is_some() && may_be_missed))
            && policy.prune != Prune::Never
            && !prunes(&self.passed)
    }

    /// Every change of the plan, wherever it ended up.
    pub fn all(&self) -> impl Iterator<Item = &Change> {
        let held = self.held.iter().flat_map(|(_, changes)| changes);
        self.passed
            .iter()
            .chain(held)
            .chain(&self.protected)
            .chain(&self.quarantined)
    }

    /// Whether a user who turns out to exist may be updated instead of made: not where updates are
    /// counted, since this one was not.
    pub(crate) fn updates_are_free(&self) -> bool {
        self.updates_are_free
    }

    /// Moves what passed so far and is of a kind elsewhere.
    fn take(&mut self, is_of_kind: impl Fn(&Change) -> bool) -> Vec<Change> {
        let passed = std::mem::take(&mut self.passed);
        let (taken, passed) = passed.into_iter().partition(is_of_kind);
        self.passed = passed;
        taken
    }

    fn hold(&mut self, rule: &'static str, why: String, is_of_kind: impl Fn(&Change) -> bool) {
        let held = self.take(is_of_kind);
        self.held.push((
            HeldRule {
                rule,
                count: held.len(),
                why,
            },
            held,
        ));
    }
}

/// Rules on a plan. `users` is how many there are in Omni at the observation, `rows` how many data
/// rows the roster has.
#[must_use]
pub fn rule(plan: Plan, users: usize, rows: u64, memory: &Memory, policy: &Policy) -> Verdict {
    let mut verdict = Verdict {
        lost: plan.lost(),
        spares: plan.spared > 0,
        passed: plan.changes,
        ..Verdict::default()
    };
    verdict.updates_are_free = policy.max_updates.is_none();
    verdict.protected =
        verdict.take(|change| change.kind().is_removal() && policy.protect.covers(&change.email));
    verdict.quarantined = verdict.take(|change| quarantine::holds(change, memory));
    let guard = Guard {
        users,
        policy,
        memory,
    };
    guard.pruning(&mut verdict, rows);
    guard.removals(&mut verdict);
    guard.within_run(
        &mut verdict,
        CLEARS,
        Some(policy.max_clears),
        Change::clears,
    );
    let is_update = |change: &Change| change.kind() == Operation::Update;
    guard.within_run(&mut verdict, "max_updates", policy.max_updates, is_update);
    verdict
}

struct Guard<'a> {
    users: usize,
    policy: &'a Policy,
    memory: &'a Memory,
}

impl Guard<'_> {
    /// A roster that lost files, or more than half its rows, has more likely lost them than its people.
    fn pruning(&self, verdict: &mut Verdict, rows: u64) {
        let is_pruning = |change: &Change| change.place.is_none();
        let shrunk = || {
            let before = has_shrunk(rows, self.memory)?;
            Some(format!(
                "the roster has {}, less than half of the {before} before",
                plural(rows, "row")
            ))
        };
        let Some(loss) = verdict.lost.clone().or_else(shrunk) else {
            return;
        };
        if self.is_exempt(verdict, PRUNE, is_pruning) {
            return;
        }
        let why = format!(
            "{loss}, and {} whom it no longer names would be removed",
            plural(count(verdict, is_pruning), "user")
        );
        verdict.hold(PRUNE, why, is_pruning);
    }

    /// Removals are counted over 24 hours, so that many small runs are no way around the limit.
    fn removals(&self, verdict: &mut Verdict) {
        let is_removal = |change: &Change| change.kind().is_removal();
        let planned = count(verdict, is_removal);
        let lately = self.memory.removed_lately;
        let base = self.users + self.memory.removed_base;
        let limit = self.policy.max_removals;
        if self.is_exempt(verdict, REMOVALS, is_removal)
            || !self.is_tripped(limit, planned + lately, base)
        {
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
        verdict.hold(REMOVALS, why, is_removal);
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
        if self.is_exempt(verdict, rule, &is_of_kind)
            || !self.is_tripped(limit, planned, self.users)
        {
            return;
        }
        let what = if rule == CLEARS {
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

    /// Whether there is nothing of a kind, or all of it was approved.
    fn is_exempt(
        &self,
        verdict: &Verdict,
        rule: &str,
        is_of_kind: impl Fn(&Change) -> bool,
    ) -> bool {
        let mut of_kind = verdict.passed.iter().filter(|change| is_of_kind(change));
        of_kind.all(|change| is_approved_past(rule, change, self.memory))
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

/// Whether an approval takes a change past a rule: that values are cleared is ruled on by a limit of its
/// own, and takes an approval of that.
pub(crate) fn is_approved_past(rule: &str, change: &Change, memory: &Memory) -> bool {
    if rule == CLEARS {
        is_approved(change, memory)
    } else {
        is_named(change, memory)
    }
}

/// Whether someone approved a change of this user and of this kind.
fn is_named(change: &Change, memory: &Memory) -> bool {
    let id = change.user_id().cloned();
    id.is_some_and(|id| memory.approved.contains(&(id, change.kind())))
}

/// Whether someone approved just this: this user, this kind; that values are cleared takes an approval
/// of that.
pub(crate) fn is_approved(change: &Change, memory: &Memory) -> bool {
    let are_clears = || {
        let id = change.user_id();
        id.is_some_and(|id| memory.approved_clears.contains(id))
    };
    is_named(change, memory) && (!change.clears() || are_clears())
}

/// How many rows the last accepted roster had, where this one has less than half of them.
fn has_shrunk(rows: u64, memory: &Memory) -> Option<u64> {
    memory.last_rows.filter(|before| rows * 2 < *before)
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
