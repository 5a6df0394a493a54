//! A small reference of what the documents promise: what is pending for each user, what the guard holds, and the
//! users in Omni after a run. It uses none of the program's types.

use crate::invariants::{email_of, whose};
use crate::roster::{Op, Roster, Row, Wanted};
use crate::scenario::{PROTECTED, ScenarioPolicy};
use omni_user_sync::sandbox::Changed;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// By email.
pub(crate) type Users = BTreeMap<String, Value>;

/// What is pending for a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Delete,
    Deactivate,
    /// As the row states; whether from inactive to active too.
    Update {
        reactivate: bool,
    },
    Create,
}

impl Need {
    pub(crate) fn is_removal(self) -> bool {
        matches!(self, Self::Delete | Self::Deactivate)
    }

    /// The order of operations: removals, updates, creations.
    pub(crate) fn phase(self) -> usize {
        match self {
            Self::Delete | Self::Deactivate => 0,
            Self::Update { .. } => 1,
            Self::Create => 2,
        }
    }
}

/// The pending changes after the safety limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ruling {
    pub(crate) passed: BTreeMap<String, Need>,
    pub(crate) held: usize,
    /// Whether the roster is not accepted.
    pub(crate) roster_is_suspect: bool,
    /// Whether the list may not show all users, so that none counts as gone.
    pub(crate) is_doubtful: bool,
}

/// What is remembered from run to run.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    policy: ScenarioPolicy,
    managed: BTreeSet<String>,
    /// By id, as the following ones.
    deactivated: BTreeSet<String>,
    /// Removals sent within 24 hours: the email, and whether all were approved.
    removed: BTreeMap<String, (String, bool)>,
    /// Emails of users created within 24 hours.
    created: BTreeSet<String>,
    /// Approved removals, and whether each is a deletion.
    pub(crate) approved: BTreeSet<(String, bool)>,
    last_rows: Option<usize>,
}

pub(crate) fn id_of(user: &Value) -> &str {
    user["id"].as_str().unwrap_or_default()
}

pub(crate) fn is_active(user: &Value) -> bool {
    user["active"] == json!(true)
}

impl Reference {
    pub(crate) fn new(policy: ScenarioPolicy) -> Self {
        Self {
            policy,
            managed: BTreeSet::new(),
            deactivated: BTreeSet::new(),
            removed: BTreeMap::new(),
            created: BTreeSet::new(),
            approved: BTreeSet::new(),
            last_rows: None,
        }
    }

    /// What the rows ask for, and what pruning does.
    pub(crate) fn needs(&self, users: &Users, roster: &Roster) -> BTreeMap<String, Need> {
        let mut needs = self.asked_for(users, roster);
        let is_named = |email: &str| !matches!(roster.want(email), Wanted::Nothing);
        needs.retain(|email, _| is_named(email) || roster.may_prune());
        needs
    }

    /// The same, whether or not the roster may prune.
    pub(crate) fn asked_for(&self, users: &Users, roster: &Roster) -> BTreeMap<String, Need> {
        let by_rows = roster.rows.iter().filter_map(|row| {
            let need = self.need(users.get(&row.email), roster, row)?;
            Some((row.email.clone(), need))
        });
        let mut needs: BTreeMap<_, _> = by_rows.collect();
        let is_unnamed = |email: &str| matches!(roster.want(email), Wanted::Nothing);
        let unnamed = users.iter().filter(|(email, _)| is_unnamed(email));
        for (email, user) in unnamed {
            let is_pruned = match self.policy.prune {
                "managed" => self.managed.contains(email),
                prune => prune == "all",
            };
            if let Some(need) = self.removal(user).filter(|_| is_pruned) {
                needs.insert(email.clone(), need);
            }
        }
        needs
    }

