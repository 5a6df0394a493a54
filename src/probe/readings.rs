//! One function per reading.

use super::steps::Answer;
use super::trial::{Trial, write_name};
use super::user::{FilterAnswer, PAGE, max_page, newest_users};
use crate::model::{ClearForm, ObservedUser, PatchForm};
use crate::omni::{Lookup, OmniError, swap_case};

/// Tries every reading. What was learned before an error is kept.
pub(super) async fn learn(trial: &mut Trial<'_>) -> Result<(), OmniError> {
    patch_forms_and_clears(trial).await?;
    lists(trial).await?;
    put_replaces(trial).await?;
    filter_ignores_case(trial).await?;
    inactive_revokes(trial).await
}

/// The forms of `PATCH` and the clears, in the order that takes the fewest requests: a value that was set is then
/// cleared.
async fn patch_forms_and_clears(trial: &mut Trial<'_>) -> Result<(), OmniError> {
    if trial.sample.is_none() {
        return Ok(());
    }
    patch_form(trial, PatchForm::NoPath).await?;
    if trial.value.is_some() {
        clears_by(trial, ClearForm::Null).await?;
        patch_form(trial, PatchForm::Path).await?;
    } else {
        patch_form(trial, PatchForm::Path).await?;
        clears_by(trial, ClearForm::Null).await?;
    }
    clears_by(trial, ClearForm::Empty).await?;
    clears_by(trial, ClearForm::Remove).await
}

/// `patch_forms`, and `last_modified_moves`.
async fn patch_form(trial: &mut Trial<'_>, form: PatchForm) -> Result<(), OmniError> {
    if !trial.affords(2, write_name(form)) {
        return Ok(());
    }
    trial.pass_time().await;
    let Some((value, result)) = trial.send_value(form).await else {
        return Ok(());
    };
    let before = trial.user.clone();
    let works = trial.steps.wrote(write_name(form), result)? && {
        trial.read().await?;
        trial.shows(&trial.user, &value)
    };
    trial.steps.add(READ, Answer::attribute(works));
    if works {
        trial.compare_times(&before);
        trial.value = Some(value);
    }
    let forms = trial.readings.patch_forms.get_or_insert_default();
    forms.extend(works.then_some(form));
    Ok(())
}

/// `clears_by`.
async fn clears_by(trial: &mut Trial<'_>, form: ClearForm) -> Result<(), OmniError> {
    if !trial.affords(3, clear_name(form)) {
        return Ok(());
    }
    let Some(value) = trial.ensure_value().await? else {
        return Ok(());
    };
    let result = trial.send_clear(form).await;
    let clears = trial.steps.wrote(clear_name(form), result)? && {
        trial.read().await?;
        !trial.shows(&trial.user, &value)
    };
    trial.steps.add(READ, Answer::attribute(!clears));
    if clears {
        trial.value = None;
    }
    let forms = trial.readings.clears_by.get_or_insert_default();
    forms.extend(clears.then_some(form));
    Ok(())
}

/// `max_page` and `lists_carry_attributes`.
async fn lists(trial: &mut Trial<'_>) -> Result<(), OmniError> {
    if !trial.affords(3, LIST) {
        return Ok(());
    }
    let value = trial.ensure_value().await?;
    let id = trial.user.id.clone();
    let own = |users: Vec<ObservedUser>| users.into_iter().find(|user| user.id == id);
    let reader = trial.writer.reader();
    let (total, mut listed) = match trial.filter {
        FilterAnswer::Ignored { max_page, total } => {
            trial.readings.max_page = max_page;
            (total + 1, None)
        }
        FilterAnswer::Empty | FilterAnswer::EmptyBesideOthers => {
            let page = reader.page_of(1, PAGE).await?;
            trial.readings.max_page = max_page(&page);
            if page.total > 1 {
                trial.filter = FilterAnswer::EmptyBesideOthers;
            }
            (page.total, own(page.users))
        }
    };
    if listed.is_none() {
        listed = own(newest_users(reader, total).await?);
    }
    if let (Some(user), Some(value)) = (listed, value) {
        let carries = trial.shows(&user, &value);
        trial.steps.add(LIST, Answer::attribute(carries));
        trial.readings.lists_carry_attributes = Some(carries);
    }
    Ok(())
}

