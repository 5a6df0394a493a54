//! One function per reading of users. Those of groups are in [`group_readings`].

use super::group_readings;
use super::sample::Samples;
use super::steps::Answer;
use super::trial::Trial;
use super::user::{FilterAnswer, first_page, max_page, newest_users};
use super::write::{Write, Written};
use crate::model::{ClearForm, PatchForm};
use crate::omni::{Lookup, OmniError, UserListPage, swap_case};

/// The requests of `put_replaces`, beside the one that sets a value.
const PUT: u64 = 2;
/// The requests of `inactive_revokes`.
const INACTIVE: u64 = 4;

/// Tries every reading. What was learned before an error is kept.
pub(super) async fn learn(trial: &mut Trial<'_>) -> Result<(), OmniError> {
    let mut clears = patch_forms_and_clears(trial).await?;
    group_readings::removes_absent_member(trial).await?;
    group_readings::join(trial).await?;
    group_readings::filter_ignores_case(trial).await?;
    group_readings::adds_present_member(trial).await?;
    lists(trial).await?;
    let last = filter_requests(trial) + INACTIVE;
    while !clears.is_empty() {
        clears_by(trial, &mut clears, PUT + last).await?;
    }
    put_replaces(trial).await?;
    group_readings::removes_by_any_id(trial).await?;
    group_readings::max_members_per_request(trial, last).await?;
    filter_ignores_case(trial).await?;
    inactive_revokes(trial).await
}

/// The forms of `PATCH` and the clears, in the order that takes the fewest requests: values that were set are then
/// cleared. Returns the forms of clearing that were not tried.
async fn patch_forms_and_clears(trial: &mut Trial<'_>) -> Result<Vec<ClearForm>, OmniError> {
    let mut clears = ClearForm::ALL.to_vec();
    let samples = trial.samples.as_ref().map_or(0, Samples::len);
    // One attribute shows whether the values were set.
    let at_once = samples.saturating_sub(1);
    let at_first = at_once.min(clears.len() - 1);
    match at_first + at_once < clears.len() {
        true => {
            patch_form(trial, PatchForm::NoPath, &mut clears, 0).await?;
            if trial.valued().is_some() {
                clears_by(trial, &mut clears, 0).await?;
            }
        }
        false => patch_form(trial, PatchForm::NoPath, &mut clears, at_first).await?,
    }
    patch_form(trial, PatchForm::Path, &mut clears, at_once).await?;
    let forms = trial.readings.patch_forms.as_ref();
    let is_refused = forms.is_some_and(Vec::is_empty);
    // One of the attributes may be the cause.
    if let Some(samples) = &mut trial.samples
        && is_refused
        && samples.keep_first()
    {
        trial.readings.patch_forms = None;
        trial.tried.patch_forms = 0;
        patch_form(trial, PatchForm::NoPath, &mut clears, 0).await?;
        patch_form(trial, PatchForm::Path, &mut clears, 0).await?;
    }
    Ok(clears)
}

/// `patch_forms`, and `last_modified_moves`. The same read shows the effect of some clears, if the form works.
async fn patch_form(
    trial: &mut Trial<'_>,
    form: PatchForm,
    clears: &mut Vec<ClearForm>,
    at_once: usize,
) -> Result<(), OmniError> {
    let Some(value) = trial.next_value() else {
        return Ok(());
    };
    let set = Write::Set(form, value);
    let at_once = at_once.min(clears.len());
    if !trial.affords(2 + at_once as u64, set.name()) {
        return Ok(());
    }
    trial.pass_time().await;
    let before = trial.user.clone();
    let cleared: Vec<_> = clears.iter().copied().take(at_once).collect();
    let patch = trial.patch_form().unwrap_or(form);
    let writes = cleared.iter().enumerate();
    let writes = writes.map(|(at, clear)| Write::Clear(*clear, patch, at));
    let writes: Vec<_> = [set].into_iter().chain(writes).collect();
    let written = trial.try_writes(&writes).await?;
    let Some(works) = written.first().and_then(|set| set.has_effect()) else {
        return Ok(());
    };
    if works {
        trial.compare_times(&before);
        clears.drain(..at_once);
        note_clears(trial, &cleared, &written[1..]);
    }
    trial.tried.patch_forms += 1;
    let forms = trial.readings.patch_forms.get_or_insert_default();
    forms.extend(works.then_some(form));
    Ok(())
}

/// `clears_by`: as many of these forms at once as attributes have a value. Those that were tried are taken out, all of
/// them if no attribute can be set, or if fewer than the `last` requests would be left for other readings.
async fn clears_by(
    trial: &mut Trial<'_>,
    forms: &mut Vec<ClearForm>,
    last: u64,
) -> Result<(), OmniError> {
    let samples = trial.samples.as_ref();
    let valued = samples.map_or(0, |samples| samples.with_value().count());
    // If there are none, all are set first.
    let clearable = match valued {
        0 => samples.map_or(0, Samples::len),
        valued => valued,
    };
    let writes = forms.len().min(clearable);
    let sets = u64::from(valued == 0) + u64::from(writes == clearable);
    let name = "PATCH that clears an attribute";
    let affords = |trial: &mut Trial<'_>| trial.affords(writes as u64 + 1 + sets + last, name);
    if clearable == 0 || !affords(trial) || !trial.ensure_value().await? {
        forms.clear();
        return Ok(());
    }
    let valued = trial
        .samples
        .iter()
        .flat_map(|samples| samples.with_value());
    let valued: Vec<_> = valued.map(|(at, ..)| at).collect();
    let tried: Vec<_> = forms.drain(..forms.len().min(valued.len())).collect();
    let patch = trial.patch_form().unwrap_or(PatchForm::NoPath);
    let writes = tried.iter().zip(valued);
    let writes: Vec<_> = writes
        .map(|(form, at)| Write::Clear(*form, patch, at))
        .collect();
    let written = trial.try_writes(&writes).await?;
    note_clears(trial, &tried, &written);
    Ok(())
}

