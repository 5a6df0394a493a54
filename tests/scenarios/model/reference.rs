//! What must be in Omni after a run, and who may be removed: what the README promises, in as few lines as
//! can be, over plain strings and with none of the program's types.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: String,
    pub name: String,
    pub active: bool,
    pub department: String,
}

/// By email.
pub type Users = BTreeMap<String, User>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A blank name leaves the present one, a blank department clears.
    Upsert(&'static str, &'static str),
    Delete,
    Deactivate,
    Bad,
}

/// By email.
pub type Rows = BTreeMap<String, Row>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prune {
    Never,
    Managed,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Count(usize),
    Percent(usize),
}

#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub prune: Prune,
    pub deactivates: bool,
    pub reactivates: bool,
    pub max_removals: Limit,
}

/// What is needed of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Delete,
    Deactivate,
    /// As the row says; whether from inactive to active too.
    Update {
        reactivate: bool,
    },
    Create,
}

impl Need {
    pub fn is_removal(self) -> bool {
        matches!(self, Self::Delete | Self::Deactivate)
    }

    /// Removals, updates, creations: in this order.
    pub fn phase(self) -> usize {
        match self {
            Self::Delete | Self::Deactivate => 0,
            Self::Update { .. } => 1,
            Self::Create => 2,
        }
    }
}

/// What the guard makes of what is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruling {
    pub passed: BTreeMap<String, Need>,
    pub held: usize,
    /// Whether the roster is still to be taken for what it was before.
    pub roster_is_suspect: bool,
}

/// What is remembered from run to run.
#[derive(Debug)]
pub struct Memory {
    pub policy: Policy,
    pub managed: BTreeSet<String>,
    /// By id, as all that follows.
    pub deactivated: BTreeSet<String>,
    /// Removed in 24 hours, without approval.
    pub removed: BTreeSet<String>,
    /// Removed in 24 hours, and no longer there.
    pub deleted: BTreeSet<String>,
    /// Whose removal is approved, and whether it is a deletion.
    pub approved: BTreeSet<(String, bool)>,
    pub last_rows: Option<usize>,
}

fn may_prune(rows: &Rows) -> bool {
    rows.values().any(|row| matches!(row, Row::Upsert(..)))
}

