//! Known users that a list lacks. A list may be short and say all the same that it is whole.

use super::cache::ObservationCache;
use super::observe::ObserveRequest;
use crate::model::ObservedUser;
use crate::omni::OmniError;
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
        let mut found = Vec::new();
        request.budget.spend(unlisted.len().min(MAX_READ));
        for user in some_of(&unlisted) {
            found.extend(request.reader.get(&user.id).await?);
        }
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
        let unlisted: Vec<_> = unlisted.iter().collect();
        let tested: Vec<_> = some_of(&unlisted).cloned().collect();
        (request.expect)(tested.len());
        request.budget.spend(tested.len());
        let read = self.read(request.reader, tested.clone(), request.keep_in);
        read.await?;
        let users = self.observed.users();
        let known: HashSet<_> = users.map(|user| user.id.clone()).collect();
        if tested.iter().any(|user| known.contains(&user.id)) {
            return Ok(Some("it does not show users that exist".into()));
        }
        unlisted.into_iter().for_each(|user| self.forget(user));
        Ok(None)
    }

    /// The users of an earlier observation that this one lacks.
    fn known_beside<'a>(&self, earlier: &'a Self) -> Vec<&'a Arc<ObservedUser>> {
        let listed: HashSet<_> = self.observed.users().map(|user| &user.id).collect();
        let known = earlier.observed.users();
        let is_unlisted = |user: &&Arc<ObservedUser>| {
            !listed.contains(&user.id) && self.observed.get(&user.email).is_none()
        };
        known.filter(is_unlisted).collect()
    }
}

fn some_of<'a>(users: &[&'a Arc<ObservedUser>]) -> impl Iterator<Item = &'a Arc<ObservedUser>> {
    let order = RandomState::new();
    let mut users = users.to_vec();
    users.sort_by_cached_key(|user| order.hash_one(&user.id));
    users.into_iter().take(MAX_READ)
}
