//! Compares each run of a scenario without faults with the reference.

use crate::files::Files;
use crate::invariants::{email_of, is_of_user};
use crate::readings::hidden;
use crate::reference::{
    Need, Reference, Rules, Ruling, Users, differences, id_of, in_order, is_active, only_touches,
};
use crate::reference_groups::{GroupRuling, GroupsBefore, held};
use crate::reference_roles::{RoleRuling, RolesBefore};
use crate::roles::Catalogue;
use crate::roster::{Op, Roster, Row};
use crate::scenario::Scenario;
use crate::support::World;
use chrono::Utc;
use omni_user_sync::model::{
    ChangeId, ChangeIntent, ChangeOutcome, ChangeRecord, Field, HeldChange, Operation, Trigger,
};
use omni_user_sync::plan::Assessment;
use omni_user_sync::run::{RunError, RunOutcome};
use omni_user_sync::sandbox::{Filter, Inactive};
use serde_json::Value;
use std::collections::{BTreeSet, HashSet};

/// The cached observation of the program, for a run that the file watcher triggers.
enum Cache {
    Nothing,
    Seen {
        users: Users,
        /// Emails that are known to have no user.
        absent: BTreeSet<String>,
    },
    /// The program may know more than the reference. The next run observes afresh.
    Unclear,
}

/// What is known before a run.
struct Begun {
    before: Users,
    seen: Users,
    absent: BTreeSet<String>,
    /// The length of the mock server's history.
    history: usize,
    /// Users that lists may not show yet.
    hidden: BTreeSet<String>,
    groups: GroupsBefore,
    roles: RolesBefore,
    /// The emails that `source.groups` and `source.roles` name.
    named: BTreeSet<String>,
    /// Whether the run lists all users and groups, reads all roles, and knows the outcome of each earlier change.
    sees_all: bool,
}

pub(crate) struct Comparison {
    scenario: Scenario,
    reference: Reference,
    ignores_filter: bool,
    rules: Rules,
    cache: Cache,
    begun: Option<Begun>,
    settled: HashSet<ChangeId>,
    catalogue: Catalogue,
    /// The numbers of runs that were compared user by user, and whose memberships and roles were compared.
    compared: [usize; 3],
}

fn users(world: &World) -> Users {
    let mut users = world.org().users();
    for fields in users.iter_mut().filter_map(Value::as_object_mut) {
        // Memberships are compared by group.
        fields.remove("groups");
    }
    let users = users.into_iter();
    users.map(|user| (email_of(&user), user)).collect()
}

fn need_of(change: &ChangeRecord) -> Need {
    match change.intent.operation {
        Operation::Delete => Need::Delete,
        Operation::Deactivate => Need::Deactivate,
        Operation::Update => Need::Update {
            reactivate: change
                .intent
                .fields
                .iter()
                .any(|one| one.field == Field::Active),
        },
        Operation::Create => Need::Create,
        Operation::Leave | Operation::Join | Operation::Assign | Operation::Transfer => {
            panic!("a membership, a role or a transfer is no change of a user")
        }
    }
}

impl Comparison {
    pub(crate) fn new(scenario: &Scenario, catalogue: Catalogue) -> Self {
        Self {
            scenario: scenario.clone(),
            reference: Reference::new(scenario.policy.clone()),
            ignores_filter: scenario.options.filter == Filter::Ignored,
            rules: Rules {
                keeps_blanks: scenario.policy.keeps_blanks,
                revokes: scenario.options.inactive == Inactive::Revoke,
            },
            cache: Cache::Nothing,
            begun: None,
            settled: HashSet::new(),
            catalogue,
            compared: [0; 3],
        }
    }

    /// The numbers of compared runs.
    pub(crate) fn compared(&self) -> [usize; 3] {
        self.compared
    }

    pub(crate) fn approve(&mut self, changes: &[&HeldChange]) {
        let of = |change: &HeldChange| {
            let is_delete = change.operation == Operation::Delete;
            let id = change.user_id.as_ref()?.as_str().to_owned();
            change.operation.is_removal().then_some((id, is_delete))
        };
        self.reference
            .approved
            .extend(changes.iter().copied().filter_map(of));
    }

