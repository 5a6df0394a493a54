//! All about one user, as of now: where the roster names them, what Omni has, and what a run would do.

use super::Prepared;
use crate::model::{DesiredUser, Email, Memory, ObservedUser, Operation, Policy, UserMatch};
use crate::plan::{Change, render};
use crate::plan::{is_approved, is_approved_past};
use crate::state::{HeldIn, UserState};
use chrono::SecondsFormat;
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;

/// What was found of a user.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Whose.
    pub email: Email,
    /// Where the roster names them, and what is wrong or to be known there.
    pub roster: Vec<String>,
    /// Who they are in Omni; `None` where nobody has this email, or several have.
    pub user: Option<Arc<ObservedUser>>,
    /// What a run would do.
    pub next: Next,
}

/// What a run would do with a user.
#[derive(Clone, Debug)]
pub enum Next {
    /// This.
    Change(Change),
    /// This, unless the guard holds it, which counts everybody's changes of this kind.
    Guarded(Change),
    /// This, were it not held, and why it is.
    HeldRule(String, Change),
    /// Nothing, and why not, if there is something to do.
    Nothing(Option<String>),
}

impl Next {
    /// The change that is asked for, held or not.
    #[must_use]
    pub fn change(&self) -> Option<&Change> {
        match self {
            Self::Change(change) | Self::Guarded(change) | Self::HeldRule(_, change) => {
                Some(change)
            }
            Self::Nothing(_) => None,
        }
    }
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |change| render::change_text(change).trim_end().to_owned();
        match self {
            Self::Change(change) => write!(f, "a run would\n{}", text(change)),
            Self::Guarded(change) => write!(
                f,
                "a run would, unless the guard holds it (`plan` counts everybody's)\n{}",
                text(change)
            ),
            Self::HeldRule(why, change) => write!(f, "held: {why}\n{}", text(change)),
            Self::Nothing(Some(why)) => write!(f, "nothing: {why}"),
            Self::Nothing(None) => f.write_str("nothing to do"),
        }
    }
}

impl Explanation {
    /// Explains a user of whom was found what is `prepared`, whatever the guard would say of others. `held`
    /// is what the last run held: whether just this change would be held now takes a look at everybody's.
    #[must_use]
    pub(super) fn new(
        email: &Email,
        prepared: &Prepared,
        state: &UserState,
        held: Option<&HeldIn>,
        policy: &Policy,
    ) -> Self {
        let user = match prepared.known.observed.get(email) {
            Some(UserMatch::One(user)) => Some(Arc::clone(user)),
            Some(UserMatch::Several(_)) | None => None,
        };
        Self {
            email: email.clone(),
            roster: roster(email, prepared),
            user,
            next: next(email, prepared, state, held, policy),
        }
    }

    /// The same for machines. Fields are only ever added.
    #[must_use]
    pub fn doc(&self) -> Value {
        json!({
            "email": self.email.as_str(),
            "roster": self.roster,
            "omni": self.user.as_deref().map(user_doc),
            "next": self.next.to_string(),
            "change": self.next.change().map(render::ChangeDoc::from),
        })
    }
}

fn user_doc(user: &ObservedUser) -> Value {
    let values = user
        .attributes
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), json!(value)));
    json!({
        "id": user.id.as_str(),
        "email": user.email.as_str(),
        "display_name": user.display_name,
        "active": user.active,
        "attributes": values.collect::<serde_json::Map<_, _>>(),
    })
}

/// Where the roster names a user, and what is wrong there.
fn roster(email: &Email, prepared: &Prepared) -> Vec<String> {
    let desired = &prepared.desired;
    let entry = desired.users.get(email);
    let about = desired
        .bad_rows
        .iter()
        .chain(&prepared.problems)
        .chain(&desired.notes);
    let about = about.filter(|problem| problem.email.as_ref() == Some(email));
    entry
        .map(|entry| entry.place.to_string())
        .into_iter()
        .chain(about.map(ToString::to_string))
        .collect()
}

