//! The user of a probe: found, created, deleted.

use super::ProbeFailure;
use super::deletion::Created;
use super::steps::{Answer, Steps};
use crate::model::{Attributes, Email, ObservedUser, ProbeUser, UserId, UserMatch, UserSpec};
use crate::omni::{OmniError, Reader, UserListPage, Writer};
use crate::state::StateDb;
use std::sync::Arc;

/// The number of users to request per page.
const PAGE: u32 = 1000;
/// The users that may have been created since the probe's own, which is one of the last of the list.
const NEWER_USERS: u64 = 9;
/// The number of users to request on the last page.
const SHORT_PAGE: u32 = 100;
/// How often the creation is sent at most if its responses are lost.
const MAX_ATTEMPTS: u32 = 3;
/// The maximum number of pages to read if the filter shows nothing.
const MAX_PAGES: usize = 3;

/// The user that an earlier probe left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnfinishedProbe {
    /// It was deleted.
    Deleted(Email),
    /// There was no such user.
    Gone(Email),
    /// Omni has another user with this email, which is unchanged.
    Another(Email),
}

/// What the filter answered for an email that no user has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FilterAnswer {
    /// No user. There may have been none at all.
    Empty,
    /// No user, although Omni has others: the filter works.
    EmptyBesideOthers,
    /// Other users: Omni ignores the filter. The list was read instead.
    Ignored {
        /// The length of its longest page, if it shows.
        max_page: Option<u32>,
        /// The number of users.
        total: u64,
    },
}

/// Deletes the user of an earlier probe, if Omni still has exactly that user.
pub(super) async fn remove_unfinished(
    writer: &Writer,
    user: &ProbeUser,
) -> Result<UnfinishedProbe, ProbeFailure> {
    let email = user.email.clone();
    let found = match &user.id {
        Some(id) => writer.reader().get(id).await?.map(Arc::new),
        None => None,
    };
    // The id may be unknown, or another one since Omni was asked to activate the user again.
    let found = match found {
        Some(found) => Some(found),
        None => locate(writer.reader(), &email).await?.0,
    };
    Ok(match found {
        Some(found) if is_of_probe(&found, user) => {
            delete(writer, &found.id, &email, true).await?;
            UnfinishedProbe::Deleted(email)
        }
        Some(_) => UnfinishedProbe::Another(email),
        None => UnfinishedProbe::Gone(email),
    })
}

/// Whether a user is the one that a probe has created. The display name of such a user is unique.
fn is_of_probe(found: &ObservedUser, user: &ProbeUser) -> bool {
    let known_id = user.id.as_ref() == Some(&found.id);
    found.email == user.email && (known_id || *found.display_name == *user.display_name)
}

/// The user with an email, and what the filter answered. If the filter is ignored, the list is read.
async fn locate(
    reader: &Reader,
    email: &Email,
) -> Result<(Option<Arc<ObservedUser>>, FilterAnswer), ProbeFailure> {
    match reader.find(email).await?.into_match() {
        Ok(None) => Ok((None, FilterAnswer::Empty)),
        Ok(Some(UserMatch::One(user))) => Ok((Some(user), FilterAnswer::Empty)),
        Ok(Some(UserMatch::Several(_))) => Err(ProbeFailure::EmailTaken(email.clone())),
        Err(OmniError::UnreliableLookup) => walk(reader, email).await,
        Err(error) => Err(error.into()),
    }
}

/// Looks for an email in the list, if it is short.
async fn walk(
    reader: &Reader,
    email: &Email,
) -> Result<(Option<Arc<ObservedUser>>, FilterAnswer), ProbeFailure> {
    let mut page = first_page(reader).await?;
    let (asked, max_page) = (page.asked, max_page(&page));
    let mut seen = 0;
    for left in (0..MAX_PAGES).rev() {
        let (length, total) = (page.len() as u64, page.total);
        seen += length;
        let mut users = page.users.into_iter();
        let user = users.find(|user| user.email == *email).map(Arc::new);
        if user.is_some() || seen >= total {
            return Ok((user, FilterAnswer::Ignored { max_page, total }));
        }
        if length == 0 || left == 0 {
            break;
        }
        page = reader.page_of(seen + 1, asked).await?;
    }
    Err(ProbeFailure::EmailUnclear(email.clone()))
}

/// The first page of the list, as long as Omni gives it. If a long one fails and is not refused, it is requested once
/// more, because that may have been chance.
pub(super) async fn first_page(reader: &Reader) -> Result<UserListPage, OmniError> {
    let page = reader.page_of(1, PAGE).await?;
    match page.asked < PAGE && !page.longer_was_refused {
        true => reader.page_of(1, PAGE).await,
        false => Ok(page),
    }
}

/// The page with the newest of this number of users, in one request.
pub(super) async fn newest_users(reader: &Reader, total: u64) -> Result<UserListPage, OmniError> {
    let start = total.saturating_sub(NEWER_USERS).max(1);
    reader.page_of(start, SHORT_PAGE).await
}

/// The length of the longest page, if a longer one failed or the organisation has enough users to show it.
pub(super) fn max_page(page: &UserListPage) -> Option<u32> {
    if page.asked < PAGE {
        return Some(page.asked);
    }
    let length = u32::try_from(page.len()).unwrap_or(u32::MAX);
    let is_full = length >= PAGE || u64::from(length) < page.total;
    is_full.then_some(length)
}

