//! Explains one user as of now: the roster's rows, the user in Omni, and what a run would do.

mod facts;

use super::Prepared;
use crate::model::{
    Change, DesiredUser, Email, GuardRule, Leaver, Memory, NamedScope, ObservedUser, Operation,
    OwnedDetails, OwnedSchedule, Policy, Problem, RoleName, Text, UserMatch,
};
use crate::plan::{ChangeDoc, HeldChanges, render};
use crate::state::{HeldIn, UserState};
use chrono::SecondsFormat;
use facts::{groups, present_roles, roster, stated};
use serde_json::{Value, json};
use std::fmt;

/// What is known about one user.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The user's email.
    pub email: Email,
    /// The user's rows, with problems and lints.
    pub roster: Vec<String>,
    /// The user's day of leaving.
    pub leaving: Option<Leaver>,
    /// The users in Omni that have the email.
    pub found: Option<UserMatch>,
    /// What a run would do.
    pub next: Next,
    /// The schedules that a run would transfer before the removal.
    pub transfers: Vec<NextAccess>,
    /// The memberships that a run would change.
    pub memberships: Vec<NextAccess>,
    /// The roles that a run would assign.
    pub roles: Vec<NextAccess>,
    /// What `source.groups` and `source.roles` state about the user, or why they can't be read.
    pub stated: Vec<String>,
    /// The names of the user's groups, as far as they are known.
    pub groups: Vec<Text>,
    /// The user's roles, as far as they are known.
    pub present_roles: Vec<PresentRole>,
    /// What the user in Omni owns.
    pub owned: Option<OwnedDetails>,
}

/// A role that a user has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PresentRole {
    /// The connection or model.
    pub scope: NamedScope,
    /// The role.
    pub role: RoleName,
    /// Where the role comes from, if it was not assigned to the user.
    pub source: Option<String>,
}

impl fmt::Display for PresentRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.scope, self.role)?;
        match &self.source {
            Some(source) => write!(f, " (from {source})"),
            None => Ok(()),
        }
    }
}

/// A transfer of a schedule, a membership or a role that a run would change.
#[derive(Clone, Debug)]
pub struct NextAccess {
    /// The change.
    pub change: Change,
    /// Why it would not be sent, as a clause.
    pub reason: Option<String>,
}

impl fmt::Display for NextAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(render::change_text(&self.change).trim_end())?;
        match &self.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

/// What a run would do with a user.
#[derive(Clone, Debug)]
pub enum Next {
    /// Apply the change.
    Change(Change),
    /// Apply the change unless a safety limit holds it. The limits count the changes of all users.
    Limited(Change),
    /// Hold the change, for this reason.
    Held(String, Change),
    /// Do nothing, for this reason if there is something to do.
    Nothing(Option<String>),
}

impl Next {
    /// The change that the roster asks for, held or not.
    #[must_use]
    pub fn change(&self) -> Option<&Change> {
        match self {
            Self::Change(change) | Self::Limited(change) | Self::Held(_, change) => Some(change),
            Self::Nothing(_) => None,
        }
    }
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |change| render::change_text(change).trim_end().to_owned();
        match self {
            Self::Change(change) => write!(f, "a run would apply\n{}", text(change)),
            Self::Limited(change) => write!(
                f,
                "a run would apply, unless a safety limit holds it (`plan` counts the changes of all users)\n{}",
                text(change)
            ),
            Self::Held(reason, change) => write!(f, "{reason}\n{}", text(change)),
            Self::Nothing(Some(reason)) => write!(f, "nothing: {reason}"),
            Self::Nothing(None) => f.write_str("nothing to do"),
        }
    }
}

impl Explanation {
    /// Explains a user by a plan without limits. `held` is what the last run held: whether this change would be held
    /// now depends on the changes of all users.
    #[must_use]
    pub(super) fn new(
        email: &Email,
        prepared: &Prepared,
        state: &UserState,
        held: Option<&HeldIn>,
        policy: &Policy,
    ) -> Self {
        let next = next(email, prepared, state, held, policy);
        Self {
            transfers: transfers(email, prepared, held, &next),
            email: email.clone(),
            roster: roster(email, prepared),
            leaving: prepared.desired.leavers.get(email).cloned(),
            found: prepared.cache.observed.get(email).cloned(),
            next,
            memberships: next_access(email, prepared, held, Operation::is_membership),
            roles: next_access(email, prepared, held, Operation::is_role),
            stated: stated(email, &prepared.desired),
            groups: groups(email, prepared),
            present_roles: present_roles(email, prepared),
            owned: None,
        }
    }

    /// The user in Omni.
    ///
    /// # Errors
    /// A clause, if no user or several users have the email.
    pub fn user(&self) -> Result<&ObservedUser, String> {
        match &self.found {
            Some(UserMatch::One(user)) => Ok(user),
            Some(UserMatch::Several(count)) => Err(format!("{count} users have this email")),
            None => Err("no user has this email".into()),
        }
    }