    /// Takes note of what a run will see. Returns its trigger, which is another one if it must observe afresh.
    pub(crate) async fn begin(
        &mut self,
        world: &World,
        trigger: Trigger,
        files: &Files,
    ) -> Trigger {
        let (before, roster) = (users(world), files.readable());
        let groups = GroupsBefore::of(world, files.groups.as_ref()).await;
        let named: BTreeSet<_> = files.named().collect();
        let is_known = unknown(world).await.is_empty();
        let trigger = match trigger {
            // Rows of other files may name users to be looked up.
            Trigger::File if named.iter().any(|email| !self.shows(email)) => Trigger::Schedule,
            // The base of the limit of removals is that of the last whole list.
            Trigger::File if self.has_other_base(&groups) => Trigger::Schedule,
            trigger => trigger,
        };
        let is_cached = trigger == Trigger::File;
        let (trigger, seen, absent) = match roster {
            Some(roster) => {
                self.find_out(world, &before).await;
                self.see(trigger, &before, roster, is_cached)
            }
            None => {
                self.cache = Cache::Unclear;
                (trigger, before.clone(), BTreeSet::new())
            }
        };
        let hidden = hidden(world, self.scenario.options.list_lag);
        let may_look_up = roster.is_none_or(|roster| {
            let named = roster.rows.len() + named.len();
            named + 1 < before.len().div_ceil(self.scenario.options.max_page)
        });
        self.begun = Some(Begun {
            sees_all: is_known && !may_look_up && hidden.is_empty() && trigger != Trigger::File,
            before,
            seen,
            absent,
            history: world.org().history().len(),
            hidden,
            groups,
            roles: RolesBefore::of(world, files).await,
            named,
        });
        trigger
    }

    fn has_other_base(&self, before: &GroupsBefore) -> bool {
        let of_list = before.base();
        matches!(&self.cache, Cache::Seen { users, .. } if of_list != Some(self.reference.base(users)))
    }

    /// Whether the cache shows a user.
    fn shows(&self, email: &str) -> bool {
        matches!(&self.cache, Cache::Seen { users, .. } if users.contains_key(email))
    }

    /// What a run sees, and the emails that it then knows to be absent. A run that the file watcher triggers uses the
    /// cache and looks up users to be removed that the cache does not show, unless a list takes fewer requests.
    fn see(
        &mut self,
        trigger: Trigger,
        now: &Users,
        roster: &Roster,
        is_cached: bool,
    ) -> (Trigger, Users, BTreeSet<String>) {
        let named: Vec<_> = roster
            .rows
            .iter()
            .filter(|row| row.flaw.is_none())
            .collect();
        let is_absent = |row: &&&Row| !now.contains_key(&row.email);
        let absent_now = || named.iter().filter(is_absent).map(|row| row.email.clone());
        let fresh = |trigger| (trigger, now.clone(), absent_now().collect());
        match std::mem::replace(&mut self.cache, Cache::Nothing) {
            Cache::Seen {
                mut users,
                mut absent,
            } if is_cached => {
                let is_open = |row: &&&Row| {
                    row.op != Op::Upsert
                        && !users.contains_key(&row.email)
                        && !absent.contains(&row.email)
                };
                let open = named.iter().filter(is_open).map(|row| row.email.clone());
                let open: Vec<_> = open.collect();
                // A lookup where Omni ignores the filter fails the run; the next one lists.
                if self.ignores_filter && !open.is_empty() {
                    return fresh(Trigger::Schedule);
                }
                // The program learns the length of pages from pages in the middle of a list.
                let pages = [100, self.scenario.options.max_page]
                    .map(|length| users.len().div_ceil(length));
                let takes_fewer = pages.map(|pages| open.len() <= pages);
                match takes_fewer {
                    [true, true] => {}
                    [false, false] => return fresh(trigger),
                    _ => return fresh(Trigger::Schedule),
                }
                for email in open {
                    match now.get(&email) {
                        Some(user) => drop(users.insert(email, user.clone())),
                        None => drop(absent.insert(email)),
                    }
                }
                (trigger, users, absent)
            }
            Cache::Unclear if is_cached => fresh(Trigger::Schedule),
            Cache::Nothing | Cache::Seen { .. } | Cache::Unclear => fresh(trigger),
        }
    }

