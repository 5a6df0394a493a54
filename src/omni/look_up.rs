//! Looking users up one by one, where that takes fewer requests than listing them all.

use super::{Found, OmniError, Reader};
use crate::model::{Email, Observed, ObservedUser};
use futures_util::stream::{self, StreamExt, TryStreamExt};

/// Looks one user up, and nobody else.
///
/// # Errors
/// When the answer can't be had, or can't be relied on.
pub async fn look_up(reader: &Reader, email: &Email) -> Result<Observed, OmniError> {
    let mut observed = Observed::default();
    look_up_into(reader, vec![email.clone()], &mut observed).await?;
    Ok(observed)
}

/// Looks users up, several at once, and takes what is found into an observation.
///
/// # Errors
/// When an answer can't be had, or can't be relied on.
pub async fn look_up_into(
    reader: &Reader,
    emails: Vec<Email>,
    observed: &mut Observed,
) -> Result<(), OmniError> {
    let looks = emails.into_iter().map(|email| async move {
        let now = reader.find(&email).await?.sighting()?;
        Ok::<_, OmniError>((email, now))
    });
    let mut found = stream::iter(looks).buffer_unordered(reader.at_once());
    while let Some((email, now)) = found.try_next().await? {
        observed.found(&email, now);
    }
    Ok(())
}

/// Whether Omni's filter finds a user whose email is asked for in another case. That is not published;
/// where it does not, nobody found is no proof that nobody is there. One request, the first time.
///
/// # Errors
/// When the answer can't be had.
pub async fn filter_ignores_case(reader: &Reader, known: &ObservedUser) -> Result<bool, OmniError> {
    if let Some(ignores) = reader.client.filter_ignores_case.get() {
        return Ok(*ignores);
    }
    let Some(other) = in_other_case(&known.email) else {
        return Ok(false);
    };
    let ignores = match reader.find(&other).await? {
        Found::One(user) => user.id == known.id,
        Found::Nobody | Found::Several(_) | Found::UnreliableLookup => false,
    };
    Ok(*reader.client.filter_ignores_case.get_or_init(|| ignores))
}

/// The same address with small letters for capitals and capitals for small ones; `None` where it has
/// no letter that has another case.
fn in_other_case(email: &Email) -> Option<Email> {
    let turn = |c: char| match c {
        'a'..='z' => c.to_ascii_uppercase(),
        'A'..='Z' => c.to_ascii_lowercase(),
        other => other,
    };
    let turned: String = email.as_str().chars().map(turn).collect();
    (turned != email.as_str())
        .then(|| Email::parse(&turned).ok())
        .flatten()
}
