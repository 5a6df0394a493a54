//! A plan with the verdict on it: everything that a run would do, and everything that people should know about it.

use super::not_found::{self, NotFound};
use super::undecided::{MayBeAskedFor, Undecided};
use super::{Blocked, HeldChanges, Plan, Verdict, evaluate, ownership, shadowed_files};
use super::{domains, leavers, lints};
use crate::model::{
    ApprovedChange, Change, ChangeKey, ClockStep, Counts, Desired, Email, GroupUpdate, GuardRule,
    Leaver, Memory, Observed, ObservedGroups, Operation, Owned, OwnedPart, OwnedSchedules, Policy,
    Problem, Prune, RoleUpdate, Schema, Subject, UserId, UserMatch,
};
use crate::util::text::{agree, first_few, plural, plural_are};
use chrono::{SecondsFormat, TimeDelta};
use std::collections::{HashMap, HashSet};

/// A plan with the verdict on it.
#[derive(Clone, Debug)]
pub struct Assessment {
    /// The changes that may be sent, and those that may not.
    pub verdict: Verdict,
    /// The planned changes, before the guard.
    pub pending: Counts,
    /// Valid rows that Omni's current state does not allow.
    pub problems: Vec<Problem>,
    /// Emails that several users in Omni share.
    pub ambiguous: Vec<Email>,
    /// Users in the roster whose fields Omni has not shown yet.
    pub unread: Vec<Email>,
    /// Users whose day of leaving has come, and whose removal waits for a second run.
    pub waiting_to_leave: Vec<Email>,
    /// Those users, and the users who leave within two weeks, by day.
    pub leaving: Vec<Leaver>,
    /// The number of users in the roster that need no change.
    pub unchanged: usize,
    /// The number of users in Omni that the roster does not name and that no change is about.
    pub unnamed: usize,
    /// Whether a removal and a creation have the same display name. It may be one person, and Omni may show the new
    /// address by now.
    pub has_renames: bool,
    /// Rows that ask for the removal of a user that neither Omni nor history knows.
    pub not_found: Vec<NotFound>,
    /// Removals and leaves that are not planned, with the reason.
    pub blocked: Vec<Blocked>,
    /// Updates to the records of groups once the roster is accepted.
    pub groups: GroupUpdate,
    /// Updates to the records of roles once the roster is accepted.
    pub roles: RoleUpdate,
    /// Users and groups of `source.roles` whose roles Omni has not shown yet.
    pub unread_roles: Vec<Subject>,
    /// What could not be compared.
    pub undecided: Undecided,
    /// Warnings.
    pub warnings: Vec<String>,
}

/// What one safety limit holds, without the changes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct HeldSummary {
    /// The limit.
    pub rule: GuardRule,
    /// The number of changes.
    pub count: usize,
    /// The reason, as a clause.
    pub reason: String,
}

impl From<&HeldChanges> for HeldSummary {
    fn from(held: &HeldChanges) -> Self {
        Self {
            rule: held.rule,
            count: held.changes.len(),
            reason: held.reason.clone(),
        }
    }
}

