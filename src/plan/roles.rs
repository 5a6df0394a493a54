//! Roles: compares the direct roles that `source.roles` states with those in Omni.
//!
//! - A role is assigned or overwritten, and never deleted. So a row that is gone changes nothing, which is reported
//!   once.
//! - A role whose present value Omni has not shown yet is not assigned, since the assignment may lower it.
//! - Users that are frozen, ambiguous, unread or leaving are left unchanged.

use super::Plan;
use super::name_index::NameIndex;
use super::new_names::FormerNames;
use super::not_found::nearest_email;
use super::role_names::{find_group, problem};
use super::role_scopes::{RoleCatalogue, ScopedRole};
use super::user_changes::UserChanges;
use crate::model::{
    Action, Assignment, AssignmentHolder, Change, Desired, DesiredRole, DesiredRoles, Email,
    GroupName, GroupRef, Memory, NamedScope, Observed, ObservedGroup, Policy, Problem, RoleBases,
    RoleChange, RoleColumn, RoleName, RoleOrigin, RoleScope, RoleUpdate, StandardRole, StatedRole,
    Subject, UserMatch,
};
use crate::roster::{Issue, did_you_mean};
use crate::util::text::{is_within_edits, plural_are};
use std::cell::{Cell, OnceCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The maximum number of listed lints.
const MAX_LINTS: usize = 20;
/// A custom role with a name this near to a standard one is probably misspelt.
const MAX_ROLE_EDITS: usize = 2;
/// The maximum number of unknown emails whose nearest user is searched.
const MAX_COMPARED: usize = 100;

/// Plans the roles. The changes of users and memberships must be planned already.
pub(super) fn plan(
    desired: &Desired,
    observed: &Observed,
    memory: &Memory,
    policy: &Policy,
    plan: &mut Plan,
) {
    let Some(stated) = &desired.roles else {
        return;
    };
    let scopes = match &observed.roles().scopes {
        Ok(scopes) => scopes,
        Err(_) if stated.rows.is_empty() => return,
        Err(why) => {
            let issue = Issue::new(format!("{why}, so no role is assigned"), why.remedy());
            let first = stated.rows.first();
            let problem = first.map(|row| problem(stated, row, RoleColumn::Connection, issue));
            plan.problems.extend(problem);
            plan.undecided.add_roles(&stated.rows);
            return;
        }
    };
    let catalogue = RoleCatalogue::new(scopes);
    let resolved = catalogue.resolve(stated);
    let planner = RolePlanner {
        stated,
        observed,
        users: UserChanges::new(plan, desired, memory, policy),
        groups: NameIndex::of_groups(observed.groups()),
        former: FormerNames::new(&memory.groups, observed.groups()),
        new_groups: new_groups(plan),
        catalogue,
        bases: observed.roles().bases(),
        emails: OnceCell::new(),
        compared: Cell::new(0),
    };
    let mut found = PlannedRoles {
        problems: resolved.problems,
        ..PlannedRoles::default()
    };
    let lines: HashSet<_> = resolved
        .roles
        .iter()
        .map(|role| role.row.location.line)
        .collect();
    let unresolved = stated.rows.iter();
    let unresolved = unresolved.filter(|row| !lines.contains(&row.location.line));
    plan.undecided.add_roles(unresolved);
    for role in &resolved.roles {
        planner.compare(role, &mut found);
    }
    let is_whole = desired.is_source && !observed.is_of_one() && stated.rejected.is_empty();
    let is_complete = is_whole && stated.bad_rows.is_empty() && found.problems.is_empty();
    let (update, gone) = planner.stated(&resolved.roles, memory, is_complete);
    plan.roles = update;
    plan.changes.extend(found.changes);
    let undecided = found.undecided.iter().chain(&found.unread);
    undecided.for_each(|subject| plan.undecided.add_role(subject));
    plan.unread_roles = found.unread.into_iter().collect();
    plan.problems.extend(found.problems);
    let lints = resolved.lints.iter().map(ToString::to_string);
    plan.warnings.extend(lints);
    plan.warnings.extend(listed(found.lints));
    plan.warnings.extend(gone);
}

/// The planned assignments.
#[derive(Default)]
struct PlannedRoles {
    changes: Vec<Change>,
    problems: Vec<Problem>,
    lints: Vec<Problem>,
    /// Users and groups whose present roles are not known yet.
    unread: BTreeSet<Subject>,
    /// Users and groups whose roles can't be compared because of a problem.
    undecided: Vec<Subject>,
}

impl PlannedRoles {
    /// Adds a row that can't be compared, because of this problem.
    fn undecided(&mut self, row: &DesiredRole, problem: Problem) {
        self.undecided.push(row.subject.clone());
        self.problems.push(problem);
    }
}

struct RolePlanner<'a> {
    stated: &'a DesiredRoles,
    observed: &'a Observed,
    users: UserChanges<'a>,
    groups: NameIndex<&'a ObservedGroup>,
    former: FormerNames,
    /// Groups that this plan creates, by folded name.
    new_groups: HashMap<String, GroupRef>,
    catalogue: RoleCatalogue,
    bases: RoleBases,
    /// The emails of all known users, once they were needed.
    emails: OnceCell<Vec<Email>>,
    /// The number of emails that were compared with them.
    compared: Cell<usize>,
}

