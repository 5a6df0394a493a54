//! Safety limits: evaluates a plan and decides which changes may be sent. Only this file makes a [`Verdict`].
//!
//! - The arithmetic uses integers, so 10% of 50 is exactly 5.
//! - If a limit is exceeded, all changes that count for it are held. Other changes go on.
//! - An approval covers a set of users. Changes pass if all of them are approved; otherwise all of them are
//!   held.
//! - Protected users and changes in quarantine are set apart before anything is counted.

use super::diff::Plan;
use super::quarantine;
use crate::model::{Action, Change, GuardRule, Limit, Memory, Operation, Policy, Prune};
use crate::util::text::plural;

/// The changes of a plan that may be sent, and those that may not. Only [`evaluate`] makes one, and only a
/// verdict can be applied. The default passes nothing, and no other code can add a change:
///
/// ```
/// use omni_user_sync::model::Change;
/// use omni_user_sync::plan::Verdict;
/// fn pass(_passed: Vec<Change>) -> Verdict {
///     Verdict::default()
/// }
/// assert!(pass(Vec::new()).passed().is_empty());
/// ```
///
/// ```compile_fail,E0451
/// use omni_user_sync::model::Change;
/// use omni_user_sync::plan::Verdict;
/// fn pass(passed: Vec<Change>) -> Verdict {
///     Verdict { passed, ..Verdict::default() }
/// }
/// ```
///
/// ```compile_fail,E0616
/// use omni_user_sync::model::Change;
/// use omni_user_sync::plan::Verdict;
/// fn pass(passed: Vec<Change>) -> Verdict {
///     let mut verdict = Verdict::default();
///     verdict.passed = passed;
///     verdict
/// }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    passed: Vec<Change>,
    held: Vec<HeldChanges>,
    protected: Vec<Change>,
    quarantined: Vec<Change>,
    /// No limit counts updates, so one more needs no evaluation.
    updates_are_unlimited: bool,
    /// Files that the roster lost. Their users may be missing for that reason alone.
    lost_files: Option<String>,
    /// Some users that the roster does not name are kept for now.
    defers_pruning: bool,
}

/// The changes that one safety limit holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldChanges {
    /// The limit.
    pub rule: GuardRule,
    /// The reason, as a clause.
    pub reason: String,
    /// The changes.
    pub changes: Vec<Change>,
}

impl Verdict {
    /// The changes that may be sent, in order.
    #[must_use]
    pub fn passed(&self) -> &[Change] {
        &self.passed
    }

    /// The held changes, by limit.
    #[must_use]
    pub fn held(&self) -> &[HeldChanges] {
        &self.held
    }

    /// Removals of protected users. They are not sent.
    #[must_use]
    pub fn protected(&self) -> &[Change] {
        &self.protected
    }

    /// Changes in quarantine. They are not sent yet.
    #[must_use]
    pub fn quarantined(&self) -> &[Change] {
        &self.quarantined
    }

    /// Whether the roster lost most of its rows, or files that name managed users, and its pruning has not
    /// been approved. Such a roster is not accepted.
    #[must_use]
    pub fn roster_is_suspect(&self, rows: u64, memory: &Memory, policy: &Policy) -> bool {
        let prunes = |changes: &[Change]| changes.iter().any(Change::is_pruning);
        let is_held = self.held.iter().any(|held| held.rule == GuardRule::Prune);
        let may_be_missed = is_held || self.defers_pruning || prunes(&self.quarantined);
        (has_shrunk(rows, memory).is_some() || (self.lost_files.is_some() && may_be_missed))
            && policy.prune != Prune::Never
            && !prunes(&self.passed)
    }

    /// All changes of the plan.
    pub fn all(&self) -> impl Iterator<Item = &Change> {
        let held = self.held.iter().flat_map(|held| &held.changes);
        self.passed
            .iter()
            .chain(held)
            .chain(&self.protected)
            .chain(&self.quarantined)
    }

    /// Whether a user that turns out to exist may be updated instead of created. If a limit counts updates, it
    /// has not counted this one.
    pub(crate) fn updates_are_unlimited(&self) -> bool {
        self.updates_are_unlimited
    }

    /// Takes matching changes out of those that passed so far.
    fn take(&mut self, matches: impl Fn(&Change) -> bool) -> Vec<Change> {
        let passed = std::mem::take(&mut self.passed);
        let (taken, passed) = passed.into_iter().partition(matches);
        self.passed = passed;
        taken
    }

    fn hold(&mut self, rule: GuardRule, reason: String) {
        let changes = self.take(|change| counts_for(rule, change));
        self.held.push(HeldChanges {
            rule,
            reason,
            changes,
        });
    }
}

/// Evaluates a plan. `users` is the number of users in Omni, `rows` the number of data rows in the roster.
#[must_use]
pub fn evaluate(plan: Plan, users: usize, rows: u64, memory: &Memory, policy: &Policy) -> Verdict {
    let mut verdict = Verdict {
        lost_files: plan.lost_files_clause(),
        defers_pruning: plan.deferred > 0,
        passed: plan.changes,
        updates_are_unlimited: policy.max_updates.is_none(),
        ..Verdict::default()
    };
    verdict.protected = verdict.take(|change| {
        matches!(&change.action, Action::Delete(user) | Action::Deactivate(user) if policy.protects(user))
    });
    verdict.quarantined = verdict.take(|change| quarantine::is_quarantined(change, memory));
    let guard = Guard {
        users,
        policy,
        memory,
    };
    guard.pruning(&mut verdict, rows);
    guard.removals(&mut verdict);
    guard.within_run(&mut verdict, GuardRule::MaxClears, Some(policy.max_clears));
    guard.within_run(&mut verdict, GuardRule::MaxUpdates, policy.max_updates);
    verdict
}

