//! Safety limits: evaluates a plan and decides which changes may be sent. Only this file makes a [`Verdict`].
//!
//! - The arithmetic uses integers, so 10% of 50 is exactly 5.
//! - Limits count distinct users over 24 hours ([`RecentChanges`](crate::model::RecentChanges)), so that many small
//!   runs can't get around them.
//! - If a limit is exceeded, all changes that count for it are held. Other changes go on.
//! - Approved changes pass and don't count.
//! - Protected users and changes in quarantine are excluded before anything is counted.

mod memberships;
mod roles;
mod schedules;
mod tally;

use super::{Plan, domains, quarantine};
use crate::model::{
    Assignment, Change, GuardRule, HeldChange, HeldRecord, Memory, Observed, ObservedUser,
    Operation, Policy, Prune, UserId,
};
use crate::util::text::{agree, plural};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use tally::{Tally, allowed, describe};

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
    /// Memberships and roles of users whose own change is held or in quarantine, and roles of new groups whose joins
    /// are all held or in quarantine.
    waiting: Vec<Change>,
    /// The base of the removal limit, if this run listed all users.
    removal_base: Option<usize>,
    /// The number of further updates within the limits.
    spare_updates: usize,
    /// Files that the roster lost. Their users may be missing for that reason alone.
    lost_files: Option<String>,
    /// Some users that the roster does not name are kept for now.
    defers_pruning: bool,
    /// The roster or the listing does not allow pruning.
    blocks_pruning: bool,
    /// Whether admins of the organisation are protected.
    protects_admins: bool,
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

impl From<&HeldChanges> for HeldRecord {
    fn from(held: &HeldChanges) -> Self {
        Self {
            rule: held.rule,
            reason: held.reason.clone(),
            changes: held.changes.iter().map(HeldChange::from).collect(),
        }
    }
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

    /// Removals of protected users, their leaves from groups, and lower roles for them. They are not sent.
    #[must_use]
    pub fn protected(&self) -> &[Change] {
        &self.protected
    }

    /// Changes in quarantine. They are not sent yet.
    #[must_use]
    pub fn quarantined(&self) -> &[Change] {
        &self.quarantined
    }

    /// Memberships and roles that are not sent, because the change of their user, or each join that creates their
    /// group, is held or in quarantine.
    #[must_use]
    pub fn waiting(&self) -> &[Change] {
        &self.waiting
    }

    /// Whether the roster lost most of its rows, or files that name managed users, or is the first one of the state
    /// database, and its pruning has not been approved. Such a roster is not accepted.
    #[must_use]
    pub fn roster_is_suspect(&self, rows: u64, memory: &Memory, policy: &Policy) -> bool {
        let prunes = |changes: &[Change]| changes.iter().any(Change::is_pruning);
        let is_held = self.held.iter().any(|held| held.rule == GuardRule::Prune);
        if policy.prune == Prune::Never {
            return false;
        }
        if memory.last_accepted.is_none() {
            // Once accepted, it prunes without approval, so all its pruning must be known and approved.
            return is_held || self.blocks_pruning;
        }
        let may_be_missed = is_held || self.defers_pruning || prunes(&self.quarantined);
        let has_lost = self.lost_files.is_some() && may_be_missed;
        (has_shrunk(rows, memory).is_some() || has_lost) && !prunes(&self.passed)
    }

    /// The users whose changes pass and whose fields must be known first, and are not: users who lose access may be
    /// protected as admins, and the history keeps the values of removed users.
    pub(crate) fn unread(&self) -> BTreeMap<&UserId, &Arc<ObservedUser>> {
        let concerned = self
            .passed
            .iter()
            .filter(|change| self.protects_admins || change.operation().is_removal());
        let users = concerned.filter_map(Change::user_losing_access);
        let unread = users.filter(|user| !user.is_read());
        unread.map(|user| (&user.id, user)).collect()
    }

