//! What happened in a scenario, for the invariants.

use crate::access::GroupsFile;
use crate::invariants::is_of_user;
use crate::memberships::members_of;
use crate::roster::Roster;
use crate::scenario::Scenario;
use crate::support::World;
use omni_user_sync::model::{Operation, RunNumber};
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
    pub(crate) number: Option<RunNumber>,
    pub(crate) is_dry: bool,
    /// Whether it came to a plan, if it came to its end.
    pub(crate) planned: bool,
}

/// A change that a person approved.
#[derive(Debug)]
pub(crate) struct Approved {
    pub(crate) id: String,
    pub(crate) operation: Operation,
    /// The id of the group of a membership; `None` for a group to be created.
    pub(crate) group: Option<String>,
    /// The first request that may have used it.
    pub(crate) before: u64,
}

/// Everything that happened, for the invariants.
pub(crate) struct Record<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) world: &'a World,
    pub(crate) windows: Vec<Window>,
    pub(crate) approved: Vec<Approved>,
    /// The results of the runs after the last trouble.
    pub(crate) last_results: Vec<String>,
    pub(crate) wrong: Vec<String>,
    /// The number of changes that made the organisation at the start.
    pub(crate) at_first: usize,
}

/// The changes of users.
pub(crate) fn user_history(org: &Org) -> Vec<Changed> {
    let mut history = org.history();
    history.retain(is_of_user);
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
    outside: usize,
    compared: usize,
    compared_groups: usize,
    approved: usize,
}

impl Totals {
    pub(crate) fn of(record: &Record<'_>, (compared, compared_groups): (usize, usize)) -> Self {
        let requests = record.world.org().requests();
        let history = record.world.org().history();
        let ours = history.iter().filter(|change| change.request.is_some());
        let (mut changes, mut memberships) = (0, 0);
        for change in ours {
            changes += 1;
            if !is_of_user(change) {
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
            outside: history.len() - changes - record.at_first,
            compared,
            compared_groups,
            approved: record.approved.len(),
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.requests += other.requests;
        self.faults += other.faults;
        self.changes += other.changes;
        self.memberships += other.memberships;
        self.outside += other.outside;
        self.compared += other.compared;
        self.compared_groups += other.compared_groups;
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