impl Memory {
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            managed: BTreeSet::new(),
            deactivated: BTreeSet::new(),
            removed: BTreeSet::new(),
            deleted: BTreeSet::new(),
            approved: BTreeSet::new(),
            last_rows: None,
        }
    }

    /// What every row and the roster's silence ask for.
    pub fn needs(&self, users: &Users, rows: &Rows) -> BTreeMap<String, Need> {
        let by_rows = rows
            .iter()
            .filter_map(|(email, row)| Some((email.clone(), self.need(users.get(email), row)?)));
        let mut needs: BTreeMap<_, _> = by_rows.collect();
        let unnamed = users.iter().filter(|(email, _)| !rows.contains_key(*email));
        for (email, user) in unnamed.filter(|_| may_prune(rows)) {
            let is_ours = match self.policy.prune {
                Prune::Never => false,
                Prune::Managed => self.managed.contains(email),
                Prune::All => true,
            };
            if let Some(need) = self.removal(user).filter(|_| is_ours) {
                needs.insert(email.clone(), need);
            }
        }
        needs
    }

    fn need(&self, user: Option<&User>, row: &Row) -> Option<Need> {
        match (row, user) {
            (Row::Bad, _) | (Row::Delete | Row::Deactivate, None) => None,
            (Row::Upsert(name, _), None) => (!name.is_empty()).then_some(Need::Create),
            (Row::Upsert(name, department), Some(user)) => {
                let reactivate = !user.active
                    && (self.policy.reactivates || self.deactivated.contains(&user.id));
                let differs =
                    !name.is_empty() && user.name != *name || user.department != *department;
                (differs || reactivate).then_some(Need::Update { reactivate })
            }
            (Row::Delete, Some(user)) => self.removal(user),
            (Row::Deactivate, Some(user)) => user.active.then_some(Need::Deactivate),
        }
    }

    fn removal(&self, user: &User) -> Option<Need> {
        match self.policy.deactivates {
            false => Some(Need::Delete),
            true => user.active.then_some(Need::Deactivate),
        }
    }

    /// What of that goes on.
    pub fn rule(&self, users: &Users, rows: &Rows) -> Ruling {
        let mut ruling = Ruling {
            passed: self.needs(users, rows),
            ..Ruling::default()
        };
        let pruned: BTreeSet<_> = ruling
            .passed
            .keys()
            .filter(|email| !rows.contains_key(*email))
            .cloned()
            .collect();
        let has_shrunk = self.last_rows.is_some_and(|before| rows.len() * 2 < before);
        let is_approved = |email: &String, need: Need| {
            let id = users[email].id.clone();
            self.approved.contains(&(id, need == Need::Delete))
        };
        let hold = |ruling: &mut Ruling, is_held: &dyn Fn(&String, Need) -> bool| {
            let before = ruling.passed.len();
            ruling.passed.retain(|email, need| !is_held(email, *need));
            ruling.held += before - ruling.passed.len();
        };
        if has_shrunk
            && !pruned
                .iter()
                .all(|email| is_approved(email, ruling.passed[email]))
        {
            hold(&mut ruling, &|email, _| pruned.contains(email));
        }
        let removals: Vec<_> = ruling
            .passed
            .iter()
            .filter(|(_, need)| need.is_removal())
            .map(|(email, need)| (email.clone(), *need))
            .collect();
        let sum = removals.len() + self.removed.len();
        let base = users.len() + self.deleted.len();
        let is_tripped = match self.policy.max_removals {
            Limit::Count(most) => sum > most,
            Limit::Percent(percent) => sum > 5 && 100 * sum > percent * base,
        };
        if is_tripped
            && !removals
                .iter()
                .all(|(email, need)| is_approved(email, *need))
        {
            hold(&mut ruling, &|_, need| need.is_removal());
        }
        let prunes = pruned.iter().any(|email| ruling.passed.contains_key(email));
        ruling.roster_is_suspect = has_shrunk && self.policy.prune != Prune::Never && !prunes;
        ruling
    }

    /// What is remembered of a roster that was read.
    pub fn note(&mut self, users: &Users, rows: &Rows, ruling: &Ruling) {
        self.managed.retain(|email| match rows.get(email) {
            Some(Row::Delete | Row::Deactivate) => users.contains_key(email),
            Some(Row::Upsert(..) | Row::Bad) => true,
            None => users.contains_key(email) || !may_prune(rows),
        });
        let upserts = rows
            .iter()
            .filter(|(_, row)| matches!(row, Row::Upsert(..)));
        self.managed.extend(upserts.map(|(email, _)| email.clone()));
        self.deactivated
            .retain(|id| users.values().any(|user| user.id == *id && !user.active));
        if !ruling.roster_is_suspect {
            self.last_rows = Some(rows.len());
        }
    }

    /// What is remembered of a change that was done.
    pub fn done(&mut self, email: &str, id: Option<&str>, need: Need, approved: bool) {
        let Some(id) = id.map(str::to_owned) else {
            return;
        };
        if need.is_removal() {
            self.approved.remove(&(id.clone(), need == Need::Delete));
            if !approved {
                self.removed.insert(id.clone());
            }
        }
        match need {
            Need::Delete => {
                self.managed.remove(email);
                self.deactivated.remove(&id);
                self.deleted.insert(id);
            }
            Need::Deactivate => drop(self.deactivated.insert(id)),
            Need::Update { reactivate: true } => drop(self.deactivated.remove(&id)),
            Need::Update { .. } | Need::Create => {}
        }
    }
}

/// Omni once this is carried out; whoever is made has no id yet.
pub fn carried_out(users: &Users, rows: &Rows, passed: &BTreeMap<String, Need>) -> Users {
    let mut users = users.clone();
    for (email, need) in passed {
        match (need, rows.get(email)) {
            (Need::Delete, _) => drop(users.remove(email)),
            (Need::Deactivate, _) => {
                if let Some(user) = users.get_mut(email) {
                    user.active = false;
                }
            }
            (Need::Update { reactivate }, Some(Row::Upsert(name, department))) => {
                if let Some(user) = users.get_mut(email) {
                    user.active |= reactivate;
                    (*department).clone_into(&mut user.department);
                    if !name.is_empty() {
                        (*name).clone_into(&mut user.name);
                    }
                }
            }
            (Need::Create, Some(Row::Upsert(name, department))) => {
                let user = User {
                    id: String::new(),
                    name: (*name).to_owned(),
                    active: true,
                    department: (*department).to_owned(),
                };
                users.insert(email.clone(), user);
            }
            (Need::Update { .. } | Need::Create, _) => unreachable!("a row asks for it"),
        }
    }
    users
}