/// Makes sure that no user has an email.
pub(super) async fn check_free(
    reader: &Reader,
    email: &Email,
) -> Result<FilterAnswer, ProbeFailure> {
    match locate(reader, email).await? {
        (None, answer) => Ok(answer),
        (Some(_), _) => Err(ProbeFailure::EmailTaken(email.clone())),
    }
}

/// Creates the user. It is stored before the request is sent, and its id once it is known.
pub(super) async fn create(
    writer: &Writer,
    state: &StateDb,
    email: &Email,
    steps: &mut Steps,
) -> Result<(ProbeUser, ObservedUser), ProbeFailure> {
    let mut user = ProbeUser {
        email: email.clone(),
        display_name: format!("omni-user-sync probe {:016x}", fastrand::u64(..)),
        id: None,
    };
    state.begin_probe(&user).await?;
    let not_shown = || ProbeFailure::NotShown(email.clone());
    let found = send_creation(writer, state, &user, steps).await?;
    let found = found.ok_or_else(not_shown)?;
    if !is_of_probe(&found, &user) {
        return Err(not_shown());
    }
    state.record_probe_id(&found.id).await?;
    user.id = Some(found.id.clone());
    Ok((user, found))
}

/// Sends the creation. If its response is lost and Omni shows no user, it is sent again. Returns the user that Omni
/// shows, in the response or by a read.
async fn send_creation(
    writer: &Writer,
    state: &StateDb,
    user: &ProbeUser,
    steps: &mut Steps,
) -> Result<Option<ObservedUser>, ProbeFailure> {
    let spec = UserSpec {
        display_name: Some(user.display_name.as_str().into()),
        attributes: Attributes::default(),
    };
    let locate = async || -> Result<_, ProbeFailure> {
        let found = locate(writer.reader(), &user.email).await?.0;
        Ok(found.map(Arc::unwrap_or_clone))
    };
    for attempt in 1..=MAX_ATTEMPTS {
        match writer.create(&user.email, &spec).await {
            Ok(shown) => {
                steps.add("POST of a user", Answer::Accepted);
                return match shown {
                    Some(shown) => Ok(Some(shown)),
                    None => locate().await,
                };
            }
            Err(OmniError::OutcomeUnknown(_)) => {
                steps.add("POST of a user", Answer::Lost);
                if let Some(found) = locate().await? {
                    return Ok(Some(found));
                }
            }
            // An earlier attempt has probably created the user.
            Err(OmniError::Conflict { .. }) if attempt > 1 => return locate().await,
            Err(error) => {
                if error.is_rejection() && attempt == 1 {
                    state.end_probe().await?;
                }
                return Err(match error {
                    OmniError::Conflict { .. } => ProbeFailure::EmailTaken(user.email.clone()),
                    error => error.into(),
                });
            }
        }
        writer.reader().back_off(attempt).await?;
    }
    Ok(None)
}

/// What is known of the user at the end of a probe.
#[derive(Clone, Copy, Debug)]
pub(super) enum UserEnd {
    Present,
    /// A read has shown that it is gone.
    Gone,
    /// It is gone, and Omni may have created another one with the email, which the filter finds if it works.
    MayBeRecreated(FilterAnswer),
}

/// Deletes the user of a probe.
pub(super) async fn delete_own(
    writer: &Writer,
    state: &StateDb,
    user: &ProbeUser,
    end: UserEnd,
) -> Result<(), ProbeFailure> {
    let Some(id) = &user.id else {
        return Ok(());
    };
    match end {
        UserEnd::Present => delete(writer, id, &user.email, true).await,
        UserEnd::Gone => delete(writer, id, &user.email, false).await,
        UserEnd::MayBeRecreated(filter) => delete_recreated(writer, state, user, filter).await,
    }
}

async fn delete(
    writer: &Writer,
    id: &UserId,
    email: &Email,
    may_exist: bool,
) -> Result<(), ProbeFailure> {
    let deleted = Created::User(id).delete(writer, may_exist).await;
    deleted.map_err(|cause| ProbeFailure::NotDeleted {
        email: email.clone(),
        cause,
    })
}

/// Deletes the user that Omni has created under the same email, if there is one. The first one is gone.
async fn delete_recreated(
    writer: &Writer,
    state: &StateDb,
    user: &ProbeUser,
    filter: FilterAnswer,
) -> Result<(), ProbeFailure> {
    let found = match filter {
        FilterAnswer::Ignored { total, .. } => {
            let newest = newest_users(writer.reader(), total + 1).await?.users;
            let mut newest = newest.into_iter().map(Arc::new);
            newest.find(|found| found.email == user.email)
        }
        FilterAnswer::Empty | FilterAnswer::EmptyBesideOthers => {
            locate(writer.reader(), &user.email).await?.0
        }
    };
    match found.filter(|found| is_of_probe(found, user)) {
        Some(found) => {
            state.record_probe_id(&found.id).await?;
            delete(writer, &found.id, &user.email, true).await
        }
        None => Ok(()),
    }
}