impl Assessment {
    /// Plans and evaluates.
    #[must_use]
    pub fn new(
        desired: &Desired,
        observed: &Observed,
        schema: &Schema,
        memory: &Memory,
        policy: &Policy,
    ) -> Self {
        let mut plan = Plan::new(desired, observed, schema, memory, policy);
        let mut problems = std::mem::take(&mut plan.problems);
        let not_found = std::mem::take(&mut plan.not_found);
        problems.extend(not_found::problems(&not_found));
        problems.extend(shadowed_files(
            desired,
            &memory.seen_files,
            memory.now.into(),
        ));
        let ambiguous = std::mem::take(&mut plan.ambiguous);
        let unread = std::mem::take(&mut plan.unread);
        let waiting_to_leave = std::mem::take(&mut plan.waiting_to_leave);
        let leaving = leavers::listed(desired, &waiting_to_leave, memory);
        let blocked = std::mem::take(&mut plan.blocked);
        let unchanged = plan.unchanged.saturating_sub(members_only(desired, &plan));
        let unnamed = unnamed(desired, observed, &plan);
        let renames = plan.rename_warnings();
        let of_groups = std::mem::take(&mut plan.warnings);
        let groups = std::mem::take(&mut plan.groups);
        let roles = std::mem::take(&mut plan.roles);
        let unread_roles = std::mem::take(&mut plan.unread_roles);
        let undecided = std::mem::take(&mut plan.undecided);
        let hidden_leaves = std::mem::take(&mut plan.hidden_leaves);
        let has_renames = !renames.is_empty();
        let mut warnings: Vec<_> = schema_warning(schema).into_iter().collect();
        warnings.extend(desired.lints.iter().map(ToString::to_string));
        warnings.extend(
            lints::lints(&plan.changes, &plan.found, plan.upserted)
                .iter()
                .map(ToString::to_string),
        );
        warnings.extend(listing_warning(observed));
        warnings.extend(unreadable_warning(observed));
        warnings.extend(unread_warning(&unread));
        warnings.extend(unread_roles_warning(&unread_roles));
        warnings.extend(inactive_warning(&plan.left_inactive));
        warnings.extend(recreated_warning(&plan, memory));
        warnings.extend(not_found::warning(&not_found));
        warnings.extend(renames);
        warnings.extend(of_groups);
        warnings.extend(lost_files_warning(&plan));
        warnings.extend(parts_warning(plan.unlisted));
        warnings.extend(grace_warning(policy));
        warnings.extend(clock_warning(memory));
        let left = leavers::warning(&waiting_to_leave, desired.is_source, memory);
        warnings.extend(left.map(str::to_owned));
        warnings.extend(protect_warning(observed, policy));
        warnings.extend(managed_groups_warning(observed.groups(), policy));
        let verdict = evaluate(plan, observed, desired.rows, memory, policy);
        // The guard has added the transfers of schedules.
        let pending = Counts::of(verdict.all().map(Change::operation));
        warnings.extend(verdict_warnings(&verdict, observed, memory));
        let groups = ownership::of_groups(groups, &verdict, &blocked, &hidden_leaves, memory);
        Self {
            groups,
            roles,
            unread_roles,
            undecided,
            verdict,
            pending,
            problems,
            ambiguous,
            unread,
            waiting_to_leave,
            leaving,
            unchanged,
            unnamed,
            has_renames,
            not_found,
            blocked,
            warnings,
        }
    }
}

impl Assessment {
    /// The numbers of the approved changes that an accepted roster no longer asks for. An approval stays if unreadable
    /// input may ask for its change.
    #[must_use]
    pub fn no_longer_asked_for(&self, desired: &Desired, memory: &Memory) -> Vec<u64> {
        if memory.approved.is_empty() {
            return Vec::new();
        }
        let mut planned: HashMap<_, Vec<_>> = HashMap::new();
        for one in self.verdict.all() {
            planned.entry(&one.subject).or_default().push(one);
        }
        let may_be_asked_for = self.may_be_asked_for(desired);
        let is_ended = |approved: &&ApprovedChange| {
            let held = &approved.change;
            let of_subject = planned.get(&held.subject);
            let is_planned =
                of_subject.is_some_and(|all| all.iter().any(|one| approved.allows(one)));
            // While another limit holds the removal, no transfer is planned.
            let is_removed = |all: &Vec<&Change>| all.iter().any(|one| one.removed().is_some());
            let waits = held.operation == Operation::Transfer && of_subject.is_some_and(is_removed);
            !is_planned && !waits && !may_be_asked_for.is_true_of(held)
        };
        let ended = memory.approved.iter().filter(is_ended);
        ended.map(|approved| approved.number).collect()
    }
}

