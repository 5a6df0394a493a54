//! One function per reading of groups. The user of the probe is the only one that is added to a group, and the group is
//! the probe's own.

use super::group::OwnGroup;
use super::steps::Answer;
use super::trial::Trial;
use super::user::FilterAnswer;
use crate::model::{GroupName, MembershipChange, ObservedGroup};
use crate::omni::{Available, MAX_MEMBERS, OmniError};
use crate::util::text::swap_ascii_case;
use reqwest::StatusCode;

/// How often a write is sent at most.
const MAX_ATTEMPTS: u32 = 3;

/// The numbers of members to try with one request. Even, so that the membership is the same after the request.
const NUMBERS: [usize; 3] = [MAX_MEMBERS, MAX_MEMBERS / 2, MAX_MEMBERS / 5];

const ADD: &str = "PATCH that adds the user to the group";
const ADD_AGAIN: &str = "PATCH that adds a member again";
const REMOVE: &str = "PATCH that removes a member";
const REMOVE_ABSENT: &str = "PATCH that removes a user that is not a member";
const MANY: &str = "PATCH that changes a member many times";
const FILTER: &str = "GET of the groups with a filter";
const READ: &str = "GET of the group";

/// `removes_absent_member`: a removal before the user is a member.
pub(super) async fn removes_absent_member(trial: &mut Trial<'_>) -> Result<(), OmniError> {
    let Some(group) = trial.group.clone() else {
        return Ok(());
    };
    let changes = [MembershipChange::Leave];
    trial.readings.removes_absent_member = accepts(trial, &group, &changes, REMOVE_ABSENT).await?;
    Ok(())
}

/// Adds the user to the group. Whether it is a member is read later.
pub(super) async fn join(trial: &mut Trial<'_>) -> Result<(), OmniError> {
    let Some(group) = trial.group.clone() else {
        return Ok(());
    };
    for attempt in 1..=MAX_ATTEMPTS {
        if !trial.affords(2, ADD) {
            return Ok(());
        }
        match send(trial, &group, &[MembershipChange::Join], ADD).await? {
            Answer::Accepted | Answer::Refused(_) => return Ok(()),
            Answer::Lost | Answer::Shows(_) | Answer::Skipped => {}
        }
        read_membership(trial, &group).await?;
        if is_member(trial) {
            return Ok(());
        }
        trial.writer.reader().back_off(attempt).await?;
    }
    Ok(())
}

/// `group_filter_ignores_case`. The group in the response also shows whether the user is a member.
pub(super) async fn filter_ignores_case(trial: &mut Trial<'_>) -> Result<(), OmniError> {
    let Some(group) = trial.group.clone() else {
        return Ok(());
    };
    if !trial.affords(2, FILTER) {
        return Ok(());
    }
    let swapped = GroupName::parse(&swap_ascii_case(group.name.as_str()));
    let swapped = swapped.unwrap_or_else(|_| group.name.clone());
    let mut found = find(trial, &swapped, &group).await?;
    let is_ignored = matches!(trial.filter, FilterAnswer::Ignored { .. });
    let ignores = match found {
        // There may be no other group.
        FilterResult::Own(_) => (!is_ignored).then_some(true),
        FilterResult::Nothing => {
            found = find(trial, &group.name, &group).await?;
            matches!(found, FilterResult::Own(_)).then_some(false)
        }
        FilterResult::Others(_) => None,
    };
    let answer = match ignores {
        Some(true) => "the group, in another letter case",
        Some(false) => "the group, in the same letter case only",
        None => "not the group",
    };
    trial.steps.add(FILTER, Answer::Shows(answer));
    trial.readings.group_filter_ignores_case = ignores;
    match found {
        FilterResult::Own(now) | FilterResult::Others(Some(now)) if now.members.is_some() => {
            note_membership(trial, &now, FILTER);
        }
        FilterResult::Own(_) | FilterResult::Nothing | FilterResult::Others(_) => {
            if trial.affords(1, READ) {
                read_membership(trial, &group).await?;
            }
        }
    }
    Ok(())
}

/// `adds_present_member`: the user is added again.
pub(super) async fn adds_present_member(trial: &mut Trial<'_>) -> Result<(), OmniError> {
    let Some(group) = trial.group.clone().filter(|group| group.is_member) else {
        return Ok(());
    };
    let changes = [MembershipChange::Join];
    trial.readings.adds_present_member = accepts(trial, &group, &changes, ADD_AGAIN).await?;
    Ok(())
}

