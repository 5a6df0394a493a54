//! The reference for memberships: which ones a run changes and which ones the guard holds, and the members of all
//! groups after it. What the program remembers of groups and approvals is taken from its state database; the invariants
//! check that this is right.

use crate::access::GroupsFile;
use crate::invariants::email_of;
use crate::limits::Allowance;
use crate::memberships::{id_of, members_of, name_of};
use crate::reference::{Need, Reference, Users};
use crate::roster::{Op, Roster};
use crate::scenario::{PROTECTED, Scenario};
use crate::stated::{Source, Stated, Statements};
use crate::support::World;
use chrono::Utc;
use omni_user_sync::model::{GuardRule, Memory, Operation};
use omni_user_sync::run::RunOutcome;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// By group, the emails of the members; an embed user is its id.
type Members = BTreeMap<String, BTreeSet<String>>;

/// The groups and what was remembered before a run.
pub(crate) struct GroupsBefore {
    groups: Vec<Value>,
    members: Members,
    memory: Memory,
    file: Option<GroupsFile>,
}

/// A change of a membership.
#[derive(Clone, Debug)]
struct Planned {
    email: String,
    group: String,
    joins: bool,
    source: Source,
}

/// The changes of memberships, before and after the safety limits.
#[derive(Debug, Default)]
pub(crate) struct GroupRuling {
    passed: Vec<Planned>,
    held: usize,
    pub(crate) pending: usize,
    /// The names of groups that the plan creates.
    new: BTreeSet<String>,
    /// The groups whose first leaves are held.
    unconfirmed: BTreeSet<String>,
    /// Groups with a member whose leave may be hidden, because the statement is not clear. They may stay unconfirmed.
    unclear: BTreeSet<String>,
    /// The groups that the roster manages as a whole.
    managed: BTreeSet<String>,
    hides_leaves: bool,
}

fn members(world: &World) -> Members {
    let groups = world.org().groups();
    let names = groups.iter().map(|group| name_of(group).to_owned());
    names
        .map(|name| {
            let members = world.org().members(&name).expect("it exists");
            let members = members.iter().map(|email| email.to_lowercase());
            (name, members.collect())
        })
        .collect()
}

fn is_of_groups(rule: GuardRule) -> bool {
    matches!(
        rule,
        GuardRule::NewGroups | GuardRule::MaxLeaves | GuardRule::MaxJoins
    )
}

/// The numbers of held changes of users, of memberships and of roles.
pub(crate) fn held(outcome: &RunOutcome) -> [usize; 3] {
    let mut counts = [0; 3];
    for held in outcome.held() {
        let of = match held.rule {
            GuardRule::MaxRoleChanges => 2,
            rule => usize::from(is_of_groups(rule)),
        };
        counts[of] += held.count;
    }
    counts
}

impl GroupsBefore {
    pub(crate) async fn of(world: &World, file: Option<&GroupsFile>) -> Self {
        let memory = world.state_db().memory(Utc::now()).await;
        Self {
            groups: world.org().groups(),
            members: members(world),
            memory: memory.expect("the state database can be read"),
            file: file.cloned(),
        }
    }

    /// The base of the limit of removals at the last whole list of users.
    pub(crate) fn base(&self) -> Option<usize> {
        self.memory.last_base
    }

    /// The emails in rows of `source.groups`.
    pub(crate) fn named(&self) -> impl Iterator<Item = &str> {
        let readable = self.file.iter().filter(|file| file.is_readable());
        readable
            .flat_map(|file| &file.rows)
            .map(|row| row.email.as_str())
    }

