//! The planner: compares the desired state with the observed state. It uses the state from earlier runs and the policy,
//! and leaves the safety limits to the guard.

use super::groups::FirstContact;
use super::lints::{PlanLints, is_respelled};
use super::lost_files::LostFiles;
use super::not_found::{self, NotFound};
use super::successors::{self, Successors};
use super::undecided::Undecided;
use super::{Blocked, BlockedOperation, memberships, ownership, roles};
use crate::model::{
    Action, ByEmail, Change, Desired, DesiredUser, Email, Entry, Field, FieldChange, GroupId,
    GroupUpdate, Leaving, Location, Memory, Observed, ObservedUser, Policy, Problem, ProblemKind,
    Prune, Removal, RoleUpdate, RunTime, Schema, Subject, UserMatch, UserSpec, same_text,
};
use std::collections::HashSet;
use std::hint::black_box;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

/// The minimum number of rows per thread.
const MIN_SHARE: usize = 10_000;
/// Rows that are looked up before the first of them is compared, so that memory accesses overlap.
const BATCH: usize = 64;

/// The changes that would make Omni match the roster, and what can't or need not be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes, by [`Operation`](crate::model::Operation), then by connection and model, by group, and by subject.
    pub changes: Vec<Change>,
    /// Valid rows that Omni's current state does not allow.
    pub problems: Vec<Problem>,
    /// Emails that several users in Omni share. None of these users is changed.
    pub ambiguous: Vec<Email>,
    /// Users in the roster that are inactive in Omni and stay inactive.
    pub left_inactive: Vec<Email>,
    /// Users whose day of leaving has come, and whose removal waits for a second run.
    pub waiting_to_leave: Vec<Email>,
    /// Users in the roster whose fields Omni has not shown yet. Nothing is planned for them.
    pub unread: Vec<Email>,
    /// The number of users in the roster that need no change.
    pub unchanged: usize,
    /// The number of users in Omni that the roster upserts.
    pub upserted: usize,
    /// Rows that ask for the removal of a user that neither Omni nor history knows.
    pub not_found: Vec<NotFound>,
    /// Values that equal Omni's and have other characters.
    pub found: PlanLints,
    /// Removals and leaves that are not planned, with the reason.
    pub blocked: Vec<Blocked>,
    /// Groups of which no member may leave without approval.
    pub first_contact: FirstContact,
    /// Managed groups from which leaves may be missing, because some memberships could not be compared.
    pub hidden_leaves: HashSet<GroupId>,
    /// The successors of the users to be removed, if the policy asks for them.
    pub successors: Successors,
    /// Updates to the records of groups once the roster is accepted, before it is known which leaves are held.
    pub groups: GroupUpdate,
    /// Updates to the records of roles once the roster is accepted.
    pub roles: RoleUpdate,
    /// Users and groups of `source.roles` whose roles Omni has not shown yet.
    pub unread_roles: Vec<Subject>,
    /// What can't be compared.
    pub undecided: Undecided,
    /// Warnings about groups and roles.
    pub warnings: Vec<String>,
    /// Files of the last accepted roster that are gone.
    pub lost_files: LostFiles,
    /// The number of users that the roster does not name and that are kept for now, because of
    /// `policy.prune_grace` or because pruning is off in this run.
    pub deferred: usize,
    /// How many of them are kept because the list is read in parts, and not all of it since the roster changed.
    pub unlisted: usize,
    /// Whether the roster or the listing does not allow pruning, with or without missing users.
    pub blocks_pruning: bool,
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
            desired,
            observed,
            schema,
            memory,
            policy,
        };
        let mut plan = planner.compare_all(&desired.users);
        plan.lost_files = LostFiles::new(desired, memory);
        let lost = || {
            let lost = plan.lost_files.news()?;
            Some(format!("{lost}, so no user is removed in this run."))
        };
        if let Some(reason) = desired.removals_allowed().err().or_else(lost) {
            let removals = plan
                .changes
                .extract_if(.., |change| change.operation().is_removal());
            let emails = removals.filter_map(|change| change.email().cloned());
            let emails = emails.collect();
            plan.block(BlockedOperation::Removal, reason, emails);
        }
        not_found::find_nearest(&mut plan.not_found, observed);
        planner.prune(desired, &mut plan);
        memberships::plan(desired, observed, memory, policy, &mut plan);
        roles::plan(desired, observed, memory, policy, &mut plan);
        plan.changes
            .retain(|change| change.email().is_none_or(|email| desired.compares(email)));
        successors::plan(desired, observed, schema, memory, policy, &mut plan);
        plan.sort();
        plan
    }

    /// Adds the plan for other users.
    fn join(&mut self, other: Self) {
        let Self {
            changes,
            problems,
            ambiguous,
            left_inactive,
            waiting_to_leave,
            unread,
            unchanged,
            upserted,
            not_found,
            found,
            blocked,
            first_contact: _,
            hidden_leaves: _,
            successors: _,
            groups: _,
            roles: _,
            unread_roles: _,
            undecided: _,
            warnings: _,
            lost_files: _,
            deferred,
            unlisted,
            blocks_pruning,
        } = other;
        self.found.join(found);
        self.not_found.extend(not_found);
        self.changes.extend(changes);
        self.problems.extend(problems);
        self.ambiguous.extend(ambiguous);
        self.left_inactive.extend(left_inactive);
        self.waiting_to_leave.extend(waiting_to_leave);
        self.unread.extend(unread);
        self.unchanged += unchanged;
        self.upserted += upserted;
        self.blocked.extend(blocked);
        self.deferred += deferred;
        self.unlisted += unlisted;
        self.blocks_pruning |= blocks_pruning;
    }

    pub(super) fn block(
        &mut self,
        operation: BlockedOperation,
        reason: String,
        mut emails: Vec<Email>,
    ) {
        if !emails.is_empty() {
            emails.sort();
            self.blocked.push(Blocked {
                operation,
                reason,
                emails,
            });
        }
    }

    fn sort(&mut self) {
        self.changes.sort_by(|a, b| {
            a.operation()
                .cmp(&b.operation())
                .then_with(|| {
                    a.role()
                        .map(|role| &role.scope)
                        .cmp(&b.role().map(|role| &role.scope))
                })
                .then_with(|| a.group().cmp(&b.group()))
                .then_with(|| a.subject.cmp(&b.subject))
        });
        self.problems.sort_by(|a, b| {
            (&a.location.file, a.location.line).cmp(&(&b.location.file, b.location.line))
        });
        self.ambiguous.sort();
        self.left_inactive.sort();
        self.waiting_to_leave.sort();
        self.unread.sort();
    }
}

