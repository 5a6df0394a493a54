//! What would have to change: a function of what is wanted, what is there, what is remembered and
//! what may be done. It decides nothing about how much is too much; that is the guard's.

use super::change::{Action, Change, FieldChange, differences};
use super::quarantine;
use crate::model::{
    ByEmail, Desired, DesiredUser, Email, Entry, Memory, Observed, ObservedUser, Policy, Problem,
    ProblemKind, Prune, Removal, Schema, UserMatch, UserSpec,
};
use chrono::{DateTime, Utc};
use std::collections::{HashMap, HashSet};
use std::hint::black_box;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

/// Fewer rows are not worth a thread.
const LEAST_SHARE: usize = 10_000;
/// So many rows are looked up before the first of them is compared: while the memory brings one, the
/// processor is at the next.
const TOGETHER: usize = 64;

/// What would have to change, and what can't be or need not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes, by kind in the order of [`Operation`](crate::model::Operation), then by email.
    pub changes: Vec<Change>,
    /// Rows that are fine and can't be carried out as Omni is now, and why.
    pub problems: Vec<Problem>,
    /// Emails that several users answer to: none of them is touched.
    pub ambiguous: Vec<Email>,
    /// Users whom the roster upserts, who are inactive, and who are left so.
    pub left_inactive: Vec<Email>,
    /// Users named by the roster for whom nothing is to be done.
    pub unchanged: usize,
    /// Why what the roster asks for is not planned, where that is so, in plain words.
    pub withheld: Vec<Blocked>,
    /// Files of the roster last accepted that are gone, where fewer have come in their place.
    pub lost_files: Vec<Arc<str>>,
    /// Users whom the roster does not name, and who are left alone for now: their grace is not over, or
    /// nobody may be pruned in this run.
    pub spared: usize,
}

/// Removals that a plan leaves out, though the roster or its silence asks for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Why, as a sentence.
    pub why: String,
    /// Whose.
    pub emails: Vec<Email>,
}

impl std::fmt::Display for Blocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { why, emails } = self;
        let (noun, verb) = if emails.len() == 1 {
            ("removal", "is")
        } else {
            ("removals", "are")
        };
        write!(f, "{} {noun} {verb} not planned: {why}", emails.len())
    }
}

impl Plan {
    /// Compares. No I/O, no log, no clock.
    #[must_use]
    pub fn new(
        desired: &Desired,
        observed: &Observed,
        schema: &Schema,
        memory: &Memory,
        policy: &Policy,
    ) -> Self {
        let planner = Planner {
            observed,
            schema,
            memory,
            policy,
        };
        let mut plan = planner.compare_all(&desired.users);
        plan.lost_files = lost_files(desired, memory);
        // The next run over the same roster knows of it.
        let is_news = memory.last_read != Some(desired.fingerprint);
        let lost = || {
            let lost = plan.lost().filter(|_| is_news)?;
            Some(format!("{lost}, so nobody is removed in this run."))
        };
        if let Some(why) = desired.removals_allowed().err().or_else(lost) {
            let removals = plan
                .changes
                .extract_if(.., |change| change.kind().is_removal());
            let emails = removals.map(|change| change.email).collect();
            plan.withhold(why, emails);
        }
        planner.prune(desired, &mut plan);
        plan.sort();
        plan
    }

    /// That files are gone, as a clause.
    #[must_use]
    pub fn lost(&self) -> Option<String> {
        let (is, was) = match self.lost_files.len() {
            0 => return None,
            1 => ("is", "was"),
            _ => ("are", "were"),
        };
        let names = self.lost_files.join(", ");
        Some(format!(
            "{names} {is} gone, which {was} part of the roster before"
        ))
    }

    /// Adds what was planned for other users.
    fn join(&mut self, other: Self) {
        let Self {
            changes,
            problems,
            ambiguous,
            left_inactive,
            unchanged,
            withheld,
            lost_files,
            spared,
        } = other;
        self.changes.extend(changes);
        self.problems.extend(problems);
        self.ambiguous.extend(ambiguous);
        self.left_inactive.extend(left_inactive);
        self.unchanged += unchanged;
        self.withheld.extend(withheld);
        self.lost_files.extend(lost_files);
        self.spared += spared;
    }

    fn withhold(&mut self, why: String, mut emails: Vec<Email>) {
        if !emails.is_empty() {
            emails.sort();
            self.withheld.push(Blocked { why, emails });
        }
    }