    /// What a run does that sees all users and groups; `None` if the scenario has no groups.
    pub(crate) fn rule(
        &self,
        scenario: &Scenario,
        reference: &Reference,
        users: &Users,
        roster: &Roster,
    ) -> Option<GroupRuling> {
        let names = self.members.keys().cloned().collect();
        let renamed = self.renamed();
        let stated = Statements::new(scenario, roster, self.file.as_ref(), &names, &renamed)?;
        if stated.is_empty() {
            return Some(GroupRuling::default());
        }
        let mut planned = self.planned(stated, reference, users, roster);
        let may_leave = stated.may_leave();
        let hides_leaves = !may_leave && planned.iter().any(|one| !one.joins);
        planned.retain(|one| one.joins || may_leave);
        let pending = planned.len();
        planned.retain(|one| one.joins || one.email != PROTECTED);
        let managed = self.ids().filter(|(_, name)| stated.manages(name));
        let new = planned.iter().filter(|one| self.id(&one.group).is_none());
        let new = new.map(|one| one.group.to_lowercase()).collect();
        let mut ruling = GroupRuling {
            passed: planned,
            pending,
            managed: managed.map(|(id, _)| id.to_owned()).collect(),
            hides_leaves,
            new,
            ..GroupRuling::default()
        };
        for (id, name) in self.ids() {
            let mut members = self.members.get(name).into_iter().flatten();
            if members.any(|email| stated.is_unclear(email, name)) {
                ruling.unclear.insert(id.to_owned());
            }
        }
        self.new_groups(users, &mut ruling);
        self.leaves(scenario, users, &mut ruling);
        self.leaves_of_one_group(users, &mut ruling);
        self.joins(scenario, users, roster, &mut ruling);
        Some(ruling)
    }

    /// The former names of managed groups that have another name now, in lower case.
    fn renamed(&self) -> BTreeSet<String> {
        let managed = self.memory.groups.managed.iter();
        let renamed = managed.filter(|(id, known)| {
            let mut ids = self.ids();
            ids.any(|(of, name)| {
                of == id.as_str() && !name.eq_ignore_ascii_case(known.name.as_str())
            })
        });
        renamed
            .map(|(_, known)| known.name.as_str().to_lowercase())
            .collect()
    }

    fn ids(&self) -> impl Iterator<Item = (&str, &str)> {
        self.groups
            .iter()
            .map(|group| (id_of(group), name_of(group)))
    }

    fn id(&self, name: &str) -> Option<&str> {
        self.ids().find(|(_, of)| *of == name).map(|(id, _)| id)
    }

    fn planned(
        &self,
        stated: Statements<'_>,
        reference: &Reference,
        users: &Users,
        roster: &Roster,
    ) -> Vec<Planned> {
        let needs = reference.asked_for(users, roster);
        let named = roster.rows.iter().map(|row| row.email.as_str());
        let emails: BTreeSet<_> = named.chain(self.named()).collect();
        let mut planned = Vec::new();
        for email in emails {
            let need = needs.get(email).copied();
            let exists = users.contains_key(email) || need == Some(Need::Create);
            if !exists || reference.has_left(users.get(email), email, need, roster) {
                continue;
            }
            for group in stated.groups() {
                let is_member = self
                    .members
                    .get(&group)
                    .is_some_and(|of| of.contains(email));
                let (joins, source) = match stated.about(email, &group) {
                    Stated::Join(source) => (true, source),
                    Stated::Leave(source) => (false, source),
                    Stated::LeaveIfRecorded if self.is_stated(email, &group) => {
                        (false, Source::Cell)
                    }
                    Stated::LeaveIfRecorded | Stated::Nothing => continue,
                };
                if joins != is_member {
                    let email = email.to_owned();
                    planned.push(Planned {
                        email,
                        group,
                        joins,
                        source,
                    });
                }
            }
        }
        planned
    }

    fn is_stated(&self, email: &str, group: &str) -> bool {
        let stated = &self.memory.groups.stated;
        let id = self.id(group).unwrap_or_default();
        let mut managed = self.memory.groups.managed.keys();
        let is_managed = managed.any(|of| of.as_str() == id);
        let of_user = stated
            .iter()
            .find(|(who, _)| who.as_str().eq_ignore_ascii_case(email));
        is_managed && of_user.is_some_and(|(_, groups)| groups.iter().any(|of| of.as_str() == id))
    }

    fn is_approved(&self, users: &Users, one: &Planned) -> bool {
        let operation = if one.joins {
            Operation::Join
        } else {
            Operation::Leave
        };
        let user = users.get(&one.email).map(id_of);
        let is_same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        self.memory.approved.iter().any(|approved| {
            let change = &approved.change;
            let group = change.group.as_ref();
            change.operation == operation
                && change
                    .subject
                    .email()
                    .is_some_and(|email| is_same(email.as_str(), &one.email))
                && change.user_id.as_ref().map(|id| id.as_str()) == user
                && group.is_some_and(|group| {
                    is_same(group.name.as_str(), &one.group)
                        && group.id.as_ref().map(|id| id.as_str()) == self.id(&one.group)
                })
        })
    }

