//! Lookups of single users, where they take fewer requests than a listing.

use super::{Lookup, OmniError, Reader};
use crate::model::{Email, Observed, ObservedUser, UserMatch};
use crate::util::text::swap_ascii_case;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::sync::Arc;

/// Looks up one user, with all fields.
///
/// # Errors
/// If the request fails, or its result is unreliable.
pub async fn look_up(reader: &Reader, email: &Email) -> Result<Observed, OmniError> {
    let mut observed = Observed::of_one();
    look_up_each(reader, vec![email.clone()], |email, user| {
        observed.found(&email, user);
    })
    .await?;
    read_incomplete(reader, &mut observed).await?;
    Ok(observed)
}

/// Looks up users concurrently, and calls a function for each result as it comes: `None` if no user has the email.
///
/// # Errors
/// If a request fails, or its result is unreliable. What was found before is not lost.
pub async fn look_up_each(
    reader: &Reader,
    emails: Vec<Email>,
    mut on_result: impl FnMut(Email, Option<UserMatch>),
) -> Result<(), OmniError> {
    let lookups = emails.into_iter().map(|email| async move {
        let user = reader.find(&email).await?.into_match()?;
        Ok::<_, OmniError>((email, user))
    });
    let mut results = stream::iter(lookups).buffer_unordered(reader.concurrency());
    while let Some((email, user)) = results.try_next().await? {
        on_result(email, user);
    }
    Ok(())
}

/// Reads users by id, concurrently, and calls a function for each result as it comes: the user as known, and the user
/// as read, which is `None` if no user has that id any more.
///
/// # Errors
/// If a request fails. What was read before is not lost.
pub async fn read_users(
    reader: &Reader,
    users: Vec<Arc<ObservedUser>>,
    mut on_read: impl FnMut(&ObservedUser, Option<ObservedUser>),
) -> Result<(), OmniError> {
    let reads = users.into_iter().map(|user| async move {
        let now = reader.get(&user.id).await?;
        Ok::<_, OmniError>((user, now))
    });
    let mut results = stream::iter(reads).buffer_unordered(reader.concurrency());
    while let Some((user, now)) = results.try_next().await? {
        on_read(&user, now);
    }
    Ok(())
}

/// Reads the users by id that an observation does not show completely.
///
/// # Errors
/// If a request fails.
pub async fn read_incomplete(reader: &Reader, observed: &mut Observed) -> Result<(), OmniError> {
    let users = observed.users().filter(|user| !user.is_read());
    let users = users.cloned().collect();
    read_users(reader, users, |user, now| observed.refresh(user, now)).await
}

/// Whether Omni's email filter ignores case, tested with a known user. Omni does not document it. If
/// it does not, an empty result is no proof that the user does not exist. Sends one request, once per
/// process.
///
/// # Errors
/// If the request fails.
pub async fn filter_ignores_case(reader: &Reader, known: &ObservedUser) -> Result<bool, OmniError> {
    if let Some(ignores) = reader.client.filter_ignores_case.get() {
        return Ok(*ignores);
    }
    let Some(swapped) = swap_case(&known.email) else {
        return Ok(false);
    };
    let ignores = match reader.find(&swapped).await? {
        Lookup::One(user) => user.id == known.id,
        Lookup::NotFound | Lookup::Several(_) | Lookup::Unreliable => false,
    };
    Ok(*reader.client.filter_ignores_case.get_or_init(|| ignores))
}

/// The address with the case of each ASCII letter swapped; `None` if it has no such letter.
#[must_use]
pub fn swap_case(email: &Email) -> Option<Email> {
    let swapped = swap_ascii_case(email.as_str());
    (swapped != email.as_str())
        .then(|| Email::known(&swapped).ok())
        .flatten()
}