impl RolePlanner<'_> {
    /// Plans the role of one row.
    fn compare(&self, role: &ScopedRole, found: &mut PlannedRoles) {
        let ScopedRole { row, scope } = role;
        let holder = match self.holder(row) {
            Ok(Some(holder)) => holder,
            Ok(None) => return,
            Err(problem) => return found.undecided(row, problem),
        };
        let id = holder.id();
        let roles = self.observed.roles();
        if let Some(why) = id.as_ref().and_then(|id| roles.why_refused(id, scope)) {
            let issue = Issue::new(
                format!("the roles of {} can't be read: {why}", row.subject),
                why.remedy(),
            );
            let problem = problem(self.stated, row, RoleColumn::Subject, issue);
            return found.undecided(row, problem);
        }
        let present = match &id {
            None => Some(None),
            Some(id) => roles.direct(id, scope),
        };
        let Some(from) = present else {
            found.unread.insert(row.subject.clone());
            return;
        };
        found.lints.extend(self.misspelt(row));
        let outranking = roles.outranking(id.as_ref(), scope, &row.role, &self.bases);
        if let Some((role, origin)) = outranking {
            found.lints.push(self.outranked(row, scope, &role, &origin));
        }
        if from == Some(&row.role) {
            return;
        }
        if id
            .as_ref()
            .is_some_and(|id| roles.outdated.contains(id) && !scope.is_hidden_of(id))
        {
            found.unread.insert(row.subject.clone());
            return;
        }
        let (from, to) = (from.cloned(), row.role.clone());
        let role = RoleChange::new(self.named(scope), from, to, &self.bases);
        found.changes.push(Change {
            subject: match &holder {
                AssignmentHolder::User(_) => row.subject.clone(),
                AssignmentHolder::Group(group) => Subject::Group(group.name.clone()),
            },
            action: Action::Role(Assignment { holder, role }),
            location: Some(row.location.clone()),
        });
    }

    /// The user or group of a row; `None` if it is left unchanged.
    fn holder(&self, row: &DesiredRole) -> Result<Option<AssignmentHolder>, Problem> {
        match &row.subject {
            Subject::User(email) => self.user(row, email),
            Subject::Group(name) => self.group(row, name).map(Some),
        }
    }

    fn user(&self, row: &DesiredRole, email: &Email) -> Result<Option<AssignmentHolder>, Problem> {
        if let Some(doubt) = row
            .doubt
            .clone()
            .filter(|_| !self.observed.has_exactly(email))
        {
            return Err(doubt);
        }
        if !self.users.may_be_compared(email) {
            return Ok(None);
        }
        match self.observed.get(email) {
            Some(UserMatch::One(user)) if self.users.is_removed(email, user) => Ok(None),
            Some(UserMatch::One(user)) => Ok(Some(AssignmentHolder::User(Some(user.clone())))),
            Some(UserMatch::Several(count)) => {
                let issue = Issue::new(
                    format!("{count} users in Omni have the email {email}"),
                    "remove the others in Omni; until then the role is not assigned",
                );
                Err(problem(self.stated, row, RoleColumn::Subject, issue))
            }
            None if self.users.created.contains(email) => Ok(Some(AssignmentHolder::User(None))),
            None => {
                let near = self.near(email);
                let near = did_you_mean(near.as_ref().map(Email::as_str));
                let issue = Issue::new(
                    format!("Omni has no user {email}{near}, and the roster does not create one"),
                    "correct the email, or remove the row",
                );
                Err(problem(self.stated, row, RoleColumn::Subject, issue))
            }
        }
    }

    fn named(&self, scope: &RoleScope) -> NamedScope {
        let (connection, model) = self.catalogue.names(scope);
        NamedScope {
            connection,
            model,
            ids: scope.clone(),
        }
    }

    /// The email of a user that is probably meant. Only the first rows are compared.
    fn near(&self, email: &Email) -> Option<Email> {
        let compared = self.compared.get();
        self.compared.set(compared + 1);
        let known = || -> Vec<_> {
            let users = self.observed.users();
            users.map(|user| user.email.clone()).collect()
        };
        (compared < MAX_COMPARED)
            .then(|| nearest_email(email, self.emails.get_or_init(known)))
            .flatten()
    }

    fn group(&self, row: &DesiredRole, name: &GroupName) -> Result<AssignmentHolder, Problem> {
        let groups = self.observed.groups();
        let at_subject = |issue| problem(self.stated, row, RoleColumn::Subject, issue);
        if let Some(why) = groups.why_unknown() {
            let message = format!("{why}, so no role of a group is assigned");
            return Err(at_subject(Issue::new(message, why.remedy())));
        }
        let found = find_group(&self.groups, name, &self.former).or_else(|issue| {
            let new = self.new_groups.get(&Subject::Group(name.clone()).folded());
            new.cloned().ok_or_else(|| at_subject(issue))
        });
        found.map(AssignmentHolder::Group)
    }

    /// A lint on a custom role that Omni has not shown and that resembles a standard one.
    fn misspelt(&self, row: &DesiredRole) -> Option<Problem> {
        let RoleName::Custom(name) = &row.role else {
            return None;
        };
        let mut standard = StandardRole::ALL.iter().map(|role| role.as_str());
        let near = standard.find(|role| is_within_edits(name, role, MAX_ROLE_EDITS))?;
        self.bases.rank(&row.role).is_none().then(|| {
            let message = format!("no user or group is known to have the role {}", row.role);
            let issue = Issue::new(message, format!("did you mean {near}?"));
            problem(self.stated, row, RoleColumn::Role, issue)
        })
    }

    /// A lint on a role that another source outranks.
    fn outranked(
        &self,
        row: &DesiredRole,
        scope: &RoleScope,
        other: &RoleName,
        origin: &RoleOrigin,
    ) -> Problem {
        // Only other sources outrank a direct role.
        let source = origin.source().unwrap_or_default();
        let (subject, scope, role) = (&row.subject, self.named(scope), &row.role);
        let (message, remedy) = match row.role.standard() {
            Some(StandardRole::NoAccess) => (
                format!("{role} of {subject} on {scope} revokes nothing: {source} grants {other}"),
                "take that role away at its source if no access is meant",
            ),
            _ => (
                format!("{role} of {subject} on {scope} has no effect: {source} grants {other}"),
                "remove the row, or lower the other role",
            ),
        };
        problem(
            self.stated,
            row,
            RoleColumn::Role,
            Issue::new(message, remedy),
        )
    }

    /// Updates to the records of rows, and a warning about rows that are gone.
    fn stated(
        &self,
        roles: &[ScopedRole],
        memory: &Memory,
        is_complete: bool,
    ) -> (RoleUpdate, Option<String>) {
        let key = |role: &StatedRole| (role.subject.folded(), role.scope.clone());
        let now: BTreeMap<_, _> = roles
            .iter()
            .map(|role| StatedRole {
                subject: role.row.subject.clone(),
                scope: role.scope.clone(),
            })
            .map(|role| (key(&role), role))
            .collect();
        let before: HashSet<_> = memory.stated_roles.iter().map(key).collect();
        let mut gone: Vec<_> = memory.stated_roles.iter().cloned().collect();
        gone.retain(|role| is_complete && !now.contains_key(&key(role)));
        gone.sort();
        let new = now.iter().filter(|(key, _)| !before.contains(*key));
        let update = RoleUpdate {
            stated: new.map(|(_, role)| role.clone()).collect(),
            not_stated: gone.clone(),
            ..RoleUpdate::default()
        };
        let named = |role: &StatedRole| format!("{} on {}", role.subject, self.named(&role.scope));
        let shown: Vec<_> = gone.iter().take(MAX_LINTS).map(named).collect();
        let more = match gone.len().saturating_sub(MAX_LINTS) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let warning = (!gone.is_empty()).then(|| {
            format!(
                "{} gone from source.roles; Omni can't delete a role, so nothing changes (to take access away, \
                 state a lower role or NO_ACCESS): {}{more}",
                plural_are(gone.len(), "role"),
                shown.join(", ")
            )
        });
        (update, warning)
    }
}

/// The groups that a plan creates, because users join them.
fn new_groups(plan: &Plan) -> HashMap<String, GroupRef> {
    let groups = plan.changes.iter().filter_map(Change::membership);
    let new = groups
        .map(|one| &one.group)
        .filter(|group| group.id.is_none());
    new.map(|group| {
        let folded = Subject::Group(group.name.clone()).folded();
        (folded, group.clone())
    })
    .collect()
}

/// The first lints, and the number of the others.
fn listed(mut lints: Vec<Problem>) -> Vec<String> {
    lints.sort_by(Problem::in_order);
    let more = lints.len().saturating_sub(MAX_LINTS);
    let mut texts: Vec<_> = lints
        .iter()
        .take(MAX_LINTS)
        .map(ToString::to_string)
        .collect();
    if more > 0 {
        texts.push(format!("{more} more lints of source.roles"));
    }
    texts
}
