//! What happened in a scenario, for the invariants.

use crate::access::GroupsFile;
use crate::invariants::{is_of_user, whose};
use crate::memberships::members_of;
use crate::role_history::is_of_roles;
use crate::roles::{Catalogue, RolesFile, Scope};
use crate::roster::Roster;
use crate::scenario::Scenario;
use crate::support::World;
use omni_user_sync::model::{FieldChange, HeldChange, Operation, RunNumber};
use omni_user_sync::sandbox::{Changed, Org, Request};

/// One run, as the numbers of its requests.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// The roster, if the file was readable.
    pub(crate) roster: Option<Roster>,
    /// `source.groups`, if it is set.
    pub(crate) groups_file: Option<GroupsFile>,
    /// `source.roles`, if it is set.
    pub(crate) roles_file: Option<RolesFile>,
    pub(crate) number: Option<RunNumber>,
    pub(crate) is_dry: bool,
    /// Whether it came to a plan, if it came to its end.
    pub(crate) planned: bool,
}

/// A change that a person approved.
#[derive(Debug)]
pub(crate) struct Approved {
    /// Of the user, or of a group that gets a role; empty if it is to be created.
    pub(crate) id: String,
    pub(crate) operation: Operation,
    /// The id of the group of a membership; `None` for a group to be created.
    pub(crate) group: Option<String>,
    /// What is assigned.
    pub(crate) role: Option<(Scope, String)>,
    /// The schedules that a removal deletes, or the one that is transferred.
    pub(crate) schedules: Vec<String>,
    /// The first request that may have used it.
    pub(crate) before: u64,
}

impl Approved {
    /// `None` for a user to be created.
    pub(crate) fn of(change: &HeldChange, before: u64) -> Option<Self> {
        let user = change.user_id.as_ref().map(|id| id.as_str().to_owned());
        let group = change.group.as_ref().and_then(|group| group.id.as_ref());
        let group = group.map(|id| id.as_str().to_owned());
        let schedules = change.fields.iter().filter_map(FieldChange::schedule);
        let role = change.role.as_ref();
        let role = role.map(|role| (Scope::from(&role.scope.ids), role.to.as_str().to_owned()));
        Some(Self {
            id: match &role {
                Some(_) => user.or_else(|| group.clone()).unwrap_or_default(),
                None => user?,
            },
            operation: change.operation,
            group,
            role,
            schedules: schedules.map(|id| id.as_str().to_owned()).collect(),
            before,
        })
    }
}

/// Everything that happened, for the invariants.
pub(crate) struct Record<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) world: &'a World,
    pub(crate) catalogue: Catalogue,
    pub(crate) windows: Vec<Window>,
    pub(crate) approved: Vec<Approved>,
    /// The results of the runs after the last trouble.
    pub(crate) last_results: Vec<String>,
    pub(crate) wrong: Vec<String>,
    /// The numbers of the next requests whenever a process ended.
    pub(crate) restarts: Vec<u64>,
    /// The number of changes that made the organisation at the start.
    pub(crate) at_first: usize,
}

impl Record<'_> {
    /// The first request of the process that sent a request.
    pub(crate) fn started_before(&self, number: u64) -> u64 {
        let mut restarts = self.restarts.iter().rev();
        restarts.find(|next| **next <= number).copied().unwrap_or(0)
    }
}

/// Whether a change is about a schedule.
pub(crate) fn is_of_schedule(change: &Changed) -> bool {
    whose(change)["ownerId"].is_string()
}

/// The changes of users.
pub(crate) fn user_history(org: &Org) -> Vec<Changed> {
    let mut history = org.history();
    history.retain(is_of_user);
    history
}

/// The changes of users and groups, without those of their roles and schedules.
pub(crate) fn member_history(org: &Org) -> Vec<Changed> {
    let mut history = org.history();
    history.retain(|change| !is_of_roles(change) && !is_of_schedule(change));
    history
}

/// Totals over all scenarios.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    runs: usize,
    requests: usize,
    faults: usize,
    changes: usize,
    memberships: usize,
    roles: usize,
    transfers: usize,
    lost_schedules: usize,
    outside: usize,
    compared: usize,
    compared_groups: usize,
    compared_roles: usize,
    approved: usize,
}

impl Totals {
    pub(crate) fn of(record: &Record<'_>, compared: [usize; 3]) -> Self {
        let requests = record.world.org().requests();
        let history = record.world.org().history();
        let ours = history.iter().filter(|change| change.request.is_some());
        let (mut changes, mut memberships, mut roles, mut transfers) = (0, 0, 0, 0);
        for change in ours {
            changes += 1;
            if is_of_roles(change) {
                roles += usize::from(change.before != change.after);
            } else if is_of_schedule(change) {
                transfers += 1;
            } else if !is_of_user(change) {
                let [before, after] =
                    [&change.before, &change.after].map(|one| members_of(one.as_ref()));
                memberships += before.symmetric_difference(&after).count();
            }
        }
        let faults = requests.iter().filter(|request| request.fault.is_some());
        Self {
            runs: record.windows.len(),
            requests: requests.len(),
            faults: faults.count(),
            changes,
            memberships,
            roles,
            transfers,
            lost_schedules: record.world.org().lost_schedules().len(),
            outside: history.len() - changes - record.at_first,
            compared: compared[0],
            compared_groups: compared[1],
            compared_roles: compared[2],
            approved: record.approved.len(),
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.requests += other.requests;
        self.faults += other.faults;
        self.changes += other.changes;
        self.memberships += other.memberships;
        self.roles += other.roles;
        self.transfers += other.transfers;
        self.lost_schedules += other.lost_schedules;
        self.outside += other.outside;
        self.compared += other.compared;
        self.compared_groups += other.compared_groups;
        self.compared_roles += other.compared_roles;
        self.approved += other.approved;
    }
}

/// Prints each request.
pub(crate) fn show(record: &Record<'_>) {
    let history = record.world.org().history();
    for request in record.world.org().requests() {
        for window in record
            .windows
            .iter()
            .filter(|window| window.first == request.number)
        {
            println!("{window:?}");
        }
        let Request {
            number,
            at_ms,
            key,
            method,
            path,
            query,
            status,
            body,
            fault,
            ..
        } = &request;
        let changed = history.iter().any(|change| change.request == Some(*number));
        let body = body.as_ref().map(ToString::to_string).unwrap_or_default();
        println!(
            "  {number} {at_ms} {key:?} {method} {path}?{query} {body} -> {status} {} {}",
            fault.as_deref().unwrap_or_default(),
            if changed { "(changed)" } else { "" }
        );
    }
    println!("{:?}", record.last_results);
}