    /// The users to be removed, without those held by a limit that is evaluated before the schedules are read.
    pub(crate) fn leavers(&self) -> impl Iterator<Item = &Arc<ObservedUser>> {
        let is_last = |rule| matches!(rule, GuardRule::OwnedSchedules | GuardRule::Transfers);
        let held = self.held.iter().filter(move |held| is_last(held.rule));
        let held = held.flat_map(|held| &held.changes);
        self.passed.iter().chain(held).filter_map(Change::removed)
    }

    /// The users to be removed who own schedules.
    pub(crate) fn owners(&self) -> impl Iterator<Item = &Arc<ObservedUser>> {
        let transferred = self.all().filter_map(Change::transfer);
        let transferred = transferred.map(|transfer| &transfer.owner);
        let others = self.leavers().filter(|user| !user.schedules().is_empty());
        transferred.chain(others)
    }

    /// The changes that may be sent, and those that may be once they are approved.
    pub fn sendable(&self) -> impl Iterator<Item = &Change> {
        let held = self.held.iter().flat_map(|held| &held.changes);
        self.passed.iter().chain(held)
    }

    /// All changes of the plan.
    pub fn all(&self) -> impl Iterator<Item = &Change> {
        self.sendable()
            .chain(&self.protected)
            .chain(&self.quarantined)
            .chain(&self.waiting)
    }

    /// The base of the removal limit: users seen active that existed 24 hours ago, and those removed since. `None` if
    /// this run did not list all users.
    #[must_use]
    pub fn removal_base(&self) -> Option<usize> {
        self.removal_base
    }

    /// The number of users that may be updated beside the plan, because they turn out to exist or to differ.
    pub(crate) fn spare_updates(&self) -> usize {
        self.spare_updates
    }

    /// Takes matching changes out of those that passed so far.
    fn take(&mut self, matches: impl Fn(&Change) -> bool) -> Vec<Change> {
        let passed = std::mem::take(&mut self.passed);
        let (taken, passed) = passed.into_iter().partition(matches);
        self.passed = passed;
        taken
    }

    /// Holds the changes that a rule counts.
    fn hold(&mut self, rule: GuardRule, reason: String, memory: &Memory) {
        self.hold_some(rule, reason, memory, |_| true);
    }

    /// Holds those changes that a rule counts and that match, risky assignments first.
    fn hold_some(
        &mut self,
        rule: GuardRule,
        reason: String,
        memory: &Memory,
        matches: impl Fn(&Change) -> bool,
    ) {
        let mut changes = self.take(|change| counts(rule, change, memory) && matches(change));
        changes.sort_by_key(|change| !change.assignment().is_some_and(Assignment::is_risky));
        self.held.push(HeldChanges {
            rule,
            reason,
            changes,
        });
    }
}

/// Evaluates a plan. `rows` is the number of data rows in the roster.
#[must_use]
pub fn evaluate(
    plan: Plan,
    observed: &Observed,
    rows: u64,
    memory: &Memory,
    policy: &Policy,
) -> Verdict {
    let mut verdict = Verdict {
        lost_files: (!plan.lost_files.is_empty()).then(|| plan.lost_files.to_string()),
        defers_pruning: plan.deferred > 0,
        blocks_pruning: plan.blocks_pruning,
        protects_admins: policy.protect_admins,
        passed: plan.changes,
        ..Verdict::default()
    };
    verdict.protected = verdict.take(|change| {
        let user = change.user_losing_access();
        user.is_some_and(|user| policy.protects(user, &memory.key_users))
    });
    verdict.quarantined = verdict.take(|change| quarantine::is_quarantined(change, memory));
    let (first_contact, successors) = (&plan.first_contact, &plan.successors);
    let guard = Guard {
        observed,
        upserted: plan.upserted,
        policy,
        memory,
    };
    guard.pruning(&mut verdict, rows);
    guard.removals(&mut verdict);
    guard.clears(&mut verdict);
    guard.updates(&mut verdict);
    guard.new_domains(&mut verdict);
    guard.memberships(&mut verdict, first_contact);
    memberships::wait_for_users(&mut verdict);
    memberships::wait_for_groups(&mut verdict);
    guard.roles(&mut verdict);
    guard.schedules(&mut verdict, successors);
    verdict
}