fn next(
    email: &Email,
    prepared: &Prepared,
    state: &UserState,
    held: Option<&HeldIn>,
    policy: &Policy,
) -> Next {
    if let Some(why) = untouched(email, prepared) {
        return Next::Nothing(Some(why));
    }
    let verdict = &prepared.verdict;
    let find = |changes: &[Change]| {
        changes
            .iter()
            .find(|change| change.email == *email)
            .cloned()
    };
    if let Some(change) = find(verdict.passed()) {
        return match held.and_then(|held| held_before(held, &change, &prepared.memory)) {
            Some(why) => Next::HeldRule(why, change),
            None if is_guarded(&change, prepared, policy) => Next::Guarded(change),
            None => Next::Change(change),
        };
    }
    for (held, changes) in verdict.held() {
        if let Some(change) = find(changes) {
            // How many are held is not known here.
            return Next::HeldRule(format!("policy.{} (`plan` says why)", held.rule), change);
        }
    }
    Next::Nothing(if let Some(change) = find(verdict.protected()) {
        Some(format!(
            "protected by policy.protect from {}",
            change.kind()
        ))
    } else if find(verdict.quarantined()).is_some() {
        Some(format!("in quarantine{}", until(state)))
    } else {
        idle(email, prepared, state)
    })
}

/// Why no change of a user is planned whatever they need.
fn untouched(email: &Email, prepared: &Prepared) -> Option<String> {
    let is_theirs = |problem: &crate::model::Problem| problem.email.as_ref() == Some(email);
    if prepared.ambiguous.contains(email) {
        Some("several users in Omni answer to this email".into())
    } else if let Some(place) = prepared.desired.frozen.get(email) {
        Some(format!("frozen, because of {place}"))
    } else if prepared.problems.iter().any(is_theirs) {
        Some("they can't be made, see above".into())
    } else {
        None
    }
}

/// Whether a limit counts a change, and nobody has approved it.
fn is_guarded(change: &Change, prepared: &Prepared, policy: &Policy) -> bool {
    let is_counted = change.kind().is_removal()
        || change.clears()
        || (change.kind() == Operation::Update && policy.max_updates.is_some());
    is_counted && !is_approved(change, &prepared.memory)
}

/// Which rule held just this change the last time and why, where no approval takes it past that.
fn held_before(held: &HeldIn, change: &Change, memory: &Memory) -> Option<String> {
    let held_one = held.of(change.user_id()?, change.kind())?;
    (!is_approved_past(&held_one.rule, change, memory)).then(|| held_one.text(held.run))
}

/// Why somebody whom the roster upserts stays inactive.
fn left_inactive(email: &Email, prepared: &Prepared) -> Option<String> {
    let wants = &prepared.desired.users.get(email)?.want;
    match prepared.known.observed.get(email)? {
        UserMatch::One(user) if !user.active && matches!(wants, DesiredUser::Upsert(_)) => {
            Some("they are inactive in Omni, and left so (policy.reactivate)".into())
        }
        UserMatch::One(_) | UserMatch::Several(_) => None,
    }
}

fn until(state: &UserState) -> String {
    let told = state.quarantined.as_ref().map(|quarantined| {
        let until = quarantined.until.to_rfc3339_opts(SecondsFormat::Secs, true);
        format!(" until {until}, since: {}", quarantined.reason)
    });
    told.unwrap_or_default()
}

fn idle(email: &Email, prepared: &Prepared, state: &UserState) -> Option<String> {
    let mut withheld = prepared.withheld.iter();
    if let Some(one) = withheld.find(|withheld| withheld.emails.contains(email)) {
        return Some(one.why.clone());
    }
    let missing = state.managed.as_ref().and_then(|one| one.missing_since);
    match (prepared.desired.users.contains_key(email), missing) {
        (true, _) => left_inactive(email, prepared),
        (false, None) if prepared.known.observed.get(email).is_none() => {
            Some("neither the roster nor Omni has anybody of this email".into())
        }
        (false, None) => Some("policy.prune leaves them".into()),
        (false, Some(_)) => {
            Some("policy.prune leaves them, or until policy.prune_grace is over".into())
        }
    }
}