    /// Pairs of a removal and a creation under one name: most likely one person with a new address,
    /// whose history and groups a removal takes away.
    #[must_use]
    pub fn renames(&self) -> Vec<String> {
        let mut made: HashMap<&str, &Email> = HashMap::new();
        for change in &self.changes {
            if let Action::Create(UserSpec {
                display_name: Some(name),
                ..
            }) = &change.action
            {
                made.insert(name, &change.email);
            }
        }
        let pairs = self
            .changes
            .iter()
            .filter_map(|change| match &change.action {
                Action::Delete(user) | Action::Deactivate(user) => {
                    Some((&change.email, *made.get(&*user.display_name)?))
                }
                Action::Update(..) | Action::Create(_) => None,
            });
        let said = |(old, new)| {
            format!(
                "{old} goes and {new} comes under the same name: if they are one person, have the address \
                 changed in Omni first, since a new user starts without groups and content"
            )
        };
        pairs.map(said).collect()
    }

    fn sort(&mut self) {
        self.changes
            .sort_by(|a, b| a.kind().cmp(&b.kind()).then_with(|| a.email.cmp(&b.email)));
        self.problems
            .sort_by(|a, b| (&a.place.file, a.place.line).cmp(&(&b.place.file, b.place.line)));
        self.ambiguous.sort();
        self.left_inactive.sort();
    }
}

struct Planner<'a> {
    observed: &'a Observed,
    schema: &'a Schema,
    memory: &'a Memory,
    policy: &'a Policy,
}

