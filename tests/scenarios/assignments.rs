//! What must hold for roles: no role is assigned that `source.roles` does not state at that moment, no protected user
//! gets a lower one, the limit of role changes holds, and in the end each stated role is assigned.

use crate::access::is_of_groups;
use crate::duplicates::was_answered;
use crate::invariants::{Invariants, email_of, is_of_user, whose};
use crate::memberships::{id_of, name_of};
use crate::record::{Window, member_history};
use crate::role_history::RoleHistory;
use crate::roles::{Sent, UNKNOWN, is_custom, rank};
use crate::roster::Roster;
use crate::scenario::PROTECTED;
use crate::stated_roles::{RoleStatements, StatedRole};
use omni_user_sync::model::Operation;
use omni_user_sync::sandbox::Changed;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The number that a risky assignment counts for.
const RISKY: u64 = 5;

/// The assignments, and the values that they are checked against.
struct Assignments<'a> {
    of: &'a Invariants<'a>,
    /// The changes of users and groups.
    members: Vec<Changed>,
    roles: RoleHistory<'a>,
}

/// The weight of an assignment for the limit of role changes.
pub(crate) fn weight(from: Option<&str>, to: &str) -> u64 {
    let is_plain = rank(to) < rank("MODELER") && rank(to).is_some();
    let raises = from.is_none_or(|from| rank(from).is_some() && rank(from) < rank(to));
    match is_plain && raises {
        true => 1,
        false => RISKY,
    }
}

impl Invariants<'_> {
    pub(crate) fn roles_are_as_stated(&mut self) {
        if self.record.scenario.roles.is_none() {
            return;
        }
        let org = self.record.world.org();
        let all = org.history();
        let assignments = Assignments {
            of: self,
            members: member_history(org),
            roles: RoleHistory {
                all: &all,
                at_first: self.record.at_first,
            },
        };
        let mut wrong = assignments.wrong_ones();
        wrong.extend(assignments.above_the_limit());
        wrong.extend(assignments.not_assigned());
        self.wrong.extend(wrong);
    }
}