/// The known fields in which a user differs from what the roster states.
#[must_use]
pub(crate) fn differences(
    spec: &UserSpec,
    user: &ObservedUser,
    schema: &Schema,
) -> Vec<FieldChange> {
    let UserSpec {
        display_name,
        attributes,
    } = spec;
    let mut fields = Vec::new();
    if let Some(to) = display_name
        .as_ref()
        .filter(|to| !same_text(to, &user.display_name))
    {
        fields.push(FieldChange::display_name(&user.display_name, to));
    }
    let Some(known) = &user.attributes else {
        return fields;
    };
    let present = known.get_all(attributes.iter().map(|(name, _)| name));
    for ((name, to), from) in attributes.iter().zip(present) {
        if !schema.converged(name, to.as_ref(), from) {
            let default = || schema.get(name)?.default.clone();
            fields.push(FieldChange {
                field: Field::Attribute(name.clone()),
                from: from.cloned(),
                to: to.clone(),
                default: if to.is_none() { default() } else { None },
            });
        }
    }
    fields
}

struct Planner<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    schema: &'a Schema,
    memory: &'a Memory,
    policy: &'a Policy,
}

impl Planner<'_> {
    /// Plans all rows, in one thread per core: most of the time goes into waiting for memory.
    fn compare_all(&self, rows: &ByEmail<Entry>) -> Plan {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let share = rows.len().div_ceil(cores).max(MIN_SHARE);
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
        let rows = rows.iter().skip(start).take(count);
        let mut rows = rows.filter(|(email, _)| self.desired.compares(email));
        loop {
            let batch = rows.by_ref().take(BATCH);
            let batch: Vec<_> = batch
                .map(|(email, entry)| (email, entry, self.observed.get(email)))
                .collect();
            if batch.is_empty() {
                return plan;
            }
            batch.iter().for_each(|(.., found)| prefetch(*found));
            for (email, entry, found) in batch {
                self.compare(email, entry, found, &mut plan);
            }
        }
    }

    /// Plans one row.
    fn compare(&self, email: &Email, entry: &Entry, found: Option<&UserMatch>, plan: &mut Plan) {
        let user = match found {
            Some(UserMatch::Several(_)) => return plan.ambiguous.push(email.clone()),
            Some(UserMatch::One(user)) => Some(user),
            None => None,
        };
        if user.is_some_and(|user| self.is_unread(&entry.want, user)) {
            return plan.unread.push(email.clone());
        }
        let action = match (&entry.want, user) {
            (DesiredUser::Upsert(spec), None) => match &spec.display_name {
                Some(_) => Some(Action::Create(spec.clone())),
                None => return plan.problems.push(nameless(email, entry)),
            },
            (DesiredUser::Upsert(spec), Some(user)) => {
                self.note_respelled(spec, user, &entry.location, plan);
                self.update(email, spec, user, plan)
            }
            (DesiredUser::Delete(_), Some(user)) => self.removal(user, self.policy.removal),
            (DesiredUser::Deactivate(_), Some(user)) => self.removal(user, Removal::Deactivate),
            (DesiredUser::Delete(_) | DesiredUser::Deactivate(_), None)
                if self.memory.knew(email) =>
            {
                None
            }
            (DesiredUser::Delete(_) | DesiredUser::Deactivate(_), None) => {
                return plan.not_found.push(NotFound {
                    email: email.clone(),
                    location: entry.location.clone(),
                    nearest: None,
                });
            }
        };
        // A row keeps its day until a second run has agreed.
        let waits = |leaving: &Leaving| leaving.on.is_some();
        match action {
            Some(_) if entry.want.leaving().is_some_and(waits) => {
                plan.waiting_to_leave.push(email.clone());
            }
            Some(action) => {
                plan.changes.push(Change {
                    subject: email.into(),
                    action,
                    location: Some(entry.location.clone()),
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
        plan.upserted += 1;
        let mut fields = differences(spec, user, self.schema);
        if user.is_inactive() {
            if self.policy.reactivate || self.memory.deactivated.contains_key(&user.id) {
                fields.push(FieldChange::active(false, true));
            } else {
                plan.left_inactive.push(email.clone());
            }
        }
        (!fields.is_empty()).then(|| Action::Update(user.clone(), fields))
    }

    /// Notes values that equal Omni's and have other characters.
    fn note_respelled(
        &self,
        spec: &UserSpec,
        user: &ObservedUser,
        location: &Location,
        plan: &mut Plan,
    ) {
        let name = spec.display_name.as_ref();
        if name
            .is_some_and(|name| *name != user.display_name && same_text(name, &user.display_name))
        {
            plan.found.respelled(&Field::DisplayName, location);
        }
        for (name, to) in &spec.attributes {
            if let (Some(to), Some(from)) = (to, user.value(name))
                && to != from
                && is_respelled(to, from)
            {
                plan.found
                    .respelled(&Field::Attribute(name.clone()), location);
            }
        }
    }

    fn removal(&self, user: &Arc<ObservedUser>, removal: Removal) -> Option<Action> {
        match removal {
            Removal::Delete => Some(Action::Delete(user.clone())),
            Removal::Deactivate if user.active == Some(true) => {
                Some(Action::Deactivate(user.clone()))
            }
            Removal::Deactivate => None,
        }
    }

    /// Whether what a row asks for rests on fields that Omni has not shown.
    fn is_unread(&self, want: &DesiredUser, user: &ObservedUser) -> bool {
        match want {
            DesiredUser::Upsert(spec) => !user.is_read_for(spec),
            DesiredUser::Delete(_) if self.policy.removal == Removal::Delete => false,
            DesiredUser::Delete(_) | DesiredUser::Deactivate(_) => user.active.is_none(),
        }
    }

    /// Plans the removal of users that the roster does not name, if the policy asks for it and both the roster
    /// and the listing are reliable.
    fn prune(&self, desired: &Desired, plan: &mut Plan) {
        if self.policy.prune == Prune::Never || !desired.is_source {
            return;
        }
        let doubt = || {
            let doubt = self.observed.doubt()?;
            Some(format!("The listing does not add up: {doubt}."))
        };
        let (due, in_grace) = self.missing(desired);
        plan.deferred = in_grace;
        if self.waits_for_parts(desired) {
            plan.unlisted = due.len();
            plan.deferred += due.len();
            plan.blocks_pruning = true;
            return;
        }
        match desired.pruning_allowed().err().or_else(doubt) {
            Some(reason) => {
                plan.deferred += due.len();
                plan.blocks_pruning = true;
                let emails = due.iter().filter_map(Change::email).cloned().collect();
                plan.block(BlockedOperation::Removal, reason, emails);
            }
            None => plan.changes.extend(due),
        }
    }

    /// Whether the list of users is read in parts, and some of them are older than this roster.
    fn waits_for_parts(&self, desired: &Desired) -> bool {
        let Memory {
            last_read,
            last_read_since,
            ..
        } = self.memory;
        let is_known = *last_read == Some(desired.fingerprint);
        let roster_since = last_read_since.filter(|_| is_known);
        let parts_since = self.observed.parts_since();
        parts_since.is_some_and(|parts| roster_since.is_none_or(|roster| parts < roster))
    }

    /// The due removals of users that the roster does not name, and the number of those still in their grace.
    fn missing(&self, desired: &Desired) -> (Vec<Change>, usize) {
        let unnamed = self.observed.users().filter(|user| {
            desired.compares(&user.email)
                && !desired.users.contains_key(&user.email)
                && !desired.frozen.contains_key(&user.email)
        });
        let candidates =
            unnamed.filter(|user| ownership::may_prune(user, self.memory, self.policy));
        let removals = candidates.filter_map(|user| {
            let action = self.removal(user, self.policy.removal)?;
            Some(Change {
                subject: Subject::from(&user.email),
                action,
                location: None,
            })
        });
        let (due, early): (Vec<_>, Vec<_>) =
            removals.partition(|change| self.is_past_grace(change));
        (due, early.len())
    }

    fn is_past_grace(&self, change: &Change) -> bool {
        let grace = self.policy.prune_grace;
        let is_past = |since: RunTime| {
            let missing = self.memory.run_time.since(since).to_std();
            missing.is_ok_and(|missing| missing >= grace)
        };
        grace.is_zero() || ownership::missing_since(change, self.memory).is_some_and(is_past)
    }
}

/// Loads the memory that a comparison starts with. Only speed changes: by a quarter for a million users.
fn prefetch(found: Option<&UserMatch>) {
    if let Some(UserMatch::One(user)) = found {
        let first = user.values().next();
        black_box(first.map(|(_, value)| value.texts()));
    }
}

fn nameless(email: &Email, entry: &Entry) -> Problem {
    Problem {
        kind: ProblemKind::MissingName,
        location: entry.location.clone(),
        message: "the user is not in Omni and the row has no display_name".into(),
        remedy: "add a display_name, so that the user can be created".into(),
        email: Some(email.clone()),
    }
}
