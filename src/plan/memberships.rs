//! Memberships: compares the groups that a roster states with those that Omni shows.
//!
//! - A cell states the complete membership among managed groups, so a user leaves a managed group that it does not
//!   name.
//!   Rows of `source.groups` add and take away single memberships.
//! - A group that no cell names any more, and no pattern of `policy.managed_groups`, is managed only for memberships
//!   that an accepted roster stated or that this program added.
//! - Only users that a listing or a lookup shows are compared, so members that no list of users shows (embed users) are
//!   never touched. Neither are users that are frozen, ambiguous, unread or removed, nor those that pruning has
//!   deactivated.

use super::groups::{
    FirstContact, ManagedScope, Resolved, ResolvedNames, contradiction, managed, merge_rows, names,
    problem,
};
use super::user_changes::UserChanges;
use super::{BlockedOperation, LostFiles, Plan};
use crate::model::{
    Action, Change, ChangeKey, Desired, Email, GroupId, GroupName, GroupRef, GroupUpdate,
    GroupsCell, GroupsUnknown, Location, ManagedGroup, Membership, MembershipChange, MembershipRow,
    MembershipSource, Memory, Observed, ObservedUser, Policy, Problem, UserMatch,
};
use crate::util::text::plural;
use foldhash::fast::RandomState;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Plans the memberships. The changes of users must be planned already.
pub(super) fn plan(
    desired: &Desired,
    observed: &Observed,
    memory: &Memory,
    policy: &Policy,
    plan: &mut Plan,
) {
    let stated = &desired.memberships;
    if stated.is_empty() {
        return;
    }
    if let Some(why) = observed.groups().why_unknown() {
        plan.problems.extend(unknown_groups(desired, why));
        plan.undecided.memberships = true;
        return;
    }
    let names = names(desired, observed.groups(), &memory.groups, policy);
    let managed = managed(&names, desired, observed, memory, policy);
    let is_hidden = |id| {
        let group = observed.groups().get(id);
        group.is_none_or(|group| group.members.is_none())
    };
    let planner = MembershipPlanner {
        observed,
        memory,
        has_hidden_members: managed.keys().any(is_hidden),
        managed,
        names,
        users: UserChanges::new(plan, desired, memory, policy),
        frozen: frozen(desired),
    };
    let mut found = PlannedMemberships::default();
    for (email, (cell, rows)) in by_user(desired) {
        planner.compare(email, cell, &rows, &mut found);
    }
    plan.first_contact = planner.first_contact();
    plan.hidden_leaves = std::mem::take(&mut found.hidden);
    plan.groups = planner.stated(&found);
    let too_many = planner.names.too_many(desired);
    plan.undecided.memberships |= too_many.is_some();
    plan.problems.extend(too_many);
    plan.problems.extend(found.problems);
    plan.changes.extend(found.joins);
    match leaves_blocked(desired, &plan.lost_files) {
        Some(reason) => {
            let emails = found.leaves.iter().filter_map(Change::email).cloned();
            plan.block(BlockedOperation::Leave, reason, emails.collect());
        }
        None => plan.changes.extend(found.leaves),
    }
    plan.warnings.extend(planner.renamed());
}

/// Groups of one user.
type GroupRefs<'a> = HashSet<&'a GroupRef, RandomState>;

/// The planned memberships.
#[derive(Default)]
struct PlannedMemberships {
    joins: Vec<Change>,
    leaves: Vec<Change>,
    problems: Vec<Problem>,
    /// The memberships that cells state, and those that they no longer state.
    stated: Vec<(GroupId, Email)>,
    not_stated: Vec<(GroupId, Email)>,
    /// Groups from which leaves may be missing, because some memberships could not be compared.
    hidden: HashSet<GroupId>,
}

