//! Takes the steps of a sequence, in the program and in the reference, and compares after each.

use super::reference::{
    Limit, Memory, Need, Policy, Prune, Row, Rows, Ruling, User, Users, carried_out,
};
use crate::support::World;
use chrono::Utc;
use omni_user_sync::model::{
    ChangeId, ChangeOutcome, ChangeRecord, Field, Operation, RunRef, Trigger,
};
use omni_user_sync::run::{Reconciler, RunOutcome, Stop};
use omni_user_sync::sandbox::{Changed, Options, Org};
use omni_user_sync::state::{Access, StateDb};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashSet};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const ATTRIBUTES: &str = "urn:omni:params:1.0:UserAttribute";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    Whole,
    Gone,
    Empty,
    Broken,
}

#[derive(Clone, Copy, Debug)]
pub enum Outside {
    Remove,
    Remake,
    Name(&'static str),
    Department(&'static str),
    Active(bool),
}

#[derive(Clone, Debug)]
pub enum Step {
    Row(usize, Option<Row>),
    /// Most rows go.
    Shrink,
    File(File),
    Outside(usize, Outside),
    Run(Trigger),
    Plan,
    /// A run that is killed at this request, if it comes to it.
    Kill(u64),
    Restart,
    Approve,
}

/// What the program keeps of what it saw, for a run that a file starts.
enum Kept {
    Nothing,
    Seen {
        users: Users,
        /// Of whom it is known that they are not there.
        absent: BTreeSet<String>,
    },
    /// Something was stale, and what is known by now is not told here: the next run sees all anew.
    Murky,
}

pub struct Driver {
    world: World,
    memory: Memory,
    rows: Rows,
    file: File,
    reconciler: Option<Reconciler>,
    kept: Kept,
    settled: HashSet<ChangeId>,
}

pub fn email(user: usize) -> String {
    format!("u{user}@x.co")
}

fn users(org: &Org) -> Users {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |user: Value| {
        let known = User {
            id: text(&user["id"]),
            name: text(&user["displayName"]),
            active: user["active"] == json!(true),
            department: text(&user[ATTRIBUTES]["department"]),
        };
        (text(&user["userName"]), known)
    };
    org.users().into_iter().map(one).collect()
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
    }
}

impl Driver {
    pub async fn new(policy: Policy) -> Self {
        let world = World::with(Options {
            history: true,
            ..Options::default()
        });
        let prune = match policy.prune {
            Prune::Never => "never",
            Prune::Managed => "managed",
            Prune::All => "all",
        };
        let removals = match policy.max_removals {
            Limit::Count(most) => most.to_string(),
            Limit::Percent(percent) => format!("{percent}%"),
        };
        let removal = if policy.deactivates {
            "deactivate"
        } else {
            "delete"
        };
        let world = world
            .await
            .set("policy.prune", prune)
            .set("policy.removal", removal)
            .set("policy.reactivate", &policy.reactivates.to_string())
            .set("policy.max_removals", &removals)
            .set("policy.max_clears", "100%")
            .set("source.reports", "");
        Self {
            world,
            memory: Memory::new(policy),
            rows: Rows::new(),
            file: File::Whole,
            reconciler: None,
            kept: Kept::Nothing,
            settled: HashSet::new(),
        }
    }

    pub async fn take(&mut self, step: &Step) {
        match step {
            Step::Row(user, Some(row)) => drop(self.rows.insert(email(*user), row.clone())),
            Step::Row(user, None) => drop(self.rows.remove(&email(*user))),
            Step::Shrink => {
                let kept: Vec<_> = self
                    .rows
                    .keys()
                    .take(self.rows.len() / 3)
                    .cloned()
                    .collect();
                self.rows.retain(|email, _| kept.contains(email));
            }
            Step::File(file) => self.file = *file,
            Step::Outside(user, outside) => self.outside(&email(*user), *outside),
            Step::Run(trigger) => self.run(*trigger, None).await,
            Step::Plan => self.plan().await,
            Step::Kill(at) => self.run(Trigger::Schedule, Some(*at)).await,
            Step::Restart => self.stop(),
            Step::Approve => self.approve().await,
        }
        self.write();
    }