impl<'a> Assignments<'a> {
    fn sent(&self, window: &Window) -> impl Iterator<Item = Sent<'_>> {
        let within = window.first..=window.last;
        let requests = self.of.requests.iter();
        let requests = requests.filter(move |request| within.contains(&request.number));
        requests.filter_map(Sent::of)
    }

    /// The assignments that nothing states, or that lower the role of a protected user.
    fn wrong_ones(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for window in &self.of.record.windows {
            for sent in self.sent(window) {
                let stated = self.is_stated(&sent, window);
                let lowered = self.lowers_protected(&sent, window);
                for why in stated.err().into_iter().chain(lowered) {
                    wrong.push(format!("{why}: {sent:?} in {window:?}"));
                }
            }
        }
        wrong
    }

    fn is_stated(&self, sent: &Sent<'_>, window: &Window) -> Result<(), &'static str> {
        let Some(roster) = &window.roster else {
            return Err("a role without a roster");
        };
        let stated = self.statements(window, roster);
        let is_it = |subject: &str| stated.about(subject, &sent.scope) == Some(sent.role);
        if !sent.is_user {
            let names = self.recent_names(sent.holder, sent.request.number);
            let is_stated = names.iter().any(|name| is_it(&format!("group:{name}")));
            return match is_stated {
                true => Ok(()),
                false => Err("a role of a group that is not stated"),
            };
        }
        let Some(email) = self.email(sent.holder) else {
            // Omni confirmed the creation of a user and did not keep it.
            return match sent.request.status {
                404 => Ok(()),
                _ => Err("a role of an unknown user"),
            };
        };
        if !is_it(&email) {
            return Err("a role that is not stated");
        }
        if self.was_removed(sent, window) {
            return Err("a role of a user that this run removes");
        }
        let before = |change: &Changed| change.request.is_some_and(|at| at < sent.request.number);
        let at = self
            .of
            .history
            .iter()
            .rposition(before)
            .map_or(0, |at| at + 1);
        match self.of.twins_before(at, &email)
            && !self
                .of
                .last_listing_is_wrong(window, Some(sent.request.number))
            && !self.of.a_user_vanished_before_writing(window)
        {
            true => Err("a role of one of several users with one email"),
            false => Ok(()),
        }
    }

    fn statements<'s>(&'s self, window: &'s Window, roster: &'s Roster) -> RoleStatements<'s> {
        let record = self.of.record;
        RoleStatements::new(roster, window.roles_file.as_ref(), &record.catalogue)
    }

    fn email(&self, id: &str) -> Option<String> {
        let mut users = self.members.iter().filter(|change| is_of_user(change));
        let user = users.find(|change| id_of(whose(change)) == id)?;
        Some(email_of(whose(user)))
    }

    /// The names of a group that a run may know: those since the second last list of groups that was answered, or since
    /// the beginning.
    fn recent_names(&self, id: &str, before: u64) -> BTreeSet<&str> {
        let lists = self.of.requests.iter().rev().filter(|request| {
            request.number < before
                && is_of_groups(&request.path)
                && request.query.ends_with("startIndex=1")
                && request.status == 200
        });
        let since = lists.map(|request| request.number).nth(1).unwrap_or(0);
        let mut names = BTreeSet::new();
        for change in &self.members {
            let group = change.after.as_ref().filter(|group| id_of(group) == id);
            if let Some(group) = group {
                if change.request.is_some_and(|at| at < since) {
                    names.clear();
                }
                names.insert(name_of(group));
            }
        }
        names
    }

    /// Whether this run removed or deactivated the user before.
    fn was_removed(&self, sent: &Sent<'_>, window: &Window) -> bool {
        let before = window.first..sent.request.number;
        let is_active = |user: &Option<Value>| {
            let user = user.as_ref();
            user.is_some_and(|user| user["active"] == json!(true))
        };
        let mut changes = self.of.history.iter();
        changes.any(|change| {
            id_of(whose(change)) == sent.holder
                && change.request.is_some_and(|at| before.contains(&at))
                && (change.after.is_none()
                    || is_active(&change.before) && !is_active(&change.after))
        })
    }

    /// The roles that a run may have compared with: those since its last reading, or since that of an earlier run.
    fn known<'s>(&'s self, sent: &'s Sent<'_>, window: &Window) -> BTreeSet<Option<&'s str>> {
        let number = sent.request.number;
        let is_kept = |at: u64| {
            (window.first..number).contains(&at)
                || self
                    .of
                    .window_of(at)
                    .is_some_and(|other| other.planned && !other.is_dry && other.last < number)
        };
        let readings = self.of.requests.iter().rev().filter(|request| {
            request.number < number
                && request.method == "GET"
                && request.path == sent.request.path
                && was_answered(request)
        });
        let mut readings = readings.map(|request| request.number);
        let since = readings.find(|at| is_kept(*at)).unwrap_or(0);
        self.roles
            .between((sent.holder, &sent.scope), since, number)
    }

    fn lowers_protected(&self, sent: &Sent<'_>, window: &Window) -> Option<&'static str> {
        if !sent.is_user || self.email(sent.holder)? != PROTECTED {
            return None;
        }
        let known = self.known(sent, window);
        let lowers = |from: &Option<&str>| from.is_some_and(|from| rank(sent.role) < rank(from));
        known
            .iter()
            .all(lowers)
            .then_some("a lower role of a protected user")
    }

    /// Role changes are counted within a run. Each is approved or counts for at least the weight that any known role
    /// gives it.
    fn above_the_limit(&self) -> Vec<String> {
        let roles = self.of.record.scenario.roles.as_ref();
        let most = roles.map_or(u64::MAX, |roles| roles.max_changes);
        let mut wrong = Vec::new();
        for window in &self.of.record.windows {
            let mut weights = BTreeMap::new();
            for sent in self.sent(window) {
                if self.is_approved(&sent, window) {
                    continue;
                }
                let known = self.known(&sent, window);
                let weights_of = known.iter().map(|from| weight(*from, sent.role));
                let least = weights_of.min().unwrap_or(1);
                weights
                    .entry((sent.holder.to_owned(), sent.scope))
                    .or_insert(least);
            }
            let sum: u64 = weights.values().sum();
            if sum > most {
                wrong.push(format!(
                    "role changes with a weight of {sum} in one run, and the limit is {most}: {weights:?} {window:?}"
                ));
            }
        }
        wrong
    }

    fn is_approved(&self, sent: &Sent<'_>, window: &Window) -> bool {
        self.of.approvals_before(window.first).any(|approved| {
            let is_it = |(scope, role): &(_, String)| *scope == sent.scope && role == sent.role;
            approved.operation == Operation::Assign
                && (approved.id == sent.holder || approved.id.is_empty())
                && approved.role.as_ref().is_some_and(is_it)
        })
    }

    /// The stated roles that Omni does not have in the end.
    fn not_assigned(&self) -> Vec<String> {
        // Roles wait for the removal of their user.
        if !self.of.record.scenario.may_remove() {
            return Vec::new();
        }
        let record = self.of.record;
        let last = record.windows.last();
        let Some((window, roster)) = last.and_then(|one| Some((one, one.roster.as_ref()?))) else {
            return Vec::new();
        };
        let stated = self.statements(window, roster).all();
        let missing = stated
            .iter()
            .filter(|stated| !self.is_assigned(stated, roster));
        missing
            .map(|stated| format!("in the end not assigned: {stated:?}"))
            .collect()
    }

    fn is_assigned(&self, stated: &StatedRole, roster: &Roster) -> bool {
        let org = self.of.record.world.org();
        let id = match stated.group() {
            Some(name) => {
                let groups = org.groups();
                let mut named = groups
                    .iter()
                    .filter(|group| name_of(group).eq_ignore_ascii_case(name));
                named.next().map(|group| id_of(group).to_owned())
            }
            None => {
                let users = org.users();
                let mut named = users.iter().filter(|user| email_of(user) == stated.subject);
                let kept = |user: &&Value| !self.of.may_be_pruned(user, roster);
                match (named.next().filter(kept), named.next()) {
                    (Some(user), None) => Some(id_of(user).to_owned()),
                    _ => None,
                }
            }
        };
        let Some(id) = id.filter(|_| stated.role != UNKNOWN) else {
            return true;
        };
        let now = self.roles.last((&id, &stated.scope));
        // A role with another name may lower the access if the rank is not higher, or not known to the program.
        let is_protected = stated.subject == PROTECTED;
        let may_lower = |now| {
            rank(now) >= rank(stated.role) || [now, stated.role].iter().any(|role| is_custom(role))
        };
        now == Some(stated.role)
            || is_protected && now.is_some_and(may_lower)
            || self.was_hidden(&id, stated)
    }

    /// Whether Omni accepted an assignment that it does not show.
    fn was_hidden(&self, id: &str, stated: &StatedRole) -> bool {
        let mut sent = self.of.requests.iter().filter_map(Sent::of);
        sent.any(|sent| {
            sent.holder == id
                && sent.is_hidden()
                && sent.scope == stated.scope
                && (200..300).contains(&sent.request.status)
        })
    }
}
