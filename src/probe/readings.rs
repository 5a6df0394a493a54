//! One function per reading.

use super::steps::Answer;
use super::trial::Trial;
use super::user::{FilterAnswer, first_page, max_page, newest_users};
use super::write::{Write, Written};
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
    let Some(value) = trial.next_value() else {
        return Ok(());
    };
    let set = Write::Set(form, value.clone());
    if !trial.affords(2, set.name()) {
        return Ok(());
    }
    trial.pass_time().await;
    let before = trial.user.clone();
    let Some(works) = trial.try_write(&set).await?.has_effect() else {
        return Ok(());
    };
    if works {
        trial.compare_times(&before);
        trial.value = Some(value);
    }
    trial.tried.patch_forms += 1;
    let forms = trial.readings.patch_forms.get_or_insert_default();
    forms.extend(works.then_some(form));
    Ok(())
}

/// `clears_by`.
async fn clears_by(trial: &mut Trial<'_>, form: ClearForm) -> Result<(), OmniError> {
    let clear = Write::Clear(form);
    if !trial.affords(3, clear.name()) || trial.ensure_value().await?.is_none() {
        return Ok(());
    }
    let Some(clears) = trial.try_write(&clear).await?.has_effect() else {
        return Ok(());
    };
    if clears {
        trial.value = None;
    }
    trial.tried.clears += 1;
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
            let page = first_page(reader).await?;
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
    let put = Write::PutNames;
    if trial.sample.is_none() || !trial.affords(3, put.name()) {
        return Ok(());
    }
    if trial.ensure_value().await?.is_none() {
        return Ok(());
    }
    if let Written::Settled(replaces) = trial.try_write(&put).await? {
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