    /// All is well, and nothing is approved any more: what is not held is as wanted.
    pub async fn end(&mut self) {
        self.file = File::Whole;
        self.write();
        self.stop();
        self.run(Trigger::Schedule, None).await;
        self.run(Trigger::Schedule, None).await;
        self.plan().await;
    }

    fn stop(&mut self) {
        self.reconciler = None;
        self.kept = Kept::Nothing;
    }

    fn write(&self) {
        let mut text = "op,email,display_name,department\n".to_owned();
        for (email, row) in &self.rows {
            text += &match row {
                Row::Upsert(name, department) => format!("upsert,{email},{name},{department}\n"),
                Row::Delete => format!("delete,{email},,\n"),
                Row::Deactivate => format!("deactivate,{email},,\n"),
                Row::Bad => format!("upsret,{email},,\n"),
            };
        }
        match self.file {
            File::Whole => self.world.roster(&text),
            File::Empty => self.world.roster(""),
            File::Broken => self.world.roster(&(text + "upsert,\"open@x.co,Open,\n")),
            File::Gone => drop(std::fs::remove_file(self.world.roster_path())),
        }
    }

    fn is_readable(&self) -> bool {
        self.file == File::Whole && !self.rows.is_empty()
    }

    fn outside(&self, email: &str, outside: Outside) {
        let org = self.world.org();
        let is_there = org.user(email).is_some();
        match outside {
            Outside::Remake => {
                if is_there {
                    org.remove_user(email);
                }
                org.add_user(json!({ "userName": email, "displayName": "Theirs" }));
            }
            _ if !is_there => {}
            Outside::Remove => org.remove_user(email),
            Outside::Name(name) => org.set_display_name(email, name),
            Outside::Department(name) => org.set_attribute(email, "department", json!(name)),
            Outside::Active(active) => org.set_active(email, active),
        }
    }

    async fn run(&mut self, trigger: Trigger, kill_at: Option<u64>) {
        let before = users(self.world.org());
        let (trigger, seen, mut absent) = self.see(trigger, &before);
        self.find_out(&before).await;
        let first = self.world.org().history().len();
        let outcome = self.carry_out(trigger, kill_at).await;
        let ours: Vec<_> = self.world.org().history().split_off(first);
        if !self.is_readable() {
            assert!(ours.is_empty(), "without a roster: {ours:?}");
            return self.take_in().await;
        }
        let ruling = self.memory.rule(&seen, &self.rows);
        let is_fresh = seen == before;
        match &outcome {
            Some(outcome) if is_fresh => self.compare(&before, &ruling, outcome),
            Some(_) => {
                let now = self.memory.rule(&before, &self.rows);
                is_within(&ours, &[ruling.clone(), now]);
            }
            None => {
                is_within(&ours, std::slice::from_ref(&ruling));
                in_order(&ours, &ruling);
            }
        }
        // Killed before it came to writing, it may have noted nothing yet; the next run notes the same.
        if outcome.is_some() || !ours.is_empty() {
            self.memory.note(&seen, &self.rows, &ruling);
        }
        self.take_in().await;
        if outcome.is_none() {
            return;
        }
        let users = users(self.world.org());
        absent.retain(|email| !users.contains_key(email));
        let deleted = ruling
            .passed
            .iter()
            .filter(|(_, need)| **need == Need::Delete);
        absent.extend(deleted.map(|(email, _)| email.clone()));
        self.kept = match is_fresh {
            true => Kept::Seen { users, absent },
            false => Kept::Murky,
        };
    }