    /// Compares a run with the reference. `outcome` is `None` if it was killed.
    pub(crate) async fn end(
        &mut self,
        world: &World,
        files: &Files,
        outcome: Option<&RunOutcome>,
    ) -> Result<(), String> {
        let begun = self.begun.take().expect("it has begun");
        let mut ours = world.org().history().split_off(begun.history);
        let Some(roster) = files.readable() else {
            self.take_in(world).await;
            return match ours.is_empty() {
                true => Ok(()),
                false => Err(format!("without a roster: {ours:?}")),
            };
        };
        ours.retain(is_of_user);
        let Begun { before, seen, .. } = &begun;
        let ruling = self.reference.rule(seen, roster);
        let mut others = Vec::new();
        if seen != before {
            // The program has read all users after all, because one may have a new address.
            others.push(self.reference.rule(before, roster));
        }
        if !begun.hidden.is_empty() {
            others.push(self.reference.rule_without_pruning(before, roster));
        }
        match outcome {
            Some(outcome) if others.is_empty() => {
                self.compare(world, &begun, roster, &ruling, outcome)?;
                self.compare_access(world, &begun, roster, &ruling, outcome)
                    .await?;
            }
            _ => {
                let rulings: Vec<_> = others.iter().chain([&ruling]).collect();
                only_touches(&ours, &rulings, self.rules)?;
                if others.is_empty() {
                    in_order(&ours, &ruling)?;
                }
            }
        }
        let mut noted = self.reference.clone().noting(seen, roster, &ruling);
        for other in &others {
            if is_recorded(world, &noted).await {
                break;
            }
            let noting = self.reference.clone().noting(before, roster, other);
            if is_recorded(world, &noting).await {
                noted = noting;
            }
        }
        // After a kill before the first write only the state database knows whether the roster was recorded.
        if outcome.is_some() || !ours.is_empty() || is_recorded(world, &noted).await {
            self.reference = noted;
        }
        self.take_in(world).await;
        match outcome {
            Some(_) => self.keep(world, roster, begun, &ruling),
            None => self.cache = Cache::Unclear,
        }
        Ok(())
    }

    /// Keeps what the program has in its cache after a run.
    fn keep(&mut self, world: &World, roster: &Roster, begun: Begun, ruling: &Ruling) {
        let users = users(world);
        // The program may have looked up the users of a short roster, and not have listed all.
        let named = roster.rows.len() + begun.named.len();
        let may_look_up = named + 1 < begun.before.len().div_ceil(self.scenario.options.max_page);
        // It does not know yet that a deactivated user is gone.
        let deactivates = ruling.passed.values().any(|need| *need == Need::Deactivate);
        let is_unclear = deactivates && self.rules.revokes;
        let is_partial = begun.seen != begun.before || !begun.hidden.is_empty();
        if is_partial || may_look_up || is_unclear {
            self.cache = Cache::Unclear;
            return;
        }
        let mut absent = begun.absent;
        absent.retain(|email| !users.contains_key(email));
        let is_deleted = |(_, need): &(&String, &Need)| **need == Need::Delete;
        let deleted = ruling.passed.iter().filter(is_deleted);
        absent.extend(deleted.map(|(email, _)| email.clone()));
        self.cache = Cache::Seen { users, absent };
    }

