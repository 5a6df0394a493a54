//! The safety limits of memberships.
//!
//! Joining grants access and leaving takes it, so both have a limit, and one cell does not take over a group: the
//! leaves of the first contact with a group are held until they are approved.

use super::tally::{Tally, allowed, describe};
use super::{Guard, Verdict};
use crate::model::{Change, GroupId, GroupName, GuardRule, Limit, MembershipChange, UserId};
use crate::plan::FirstContact;
use crate::util::text::{agree, plural};
use foldhash::fast::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Without approval, this many members may always leave one group, and else at most half of its members.
const MAX_LEAVES_OF_SMALL_GROUP: usize = 5;

/// A membership by ids.
type MembershipIds<'a> = (&'a UserId, &'a GroupId);

/// Listed users by id.
type ListedUsers<'a> = HashSet<&'a UserId, RandomState>;

fn key(change: &Change) -> Option<MembershipIds<'_>> {
    Some((change.user_id()?, change.group()?.id.as_ref()?))
}

impl Guard<'_> {
    pub(super) fn memberships(&self, verdict: &mut Verdict, first_contact: &FirstContact) {
        self.new_groups(verdict, first_contact);
        self.leaves(verdict);
        self.leaves_of_one_group(verdict);
        self.joins(verdict);
    }

    /// In the first run that manages a group, its members may be missing from the roster because it is new to it.
    fn new_groups(&self, verdict: &mut Verdict, first_contact: &FirstContact) {
        let rule = GuardRule::NewGroups;
        let is_new = |change: &Change| first_contact.holds(change);
        let counted = self.counted(verdict, rule).filter(|change| is_new(change));
        let mut groups: BTreeMap<&GroupName, usize> = BTreeMap::new();
        for group in counted.filter_map(Change::group) {
            *groups.entry(&group.name).or_default() += 1;
        }
        if groups.is_empty() {
            return;
        }
        let leaves = groups
            .iter()
            .map(|(group, count)| format!("{} from {group}", plural(*count, "leave")));
        let leaves = leaves.collect::<Vec<_>>().join(", ");
        let reason = format!(
            "the roster did not manage these groups before, or they were renamed: {leaves}"
        );
        verdict.hold_some(rule, reason, self.memory, is_new);
    }

    fn leaves(&self, verdict: &mut Verdict) {
        let (rule, limit) = (GuardRule::MaxLeaves, self.policy.max_leaves);
        let planned: HashSet<_> = self.counted(verdict, rule).filter_map(key).collect();
        if planned.is_empty() {
            return;
        }
        let lately = self
            .left_lately()
            .filter(|left| !planned.contains(left))
            .count();
        let base = self.managed_memberships() + lately;
        let tally = Tally {
            planned: planned.len(),
            lately,
            base,
            allowed: allowed(limit, self.policy.max_removals_floor, base),
        };
        if tally.is_exceeded() {
            let leaves = plural(tally.planned, "leave");
            let limit = describe(
                rule,
                limit,
                "max_removals_floor",
                &tally,
                "managed membership",
            );
            let (lately, exceed) = (tally.lately(), tally.verb());
            let reason = format!("{leaves}{lately} {exceed} {limit}");
            verdict.hold(rule, reason, self.memory);
        }
    }

    /// Holds the leaves of groups that would lose more than half of their members.
    fn leaves_of_one_group(&self, verdict: &mut Verdict) {
        let rule = GuardRule::MaxLeaves;
        let mut by_group: BTreeMap<&GroupId, (&GroupName, HashSet<MembershipIds<'_>>)> =
            BTreeMap::new();
        for change in self.counted(verdict, rule) {
            if let (Some(key), Some(group)) = (key(change), change.group()) {
                let (_, leaves) = by_group
                    .entry(key.1)
                    .or_insert((&group.name, HashSet::new()));
                leaves.insert(key);
            }
        }
        if by_group.is_empty() || self.policy.max_leaves == Limit::NONE {
            return;
        }
        let listed = self.listed();
        let emptied = by_group.into_iter().filter_map(|(id, (name, planned))| {
            let lately = self
                .left_lately()
                .filter(|left| left.1 == id && !planned.contains(left));
            let (leaves, lately) = (planned.len(), lately.count());
            let base = self.listed_members(id, listed.as_ref()) + lately;
            let is_emptied =
                leaves + lately > MAX_LEAVES_OF_SMALL_GROUP && 2 * (leaves + lately) > base;
            is_emptied.then(|| {
                (
                    id.clone(),
                    format!("{leaves} of {} of {name}", plural(base, "member")),
                )
            })
        });
        let (emptied, named): (BTreeSet<_>, Vec<_>) = emptied.unzip();
        if emptied.is_empty() {
            return;
        }
        let more = agree(emptied.len(), "a group", "groups");
        let reason = format!(
            "{more} would lose more than half of the members: {}",
            named.join(", ")
        );
        verdict.hold_some(rule, reason, self.memory, |change| {
            let id = change.group().and_then(|group| group.id.as_ref());
            id.is_some_and(|id| emptied.contains(id))
        });
    }

    fn joins(&self, verdict: &mut Verdict) {
        let (rule, limit) = (GuardRule::MaxJoins, self.policy.max_joins);
        let allowed = allowed(limit, self.policy.max_updates_floor, self.upserted);
        let tally = self.tally(verdict, rule, std::iter::empty(), self.upserted, allowed);
        if tally.is_exceeded() {
            let users = plural(tally.planned, "user");
            let join = agree(tally.planned, "joins", "join");
            let limit = describe(rule, limit, "max_updates_floor", &tally, "upserted user");
            let exceed = tally.verb();
            let reason = format!("{users} that {join} a group {exceed} {limit}");
            verdict.hold(rule, reason, self.memory);
        }
    }

    /// The memberships that ended in the last 24 hours, without those that are back.
    fn left_lately(&self) -> impl Iterator<Item = MembershipIds<'_>> {
        let left = self.memory.recent.left.iter();
        left.filter(|(user, group)| self.observed.groups().has_member(group, user) != Some(true))
            .map(|(user, group)| (user, group))
    }

    /// The number of memberships of listed users in groups that were managed before this run.
    fn managed_memberships(&self) -> usize {
        let (listed, managed) = (self.listed(), self.memory.groups.managed.keys());
        managed
            .map(|group| self.listed_members(group, listed.as_ref()))
            .sum()
    }

    /// The number of members of a group that the list of users shows, or of all if the users were not listed.
    fn listed_members(&self, group: &GroupId, listed: Option<&ListedUsers<'_>>) -> usize {
        let group = self.observed.groups().get(group);
        let members = group.and_then(|group| group.members.as_ref());
        members.map_or(0, |members| match listed {
            Some(listed) => members.iter().filter(|id| listed.contains(id)).count(),
            None => members.len(),
        })
    }

    /// The listed users; `None` if only some were looked up.
    fn listed(&self) -> Option<ListedUsers<'_>> {
        let ids = || self.observed.users().map(|user| &user.id).collect();
        self.observed.is_of_list().then(ids)
    }
}