impl Assessment {
    /// Those of these users, memberships and roles that need no change any more. While unreadable input may ask for a
    /// change, this is not known.
    pub(crate) fn settled<'k>(
        &self,
        desired: &Desired,
        keys: impl Iterator<Item = &'k ChangeKey>,
    ) -> Vec<&'k ChangeKey> {
        let pending: HashSet<_> = self.verdict.all().map(Change::key).collect();
        let may_be_asked_for = self.may_be_asked_for(desired);
        keys.filter(|key| !pending.contains(*key) && !may_be_asked_for.is_true_of_key(key))
            .collect()
    }

    fn may_be_asked_for<'a>(&'a self, desired: &'a Desired) -> MayBeAskedFor<'a> {
        let others = self.unread.iter().chain(&self.ambiguous);
        let others = others.chain(&self.waiting_to_leave);
        let (undecided, problems) = (&self.undecided, &self.problems);
        MayBeAskedFor::new(desired, undecided, problems, &self.blocked, others)
    }
}

/// The lints that compare a roster with Omni, as far as an observation shows.
#[must_use]
pub fn observed_lints(
    desired: &Desired,
    observed: &Observed,
    schema: &Schema,
    memory: &Memory,
    policy: &Policy,
) -> Vec<Problem> {
    let plan = Plan::new(desired, observed, schema, memory, policy);
    let mut found = lints::lints(&plan.changes, &plan.found, plan.upserted);
    found.extend(domains::lints(&plan.changes, observed, &memory.approved));
    found
}

/// Counts the users in Omni that the roster does not name and that no change is about. It starts from the total,
/// because not all users need to have been looked up.
fn unnamed(desired: &Desired, observed: &Observed, plan: &Plan) -> usize {
    let named = desired.users.keys().chain(desired.frozen.keys());
    let found = named.filter_map(|email| observed.get(email));
    let pruned = plan.changes.iter().filter(|change| change.is_pruning());
    let accounted_for = found.map(UserMatch::count).sum::<usize>() + pruned.count();
    observed.count().saturating_sub(accounted_for)
}

/// The number of users in the roster of whom only memberships or roles change.
fn members_only(desired: &Desired, plan: &Plan) -> usize {
    let (mut members, mut others) = (HashSet::new(), HashSet::new());
    for change in &plan.changes {
        match change.operation().is_of_user() {
            true => others.extend(change.email()),
            false => members.extend(change.email()),
        }
    }
    let only = members.difference(&others);
    only.filter(|email| desired.users.contains_key(**email))
        .count()
}

/// Warnings about what passed the guard, and what did not.
fn verdict_warnings(
    verdict: &Verdict,
    observed: &Observed,
    memory: &Memory,
) -> impl Iterator<Item = String> {
    let lints = domains::lints(verdict.passed(), observed, &memory.approved);
    let lints = lints.map(|lint| lint.to_string());
    let unchecked = [schedules_warning(verdict), tokens_warning(verdict)];
    let warnings = unchecked.into_iter().flatten().chain(lints);
    warnings.chain(not_sent_warnings(verdict, memory))
}

/// Names the users to be removed whose schedules Omni does not show.
fn schedules_warning(verdict: &Verdict) -> Option<String> {
    let is_unchecked = |owned: &Owned| owned.schedules == OwnedSchedules::NotShown;
    let (count, emails) = leavers_whose(verdict, is_unchecked)?;
    Some(format!(
        "the schedules of {count} to be removed were not checked, because Omni does not show schedules (403 or 404); \
         use an API key that may read them: {emails}"
    ))
}

/// Names the users to be removed whose personal tokens were not read.
fn tokens_warning(verdict: &Verdict) -> Option<String> {
    let is_unread = |owned: &Owned| owned.tokens.read().is_none();
    let (count, emails) = leavers_whose(verdict, is_unread)?;
    let mut owned = verdict.leavers().filter_map(|user| user.owned.as_deref());
    // There is one list of all tokens, so a run has one reason.
    let why = owned.find_map(|owned| match &owned.tokens {
        OwnedPart::Failed(why) => Some(why.as_str()),
        OwnedPart::Read(_) | OwnedPart::NotShown => None,
    });
    let why = why.unwrap_or("Omni does not show personal tokens (403 or 404)");
    Some(format!(
        "the personal tokens of {count} to be removed ({emails}) were not checked: {why}"
    ))
}