    /// Who a run sees, and of whom it then knows that they are not there. A run that a file starts sees
    /// what was seen before; whom that does not tell of and who is to be removed is looked up, unless
    /// those are so many that all are listed.
    fn see(&mut self, trigger: Trigger, now: &Users) -> (Trigger, Users, BTreeSet<String>) {
        let named = self.rows.iter().filter(|(_, row)| **row != Row::Bad);
        let not_in = |users: &Users| {
            let absent = named
                .clone()
                .filter(|(email, _)| !users.contains_key(*email));
            absent
                .map(|(email, _)| email.clone())
                .collect::<BTreeSet<_>>()
        };
        let anew = |trigger| (trigger, now.clone(), not_in(now));
        let is_kept = trigger == Trigger::File && self.reconciler.is_some();
        match std::mem::replace(&mut self.kept, Kept::Nothing) {
            Kept::Seen {
                mut users,
                mut absent,
            } if is_kept => {
                let removals = named
                    .clone()
                    .filter(|(_, row)| !matches!(row, Row::Upsert(..)));
                let open = removals.map(|(email, _)| email.clone());
                let open: Vec<_> = open
                    .filter(|email| !users.contains_key(email) && !absent.contains(email))
                    .collect();
                if open.len() > users.len().div_ceil(100) {
                    return anew(trigger);
                }
                for email in open {
                    match now.get(&email) {
                        Some(user) => drop(users.insert(email, user.clone())),
                        None => drop(absent.insert(email)),
                    }
                }
                (trigger, users, absent)
            }
            Kept::Murky if is_kept => anew(Trigger::Schedule),
            Kept::Nothing | Kept::Seen { .. } | Kept::Murky => anew(trigger),
        }
    }