/// Counts the users seen active that existed 24 hours ago, and those removed since, except for those who are `back`.
fn seen_base(observed: &Observed, memory: &Memory, back: &HashSet<&UserId>) -> usize {
    let recent = &memory.recent;
    let active = observed
        .users()
        .filter(|user| user.active == Some(true) && !recent.created.contains(&user.email));
    let removed = recent
        .removed
        .iter()
        .filter(|(id, removal)| !back.contains(id) && !recent.created.contains(&removal.email));
    active.count() + removed.count()
}

/// The users among those removed in the last 24 hours who are seen active: these removals had no effect.
fn seen_active<'a>(observed: &'a Observed, memory: &Memory) -> HashSet<&'a UserId> {
    let removed = &memory.recent.removed;
    if removed.is_empty() {
        return HashSet::new();
    }
    let back = observed
        .users()
        .filter(|user| user.active == Some(true) && removed.contains_key(&user.id));
    back.map(|user| &user.id).collect()
}

/// Whether a rule counts a change. Approved changes don't count.
fn counts(rule: GuardRule, change: &Change, memory: &Memory) -> bool {
    let concerns = match rule {
        GuardRule::Prune => change.is_pruning(),
        GuardRule::MaxRemovals => change.operation().is_removal(),
        GuardRule::MaxClears => change.clears(),
        GuardRule::MaxUpdates => change.operation() == Operation::Update,
        GuardRule::NewDomain => change.operation() == Operation::Create,
        GuardRule::NewGroups | GuardRule::MaxLeaves => change.operation() == Operation::Leave,
        GuardRule::MaxJoins => change.operation() == Operation::Join && change.user_id().is_some(),
        GuardRule::MaxRoleChanges => change.operation() == Operation::Assign,
        GuardRule::OwnedSchedules => change.operation().is_removal(),
        GuardRule::Transfers => change.operation() == Operation::Transfer,
    };
    concerns && !memory.approved.covers(change)
}

struct Guard<'a> {
    observed: &'a Observed,
    /// The number of users in Omni that the roster upserts.
    upserted: usize,
    policy: &'a Policy,
    memory: &'a Memory,
}