    /// The explanation for programs. Fields are only ever added.
    #[must_use]
    pub fn doc(&self) -> Value {
        json!({
            "email": self.email,
            "roster": self.roster,
            "leaving": self.leaving,
            "stated": self.stated,
            "omni": self.user().ok().map(user_doc),
            "groups": self.groups,
            "present_roles": self.present_roles.iter().map(role_doc).collect::<Vec<_>>(),
            "owned": self.owned.as_ref().map(owned_doc),
            "next": self.next.to_string(),
            "change": self.next.change().map(ChangeDoc::from),
            "transfers": self.transfers.iter().map(access_doc).collect::<Vec<_>>(),
            "memberships": self.memberships.iter().map(access_doc).collect::<Vec<_>>(),
            "roles": self.roles.iter().map(access_doc).collect::<Vec<_>>(),
        })
    }
}

fn access_doc(access: &NextAccess) -> Value {
    json!({
        "change": ChangeDoc::from(&access.change),
        "reason": access.reason,
    })
}

fn role_doc(present: &PresentRole) -> Value {
    json!({
        "connection": present.scope.connection,
        "model": present.scope.model,
        "role": present.role.as_str(),
        "source": present.source,
    })
}

/// What a user owns. A part that is not known is null.
fn owned_doc(details: &OwnedDetails) -> Value {
    let OwnedDetails { owned, documents } = details;
    let schedule_doc = |schedule: &OwnedSchedule| {
        json!({
            "id": schedule.id.as_str(),
            "name": schedule.name,
            "recipients": schedule.recipients,
        })
    };
    let schedules = owned.schedules.read();
    json!({
        "schedules": schedules.map(|all| all.iter().map(schedule_doc).collect::<Vec<_>>()),
        "personal_tokens": owned.tokens.read(),
        "documents": documents.read(),
        "unread": details.unread(),
    })
}

fn user_doc(user: &ObservedUser) -> Value {
    let values = user
        .values()
        .map(|(name, value)| (name.as_str().to_owned(), json!(value)));
    json!({
        "id": user.id.as_str(),
        "email": user.email,
        "display_name": user.display_name,
        "active": user.active,
        "attributes": values.collect::<serde_json::Map<_, _>>(),
    })
}

fn next(
    email: &Email,
    prepared: &Prepared,
    state: &UserState,
    held: Option<&HeldIn>,
    policy: &Policy,
) -> Next {
    if let Some(reason) = not_planned(email, prepared) {
        return Next::Nothing(Some(reason));
    }
    let verdict = &prepared.assessment.verdict;
    let find = |changes: &[Change]| {
        let mut changes = changes.iter();
        let is_own = |change: &&Change| change.subject == *email && change.operation().is_of_user();
        changes.find(is_own).cloned()
    };
    if let Some(change) = find(verdict.passed()) {
        return match held.and_then(|held| held_before(held, &change, &prepared.memory)) {
            Some(reason) => Next::Held(reason, change),
            None if is_limited(&change, prepared, policy) => Next::Limited(change),
            None => Next::Change(change),
        };
    }
    for held in verdict.held() {
        if let Some(change) = find(&held.changes) {
            return Next::Held(held_reason(held), change);
        }
    }
    Next::Nothing(if let Some(change) = find(verdict.protected()) {
        let operation = change.operation();
        Some(format!(
            "policy.protect or policy.protect_admins protects the user from {operation}"
        ))
    } else if find(verdict.quarantined()).is_some() {
        Some(format!("in quarantine{}", until(state)))
    } else {
        idle(email, prepared, state)
    })
}

/// Why a rule holds the changes of a user. The reason of a limit on all users is not known here.
fn held_reason(held: &HeldChanges) -> String {
    let label = held.rule.label();
    match held.rule {
        GuardRule::OwnedSchedules | GuardRule::Transfers => {
            format!("held by {label}: {}", held.reason)
        }
        _ => format!("held by {label} (`plan` says why)"),
    }
}

/// The transfers of a user's schedules. They wait for the removal.
fn transfers(
    email: &Email,
    prepared: &Prepared,
    held: Option<&HeldIn>,
    next: &Next,
) -> Vec<NextAccess> {
    let mut all = next_access(email, prepared, held, |operation| {
        operation == Operation::Transfer
    });
    if matches!(next, Next::Held(..)) {
        for transfer in &mut all {
            let waits = || "waits for the removal, which is held".to_owned();
            transfer.reason.get_or_insert_with(waits);
        }
    }
    all
}