    /// With a fresh observation the result is known exactly.
    fn compare(
        &mut self,
        world: &World,
        begun: &Begun,
        roster: &Roster,
        ruling: &Ruling,
        outcome: &RunOutcome,
    ) -> Result<(), String> {
        self.compared[0] += 1;
        let [held, ..] = held(outcome);
        if held != ruling.held {
            return Err(format!("{held} held: {ruling:?} {outcome:?}"));
        }
        let now = users(world);
        let wrong = differences(&begun.before, &now, roster, ruling, self.rules);
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(format!("{wrong:#?} {ruling:?} {outcome:?}")),
        }
    }

    /// The memberships and roles that a run changes; `None` if the scenario has none.
    fn rule_access(
        &self,
        (groups, roles): (&GroupsBefore, &RolesBefore),
        users: &Users,
        roster: &Roster,
    ) -> (Option<GroupRuling>, Option<RoleRuling>) {
        let of_groups = groups.rule(&self.scenario, &self.reference, users, roster);
        let drawn = self.scenario.roles.as_ref();
        let of_roles = drawn.map(|drawn| {
            let limit = (drawn.max_changes, &self.catalogue);
            roles.rule(limit, &self.reference, users, roster, of_groups.as_ref())
        });
        (of_groups, of_roles)
    }

    async fn compare_access(
        &mut self,
        world: &World,
        begun: &Begun,
        roster: &Roster,
        ruling: &Ruling,
        outcome: &RunOutcome,
    ) -> Result<(), String> {
        if !begun.sees_all {
            return Ok(());
        }
        let before = (&begun.groups, &begun.roles);
        let (groups, roles) = self.rule_access(before, &begun.seen, roster);
        if let Some(groups) = groups {
            self.compared[1] += 1;
            let is_accepted = !ruling.roster_is_suspect;
            let compared = begun.groups.compare(world, &groups, outcome, is_accepted);
            compared.await?;
        }
        if let Some(roles) = roles {
            self.compared[2] += 1;
            let [.., held] = held(outcome);
            begun.roles.compare(world, &roles, held)?;
        }
        Ok(())
    }

    /// A dry run shows what is pending, and writes nothing.
    pub(crate) async fn plan(
        &self,
        world: &World,
        files: &Files,
        plan: &Result<Assessment, RunError>,
    ) -> Result<(), String> {
        let (roster, plan) = match (files.readable(), plan) {
            (Some(roster), Ok(plan)) => (roster, plan),
            (None, Err(_)) => return Ok(()),
            (roster, plan) => return Err(format!("{roster:?} gives {plan:?}")),
        };
        if !unknown(world).await.is_empty() {
            return Ok(());
        }
        let users = users(world);
        let needs = self.reference.needs(&users, roster);
        let groups = GroupsBefore::of(world, files.groups.as_ref()).await;
        let roles = RolesBefore::of(world, files).await;
        let (groups, roles) = self.rule_access((&groups, &roles), &users, roster);
        let memberships = groups.as_ref().map_or(0, |ruling| ruling.pending);
        let assignments = roles.as_ref().map_or(0, |ruling| ruling.pending);
        match plan.pending.total() == needs.len() + memberships + assignments {
            true => Ok(()),
            false => Err(format!(
                "{needs:?} {groups:#?} {roles:#?} {:#?}",
                plan.verdict
            )),
        }
    }

    /// Finds out what became of changes in progress at a kill, as the next run does.
    async fn find_out(&mut self, world: &World, now: &Users) {
        for change in unknown(world).await {
            if !change.intent.operation.is_of_user() {
                continue;
            }
            let id = change.intent.user_id.as_ref().map(|id| id.as_str());
            let user = now.values().find(|user| id == Some(id_of(user)));
            let need = need_of(&change);
            let is_applied = match need {
                Need::Delete => user.is_none(),
                Need::Deactivate => user.is_none_or(|user| !is_active(user)),
                Need::Update { reactivate } => reactivate && user.is_some_and(is_active),
                Need::Create => false,
            };
            if is_applied {
                self.applied(&change, need);
            }
        }
    }

    /// Takes in the changes that the state database has as applied; `history_checks` checks them.
    async fn take_in(&mut self, world: &World) {
        let db = world.state_db();
        let runs = db.runs(1000).await.expect("the state database can be read");
        for run in runs.iter().rev() {
            let changes = db.changes(run.number).await;
            let changes = changes.expect("the state database can be read").into_iter();
            for change in changes.filter(|change| change.intent.operation.is_of_user()) {
                let settled = change.settled.as_ref();
                if settled.is_none_or(|one| one.outcome != ChangeOutcome::Skipped) {
                    self.sent(&change.intent);
                }
                if settled.is_some_and(|one| one.outcome == ChangeOutcome::Applied) {
                    self.applied(&change, need_of(&change));
                }
            }
        }
    }

    fn sent(&mut self, intent: &ChangeIntent) {
        if let (true, Some(id)) = (intent.operation.is_removal(), &intent.user_id) {
            let (email, id) = (&*intent.subject.to_string(), id.as_str());
            self.reference.sent_removal(email, id, intent.approved);
        }
    }

    fn applied(&mut self, change: &ChangeRecord, need: Need) {
        if self.settled.insert(change.id) {
            let ChangeIntent {
                subject, user_id, ..
            } = &change.intent;
            let id = user_id.as_ref().map(|id| id.as_str());
            self.reference.applied(&subject.to_string(), id, need);
        }
    }
}

/// Whether the state database has the managed users and the rows that the reference remembers.
async fn is_recorded(world: &World, reference: &Reference) -> bool {
    let memory = world.state_db().memory(Utc::now()).await;
    let memory = memory.expect("the state database can be read");
    let managed = memory
        .managed
        .iter()
        .map(|email| email.as_str().to_lowercase());
    let rows = memory
        .last_rows()
        .and_then(|rows| usize::try_from(rows).ok());
    reference.remembers(&managed.collect(), rows)
}

/// The changes with an unknown outcome.
async fn unknown(world: &World) -> Vec<ChangeRecord> {
    let unknown = world.state_db().unknown().await;
    unknown.expect("the state database can be read")
}