/// `removes_by_any_id`, where the id of the user does not have the documented length.
pub(super) async fn removes_by_any_id(trial: &mut Trial<'_>) -> Result<(), OmniError> {
    let Some(group) = trial.group.clone().filter(|group| group.is_member) else {
        return Ok(());
    };
    if trial.user.id.has_documented_length() || !trial.affords(2, REMOVE) {
        return Ok(());
    }
    let works = match send(trial, &group, &[MembershipChange::Leave], REMOVE).await? {
        Answer::Refused(status) => is_about_member(status).then_some(false),
        Answer::Accepted => {
            read_membership(trial, &group).await?;
            Some(!is_member(trial))
        }
        Answer::Lost | Answer::Shows(_) | Answer::Skipped => {
            read_membership(trial, &group).await?;
            (!is_member(trial)).then_some(true)
        }
    };
    trial.readings.removes_by_any_id = works;
    if works != Some(true) {
        // The id was the cause, maybe.
        trial.readings.removes_absent_member = None;
    }
    Ok(())
}

/// `max_members_per_request`: the user is added and removed by turns in one request, because no other user may become a
/// member. The `last` requests are left for other readings. If Omni refuses the smallest number, that may have another
/// cause.
pub(super) async fn max_members_per_request(
    trial: &mut Trial<'_>,
    last: u64,
) -> Result<(), OmniError> {
    let can_remove =
        trial.user.id.has_documented_length() || trial.readings.removes_by_any_id == Some(true);
    let Some(group) = trial.group.clone().filter(|_| can_remove) else {
        return Ok(());
    };
    let first = match group.is_member {
        true => MembershipChange::Leave,
        false => MembershipChange::Join,
    };
    for number in NUMBERS {
        if !trial.affords(1 + last, MANY) {
            return Ok(());
        }
        let by_turns = [first, first.reverse()];
        let changes: Vec<_> = by_turns.into_iter().cycle().take(number).collect();
        match accepts(trial, &group, &changes, MANY).await? {
            Some(true) => {
                trial.readings.max_members_per_request = u32::try_from(number).ok();
                return Ok(());
            }
            Some(false) => {}
            None => return Ok(()),
        }
    }
    Ok(())
}

/// Sends changes of the user's membership after which it is as before, until Omni answers. Returns whether Omni accepts
/// them.
async fn accepts(
    trial: &mut Trial<'_>,
    group: &OwnGroup,
    changes: &[MembershipChange],
    name: &'static str,
) -> Result<Option<bool>, OmniError> {
    for attempt in 1..=MAX_ATTEMPTS {
        if !trial.affords(1, name) {
            return Ok(None);
        }
        match send(trial, group, changes, name).await? {
            Answer::Accepted => return Ok(Some(true)),
            Answer::Refused(status) => return Ok(is_about_member(status).then_some(false)),
            Answer::Lost | Answer::Shows(_) | Answer::Skipped => {}
        }
        trial.writer.reader().back_off(attempt).await?;
    }
    Ok(None)
}

/// Whether Omni refused what a request changes, and not the change of any group.
fn is_about_member(status: u16) -> bool {
    status != StatusCode::FORBIDDEN
}

async fn send(
    trial: &mut Trial<'_>,
    group: &OwnGroup,
    changes: &[MembershipChange],
    name: &'static str,
) -> Result<Answer, OmniError> {
    let (writer, user) = (trial.writer, &trial.user.id);
    let sent = writer
        .change_member_repeatedly(&group.id, user, changes)
        .await;
    trial.steps.wrote(name, sent)
}

/// What the filter finds.
enum FilterResult {
    /// The group of the probe alone.
    Own(ObservedGroup),
    Nothing,
    /// Other groups, maybe with that of the probe: the filter is ignored. Or the list is refused.
    Others(Option<ObservedGroup>),
}

async fn find(
    trial: &Trial<'_>,
    name: &GroupName,
    group: &OwnGroup,
) -> Result<FilterResult, OmniError> {
    Ok(match trial.writer.reader().groups_named(name).await? {
        Available::Known(groups) if groups.is_empty() => FilterResult::Nothing,
        Available::Known(groups) => {
            let are_others = groups.iter().any(|found| found.id != group.id);
            let own = groups.into_iter().find(|found| found.id == group.id);
            match own {
                Some(own) if !are_others => FilterResult::Own(own),
                own => FilterResult::Others(own),
            }
        }
        Available::Rejected(_) => FilterResult::Others(None),
    })
}

fn is_member(trial: &Trial<'_>) -> bool {
    trial.group.as_ref().is_some_and(|group| group.is_member)
}

async fn read_membership(trial: &mut Trial<'_>, group: &OwnGroup) -> Result<(), OmniError> {
    if let Some(now) = trial.writer.reader().group(&group.id).await? {
        note_membership(trial, &now, READ);
    }
    Ok(())
}

/// Takes in whether the user is a member, as a read shows.
fn note_membership(trial: &mut Trial<'_>, now: &ObservedGroup, read: &'static str) {
    let members = now.members.as_ref();
    let is_member = members.is_some_and(|members| members.contains(&trial.user.id));
    trial.steps.add(read, Answer::membership(is_member));
    if let Some(group) = &mut trial.group {
        group.is_member = is_member;
    }
}
