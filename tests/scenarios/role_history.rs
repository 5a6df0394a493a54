//! The direct roles over time, as the mock server records them, and the state database compared with them.

use crate::duplicates::was_answered;
use crate::invariants::whose;
use crate::memberships::id_of;
use crate::record::Window;
use crate::roles::{Scope, Sent};
use omni_user_sync::model::{ChangeIntent, ChangeRecord, RoleHolder};
use omni_user_sync::sandbox::{Changed, Org, Request};
use serde_json::Value;
use std::collections::BTreeSet;

/// Whether a change is about roles.
pub(crate) fn is_of_roles(change: &Changed) -> bool {
    holder_of(whose(change)).is_some()
}

fn holder_of(subject: &Value) -> Option<&str> {
    let user = subject["membershipId"].as_str();
    user.or_else(|| subject["userGroupId"].as_str())
}

/// The role of a holder for a scope, as the history shows it.
fn role_in<'a>(roles: &'a Value, scope: &Scope) -> Option<&'a str> {
    let mut roles = roles["roles"].as_array().into_iter().flatten();
    let role = roles.find(|role| Scope::of(role).as_ref() == Some(scope))?;
    role["roleName"].as_str()
}

/// The direct roles over time.
#[derive(Clone, Copy)]
pub(crate) struct RoleHistory<'a> {
    pub(crate) all: &'a [Changed],
    /// The number of changes that made the organisation at the start.
    pub(crate) at_first: usize,
}

impl<'a> RoleHistory<'a> {
    /// The role of a holder for a scope after each change of anything.
    fn after_each(
        self,
        (holder, scope): (&'a str, &'a Scope),
    ) -> impl Iterator<Item = (&'a Changed, Option<&'a str>)> {
        let mut now = None;
        self.all.iter().map(move |change| {
            let subject = whose(change);
            if let (true, Some(after)) = (holder_of(subject) == Some(holder), &change.after) {
                now = role_in(after, scope);
            } else if id_of(subject) == holder && change.after.is_none() {
                now = None;
            }
            (change, now)
        })
    }

    /// The roles that a user or group had for a scope between two requests. Of changes by others only the order is
    /// known.
    pub(crate) fn between(
        self,
        of: (&'a str, &'a Scope),
        since: u64,
        until: u64,
    ) -> BTreeSet<Option<&'a str>> {
        let is_later = |change: &Changed| change.request.is_some_and(|number| number >= until);
        let mut found = BTreeSet::from([None]);
        let steps = self
            .after_each(of)
            .take_while(|(change, _)| !is_later(change));
        for (at, (change, now)) in steps.enumerate() {
            if at < self.at_first || change.request.is_some_and(|number| number < since) {
                found.clear();
            }
            found.insert(now);
        }
        found
    }

    /// The role after all changes.
    pub(crate) fn last(self, of: (&'a str, &'a Scope)) -> Option<&'a str> {
        self.after_each(of).last()?.1
    }

    /// Whether an assignment that counts as applied was answered, or the role was as intended at some time since the
    /// run began: others may have done the same.
    pub(crate) fn has_happened<'w>(
        self,
        change: &ChangeRecord,
        detail: &str,
        window: &Window,
        mut writes: impl Iterator<Item = &'w Request>,
    ) -> bool {
        let intent = &change.intent;
        let was_answered = |write: &Request| {
            is_of(intent, write) && (200..300).contains(&write.status) && was_answered(write)
        };
        if writes.any(was_answered) {
            return true;
        }
        let until = match detail.contains("a later run") {
            true => u64::MAX,
            false => window.last + 1,
        };
        let Some((holder, scope, role)) = assigned(intent) else {
            return false;
        };
        self.between((&holder, &scope), window.first, until)
            .contains(&Some(role))
    }

    /// Whether an assignment was done by one of these requests, and nothing has changed the role since.
    pub(crate) fn is_kept<'w>(
        self,
        intent: &ChangeIntent,
        mut writes: impl Iterator<Item = &'w Request>,
    ) -> bool {
        let Some((holder, scope, role)) = assigned(intent) else {
            return false;
        };
        writes.any(|write| {
            let is_by_it = |change: &Changed| change.request == Some(write.number);
            let mut since = self.after_each((&holder, &scope));
            since.by_ref().any(|(change, _)| is_by_it(change))
                && since.all(|(change, now)| now == Some(role) && id_of(whose(change)) != holder)
        })
    }
}

/// The holder, the connection or model, and the role that an intent assigns.
fn assigned(intent: &ChangeIntent) -> Option<(String, Scope, &str)> {
    let role = intent.role.as_ref()?;
    let holder = match intent.holder()? {
        RoleHolder::User(id) => id.as_str().to_owned(),
        RoleHolder::Group(id) => id.as_str().to_owned(),
    };
    Some((holder, Scope::from(&role.scope.ids), role.to.as_str()))
}

/// Whether an intent is about a request that assigns a role.
pub(crate) fn is_of(intent: &ChangeIntent, write: &Request) -> bool {
    let sent = Sent::of(write);
    let sent = sent.map(|sent| (sent.holder.to_owned(), sent.scope, sent.role));
    sent.is_some() && sent == assigned(intent)
}

/// Whether the outcome of an assignment can't be found out: Omni does not show the role, or its holder is gone.
pub(crate) fn may_stay_unknown(intent: &ChangeIntent, org: &Org) -> bool {
    match intent.holder() {
        Some(RoleHolder::User(id)) => {
            let is_hidden = intent
                .role
                .as_ref()
                .is_some_and(|role| role.scope.ids.model.is_none());
            is_hidden || !org.users().iter().any(|user| id_of(user) == id.as_str())
        }
        Some(RoleHolder::Group(id)) => {
            !org.groups().iter().any(|group| id_of(group) == id.as_str())
        }
        None => false,
    }
}
