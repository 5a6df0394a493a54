//! The safety limits of memberships. Only an approval of the same membership before the run exempts a change.

use crate::invariants::{Invariants, is_of_user, whose};
use crate::limits::Allowance;
use crate::memberships::{id_of, members_of};
use crate::record::member_history;
use omni_user_sync::model::Operation;
use omni_user_sync::sandbox::Changed;
use std::collections::{BTreeMap, BTreeSet};

impl Invariants<'_> {
    /// Leaves are counted over all runs, which are within 24 hours; joins within a run. A membership that is back no
    /// longer counts.
    pub(crate) fn memberships_stay_within_limits(&mut self) {
        let Some(access) = &self.record.scenario.access else {
            return;
        };
        let all = member_history(self.record.world.org());
        let mut counts = Counts::default();
        let mut wrong = Vec::new();
        for change in &all {
            counts.take_in(change);
            let Some(number) = change.request.filter(|_| !is_of_user(change)) else {
                continue;
            };
            let group = id_of(whose(change));
            let before = members_of(change.before.as_ref());
            let after = members_of(change.after.as_ref());
            for user in before.difference(&after) {
                if !self.is_approved_leave(user, group, number) {
                    counts.left.insert((group, *user));
                }
            }
            let (left, base) = (counts.left.len(), counts.most);
            let most = match access.max_leaves {
                Allowance::Percent(100) => usize::MAX,
                limit => self.policy.limits.allows(limit, base),
            };
            if left > most {
                wrong.push(format!(
                    "{left} of {base} memberships ended, limit {most}: {change:?}"
                ));
            }
            let left = counts.left.iter().filter(|(of, _)| *of == group).count();
            let base = counts.most_of[group];
            if left > 5 && 2 * left > base {
                wrong.push(format!(
                    "{left} of {base} members left one group: {change:?}"
                ));
            }
        }
        self.wrong.extend(wrong);
        self.joins_stay_within_limits(access.max_joins, &all);
    }

    fn joins_stay_within_limits(&mut self, limit: Allowance, all: &[Changed]) {
        if matches!(limit, Allowance::Percent(100)) {
            return;
        }
        let mut wrong = Vec::new();
        for window in &self.record.windows {
            let within = |change: &&Changed| {
                change
                    .request
                    .is_some_and(|at| (window.first..=window.last).contains(&at))
            };
            let ours: Vec<_> = all.iter().filter(within).collect();
            let created: BTreeSet<_> = ours
                .iter()
                .filter(|change| is_of_user(change) && change.before.is_none())
                .map(|change| id_of(whose(change)))
                .collect();
            let mut joined = BTreeSet::new();
            for change in ours.iter().filter(|change| !is_of_user(change)) {
                let group = id_of(whose(change));
                let before = members_of(change.before.as_ref());
                for user in members_of(change.after.as_ref()).difference(&before) {
                    let is_approved = self.approvals_before(window.first).any(|approved| {
                        approved.id == **user
                            && approved.operation == Operation::Join
                            && approved.group.as_deref().is_none_or(|of| of == group)
                    });
                    if !is_approved && !created.contains(user) {
                        joined.insert((*user).to_owned());
                    }
                }
            }
            let users = window
                .roster
                .as_ref()
                .map_or(0, |roster| roster.upserts().count());
            let most = self.policy.limits.allows(limit, users);
            if joined.len() > most {
                wrong.push(format!(
                    "{} users joined, limit {most}: {window:?}",
                    joined.len()
                ));
            }
        }
        self.wrong.extend(wrong);
    }
}

/// Memberships over time.
#[derive(Default)]
struct Counts<'a> {
    users: BTreeSet<&'a str>,
    members: BTreeMap<&'a str, BTreeSet<&'a str>>,
    /// Memberships that ended by requests of ours, without approval.
    left: BTreeSet<(&'a str, &'a str)>,
    /// The largest number of memberships that could be counted at one time, and of one group.
    most: usize,
    most_of: BTreeMap<&'a str, usize>,
}

impl<'a> Counts<'a> {
    fn take_in(&mut self, change: &'a Changed) {
        let subject = id_of(whose(change));
        match (is_of_user(change), &change.after) {
            (true, Some(_)) => drop(self.users.insert(subject)),
            (true, None) => {
                self.users.remove(subject);
                for members in self.members.values_mut() {
                    members.remove(subject);
                }
            }
            (false, after) => {
                // Before the change, so that a leave counts as a member.
                self.count();
                let members = members_of(after.as_ref());
                self.left
                    .retain(|(group, user)| *group != subject || !members.contains(user));
                self.members.insert(subject, members);
            }
        }
        self.count();
    }

    fn count(&mut self) {
        let mut sum = self.left.len();
        for (group, members) in &self.members {
            let users = members.iter().filter(|id| self.users.contains(*id)).count();
            let left = self.left.iter().filter(|(of, _)| of == group).count();
            sum += users;
            let most = self.most_of.entry(group).or_default();
            *most = (*most).max(users + left);
        }
        self.most = self.most.max(sum);
    }
}