/// The number of users to be removed who own such things, and the first few emails.
fn leavers_whose(verdict: &Verdict, matches: impl Fn(&Owned) -> bool) -> Option<(String, String)> {
    let leavers = verdict.leavers();
    let matching = leavers.filter(|user| user.owned.as_deref().is_some_and(&matches));
    let emails: Vec<_> = matching.map(|user| user.email.as_str()).collect();
    let count = plural(emails.len(), "user");
    (!emails.is_empty()).then(|| (count, first_few(emails.iter())))
}

fn schema_warning(schema: &Schema) -> Option<String> {
    (!schema.is_known()).then(|| {
        "Omni does not show its attribute definitions (403 or 404): columns and types are not checked, and \
         values are compared as text"
            .to_owned()
    })
}

fn listing_warning(observed: &Observed) -> Option<String> {
    let doubt = observed.doubt()?;
    Some(format!("the listing does not add up: {doubt}"))
}

fn unreadable_warning(observed: &Observed) -> Option<String> {
    let unreadable = observed.unreadable();
    let ids = unreadable
        .iter()
        .map(|id| id.as_ref().map_or("none", UserId::as_str));
    (!unreadable.is_empty()).then(|| {
        format!(
            "{} in Omni can't be read (no userName, or values of another type) and left unchanged; ids: {}",
            plural_are(unreadable.len(), "user"),
            first_few(ids)
        )
    })
}

fn unread_warning(unread: &[Email]) -> Option<String> {
    (!unread.is_empty()).then(|| {
        format!(
            "{} not fully read yet, because lists omit some fields; each run reads more users one by one: {}",
            plural_are(unread.len(), "user"),
            first_few(unread.iter().map(Email::as_str))
        )
    })
}

fn unread_roles_warning(unread: &[Subject]) -> Option<String> {
    (!unread.is_empty()).then(|| {
        format!(
            "roles of {} in source.roles were not read yet, so they are not assigned; each run reads more: {}",
            plural(unread.len(), "user or group"),
            first_few(unread.iter().map(Subject::to_string))
        )
    })
}

fn inactive_warning(emails: &[Email]) -> Option<String> {
    (!emails.is_empty()).then(|| {
        format!(
            "{} in the roster and inactive in Omni, and {} inactive (to activate: policy.reactivate = true; Omni may refuse): {}",
            plural_are(emails.len(), "user"),
            agree(emails.len(), "stays", "stay"),
            first_few(emails.iter().map(Email::as_str))
        )
    })
}

/// Names the users to be created that this program removed or deactivated before. By Omni's newer documents, a
/// deactivation is final.
fn recreated_warning(plan: &Plan, memory: &Memory) -> Option<String> {
    let is_creation = |change: &&Change| change.operation() == Operation::Create;
    let is_known = |email: &&Email| memory.removed.contains(&email.digest());
    let creations = plan.changes.iter().filter(is_creation);
    let created = creations.filter_map(Change::email);
    let recreated: Vec<_> = created.filter(is_known).collect();
    (!recreated.is_empty()).then(|| {
        format!(
            "Omni will create a new user: the former one was removed or deactivated, and its groups, schedules and \
             tokens do not come back: {}",
            first_few(recreated.iter().map(|email| email.as_str()))
        )
    })
}

fn lost_files_warning(plan: &Plan) -> Option<String> {
    let lost = &plan.lost_files;
    (!lost.is_empty()).then(|| {
        format!(
            "{lost}; users that no other file names now count as missing from the roster; restore the file \
             if this is not intended"
        )
    })
}

fn parts_warning(unlisted: usize) -> Option<String> {
    (unlisted > 0).then(|| {
        format!(
            "{} missing from the roster; their removal waits until the whole list of users has been read with this roster",
            plural_are(unlisted, "user"),
        )
    })
}