    fn is_confirmed(&self, id: &str, name: &str) -> bool {
        let managed = self.memory.groups.managed.iter();
        let known = managed.filter(|(of, _)| of.as_str() == id);
        known
            .last()
            .is_some_and(|(_, group)| group.is_confirmed && group.name.as_str() == name)
    }

    /// Whether a managed group has another name than before.
    fn is_renamed(&self, id: &str, name: &str) -> bool {
        let mut managed = self.memory.groups.managed.iter();
        managed.any(|(of, known)| of.as_str() == id && known.name.as_str() != name)
    }

    fn new_groups(&self, users: &Users, ruling: &mut GroupRuling) {
        let managed = ruling.managed.clone();
        let is_held = |one: &Planned| {
            let id = self.id(&one.group).unwrap_or_default();
            let is_first = || {
                one.source == Source::Cell
                    || managed.contains(id)
                    || self.is_renamed(id, &one.group)
            };
            !one.joins
                && !self.is_confirmed(id, &one.group)
                && is_first()
                && !self.is_approved(users, one)
        };
        for one in ruling.passed.iter().filter(|one| is_held(one)) {
            ruling
                .unconfirmed
                .extend(self.id(&one.group).map(str::to_owned));
        }
        ruling.hold(is_held);
    }

    /// The memberships that ended within 24 hours and are not back: the ids of users, and of groups.
    fn left(&self) -> impl Iterator<Item = (&str, &str)> {
        let left = self.memory.recent.left.iter();
        let left = left.map(|(user, group)| (user.as_str(), group.as_str()));
        left.filter(|(user, group)| {
            let group = self.groups.iter().find(|one| id_of(one) == *group);
            !members_of(group).contains(user)
        })
    }

    /// The members of a group that a list of users shows.
    fn listed(&self, users: &Users, group: &str) -> usize {
        let members = self.members.get(group).into_iter().flatten();
        members.filter(|email| users.contains_key(*email)).count()
    }