impl Verdict {
    /// The groups that the changes create, by name.
    #[must_use]
    pub fn new_groups(&self) -> BTreeSet<&GroupName> {
        let memberships = self.passed.iter().filter_map(Change::membership);
        let joins = memberships.filter(|one| one.change == MembershipChange::Join);
        let groups = joins.map(|one| &one.group);
        let new = groups.filter(|group| group.id.is_none());
        new.map(|group| &group.name).collect()
    }

    /// What a waiting change waits for, as a clause.
    #[must_use]
    pub fn why_waiting(change: &Change) -> &'static str {
        match change.email() {
            Some(_) => "waits for the change of the user, which is held or in quarantine",
            None => "waits for the new group, because all its joins are held or in quarantine",
        }
    }
}

/// Keeps back the roles of new groups that no join of this run creates.
pub(super) fn wait_for_groups(verdict: &mut Verdict) {
    let created: BTreeSet<_> = verdict.new_groups().into_iter().cloned().collect();
    let is_missing = |change: &Change| match change.role().and(change.group()) {
        Some(group) => group.id.is_none() && !created.contains(&group.name),
        None => false,
    };
    let waiting = verdict.take(is_missing);
    verdict.waiting.extend(waiting);
}

/// Keeps back the memberships and roles of users whose own change is not sent in this run.
pub(super) fn wait_for_users(verdict: &mut Verdict) {
    let held = verdict.held.iter().flat_map(|held| &held.changes);
    let not_sent = held.chain(&verdict.quarantined);
    let of_users = not_sent.filter(|change| change.operation().is_of_user());
    let users: HashSet<_> = of_users.map(|change| change.subject.clone()).collect();
    if users.is_empty() {
        return;
    }
    verdict.waiting =
        verdict.take(|change| !change.operation().is_of_user() && users.contains(&change.subject));
}