fn clock_warning(memory: &Memory) -> Option<String> {
    let ClockStep { last, gap, counts } = memory.clock_step?;
    let last = last.to_rfc3339_opts(SecondsFormat::Secs, true);
    let side = if gap < TimeDelta::zero() {
        "behind"
    } else {
        "ahead of"
    };
    Some(format!(
        "the clock is {} {side} the start of the last run ({last}); the safety limits, \
         policy.prune_grace and state.retain count {} of this gap; check the clock of this machine",
        plural(gap.abs().num_days(), "day"),
        plural(counts.num_hours(), "hour"),
    ))
}

fn grace_warning(policy: &Policy) -> Option<String> {
    (policy.prune == Prune::All && !policy.prune_grace.is_zero()).then(|| {
        "policy.prune = \"all\" with a policy.prune_grace removes only managed users, because the program \
         does not record when other users went missing"
            .to_owned()
    })
}

/// Names the patterns of `policy.protect` without a match if the observation has all users, and not only one.
#[must_use]
pub fn protect_warning(observed: &Observed, policy: &Policy) -> Option<String> {
    if !observed.shows_everybody() || observed.is_of_one() {
        return None;
    }
    let emails = observed.users().map(|user| &user.email);
    let unmatched = policy.protect.unmatched(emails);
    (!unmatched.is_empty()).then(|| {
        format!(
            "policy.protect: no user in Omni matches {}; correct or remove the pattern",
            unmatched.join(", ")
        )
    })
}

/// Names the patterns of `policy.managed_groups` without a match if Omni shows its groups.
#[must_use]
pub fn managed_groups_warning(groups: &ObservedGroups, policy: &Policy) -> Option<String> {
    if !groups.is_known() {
        return None;
    }
    let names = groups.iter().map(|group| &*group.name);
    let unmatched = policy.managed_groups.unmatched(names);
    (!unmatched.is_empty()).then(|| {
        format!(
            "policy.managed_groups: no group in Omni matches {}; correct or remove the pattern",
            unmatched.join(", ")
        )
    })
}

fn not_sent_warnings(verdict: &Verdict, memory: &Memory) -> impl Iterator<Item = String> {
    type IsOfKind = fn(Operation) -> bool;
    const KINDS: [(&str, IsOfKind); 3] = [
        ("user", Operation::is_of_user),
        ("membership", Operation::is_membership),
        ("role", Operation::is_role),
    ];
    const REMOVAL: &str = "protected by policy.protect or policy.protect_admins, and not removed";
    const LOWERING: &str = "protected by policy.protect or policy.protect_admins, and not lowered";
    // One reason for each kind.
    let warnings = |changes: &[Change], reasons: [&str; 3]| {
        let kinds = KINDS.iter().zip(reasons);
        let warnings = kinds.filter_map(|((noun, is_of_kind), reason)| {
            let is_it = |change: &&Change| is_of_kind(change.operation());
            let changes: Vec<_> = changes.iter().filter(is_it).collect();
            (!changes.is_empty()).then(|| {
                format!(
                    "{} {reason}: {}",
                    plural_are(changes.len(), noun),
                    first_few(changes.iter().map(|change| change.subject.to_string()))
                )
            })
        });
        warnings.collect::<Vec<_>>()
    };
    let entries = verdict.quarantined().iter();
    let until = entries.filter_map(|change| Some(memory.quarantine_of(change)?.until));
    let until = until
        .min()
        .map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
    let retried = format!(
        "in quarantine after failed changes; the first is retried after {}, `apply --retry` and \"Run now\" \
         retry at once",
        until.unwrap_or_default()
    );
    let waits = "waiting, because the change of their user, or each join of their new group, is held or in quarantine";
    let all = [
        warnings(verdict.protected(), [REMOVAL, REMOVAL, LOWERING]),
        warnings(verdict.quarantined(), [&retried; 3]),
        warnings(verdict.waiting(), [waits; 3]),
    ];
    all.into_iter().flatten()
}
