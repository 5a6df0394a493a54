//! Known users that a list lacks. A list may be short and say all the same that it is whole.

use super::cache::ObservationCache;
use super::observe::ObserveRequest;
use crate::model::ObservedUser;
use crate::omni::{self, OmniError};
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// The number of known users that are read by id to test a list.
const MAX_READ: usize = 20;

impl ObservationCache {
    /// Reads some of the known users that the list lacks by id, picked at random. If one of them exists, the list does
    /// not add up.
    pub(super) async fn doubt_list(
        &mut self,
        request: ObserveRequest<'_>,
        earlier: &Self,
    ) -> Result<(), OmniError> {
        if !self.observed.shows_everybody() {
            return Ok(());
        }
        let unlisted = self.known_beside(earlier);
        let read = read_some(request, &unlisted).await?;
        let found: Vec<_> = read.into_iter().filter_map(|(_, now)| now).collect();
        if found.is_empty() {
            return Ok(());
        }
        let doubt = format!(
            "it does not show {} of {} known users that are not listed, and they exist",
            found.len(),
            unlisted.len()
        );
        self.distrust_list(doubt);
        for user in found {
            if self.observed.get(&user.email).is_none() {
                self.observed.put(user);
            }
        }
        Ok(())
    }

    /// Known users that a list lacks, which was read in parts. Some of them are read by id, picked at random. If one of
    /// them exists, the others stay known too, and the list does not add up, for the returned reason; otherwise they
    /// are not known any more.
    pub(super) async fn test_unlisted(
        &mut self,
        request: ObserveRequest<'_>,
        unlisted: Vec<Arc<ObservedUser>>,
    ) -> Result<Option<String>, OmniError> {
        let read = read_some(request, &unlisted).await?;
        let one_exists = read.iter().any(|(_, now)| now.is_some());
        for (user, now) in read {
            self.was_read(&user, now);
        }
        if one_exists {
            return Ok(Some("it does not show users that exist".into()));
        }
        unlisted.iter().for_each(|user| self.forget(user));
        Ok(None)
    }

    /// The users of an earlier observation that this one lacks.
    fn known_beside(&self, earlier: &Self) -> Vec<Arc<ObservedUser>> {
        let listed: HashSet<_> = self.observed.users().map(|user| &user.id).collect();
        let known = earlier.observed.users();
        let is_unlisted = |user: &&Arc<ObservedUser>| {
            !listed.contains(&user.id) && self.observed.get(&user.email).is_none()
        };
        known.filter(is_unlisted).cloned().collect()
    }
}

/// Reads some of these users by id, picked at random. Returns them as they were known, and as they are.
async fn read_some(
    request: ObserveRequest<'_>,
    users: &[Arc<ObservedUser>],
) -> Result<Vec<(ObservedUser, Option<ObservedUser>)>, OmniError> {
    let order = RandomState::new();
    let mut some = users.to_vec();
    some.sort_by_cached_key(|user| order.hash_one(&user.id));
    some.truncate(MAX_READ);
    (request.expect)(some.len());
    request.budget.spend(some.len());
    let mut read = Vec::new();
    let keep = |user: &ObservedUser, now| read.push((user.clone(), now));
    omni::read_users(request.reader, some, keep).await?;
    Ok(read)
}