impl Guard<'_> {
    /// A roster that lost files, or more than half of its rows, is more likely broken than right. The first roster of a
    /// state database has no earlier one to be compared with.
    fn pruning(&self, verdict: &mut Verdict, rows: u64) {
        let first = || {
            let is_first = self.memory.last_accepted.is_none();
            is_first.then(|| "this is the first roster of the state database".to_owned())
        };
        let shrunk = || {
            let before = has_shrunk(rows, self.memory)?;
            let rows = plural(rows, "row");
            Some(format!(
                "the roster has {rows}, fewer than half of the {before} before"
            ))
        };
        let cause = verdict.lost_files.clone().or_else(shrunk).or_else(first);
        let Some(cause) = cause else {
            return;
        };
        let planned = self.counted(verdict, GuardRule::Prune).count();
        if planned > 0 {
            let users = plural(planned, "user");
            let reason = format!("{cause}; pruning would remove {users}");
            verdict.hold(GuardRule::Prune, reason, self.memory);
        }
    }

    fn removals(&self, verdict: &mut Verdict) {
        let (rule, limit) = (GuardRule::MaxRemovals, self.policy.max_removals);
        let back = seen_active(self.observed, self.memory);
        let seen = || seen_base(self.observed, self.memory, &back);
        verdict.removal_base = self.observed.is_whole_listing().then(seen);
        let known = verdict.removal_base.or(self.memory.last_base);
        let base = known.unwrap_or_else(seen);
        let removed = &self.memory.recent.removed;
        let lately = removed
            .iter()
            .filter(|(id, removal)| !removal.approved && !back.contains(id))
            .map(|(id, _)| id);
        let half = (base / 2).max(1) as u64;
        let floor = self.policy.max_removals_floor.min(half);
        let tally = self.tally(verdict, rule, lately, base, allowed(limit, floor, base));
        if tally.is_exceeded() {
            let removals = plural(tally.planned, "removal");
            let minimum = match floor < self.policy.max_removals_floor {
                true => "half of the users",
                false => "max_removals_floor",
            };
            let limit = describe(rule, limit, minimum, &tally, "user");
            let (lately, exceed) = (tally.lately(), tally.verb());
            let reason = format!("{removals}{lately} {exceed} {limit}");
            verdict.hold(rule, reason, self.memory);
        }
    }

    fn clears(&self, verdict: &mut Verdict) {
        let (rule, limit) = (GuardRule::MaxClears, self.policy.max_clears);
        let allowed = allowed(limit, self.policy.max_removals_floor, self.upserted);
        let lately = self.memory.recent.cleared.iter();
        let tally = self.tally(verdict, rule, lately, self.upserted, allowed);
        if tally.is_exceeded() {
            let updates = plural(tally.planned, "update");
            let clear = agree(tally.planned, "clears", "clear");
            let limit = describe(rule, limit, "max_removals_floor", &tally, "upserted user");
            let (lately, exceed) = (tally.lately(), tally.verb());
            let reason = format!("{updates} that {clear} a value{lately} {exceed} {limit}");
            verdict.hold(rule, reason, self.memory);
        }
    }

    fn updates(&self, verdict: &mut Verdict) {
        let Some(limit) = self.policy.max_updates else {
            verdict.spare_updates = usize::MAX;
            return;
        };
        let rule = GuardRule::MaxUpdates;
        let allowed = allowed(limit, self.policy.max_updates_floor, self.upserted);
        let lately = self.memory.recent.updated.iter();
        let tally = self.tally(verdict, rule, lately, self.upserted, allowed);
        if tally.is_exceeded() {
            let updates = plural(tally.planned, "update");
            let limit = describe(rule, limit, "max_updates_floor", &tally, "upserted user");
            let (lately, exceed) = (tally.lately(), tally.verb());
            let reason = format!("{updates}{lately} {exceed} {limit}");
            verdict.hold(rule, reason, self.memory);
        } else {
            let spare = allowed.saturating_sub((tally.planned + tally.lately) as u128);
            verdict.spare_updates = usize::try_from(spare).unwrap_or(usize::MAX);
        }
    }

    /// Creations in a domain that is probably misspelt would give their users a second account.
    fn new_domains(&self, verdict: &mut Verdict) {
        let rule = GuardRule::NewDomain;
        let created = self.counted(verdict, rule).filter_map(Change::email);
        let mut misspelt = domains::misspelt(created, self.observed);
        misspelt.retain(|_, found| found.is_held());
        if misspelt.is_empty() {
            return;
        }
        let reasons = misspelt.iter().map(|(domain, found)| {
            let usual = &found.usual;
            format!("no user in Omni has the domain {domain}, which resembles {usual}")
        });
        let reason = reasons.collect::<Vec<_>>().join("; ");
        verdict.hold_some(rule, reason, self.memory, |change| {
            let domain = change.email().map(domains::of);
            domain.is_some_and(|domain| misspelt.contains_key(domain.as_ref()))
        });
    }

    /// The planned changes that a rule counts.
    fn counted<'v>(
        &self,
        verdict: &'v Verdict,
        rule: GuardRule,
    ) -> impl Iterator<Item = &'v Change> {
        let passed = verdict.passed.iter();
        passed.filter(move |change| counts(rule, change, self.memory))
    }

    fn tally<'m>(
        &self,
        verdict: &Verdict,
        rule: GuardRule,
        lately: impl Iterator<Item = &'m UserId>,
        base: usize,
        allowed: u128,
    ) -> Tally {
        let planned: HashSet<_> = self
            .counted(verdict, rule)
            .filter_map(Change::user_id)
            .collect();
        Tally {
            planned: planned.len(),
            lately: lately.filter(|id| !planned.contains(id)).count(),
            base,
            allowed,
        }
    }
}

/// The number of rows of the last accepted roster, if this one has less than half of them.
fn has_shrunk(rows: u64, memory: &Memory) -> Option<u64> {
    memory.last_rows().filter(|before| rows * 2 < *before)
}