struct MembershipPlanner<'a> {
    observed: &'a Observed,
    memory: &'a Memory,
    names: ResolvedNames<'a>,
    managed: BTreeMap<GroupId, (GroupRef, ManagedScope)>,
    /// Whether Omni does not show the members of one of them.
    has_hidden_members: bool,
    users: UserChanges<'a>,
    /// The groups in rows of `source.groups` that are invalid or contradict each other, by user; `None` for all groups.
    frozen: HashMap<&'a Email, Vec<Option<&'a GroupName>>>,
}

impl MembershipPlanner<'_> {
    /// Plans the memberships of one user.
    fn compare(
        &self,
        email: &Email,
        cell: Option<&GroupsCell>,
        rows: &[&MembershipRow],
        found: &mut PlannedMemberships,
    ) {
        if self.users.is_unread(email) {
            return self.hide(email, cell, rows, found, |_| true);
        }
        let Some(user) = self.subject(email, rows, found) else {
            return;
        };
        let in_cell = self.in_cell(email, cell, found);
        let by_row = self.by_row(email, rows, found);
        let frozen = self.frozen_groups(email);
        let (Some(in_cell), Some(by_row), Some(frozen)) = (in_cell, by_row, frozen) else {
            return self.hide(email, cell, rows, found, |_| true);
        };
        if self.has_hidden_members || !frozen.is_empty() {
            self.hide(email, cell, rows, found, |group| {
                frozen.contains(group) || self.is_member(user, group).is_none()
            });
        }
        if cell.is_some() {
            self.note_stated(email, user, &in_cell, found);
        }
        contradictions(&by_row, &in_cell, found);
        let mut change = |group: &GroupRef, change, source, location: &Location| {
            let is_member = self.is_member(user, group);
            let list = match (change, is_member) {
                (MembershipChange::Join, Some(false)) => &mut found.joins,
                (MembershipChange::Leave, Some(true)) => &mut found.leaves,
                (MembershipChange::Join, Some(true)) | (MembershipChange::Leave, Some(false)) => {
                    return;
                }
                (_, None) => return found.problems.push(unknown_members(group, email, location)),
            };
            list.push(Change {
                subject: email.into(),
                action: Action::Membership(Membership {
                    change,
                    group: group.clone(),
                    source,
                    user: user.cloned(),
                }),
                location: Some(location.clone()),
            });
        };
        let is_frozen = |group: &GroupRef| frozen.contains(group);
        for (group, row) in valid(&by_row) {
            let contradicts = row.change == MembershipChange::Leave && in_cell.contains(group);
            if !contradicts && !is_frozen(group) {
                change(group, row.change, MembershipSource::Row, &row.location);
            }
        }
        let Some(cell) = cell else {
            return;
        };
        let is_open = |group: &GroupRef| !by_row.contains_key(group) && !is_frozen(group);
        let mut by_cell = |group: &GroupRef, direction| {
            change(group, direction, MembershipSource::Cell, &cell.location);
        };
        for group in in_cell.iter().filter(|group| is_open(group)) {
            by_cell(group, MembershipChange::Join);
        }
        let left = self.managed.values().filter(|(group, scope)| {
            !in_cell.contains(group)
                && is_open(group)
                && (*scope == ManagedScope::Whole || self.is_stated(email, group))
                && self.is_member(user, group) != Some(false)
        });
        for (group, _) in left {
            by_cell(group, MembershipChange::Leave);
        }
    }

    /// Notes the matching groups that a user may have to leave, although this plan can't tell.
    fn hide(
        &self,
        email: &Email,
        cell: Option<&GroupsCell>,
        rows: &[&MembershipRow],
        found: &mut PlannedMemberships,
        matches: impl Fn(&GroupRef) -> bool,
    ) {
        let Some(UserMatch::One(user)) = self.observed.get(email) else {
            return;
        };
        let group = |name| match self.names.get(name)? {
            Resolved::Group(group) => Some(group),
            Resolved::Unusable(..) | Resolved::TooMany => None,
        };
        let in_rows = |change| {
            let rows = rows.iter().filter(move |row| row.change == change);
            rows.map(|row| &row.group)
        };
        let in_cell = cell.iter().flat_map(|cell| &cell.names);
        let stays = in_cell.chain(in_rows(MembershipChange::Join));
        let stays: GroupRefs<'_> = stays.filter_map(group).collect();
        let leaves: GroupRefs<'_> = in_rows(MembershipChange::Leave).filter_map(group).collect();
        let may_leave =
            |group| leaves.contains(group) || (cell.is_some() && !stays.contains(group));
        let managed = self.managed.values();
        let hidden = managed.filter(|(group, scope)| {
            *scope == ManagedScope::Whole
                && may_leave(group)
                && matches(group)
                && self.is_member(Some(user), group) != Some(false)
        });
        found
            .hidden
            .extend(hidden.filter_map(|(group, _)| group.id.clone()));
    }

    /// Notes what the cell of a user states, as far as earlier rosters did not.
    fn note_stated(
        &self,
        email: &Email,
        user: Option<&Arc<ObservedUser>>,
        in_cell: &GroupRefs<'_>,
        found: &mut PlannedMemberships,
    ) {
        let ids = in_cell.iter().filter(|group| !self.is_stated(email, group));
        let ids = ids.filter_map(|group| group.id.clone());
        found.stated.extend(ids.map(|id| (id, email.clone())));
        let before = self.memory.groups.stated.get(email);
        let over = before.into_iter().flatten().filter(|id| {
            let managed = self.managed.get(*id);
            managed.is_some_and(|(group, _)| {
                !in_cell.contains(group) && self.is_member(user, group) == Some(false)
            })
        });
        found
            .not_stated
            .extend(over.map(|id| (id.clone(), email.clone())));
    }

    /// Updates to the records of groups once the roster is accepted. No group is confirmed yet.
    fn stated(&self, found: &PlannedMemberships) -> GroupUpdate {
        let whole = self
            .managed
            .iter()
            .filter(|(_, (_, scope))| *scope == ManagedScope::Whole);
        let managed = whole.map(|(id, (group, _))| {
            let name = group.name.clone();
            (
                id.clone(),
                ManagedGroup {
                    name,
                    is_confirmed: false,
                },
            )
        });
        GroupUpdate {
            managed: managed.collect(),
            stated: found.stated.clone(),
            not_stated: found.not_stated.clone(),
            created: Vec::new(),
        }
    }

    /// The user whose memberships are compared, or none yet if this plan creates the user. `None` if the memberships
    /// are not compared.
    fn subject(
        &self,
        email: &Email,
        rows: &[&MembershipRow],
        found: &mut PlannedMemberships,
    ) -> Option<Option<&Arc<ObservedUser>>> {
        if !self.users.may_be_compared(email) {
            return None;
        }
        match self.observed.get(email) {
            Some(UserMatch::One(user)) if self.users.is_removed(email, user) => None,
            Some(UserMatch::One(user)) => Some(Some(user)),
            Some(UserMatch::Several(_)) => None,
            None if self.users.created.contains(email) => Some(None),
            None => {
                let rows = rows.iter();
                found.problems.extend(rows.map(|row| unknown_user(row)));
                None
            }
        }
    }

    /// The groups that the cell names; `None` if one of the names is unusable, which freezes the memberships of the
    /// user.
    fn in_cell(
        &self,
        email: &Email,
        cell: Option<&GroupsCell>,
        found: &mut PlannedMemberships,
    ) -> Option<GroupRefs<'_>> {
        let Some(cell) = cell else {
            return Some(GroupRefs::default());
        };
        let names = cell.names.iter();
        let groups: Vec<_> = names
            .map(|name| self.resolve(name, email, &cell.location, found))
            .collect();
        groups.into_iter().collect()
    }

    /// The rows of `source.groups`, by group; `None` if one of the names is unusable, which freezes the memberships of
    /// the user: the row may state a membership that the cell does not.
    fn by_row<'r>(
        &self,
        email: &Email,
        rows: &[&'r MembershipRow],
        found: &mut PlannedMemberships,
    ) -> Option<RowsByGroup<'r>> {
        let groups = rows.iter().map(|row| {
            let group = self.resolve(&row.group, email, &row.location, found)?;
            Some((group.clone(), *row))
        });
        let groups: Vec<_> = groups.collect();
        let groups = groups.into_iter().collect::<Option<Vec<_>>>()?;
        let merged = merge_rows(groups.into_iter()).map(|(group, row)| {
            let row = row.map_err(|problem| found.problems.push(problem));
            (group, row.ok())
        });
        Some(merged.collect())
    }

    /// The group of a name; `None` if the name is unusable, with the problem if it has one of its own.
    fn resolve(
        &self,
        name: &GroupName,
        email: &Email,
        location: &Location,
        found: &mut PlannedMemberships,
    ) -> Option<&GroupRef> {
        let (message, remedy) = match self.names.get(name) {
            Some(Resolved::Group(group)) => return Some(group),
            Some(Resolved::TooMany) => return None,
            Some(Resolved::Unusable(message, remedy)) => (message.clone(), remedy.clone()),
            None => (
                format!("Omni has no group '{name}'"),
                "correct the name".into(),
            ),
        };
        let problem = problem(location, message, remedy).of(email);
        found.problems.push(problem);
        None
    }

    /// Whether a user is a member; `None` if Omni does not show the members. A user or a group to be created has no
    /// memberships.
    fn is_member(&self, user: Option<&Arc<ObservedUser>>, group: &GroupRef) -> Option<bool> {
        match (&group.id, user) {
            (Some(group), Some(user)) => self.observed.groups().has_member(group, &user.id),
            (None, _) | (_, None) => Some(false),
        }
    }

    fn is_stated(&self, email: &Email, group: &GroupRef) -> bool {
        let id = group.id.as_ref();
        id.is_some_and(|id| self.memory.groups.states(email, id))
    }

    /// The groups of a user whose rows are invalid or contradict each other; `None` if the row may be about any group.
    fn frozen_groups(&self, email: &Email) -> Option<GroupRefs<'_>> {
        let frozen = self.frozen.get(email).into_iter().flatten();
        let groups = frozen.map(|name| match self.names.get((*name)?)? {
            Resolved::Group(group) => Some(group),
            Resolved::Unusable(..) | Resolved::TooMany => None,
        });
        groups.collect()
    }

    /// The groups of which no member may leave without approval: they become managed with this roster, the first leaves
    /// were not approved yet, or they were renamed.
    fn first_contact(&self) -> FirstContact {
        let mut first_contact = FirstContact::default();
        for (id, (group, scope)) in &self.managed {
            let known = self.memory.groups.managed.get(id);
            let known = known.filter(|known| known.name == group.name);
            let list = match known {
                Some(known) if known.is_confirmed => continue,
                Some(_) if *scope == ManagedScope::Stated => &mut first_contact.by_cells,
                Some(_) | None => &mut first_contact.any,
            };
            list.insert(id.clone());
        }
        first_contact
    }

    /// Warnings about managed groups that were renamed, or recreated with the same name.
    fn renamed(&self) -> Vec<String> {
        let managed = self.managed.values();
        let warnings = managed.filter_map(|(group, _)| {
            let id = group.id.as_ref()?;
            let known = self.memory.groups.managed.get(id);
            if let Some(known) = known.filter(|known| known.name != group.name) {
                return Some(format!(
                    "the group {} is named {group} by now; leaves from it are held",
                    known.name
                ));
            }
            if known.is_some_and(|known| known.is_confirmed) {
                return None;
            }
            let mut before = self.memory.groups.managed.iter();
            let is_gone = |id: &GroupId| self.observed.groups().get(id).is_none();
            before
                .any(|(id, known)| known.name == group.name && is_gone(id))
                .then(|| format!("the group {group} was recreated; leaves from it are held"))
        });
        warnings.collect()
    }
}