/// `filter_ignores_case`. A filter that Omni ignores says nothing.
async fn filter_ignores_case(trial: &mut Trial<'_>) -> Result<(), OmniError> {
    let Some(swapped) = swap_case(&trial.user.email) else {
        return Ok(());
    };
    if trial.filter != FilterAnswer::EmptyBesideOthers || !trial.affords(2, FILTER) {
        return Ok(());
    }
    let reader = trial.writer.reader();
    let finds = |lookup: Lookup| match lookup {
        Lookup::One(user) => Some(user.id == trial.user.id),
        Lookup::NotFound => Some(false),
        Lookup::Several(_) | Lookup::Unreliable => None,
    };
    let ignores = match finds(reader.find(&swapped).await?) {
        Some(false) => match finds(reader.find(&trial.user.email).await?) {
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
    if trial.sample.is_none() || !trial.affords(3, PUT) {
        return Ok(());
    }
    let Some(value) = trial.ensure_value().await? else {
        return Ok(());
    };
    let result = trial.writer.put_names(&trial.user).await;
    if trial.steps.wrote(PUT, result)? {
        trial.read().await?;
        let replaces = !trial.shows(&trial.user, &value);
        trial.steps.add(READ, Answer::attribute(!replaces));
        trial.readings.put_replaces = Some(replaces);
        if replaces {
            trial.value = None;
        }
    }
    Ok(())
}

/// `inactive_revokes`: whether `active: false` can be reversed. The last reading, because the user may be gone after
/// it.
async fn inactive_revokes(trial: &mut Trial<'_>) -> Result<(), OmniError> {
    if !trial.affords(4, "PATCH of active") {
        return Ok(());
    }
    if !write_active(trial, false).await? {
        return Ok(());
    }
    trial.readings.inactive_revokes = match read_active(trial).await? {
        None => Some(true),
        Some(true) => None,
        Some(false) if !write_active(trial, true).await? => Some(true),
        Some(false) => {
            let active = read_active(trial).await?;
            // By Omni's documents a person is a new user after that, with a new id.
            trial.may_be_recreated = active.is_none();
            Some(active != Some(true))
        }
    };
    Ok(())
}

/// Sets `active`. Returns whether it may have had an effect.
async fn write_active(trial: &mut Trial<'_>, active: bool) -> Result<bool, OmniError> {
    let result = trial.writer.set_active(&trial.user.id, active).await;
    let name = match active {
        true => "PATCH of active to true",
        false => "PATCH of active to false",
    };
    trial.steps.wrote(name, result)
}

/// Whether the user is active; `None` if it is gone.
async fn read_active(trial: &mut Trial<'_>) -> Result<Option<bool>, OmniError> {
    let user = trial.writer.reader().get(&trial.user.id).await?;
    let active = user.map(|user: ObservedUser| !user.is_inactive());
    trial.steps.add(
        READ,
        Answer::Shows(match active {
            Some(true) => "an active user",
            Some(false) => "an inactive user",
            None => "no user",
        }),
    );
    Ok(active)
}

const READ: &str = "GET of the user";
const LIST: &str = "GET of the list";
const FILTER: &str = "GET of the list with a filter";
const PUT: &str = "PUT without attributes";

/// The name of a write that clears the attribute.
fn clear_name(form: ClearForm) -> &'static str {
    match form {
        ClearForm::Null => "PATCH of an attribute to null",
        ClearForm::Empty => "PATCH of an attribute to an empty value",
        ClearForm::Remove => "PATCH that removes an attribute",
    }
}
