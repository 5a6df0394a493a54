//! The result after the last trouble.

use crate::access::former_names;
use crate::invariants::{Invariants, email_of, whose};
use crate::memberships::name_of;
use crate::roster::{Op, Roster, Row, Wanted};
use crate::scenario::PROTECTED;
use crate::stated::{NONE, Stated, Statements};
use serde_json::{Value, json};
use std::collections::BTreeSet;

impl Invariants<'_> {
    /// In the end each row is applied, and unnamed users are pruned as `policy.prune` states.
    pub(crate) fn every_row_is_applied(&mut self) {
        let Some(window) = self.record.windows.last() else {
            return;
        };
        let Some(roster) = window.roster.as_ref() else {
            return;
        };
        let users = self.record.world.org().users();
        let mut wrong = Vec::new();
        for row in &roster.rows {
            let there: Vec<_> = users
                .iter()
                .filter(|user| email_of(user) == row.email)
                .collect();
            let is_fine = match (row.flaw, &there[..]) {
                (Some(_), _) => true,
                (None, [_, _, ..]) => true,
                (None, []) => row.op != Op::Upsert || row.name.trim().is_empty(),
                (None, [user]) => self.is_as_row(user, row, roster),
            };
            if !is_fine {
                wrong.push(format!(
                    "in the end not as the row states: {row:?}: {there:?}"
                ));
            }
        }
        for user in &users {
            if let Some(why) = self.should_be_gone(user, roster, &users) {
                wrong.push(format!("{why}: {user:?}"));
            }
        }
        self.wrong.extend(wrong);
    }

    /// In the end each user is in the groups that the roster and `source.groups` state.
    pub(crate) fn every_stated_membership_is_applied(&mut self) {
        let (org, scenario) = (self.record.world.org(), self.record.scenario);
        let window = self.record.windows.last();
        let Some((window, roster)) = window.and_then(|one| Some((one, one.roster.as_ref()?)))
        else {
            return;
        };
        let names: BTreeSet<_> = org
            .groups()
            .iter()
            .map(|group| name_of(group).to_owned())
            .collect();
        let file = window.groups_file.as_ref();
        let Some(stated) = Statements::new(scenario, roster, file, &names, &NONE) else {
            return;
        };
        // A renamed group is not created again if it was managed.
        let renamed = former_names(&names);
        let stated_now = Statements::new(scenario, roster, file, &names, &renamed);
        if !scenario.may_remove() {
            return;
        }
        let users = org.users();
        let mut wrong = Vec::new();
        for group in stated.groups() {
            let members = org.members(&group).unwrap_or_default();
            for user in &users {
                let email = email_of(user);
                let alone = users
                    .iter()
                    .filter(|other| email_of(other) == email)
                    .count()
                    == 1;
                let may_be_pruned = self.may_be_pruned(user, roster);
                let is_member = members.iter().any(|one| one.to_lowercase() == email);
                let about = stated.about(&email, &group);
                let is_fine = match about {
                    _ if stated_now.is_some_and(|now| now.about(&email, &group) != about) => true,
                    Stated::Join(_) => is_member,
                    Stated::Leave(_) => !is_member || email == PROTECTED || !scenario.may_leave(),
                    Stated::Nothing | Stated::LeaveIfRecorded => true,
                };
                if alone && !may_be_pruned && !is_fine {
                    wrong.push(format!(
                        "in the end not as stated: {email} in {group}: {is_member}"
                    ));
                }
            }
        }
        self.wrong.extend(wrong);
    }

    /// Whether pruning has deactivated a user, or would remove the user if the roster allowed it.
    pub(crate) fn may_be_pruned(&self, user: &Value, roster: &Roster) -> bool {
        let email = email_of(user);
        let was_pruned = self.policy.deactivates && user["active"] == json!(false);
        email != PROTECTED
            && self.policy.prune != "never"
            && matches!(roster.want(&email), Wanted::Nothing)
            && (was_pruned || !roster.may_prune())
    }

    fn is_as_row(&self, user: &Value, row: &Row, roster: &Roster) -> bool {
        let is_active = user["active"] == json!(true);
        match row.op {
            Op::Delete | Op::Deactivate if row.email == PROTECTED => true,
            Op::Delete | Op::Deactivate if !self.record.scenario.may_remove() => true,
            Op::Delete => self.policy.deactivates && !is_active,
            Op::Deactivate => !is_active,
            Op::Upsert => {
                roster.matches(row, user, self.policy.keeps_blanks)
                    && (is_active || !self.policy.reactivates)
            }
        }
    }

    /// The reason why a user should have been removed.
    fn should_be_gone(
        &self,
        user: &Value,
        roster: &Roster,
        users: &[Value],
    ) -> Option<&'static str> {
        let email = email_of(user);
        let twins = users
            .iter()
            .filter(|other| email_of(other) == email)
            .count()
            > 1;
        let is_gone = self.policy.deactivates && user["active"] == json!(false);
        let is_named = !matches!(roster.want(&email), Wanted::Nothing);
        let may_go = roster.may_prune() && self.record.scenario.may_remove();
        if email == PROTECTED || twins || is_gone || is_named || !may_go {
            return None;
        }
        match self.policy.prune {
            "all" => Some("not pruned"),
            "managed" if self.is_surely_ours(&email, user["id"].as_str().unwrap_or_default()) => {
                Some("managed, and not pruned")
            }
            _ => None,
        }
    }

    /// Whether a run with a plan saw a roster that upserts the user, and the user was not removed since. A user that is
    /// in neither is forgotten.
    fn is_surely_ours(&self, email: &str, id: &str) -> bool {
        let named = self.record.windows.iter().rev().find(|window| {
            window.planned
                && !window.is_dry
                && window
                    .roster
                    .as_ref()
                    .is_some_and(|roster| roster.upserts().any(|one| one == email))
        });
        let Some(named) = named else { return false };
        // For changes by others only their order is known.
        let removed = self.history.iter().any(|change| {
            change.after.is_none()
                && email_of(whose(change)) == email
                && change.request.is_none_or(|number| number >= named.first)
        });
        // A run in which the user was missing from both may have preceded the creation of the user.
        let mut later = self.history.iter().skip(self.record.scenario.users.len());
        let is_by_others = later.any(|change| {
            change.before.is_none() && change.request.is_none() && whose(change)["id"] == id
        });
        !removed && !is_by_others
    }
}