    fn need(&self, user: Option<&Value>, roster: &Roster, row: &Row) -> Option<Need> {
        if row.flaw.is_some() {
            return None;
        }
        match (row.op, user) {
            (Op::Delete | Op::Deactivate, None) => None,
            (Op::Upsert, None) => (!row.name.trim().is_empty()).then_some(Need::Create),
            (Op::Upsert, Some(user)) => {
                let reactivate = !is_active(user)
                    && (self.policy.reactivates || self.deactivated.contains(id_of(user)));
                let differs = !roster.matches(row, user, self.policy.keeps_blanks);
                (differs || reactivate).then_some(Need::Update { reactivate })
            }
            (Op::Delete, Some(user)) => self.removal(user),
            (Op::Deactivate, Some(user)) => is_active(user).then_some(Need::Deactivate),
        }
    }

    fn removal(&self, user: &Value) -> Option<Need> {
        match self.policy.deactivates {
            false => Some(Need::Delete),
            true => is_active(user).then_some(Need::Deactivate),
        }
    }

    /// Whether a user is to be removed, or pruning has deactivated the user before. A protected user is never pruned.
    pub(crate) fn has_left(
        &self,
        user: Option<&Value>,
        email: &str,
        need: Option<Need>,
        roster: &Roster,
    ) -> bool {
        let is_unnamed = matches!(roster.want(email), Wanted::Nothing);
        let is_pruned = match self.policy.prune {
            "managed" => self.managed.contains(email),
            prune => prune == "all",
        };
        let was_pruned = is_unnamed
            && is_pruned
            && self.policy.deactivates
            && user.is_some_and(|user| !is_active(user));
        (need.is_some_and(Need::is_removal) || was_pruned) && !(is_unnamed && email == PROTECTED)
    }

    /// What may pass after a list that may not show all users: it prunes nobody, and the limit of removals counts
    /// other users, which is checked by the invariants.
    pub(crate) fn rule_without_pruning(&self, users: &Users, roster: &Roster) -> Ruling {
        let mut passed = self.needs(users, roster);
        passed.retain(|email, _| !matches!(roster.want(email), Wanted::Nothing));
        passed.retain(|email, need| email != PROTECTED || !need.is_removal());
        let has_shrunk = self.has_shrunk(roster);
        Ruling {
            passed,
            held: 0,
            roster_is_suspect: (self.last_rows.is_none() || has_shrunk)
                && self.policy.prune != "never",
            is_doubtful: true,
        }
    }

    fn has_shrunk(&self, roster: &Roster) -> bool {
        self.last_rows
            .is_some_and(|before| roster.row_count() * 2 < before)
    }

    /// Applies the safety limits.
    pub(crate) fn rule(&self, users: &Users, roster: &Roster) -> Ruling {
        let mut passed = self.needs(users, roster);
        passed.retain(|email, need| email != PROTECTED || !need.is_removal());
        let mut ruling = Ruling {
            passed,
            ..Ruling::default()
        };
        let is_pruned = |email: &str| matches!(roster.want(email), Wanted::Nothing);
        let has_shrunk = self.has_shrunk(roster);
        let is_first = self.last_rows.is_none();
        if has_shrunk || is_first {
            self.hold(&mut ruling, users, &|email, _| is_pruned(email));
        }
        let is_approved_first = ruling.held == 0 && roster.may_prune();
        if self.removes_too_many(users, &ruling.passed) {
            self.hold(&mut ruling, users, &|_, need| need.is_removal());
        }
        let prunes = ruling.passed.keys().any(|email| is_pruned(email));
        let is_suspect = if is_first {
            !is_approved_first
        } else {
            has_shrunk && !prunes
        };
        ruling.roster_is_suspect = is_suspect && self.policy.prune != "never";
        ruling
    }

    fn is_approved(&self, users: &Users, email: &str, need: Need) -> bool {
        let id = users.get(email).map(id_of).unwrap_or_default();
        let approval = (id.to_owned(), need == Need::Delete);
        need.is_removal() && self.approved.contains(&approval)
    }

    /// Holds all changes that a limit counts and that are not approved.
    fn hold(&self, ruling: &mut Ruling, users: &Users, counts: &dyn Fn(&str, Need) -> bool) {
        let before = ruling.passed.len();
        ruling
            .passed
            .retain(|email, need| !counts(email, *need) || self.is_approved(users, email, *need));
        ruling.held += before - ruling.passed.len();
    }