fn note_clears(trial: &mut Trial<'_>, forms: &[ClearForm], written: &[Written]) {
    for (form, written) in forms.iter().zip(written) {
        let Some(clears) = written.has_effect() else {
            continue;
        };
        trial.tried.clears += 1;
        let forms = trial.readings.clears_by.get_or_insert_default();
        forms.extend(clears.then_some(*form));
    }
}

/// `max_page`, `lists_carry_attributes` and `lists_carry_groups`.
async fn lists(trial: &mut Trial<'_>) -> Result<(), OmniError> {
    if !trial.affords(3, LIST) {
        return Ok(());
    }
    trial.ensure_value().await?;
    let reader = trial.writer.reader().with_groups(true);
    let total = match trial.filter {
        FilterAnswer::Ignored { max_page, total } => {
            trial.readings.max_page = max_page;
            total + 1
        }
        FilterAnswer::Empty | FilterAnswer::EmptyBesideOthers => {
            let page = first_page(&reader).await?;
            trial.readings.max_page = max_page(&page);
            if page.total > 1 {
                trial.filter = FilterAnswer::EmptyBesideOthers;
            }
            listed(trial, &page);
            page.total
        }
    };
    if !trial.is_listed {
        let page = newest_users(&reader, total).await?;
        listed(trial, &page);
    }
    Ok(())
}

/// What a page shows of the user.
fn listed(trial: &mut Trial<'_>, page: &UserListPage) {
    let Some(user) = page.users.iter().find(|user| user.id == trial.user.id) else {
        return;
    };
    trial.is_listed = true;
    if let Some((name, value)) = trial.valued() {
        let carries = trial.shows(user, name, value);
        trial.steps.add(LIST, Answer::attribute(carries));
        trial.readings.lists_carry_attributes = Some(carries);
    }
    if let Some(group) = trial.group.as_ref().filter(|group| group.is_member) {
        let carries = page.has_member(&group.id, &user.id);
        trial.steps.add(LIST, Answer::membership(carries));
        trial.readings.lists_carry_groups = Some(carries);
    }
}

/// The requests of `filter_ignores_case`. If a list has shown the user, so would a filter that ignores case.
fn filter_requests(trial: &Trial<'_>) -> u64 {
    match trial.filter {
        FilterAnswer::EmptyBesideOthers => 1 + u64::from(!trial.is_listed),
        FilterAnswer::Empty | FilterAnswer::Ignored { .. } => 0,
    }
}

/// `filter_ignores_case`. A filter that Omni ignores says nothing.
async fn filter_ignores_case(trial: &mut Trial<'_>) -> Result<(), OmniError> {
    let Some(swapped) = swap_case(&trial.user.email) else {
        return Ok(());
    };
    let requests = filter_requests(trial);
    if trial.filter != FilterAnswer::EmptyBesideOthers || !trial.affords(requests, FILTER) {
        return Ok(());
    }
    let reader = trial.writer.reader();
    let finds = |lookup: Lookup| match lookup {
        Lookup::One(user) => Some(user.id == trial.user.id),
        Lookup::NotFound => Some(false),
        Lookup::Several(_) | Lookup::Unreliable => None,
    };
    let ignores = match finds(reader.find(&swapped).await?) {
        Some(false) if !trial.is_listed => match finds(reader.find(&trial.user.email).await?) {
            Some(true) => Some(false),
            _ => None,
        },
        other => other,
    };
    let answer = match ignores {
        Some(true) => "the user, in another letter case",
        Some(false) => "the user, in the same letter case only",
        None => "not the user",
    };
    trial.steps.add(FILTER, Answer::Shows(answer));
    trial.readings.filter_ignores_case = ignores;
    Ok(())
}

/// `put_replaces`: a `PUT` without attributes.
async fn put_replaces(trial: &mut Trial<'_>) -> Result<(), OmniError> {
    let put = Write::PutNames;
    if trial.samples.is_none()
        || !trial.affords(PUT + 1, put.name())
        || !trial.ensure_value().await?
    {
        return Ok(());
    }
    if let Written::Settled(replaces) = trial.try_write(&put).await? {
        trial.readings.put_replaces = Some(replaces);
    }
    Ok(())
}

/// `inactive_revokes`: whether `active: false` can be reversed. The last reading, because the user may be gone after
/// it.
async fn inactive_revokes(trial: &mut Trial<'_>) -> Result<(), OmniError> {
    if !trial.affords(INACTIVE, "PATCH of active") {
        return Ok(());
    }
    if trial.try_write(&Write::Active(false)).await? != Written::Settled(true) {
        return Ok(());
    }
    trial.readings.inactive_revokes = match trial.active {
        None => Some(true),
        Some(_) => {
            let is_reversed = trial.try_write(&Write::Active(true)).await?.has_effect();
            // By Omni's documents a person is a new user after that, with a new id.
            trial.may_be_recreated = trial.active.is_none();
            is_reversed.map(|reversed| !reversed || trial.active.is_none())
        }
    };
    Ok(())
}

const LIST: &str = "GET of the list";
const FILTER: &str = "GET of the list with a filter";