/// The rows of one user by group; `None` if they contradict each other, which freezes the membership.
type RowsByGroup<'r> = BTreeMap<GroupRef, Option<&'r MembershipRow>>;

fn valid<'a, 'r>(
    by_row: &'a RowsByGroup<'r>,
) -> impl Iterator<Item = (&'a GroupRef, &'r MembershipRow)> {
    by_row
        .iter()
        .filter_map(|(group, row)| Some((group, (*row)?)))
}

/// What the rows of one user state.
type StatedByUser<'a> = BTreeMap<&'a Email, (Option<&'a GroupsCell>, Vec<&'a MembershipRow>)>;

fn by_user(desired: &Desired) -> StatedByUser<'_> {
    let stated = &desired.memberships;
    let mut users = StatedByUser::new();
    for (email, cell) in &stated.cells {
        users.entry(email).or_default().0 = Some(cell);
    }
    for row in &stated.rows {
        users.entry(&row.email).or_default().1.push(row);
    }
    users
}

fn frozen(desired: &Desired) -> HashMap<&Email, Vec<Option<&GroupName>>> {
    let mut by_user: HashMap<_, Vec<_>> = HashMap::new();
    for ChangeKey { subject, group, .. } in &desired.memberships.frozen {
        if let Some(email) = subject.email() {
            by_user.entry(email).or_default().push(group.as_ref());
        }
    }
    by_user
}