    /// The number of users that a limit of removals is a share of.
    pub(crate) fn base(&self, users: &Users) -> usize {
        let is_back = |id: &str| {
            users
                .values()
                .any(|user| id_of(user) == id && is_active(user))
        };
        let is_old = |email: &str| !self.created.contains(email);
        let old = users
            .iter()
            .filter(|(email, user)| is_active(user) && is_old(email));
        let gone = self.removed.iter().filter(|(id, _)| !is_back(id));
        old.count() + gone.filter(|(_, (email, _))| is_old(email)).count()
    }

    /// Whether the removals without approval, planned and within 24 hours, exceed the limit.
    fn removes_too_many(&self, users: &Users, passed: &BTreeMap<String, Need>) -> bool {
        let is_back = |id: &str| {
            users
                .values()
                .any(|user| id_of(user) == id && is_active(user))
        };
        let gone: Vec<_> = self.removed.iter().filter(|(id, _)| !is_back(id)).collect();
        let base = self.base(users);
        let unapproved = gone.iter().filter(|(_, (_, approved))| !approved);
        let mut removed: BTreeSet<&str> = unapproved.map(|(id, _)| id.as_str()).collect();
        let planned = passed
            .iter()
            .filter(|(email, need)| need.is_removal() && !self.is_approved(users, email, **need));
        let planned: Vec<_> = planned.map(|(email, _)| id_of(&users[email])).collect();
        removed.extend(&planned);
        let limits = self.policy.limits;
        !planned.is_empty() && removed.len() > limits.allows_removals(base)
    }

    /// Remembers a roster that was read.
    pub(crate) fn noting(mut self, users: &Users, roster: &Roster, ruling: &Ruling) -> Self {
        self.managed.retain(|email| match roster.want(email) {
            Wanted::Row(Row {
                op: Op::Delete | Op::Deactivate,
                ..
            }) => users.contains_key(email),
            Wanted::Row(_) | Wanted::Frozen => true,
            Wanted::Nothing => {
                ruling.is_doubtful || users.contains_key(email) || !roster.may_prune()
            }
        });
        self.managed.extend(roster.upserts().map(str::to_owned));
        self.deactivated.retain(|id| {
            users
                .values()
                .any(|user| id_of(user) == id && !is_active(user))
        });
        if !ruling.roster_is_suspect {
            let asked_for = self.asked_for(users, roster);
            let is_asked_for = |id: &str, deletes: bool| {
                users.iter().any(|(email, user)| {
                    let need = asked_for.get(email).filter(|need| need.is_removal());
                    let is_it = need.is_some_and(|need| (*need == Need::Delete) == deletes);
                    id_of(user) == id && (is_it || matches!(roster.want(email), Wanted::Frozen))
                })
            };
            self.approved
                .retain(|(id, deletes)| is_asked_for(id, *deletes));
            self.last_rows = Some(roster.row_count());
        }
        self
    }

    /// Whether these are the managed users and the rows of the last accepted roster.
    pub(crate) fn remembers(&self, managed: &BTreeSet<String>, rows: Option<usize>) -> bool {
        self.managed == *managed && self.last_rows == rows
    }

    /// Remembers a removal that was sent, whatever its outcome.
    pub(crate) fn sent_removal(&mut self, email: &str, id: &str, approved: bool) {
        let removal = self.removed.entry(id.to_owned());
        removal.or_insert((email.to_lowercase(), approved)).1 &= approved;
    }

    /// Remembers a change that was applied.
    pub(crate) fn applied(&mut self, email: &str, id: Option<&str>, need: Need) {
        if need == Need::Create {
            self.created.insert(email.to_lowercase());
        }
        let Some(id) = id.map(str::to_owned) else {
            return;
        };
        if need.is_removal() {
            self.approved.remove(&(id.clone(), need == Need::Delete));
        }
        match need {
            Need::Delete => {
                self.managed.remove(&email.to_lowercase());
                self.deactivated.remove(&id);
            }
            Need::Deactivate => drop(self.deactivated.insert(id)),
            Need::Update { reactivate: true } => drop(self.deactivated.remove(&id)),
            Need::Update { .. } | Need::Create => {}
        }
    }
}