impl Planner<'_> {
    /// Plans what all rows ask for, each core its share of them: a user is anywhere in memory, and
    /// most of the time goes to waiting for it.
    fn compare_all(&self, rows: &ByEmail<Entry>) -> Plan {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let share = rows.len().div_ceil(cores).max(LEAST_SHARE);
        if rows.len() <= share {
            return self.compare_some(rows, 0, share);
        }
        thread::scope(|scope| {
            let starts = (0..rows.len()).step_by(share);
            let threads: Vec<_> = starts
                .map(|start| scope.spawn(move || self.compare_some(rows, start, share)))
                .collect();
            let mut plan = Plan::default();
            for thread in threads {
                plan.join(thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            plan
        })
    }

    fn compare_some(&self, rows: &ByEmail<Entry>, start: usize, count: usize) -> Plan {
        let mut plan = Plan::default();
        let mut rows = rows.iter().skip(start).take(count);
        loop {
            let few = rows.by_ref().take(TOGETHER);
            let few: Vec<_> = few
                .map(|(email, entry)| (email, entry, self.observed.get(email)))
                .collect();
            if few.is_empty() {
                return plan;
            }
            few.iter().for_each(|(.., sighting)| fetch(*sighting));
            for (email, entry, sighting) in few {
                self.compare(email, entry, sighting, &mut plan);
            }
        }
    }

    /// Plans what one row asks for.
    fn compare(&self, email: &Email, entry: &Entry, sighting: Option<&UserMatch>, plan: &mut Plan) {
        let user = match sighting {
            Some(UserMatch::Several(_)) => return plan.ambiguous.push(email.clone()),
            Some(UserMatch::One(user)) => Some(user),
            None => None,
        };
        let action = match (&entry.want, user) {
            (DesiredUser::Upsert(spec), None) => match &spec.display_name {
                Some(_) => Some(Action::Create(spec.clone())),
                None => return plan.problems.push(nameless(email, entry)),
            },
            (DesiredUser::Upsert(spec), Some(user)) => self.update(email, spec, user, plan),
            (DesiredUser::Delete, Some(user)) => self.removal(user, self.policy.removal),
            (DesiredUser::Deactivate, Some(user)) => self.removal(user, Removal::Deactivate),
            (DesiredUser::Delete | DesiredUser::Deactivate, None) => None,
        };
        match action {
            Some(action) => {
                let (email, place) = (email.clone(), Some(entry.place.clone()));
                plan.changes.push(Change {
                    email,
                    action,
                    place,
                });
            }
            None => plan.unchanged += 1,
        }
    }

    fn update(
        &self,
        email: &Email,
        spec: &UserSpec,
        user: &Arc<ObservedUser>,
        plan: &mut Plan,
    ) -> Option<Action> {
        let mut fields = differences(spec, user, self.schema);
        if !user.active {
            if self.policy.reactivate || self.memory.deactivated.contains(&user.id) {
                fields.push(FieldChange::Reactivate);
            } else {
                plan.left_inactive.push(email.clone());
            }
        }
        (!fields.is_empty()).then(|| Action::Update(user.clone(), fields))
    }

    fn removal(&self, user: &Arc<ObservedUser>, removal: Removal) -> Option<Action> {
        match removal {
            Removal::Delete => Some(Action::Delete(user.clone())),
            Removal::Deactivate if user.active => Some(Action::Deactivate(user.clone())),
            Removal::Deactivate => None,
        }
    }

    /// Plans the removal of those whom the roster does not name, if that is wanted and the roster
    /// and the listing can be relied on.
    fn prune(&self, desired: &Desired, plan: &mut Plan) {
        if self.policy.prune == Prune::Never || !desired.is_source {
            return;
        }
        let doubt = || {
            self.observed
                .doubt()
                .map(|why| format!("The listing does not add up: {why}."))
        };
        let (missing, in_grace) = self.missing(desired);
        plan.spared = in_grace;
        match desired.pruning_allowed().err().or_else(doubt) {
            Some(why) => {
                plan.spared += missing.len();
                plan.withhold(
                    why,
                    missing.into_iter().map(|change| change.email).collect(),
                );
            }
            None => plan.changes.extend(missing),
        }
    }

    /// The removals of those whom the roster does not name, and of how many it is too early.
    fn missing(&self, desired: &Desired) -> (Vec<Change>, usize) {
        let unnamed = self.observed.users().filter(|user| {
            !desired.users.contains_key(&user.email) && !desired.frozen.contains_key(&user.email)
        });
        let removals = unnamed.filter_map(|user| {
            let action = self.removal(user, self.policy.removal)?;
            Some(Change {
                email: user.email.clone(),
                action,
                place: None,
            })
        });
        let ours = removals.filter(|change| self.is_ours(change));
        let (due, early): (Vec<_>, Vec<_>) = ours.partition(|change| self.is_past_grace(change));
        (due, early.len())
    }

    fn is_ours(&self, change: &Change) -> bool {
        match self.policy.prune {
            Prune::Never => false,
            Prune::Managed => {
                self.memory.managed.contains(&change.email) || self.was_removed_in_vain(change)
            }
            Prune::All => true,
        }
    }

    fn is_past_grace(&self, change: &Change) -> bool {
        let grace = self.policy.prune_grace;
        let since = || self.memory.missing_since.get(&change.email);
        let is_past = |since: &DateTime<Utc>| {
            let missing = (self.memory.now - *since).to_std();
            missing.is_ok_and(|missing| missing >= grace)
        };
        grace.is_zero() || since().is_some_and(is_past) || self.was_removed_in_vain(change)
    }

    /// Whether a user was ours and missing for long enough until Omni said that they are removed, which
    /// they are not.
    fn was_removed_in_vain(&self, change: &Change) -> bool {
        !self.memory.managed.contains(&change.email) && quarantine::was_managed(change, self.memory)
    }
}

/// Has the memory bring what a comparison starts with. This changes nothing but how long it takes: by a
/// quarter for a million users, who are anywhere in memory.
fn fetch(sighting: Option<&UserMatch>) {
    if let Some(UserMatch::One(user)) = sighting {
        let first = user.attributes.iter().next();
        black_box(first.map(|(_, value)| value.texts()));
    }
}

/// The files of the roster last accepted that are gone, unless as many others have come: people
/// rename files, and put a new one in the place of the last.
fn lost_files(desired: &Desired, memory: &Memory) -> Vec<Arc<str>> {
    if !desired.is_source {
        return Vec::new();
    }
    let read = desired.files.iter().map(|file| &file.name);
    let rejected = desired.rejected.iter().map(|problem| &problem.place.file);
    let present: HashSet<_> = read.chain(rejected).collect();
    let before = memory.last_files.iter().map(|file| &file.name);
    let gone = before.filter(|name| !present.contains(name));
    if present.len() < memory.last_files.len() {
        gone.cloned().collect()
    } else {
        Vec::new()
    }
}

fn nameless(email: &Email, entry: &Entry) -> Problem {
    Problem {
        kind: ProblemKind::NoName,
        place: entry.place.clone(),
        what: "this user is not in Omni yet and has no display_name".into(),
        remedy: "write one, so that the user can be made".into(),
        email: Some(email.clone()),
    }
}
