//! Users whose rows have a day of leaving: what these rows state today.
//!
//! Before that day a row upserts its user. From that day on it removes the user, once a second run agrees, at least an
//! hour later by the clock of recorded runs: the wall clock of one run may be wrong.

use crate::model::{
    Desired, DesiredUser, DueUpdate, Email, Entry, LeaveState, Leaver, Memory, Operation,
};
use chrono::{Days, NaiveDate, TimeDelta};

/// The minimum time between the run that first records that a day has come, and the run that removes the user.
const AGREES_AFTER: TimeDelta = TimeDelta::hours(1);
/// Users who leave within this time are listed.
const LISTED: Days = Days::new(14);

/// Decides what the rows with a day of leaving state today. A row whose user is removed keeps no day, and one whose day
/// has not come becomes an upsert; a row that keeps its day changes nothing.
pub fn settle_leavers(desired: &mut Desired, memory: &Memory) {
    for (email, entry) in &mut desired.users {
        let Some(leaver) = settle(email, entry, memory) else {
            continue;
        };
        if leaver.state != LeaveState::Upcoming {
            desired.memberships.cells.swap_remove(email);
        }
        desired.leavers.insert(email.clone(), leaver);
    }
}

fn settle(email: &Email, entry: &mut Entry, memory: &Memory) -> Option<Leaver> {
    let (operation, leaving) = match &mut entry.want {
        DesiredUser::Upsert(_) => return None,
        DesiredUser::Delete(leaving) => (Operation::Delete, leaving),
        DesiredUser::Deactivate(leaving) => (Operation::Deactivate, leaving),
    };
    let on = leaving.on.take()?;
    let date = on.date;
    let state = state(email, date, memory);
    match state {
        LeaveState::Upcoming => entry.want = DesiredUser::Upsert(on.until),
        LeaveState::Waiting => leaving.on = Some(on),
        LeaveState::Due => {}
    }
    Some(Leaver {
        email: email.clone(),
        date,
        operation,
        state,
    })
}

fn state(email: &Email, date: NaiveDate, memory: &Memory) -> LeaveState {
    let due = memory.due.get(email).filter(|due| due.date == date);
    let is_agreed = due.is_some_and(|due| memory.run_time.since(due.since) >= AGREES_AFTER);
    if memory.today < date {
        LeaveState::Upcoming
    } else if is_agreed && memory.clock_step.is_none() {
        LeaveState::Due
    } else {
        LeaveState::Waiting
    }
}

/// What an accepted roster does to the records of users whose day has come. A run whose clock is far from the last
/// run's records none.
#[must_use]
pub fn due_update(desired: &Desired, memory: &Memory) -> DueUpdate {
    let come = |leaver: &&Leaver| leaver.state != LeaveState::Upcoming;
    let is_known = |leaver: &&Leaver| {
        let known = memory.due.get(&leaver.email);
        known.is_some_and(|due| due.date == leaver.date)
    };
    let found = desired.leavers.values().filter(come);
    let found = found.filter(|leaver| memory.clock_step.is_none() && !is_known(leaver));
    let is_over = |email: &&Email| {
        let leaver = desired.leavers.get(*email).filter(come);
        !leaver.is_some_and(|leaver| is_known(&leaver))
    };
    DueUpdate {
        found: found
            .map(|leaver| (leaver.email.clone(), leaver.date))
            .collect(),
        over: memory.due.keys().filter(is_over).cloned().collect(),
    }
}

/// The users who leave within two weeks and those who wait for a second run, by day. `waiting` is sorted.
pub(super) fn listed(desired: &Desired, waiting: &[Email], memory: &Memory) -> Vec<Leaver> {
    let last = memory.today.checked_add_days(LISTED);
    let is_listed = |leaver: &&Leaver| match leaver.state {
        LeaveState::Upcoming => last.is_none_or(|last| leaver.date <= last),
        LeaveState::Waiting => waiting.binary_search(&leaver.email).is_ok(),
        LeaveState::Due => false,
    };
    let mut listed: Vec<_> = desired
        .leavers
        .values()
        .filter(is_listed)
        .cloned()
        .collect();
    listed.sort_by(|a, b| (a.date, &a.email).cmp(&(b.date, &b.email)));
    listed
}

/// Why no later run removes the users who wait for one, as far as this run shows.
pub(super) fn warning(waiting: &[Email], is_source: bool, memory: &Memory) -> Option<&'static str> {
    if waiting.is_empty() {
        None
    } else if !is_source {
        Some(
            "leave_on: only runs over the roster of source.path count as the first run that finds a user due to leave",
        )
    } else if memory.clock_step.is_some() {
        Some(
            "leave_on: the clock of this run may be wrong, so it removes no user whose day has come",
        )
    } else {
        None
    }
}