/// Whether a safety limit counts a change.
fn counts_for(rule: GuardRule, change: &Change) -> bool {
    match rule {
        GuardRule::Prune => change.is_pruning(),
        GuardRule::MaxRemovals => change.operation().is_removal(),
        GuardRule::MaxClears => change.clears(),
        GuardRule::MaxUpdates => change.operation() == Operation::Update,
    }
}

struct Guard<'a> {
    users: usize,
    policy: &'a Policy,
    memory: &'a Memory,
}

impl Guard<'_> {
    /// A roster that lost files, or more than half of its rows, is more likely broken than right.
    fn pruning(&self, verdict: &mut Verdict, rows: u64) {
        let shrunk = || {
            let before = has_shrunk(rows, self.memory)?;
            let rows = plural(rows, "row");
            Some(format!(
                "the roster has {rows}, fewer than half of the {before} before"
            ))
        };
        let Some(loss) = verdict.lost_files.clone().or_else(shrunk) else {
            return;
        };
        if self.is_exempt(verdict, GuardRule::Prune) {
            return;
        }
        let users = plural(count(verdict, GuardRule::Prune), "user");
        let reason = format!("{loss}; pruning would remove {users}");
        verdict.hold(GuardRule::Prune, reason);
    }

    /// Removals are counted over 24 hours, so that several small runs can't get around the limit.
    fn removals(&self, verdict: &mut Verdict) {
        let planned = count(verdict, GuardRule::MaxRemovals);
        let lately = self.memory.removed_lately;
        let base = self.users + self.memory.removed_base;
        let limit = self.policy.max_removals;
        if self.is_exempt(verdict, GuardRule::MaxRemovals)
            || !self.is_exceeded(limit, planned + lately, base)
        {
            return;
        }
        let lately = match lately {
            0 => String::new(),
            _ => format!(" (plus {lately} in the last 24 h)"),
        };
        let removals = plural(planned, "removal");
        let limit = self.describe(GuardRule::MaxRemovals, limit, base);
        verdict.hold(
            GuardRule::MaxRemovals,
            format!("{removals}{lately} {} {limit}", exceed(planned)),
        );
    }

    fn within_run(&self, verdict: &mut Verdict, rule: GuardRule, limit: Option<Limit>) {
        let Some(limit) = limit else { return };
        let planned = count(verdict, rule);
        if self.is_exempt(verdict, rule) || !self.is_exceeded(limit, planned, self.users) {
            return;
        }
        let mut updates = plural(planned, "update");
        if rule == GuardRule::MaxClears {
            let clear = if planned == 1 { "clears" } else { "clear" };
            updates.push_str(&format!(" that {clear} a value"));
        }
        let limit = self.describe(rule, limit, self.users);
        verdict.hold(rule, format!("{updates} {} {limit}", exceed(planned)));
    }

    /// Whether no change counts for a limit, or all that do are approved.
    fn is_exempt(&self, verdict: &Verdict, rule: GuardRule) -> bool {
        let mut counted = verdict
            .passed
            .iter()
            .filter(|change| counts_for(rule, change));
        counted.all(|change| is_approved_for(rule, change, self.memory))
    }

    fn is_exceeded(&self, limit: Limit, count: usize, base: usize) -> bool {
        count as u128 > self.allowed(limit, base)
    }

    /// The largest number that a limit allows. A percentage above 0 allows at least the floor, so that small
    /// organisations can work.
    fn allowed(&self, limit: Limit, base: usize) -> u128 {
        match limit {
            Limit::Count(count) => count.into(),
            Limit::Percent(0) => 0,
            Limit::Percent(percent) => {
                let share = u128::from(percent) * base as u128 / 100;
                share.max(self.policy.max_removals_floor.into())
            }
        }
    }

    fn describe(&self, rule: GuardRule, limit: Limit, base: usize) -> String {
        let allowed = self.allowed(limit, base);
        match limit {
            Limit::Percent(percent) => format!(
                "the limit of {allowed} ({rule} = {percent}% of {})",
                plural(base, "user")
            ),
            Limit::Count(_) => format!("the limit of {allowed} ({rule})"),
        }
    }
}

fn exceed(count: usize) -> &'static str {
    if count == 1 { "exceeds" } else { "exceed" }
}

/// Whether an approval exempts a change from a limit. Clearing values needs an approval of its own.
pub(crate) fn is_approved_for(rule: GuardRule, change: &Change, memory: &Memory) -> bool {
    if rule == GuardRule::MaxClears {
        is_approved(change, memory)
    } else {
        is_named(change, memory)
    }
}

/// Whether this operation on this user is approved.
fn is_named(change: &Change, memory: &Memory) -> bool {
    let id = change.user_id().cloned();
    id.is_some_and(|id| memory.approved.contains(&(id, change.operation())))
}

/// Whether exactly this change is approved: the user, the operation, and clearing values if it does so.
pub(crate) fn is_approved(change: &Change, memory: &Memory) -> bool {
    let may_clear = || {
        let id = change.user_id();
        id.is_some_and(|id| memory.approved_clears.contains(id))
    };
    is_named(change, memory) && (!change.clears() || may_clear())
}

/// The number of rows of the last accepted roster, if this one has less than half of them.
fn has_shrunk(rows: u64, memory: &Memory) -> Option<u64> {
    memory.last_rows().filter(|before| rows * 2 < *before)
}

fn count(verdict: &Verdict, rule: GuardRule) -> usize {
    let passed = verdict.passed.iter();
    passed.filter(|change| counts_for(rule, change)).count()
}