    /// The leaves that count for a limit, as the ids of users and groups.
    fn counted<'a>(
        &'a self,
        users: &'a Users,
        ruling: &GroupRuling,
    ) -> BTreeSet<(&'a str, &'a str)> {
        let leaves = ruling
            .passed
            .iter()
            .filter(|one| !one.joins && !self.is_approved(users, one));
        let ids =
            leaves.filter_map(|one| Some((id_of(users.get(&one.email)?), self.id(&one.group)?)));
        ids.collect()
    }

    fn leaves(&self, scenario: &Scenario, users: &Users, ruling: &mut GroupRuling) {
        let planned = self.counted(users, ruling);
        let lately = self.left().filter(|left| !planned.contains(left)).count();
        let managed = self.memory.groups.managed.keys();
        let names = managed.filter_map(|id| self.ids().find(|(of, _)| *of == id.as_str()));
        let base = names
            .map(|(_, name)| self.listed(users, name))
            .sum::<usize>()
            + lately;
        let limit = scenario.access.as_ref().map(|access| access.max_leaves);
        if !planned.is_empty() && planned.len() + lately > allows(scenario, limit, base) {
            ruling.hold(|one| !one.joins && !self.is_approved(users, one));
        }
    }

    fn leaves_of_one_group(&self, users: &Users, ruling: &mut GroupRuling) {
        let planned = self.counted(users, ruling);
        let is_emptied = |name: &str| {
            let Some(id) = self.id(name) else {
                return false;
            };
            let leaves = planned.iter().filter(|(_, of)| *of == id).count();
            let lately = self.left();
            let lately = lately.filter(|left| left.1 == id && !planned.contains(left));
            let lately = lately.count();
            let all = leaves + lately;
            leaves > 0 && all > 5 && 2 * all > self.listed(users, name) + lately
        };
        let emptied: BTreeSet<_> = self
            .members
            .keys()
            .filter(|name| is_emptied(name))
            .collect();
        ruling.hold(|one| {
            !one.joins && emptied.contains(&one.group) && !self.is_approved(users, one)
        });
    }

    fn joins(&self, scenario: &Scenario, users: &Users, roster: &Roster, ruling: &mut GroupRuling) {
        let counts = |one: &Planned| {
            one.joins && users.contains_key(&one.email) && !self.is_approved(users, one)
        };
        let planned = ruling.passed.iter().filter(|one| counts(one));
        let planned: BTreeSet<_> = planned.map(|one| &one.email).collect();
        let upserts = roster
            .rows
            .iter()
            .filter(|row| row.flaw.is_none() && row.op == Op::Upsert);
        let base = upserts.filter(|row| users.contains_key(&row.email)).count();
        let limit = scenario.access.as_ref().map(|access| access.max_joins);
        if planned.len() > allows(scenario, limit, base) {
            ruling.hold(counts);
        }
    }

    /// Compares the groups after a run whose outcome is known exactly.
    pub(crate) async fn compare(
        &self,
        world: &World,
        ruling: &GroupRuling,
        outcome: &RunOutcome,
        is_accepted: bool,
    ) -> Result<(), String> {
        let [_, held, _] = held(outcome);
        if held != ruling.held {
            return Err(format!("{held} memberships held: {ruling:#?} {outcome:?}"));
        }
        let users = world.org().users();
        let exists = |email: &str| users.iter().any(|user| email_of(user) == email);
        let mut expected = self.members.clone();
        for Planned {
            email,
            group,
            joins,
            ..
        } in &ruling.passed
        {
            let name = expected
                .keys()
                .find(|name| name.eq_ignore_ascii_case(group))
                .cloned();
            let members = expected
                .entry(name.unwrap_or_else(|| group.clone()))
                .or_default();
            match joins {
                true => drop(members.insert(email.clone())),
                false => drop(members.remove(email)),
            }
        }
        for members in expected.values_mut() {
            members.retain(|email| !email.contains('@') || exists(email));
        }
        let folded = |members: Members| -> Members {
            members
                .into_iter()
                .map(|(name, of)| (name.to_lowercase(), of))
                .collect()
        };
        let (expected, now) = (folded(expected), folded(members(world)));
        if expected != now {
            return Err(format!(
                "{now:#?} differs from {expected:#?}: {ruling:#?} {outcome:?}"
            ));
        }
        match is_accepted {
            true => self.compare_records(world, ruling).await,
            false => Ok(()),
        }
    }

    /// Whether groups are confirmed whose first leaves were approved or not due, and no others.
    async fn compare_records(&self, world: &World, ruling: &GroupRuling) -> Result<(), String> {
        let now = world.state_db().memory(Utc::now()).await;
        let now = now.expect("the state database can be read").groups.managed;
        for id in &ruling.managed {
            let known = now.iter().find(|(of, _)| of.as_str() == id.as_str());
            let is_confirmed = known.is_some_and(|(_, group)| group.is_confirmed);
            let name = self
                .ids()
                .find(|(of, _)| of == id)
                .map_or("", |(_, name)| name);
            let expected = self.is_confirmed(id, name)
                || !ruling.unconfirmed.contains(id) && !ruling.hides_leaves;
            // A renamed group keeps its former name until its leaves are approved.
            let is_renamed = known.is_some_and(|(_, group)| group.name.as_str() != name);
            let is_as_expected = (is_confirmed && !is_renamed) == expected;
            let is_open = !is_confirmed && ruling.unclear.contains(id);
            if known.is_none() || !is_as_expected && !is_open {
                return Err(format!("{name} is recorded as {known:?}: {ruling:#?}"));
            }
        }
        Ok(())
    }
}

fn allows(scenario: &Scenario, limit: Option<Allowance>, base: usize) -> usize {
    match limit {
        None | Some(Allowance::Percent(100)) => usize::MAX,
        Some(limit) => scenario.policy.limits.allows(limit, base),
    }
}

impl GroupRuling {
    /// Whether the plan creates a group with this name, which a limit may hold.
    pub(crate) fn names_new(&self, name: &str) -> bool {
        self.new.contains(&name.to_lowercase())
    }

    /// Whether the run creates it.
    pub(crate) fn creates(&self, name: &str) -> bool {
        let mut passed = self.passed.iter();
        passed.any(|one| one.group.eq_ignore_ascii_case(name))
    }

    fn hold(&mut self, is_held: impl Fn(&Planned) -> bool) {
        let before = self.passed.len();
        self.passed.retain(|one| !is_held(one));
        self.held += before - self.passed.len();
    }
}