/// Why no user leaves a group in this run, as a sentence.
fn leaves_blocked(desired: &Desired, lost: &LostFiles) -> Option<String> {
    let file = desired.rejected.first().map(|problem| {
        format!(
            "A file of the roster could not be read ({}), so no user leaves a group.",
            problem.location
        )
    });
    let unreadable = || {
        let problem = desired.memberships.unreadable.as_ref()?;
        Some(format!(
            "source.groups could not be read ({}), so no user leaves a group.",
            problem.location
        ))
    };
    let unnamed = || {
        let unnamed = desired.memberships.unnamed;
        (unnamed > 0).then(|| {
            let rows = plural(unnamed, "row");
            format!(
                "{rows} of source.groups without a readable email may be about any user, so no user leaves a group."
            )
        })
    };
    let lost = || {
        let lost = lost.news()?;
        Some(format!("{lost}, so no user leaves a group in this run."))
    };
    file.or_else(unreadable).or_else(unnamed).or_else(lost)
}

/// The rows that take a user out of a group that the user's cell names.
fn contradictions(
    by_row: &RowsByGroup<'_>,
    in_cell: &GroupRefs<'_>,
    found: &mut PlannedMemberships,
) {
    for (group, row) in valid(by_row) {
        if row.change == MembershipChange::Leave && in_cell.contains(group) {
            found.problems.push(contradiction(row, &group.name));
        }
    }
}

/// The problem of a roster that names groups, if Omni does not show any.
fn unknown_groups(desired: &Desired, why: &GroupsUnknown) -> Option<Problem> {
    let stated = &desired.memberships;
    let cells = stated.cells.values().map(|cell| &cell.location);
    let first = cells
        .chain(stated.rows.iter().map(|row| &row.location))
        .next()?;
    Some(problem(
        first,
        format!("{why}, so no membership is changed"),
        why.remedy().into(),
    ))
}

fn unknown_user(row: &MembershipRow) -> Problem {
    let message = format!(
        "Omni has no user {}, and the roster does not create one",
        row.email
    );
    let remedy = "correct the email, or remove the row".into();
    problem(&row.location, message, remedy).of(&row.email)
}

fn unknown_members(group: &GroupRef, email: &Email, location: &Location) -> Problem {
    let message = format!("Omni does not show the members of the group '{group}'");
    problem(location, message, "ask Omni's support".into()).of(email)
}