    /// The run itself; `None` if it was killed.
    async fn carry_out(&mut self, trigger: Trigger, kill_at: Option<u64>) -> Option<RunOutcome> {
        let (stop, killed) = (Stop::default(), CancellationToken::new());
        if let Some(at) = kill_at {
            let (killed, next) = (killed.clone(), self.world.org().requests().len() as u64);
            self.world.org().before(next + at, move |_| killed.cancel());
        }
        let world = &self.world;
        let reconciler = self.reconciler.get_or_insert_with(|| world.reconciler());
        let outcome = tokio::select! {
            biased;
            () = killed.cancelled() => None,
            outcome = reconciler.run(trigger, None, &stop) => Some(outcome),
        };
        self.world.org().clear_actions();
        if outcome.is_none() {
            self.stop();
            // What was on its way arrives.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        outcome
    }

    /// Seen afresh, it is known exactly what comes out.
    fn compare(&self, before: &Users, ruling: &Ruling, outcome: &RunOutcome) {
        let held: usize = outcome.held().iter().map(|held| held.count).sum();
        assert_eq!(held, ruling.held, "held: {ruling:?} {outcome:?}");
        let mut expected = carried_out(before, &self.rows, &ruling.passed);
        let now = users(self.world.org());
        for (email, user) in expected.iter_mut().filter(|(_, user)| user.id.is_empty()) {
            user.id = now
                .get(email)
                .map(|user| user.id.clone())
                .unwrap_or_default();
        }
        assert_eq!(now, expected, "{ruling:?} {outcome:?}");
    }

    /// Changes that were under way when the program was killed: the next run's look tells of them.
    async fn find_out(&mut self, now: &Users) {
        if !self.is_readable() {
            return;
        }
        let unknown = self.unknown().await;
        for change in &unknown {
            let id = change.intent.user_id.as_ref().map(|id| id.as_str());
            let user = now.values().find(|user| id == Some(&*user.id));
            let need = need_of(change);
            let was_done = match need {
                Need::Delete => user.is_none(),
                Need::Deactivate => user.is_none_or(|user| !user.active),
                Need::Update { reactivate } => reactivate && user.is_some_and(|user| user.active),
                Need::Create => false,
            };
            if was_done {
                let approved = change.intent.approved;
                self.settled.insert(change.id);
                self.memory
                    .done(change.intent.email.as_str(), id, need, approved);
            }
        }
    }

    /// Takes in what the state database says was done: that it tells the truth is the campaign's business.
    async fn take_in(&mut self) {
        let db = self.world.state_db();
        let runs = db.runs(1000).await.expect("the state database can be read");
        for run in runs.iter().rev() {
            let changes = db
                .changes(run.number)
                .await
                .expect("the state database can be read");
            for change in changes {
                let is_done = change
                    .settled
                    .as_ref()
                    .is_some_and(|one| one.outcome == ChangeOutcome::Applied);
                if is_done && self.settled.insert(change.id) {
                    let id = change.intent.user_id.as_ref().map(|id| id.as_str());
                    let approved = change.intent.approved;
                    self.memory
                        .done(change.intent.email.as_str(), id, need_of(&change), approved);
                }
            }
        }
    }

    /// The changes of which it is not known what became.
    async fn unknown(&self) -> Vec<ChangeRecord> {
        let unknown = self.world.state_db().unknown().await;
        unknown.expect("the state database can be read")
    }

    /// A dry run says what is needed, and writes nothing.
    async fn plan(&self) {
        let writes = self.world.org().writes().len();
        let plan = self.world.plan().await;
        assert_eq!(self.world.org().writes().len(), writes);
        assert_eq!(plan.is_ok(), self.is_readable(), "{plan:?}");
        let unknown = self.unknown().await;
        let Some(plan) = plan.ok().filter(|_| unknown.is_empty()) else {
            return;
        };
        let needs = self.memory.needs(&users(self.world.org()), &self.rows);
        assert_eq!(
            plan.assessment.pending.total(),
            needs.len(),
            "{needs:?} {:?}",
            plan.assessment.verdict
        );
    }

    async fn approve(&mut self) {
        let dir = self.world.settings().state.dir;
        let Ok(db) = StateDb::open(&self.world.sandbox.url(), Access::Approve(&dir)) else {
            return;
        };
        if let Ok(approval) = db.approve(RunRef::Latest, "test", Utc::now(), false).await {
            let users = approval.users.into_iter();
            let of = users.map(|user| {
                (
                    user.user_id.as_str().to_owned(),
                    user.operation == Operation::Delete,
                )
            });
            self.memory.approved.extend(of);
        }
    }
}

fn whose(change: &Changed) -> &str {
    let user = change.before.as_ref().or(change.after.as_ref());
    user.and_then(|user| user["userName"].as_str())
        .unwrap_or_default()
}

/// Nobody is touched whom neither what was seen nor what is there lets be, nor in another way.
fn is_within(ours: &[Changed], rulings: &[Ruling]) {
    for change in ours {
        let is_inactive = |user: &Option<Value>| {
            let user = user.as_ref();
            user.is_some_and(|user| user["active"] == json!(false))
        };
        let (was, is) = (is_inactive(&change.before), is_inactive(&change.after));
        let fits = |need: &Need| match need {
            Need::Delete => change.after.is_none(),
            Need::Deactivate => change.after.is_some() && is,
            // Who is there already is not made, and who is gone is made.
            Need::Update { .. } | Need::Create => change.after.is_some() && (was || !is),
        };
        let email = whose(change);
        let is_let = |ruling: &Ruling| ruling.passed.get(email).is_some_and(fits);
        assert!(
            rulings.iter().any(is_let),
            "{email} was not to be touched: {change:?} {rulings:?}"
        );
    }
}

/// Removals, then updates, then creations: whoever is of a later phase is changed once those before are.
fn in_order(ours: &[Changed], ruling: &Ruling) {
    let need = |change: &Changed| ruling.passed.get(whose(change)).copied();
    let latest = ours
        .iter()
        .filter_map(need)
        .map(Need::phase)
        .max()
        .unwrap_or(0);
    for (email, need) in ruling
        .passed
        .iter()
        .filter(|(_, need)| need.phase() < latest)
    {
        let is_changed = ours.iter().any(|change| whose(change) == email);
        assert!(is_changed, "{email} ({need:?}) comes before: {ours:?}");
    }
}