/// The changes of a user's memberships, roles or schedules, in order.
fn next_access(
    email: &Email,
    prepared: &Prepared,
    held: Option<&HeldIn>,
    is_of_kind: impl Fn(Operation) -> bool,
) -> Vec<NextAccess> {
    let verdict = &prepared.assessment.verdict;
    let of_user = |changes: &[Change]| -> Vec<Change> {
        let changes = changes.iter();
        let is_it = |change: &&Change| change.subject == *email && is_of_kind(change.operation());
        changes.filter(is_it).cloned().collect()
    };
    let with = |reason: Option<String>| {
        move |change| NextAccess {
            change,
            reason: reason.clone(),
        }
    };
    let mut all: Vec<_> = of_user(verdict.passed())
        .into_iter()
        .map(|change| NextAccess {
            reason: held.and_then(|held| held_before(held, &change, &prepared.memory)),
            change,
        })
        .collect();
    for held in verdict.held() {
        let reason = format!("held by {}", held.rule.label());
        all.extend(of_user(&held.changes).into_iter().map(with(Some(reason))));
    }
    let others = [
        (verdict.protected(), "the user is protected"),
        (verdict.quarantined(), "in quarantine"),
        (
            verdict.waiting(),
            "waits for the change of the user, which is held or in quarantine",
        ),
    ];
    for (changes, reason) in others {
        all.extend(
            of_user(changes)
                .into_iter()
                .map(with(Some(reason.to_owned()))),
        );
    }
    all
}

/// Why no change of a user is planned, whatever the roster asks for.
fn not_planned(email: &Email, prepared: &Prepared) -> Option<String> {
    let assessment = &prepared.assessment;
    // A problem about a group, a role or a successor concerns only that one.
    let is_theirs =
        |problem: &Problem| problem.email.as_ref() == Some(email) && !problem.kind.is_of_part();
    if assessment.ambiguous.contains(email) {
        Some("several users in Omni have this email".into())
    } else if assessment.unread.contains(email) {
        Some("the user's fields were not read yet".into())
    } else if let Some(location) = prepared.desired.frozen.get(email) {
        Some(format!("frozen: the row {location} is invalid"))
    } else if let Some(row) = assessment.not_found.iter().find(|row| row.email == *email) {
        Some(row.detail())
    } else if assessment.problems.iter().any(is_theirs) {
        Some("the user can't be created (see the roster's problem above)".into())
    } else {
        None
    }
}

/// Whether a limit counts a change that is not approved.
fn is_limited(change: &Change, prepared: &Prepared, policy: &Policy) -> bool {
    let is_counted = change.operation().is_removal()
        || change.clears()
        || (change.operation() == Operation::Update && policy.max_updates.is_some());
    is_counted && !prepared.memory.approved.covers(change)
}

/// Which limit held this change in the last run, unless it is approved since.
fn held_before(held: &HeldIn, change: &Change, memory: &Memory) -> Option<String> {
    let record = held.of(&change.key(), change.operation())?;
    (!memory.approved.covers(change)).then(|| record.text(held.run))
}

/// Why a user in the roster stays inactive.
fn left_inactive(email: &Email, prepared: &Prepared) -> Option<String> {
    let want = &prepared.desired.users.get(email)?.want;
    match prepared.cache.observed.get(email)? {
        UserMatch::One(user) if user.is_inactive() && matches!(want, DesiredUser::Upsert(_)) => {
            Some("the user is inactive in Omni and stays inactive (to activate: policy.reactivate = true; Omni may refuse)".into())
        }
        UserMatch::One(_) | UserMatch::Several(_) => None,
    }
}

fn until(state: &UserState) -> String {
    let text = state.quarantined.as_ref().map(|quarantined| {
        let until = quarantined.until.to_rfc3339_opts(SecondsFormat::Secs, true);
        format!(" until {until}: {}", quarantined.reason)
    });
    text.unwrap_or_default()
}

fn idle(email: &Email, prepared: &Prepared, state: &UserState) -> Option<String> {
    let mut blocked = prepared.assessment.blocked.iter();
    if let Some(blocked) = blocked.find(|blocked| blocked.emails.contains(email)) {
        return Some(blocked.reason.clone());
    }
    if prepared.assessment.waiting_to_leave.contains(email) {
        return prepared.desired.leavers.get(email).map(Leaver::detail);
    }
    let missing = state.managed.as_ref().and_then(|one| one.missing_since);
    match (prepared.desired.users.contains_key(email), missing) {
        (true, _) => left_inactive(email, prepared),
        (false, None) if prepared.cache.observed.get(email).is_none() => {
            Some("neither the roster nor Omni has a user with this email".into())
        }
        (false, None) => {
            Some("the roster does not name the user, and policy.prune does not remove it".into())
        }
        (false, Some(_)) => Some(
            "the roster does not name the user, and policy.prune does not remove it yet".into(),
        ),
    }
}