/// How rows and deactivations are read.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// Whether a blank cell keeps a value.
    pub(crate) keeps_blanks: bool,
    /// Whether a deactivated user is gone.
    pub(crate) revokes: bool,
}

/// What differs from the users in Omni that a ruling results in. That nothing else of a changed user differs is checked
/// by the invariants.
pub(crate) fn differences(
    before: &Users,
    now: &Users,
    roster: &Roster,
    ruling: &Ruling,
    rules: Rules,
) -> Vec<String> {
    let emails: BTreeSet<_> = before.keys().chain(now.keys()).collect();
    let is_expected = |email: &str| {
        let need = ruling.passed.get(email);
        let row = match roster.want(email) {
            Wanted::Row(row) => Some(row),
            Wanted::Frozen | Wanted::Nothing => None,
        };
        let matches = |user| row.is_some_and(|row| roster.matches(row, user, rules.keeps_blanks));
        match (need, before.get(email), now.get(email)) {
            (None, was, is) => was == is,
            (Some(Need::Delete), _, is) => is.is_none(),
            (Some(Need::Deactivate), Some(_), None) => rules.revokes,
            (Some(Need::Deactivate), Some(was), Some(is)) if !rules.revokes => {
                id_of(was) == id_of(is) && !is_active(is)
            }
            (Some(Need::Update { reactivate }), Some(was), Some(is)) => {
                let is_active_now = is_active(was) || *reactivate;
                id_of(was) == id_of(is) && is_active(is) == is_active_now && matches(is)
            }
            (Some(Need::Create), None, Some(is)) => is_active(is) && matches(is),
            _ => false,
        }
    };
    let differ = emails.into_iter().filter(|email| !is_expected(email));
    let text = |email: &String| {
        let (need, was, is) = (ruling.passed.get(email), before.get(email), now.get(email));
        format!("{email}: {need:?}: {was:?} became {is:?}")
    };
    // A creation that did not happen has no user before or after.
    let missing = ruling
        .passed
        .keys()
        .filter(|email| ruling.passed[*email] == Need::Create && !now.contains_key(*email));
    differ.chain(missing).map(text).collect()
}

/// Whether each phase was complete before a change of a later one.
pub(crate) fn in_order(ours: &[Changed], ruling: &Ruling) -> Result<(), String> {
    let need = |change: &Changed| ruling.passed.get(&email_of(whose(change))).copied();
    let phases = ours.iter().filter_map(need).map(Need::phase);
    let latest = phases.max().unwrap_or(0);
    let mut earlier = ruling
        .passed
        .iter()
        .filter(|(_, need)| need.phase() < latest);
    let is_changed = |email: &str| ours.iter().any(|change| email_of(whose(change)) == email);
    match earlier.find(|(email, _)| !is_changed(email)) {
        None => Ok(()),
        Some((email, need)) => Err(format!("{email} ({need:?}) comes before: {ours:?}")),
    }
}

/// Whether only users were changed that one of the rulings passes, and in that way.
pub(crate) fn only_touches(
    ours: &[Changed],
    rulings: &[&Ruling],
    rules: Rules,
) -> Result<(), String> {
    for change in ours {
        let is_inactive = |user: &Option<Value>| user.as_ref().is_some_and(|user| !is_active(user));
        let (was, is) = (is_inactive(&change.before), is_inactive(&change.after));
        let fits = |need: &Need| match need {
            Need::Delete => change.after.is_none(),
            Need::Deactivate if rules.revokes => change.after.is_none(),
            Need::Deactivate => change.after.is_some() && is,
            // A user that exists is updated instead of created, and the other way round.
            Need::Update { .. } | Need::Create => change.after.is_some() && (was || !is),
        };
        let email = email_of(whose(change));
        let passes = |ruling: &&Ruling| ruling.passed.get(&email).is_some_and(fits);
        if !rulings.iter().any(passes) {
            return Err(format!(
                "{email} must not be changed: {change:?} {rulings:?}"
            ));
        }
    }
    Ok(())
}
