//! What users own, for people who ask about one user or about the removals of a plan. A run reads only the part in
//! [`leavers`](super::leavers), and never documents.

use super::{Observer, Prepared, RunError};
use crate::model::{Change, DocumentsByCreator, ObservedUser, OwnedDetails, UserId};
use crate::omni::{self, OmniError, read_documents};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

impl Prepared {
    /// The users that the plan removes, held or not.
    #[must_use]
    pub fn removed(&self) -> Vec<UserId> {
        let removed = self
            .assessment
            .verdict
            .sendable()
            .filter_map(Change::removed);
        let ids: BTreeSet<_> = removed.map(|user| &user.id).collect();
        ids.into_iter().cloned().collect()
    }
}

impl Observer {
    /// The estimated time of this number of read requests.
    #[must_use]
    pub fn reading_time(&self, requests: usize) -> Duration {
        self.client
            .reader(&CancellationToken::new())
            .estimate(requests)
    }

    /// The documents of these users, with one request for each.
    ///
    /// # Errors
    /// Fails if Omni can't be reached. A list that can't be read is no error.
    pub async fn documents_of(
        &self,
        users: &[UserId],
        stop: &CancellationToken,
    ) -> Result<DocumentsByCreator, RunError> {
        Ok(read_documents(&self.client.reader(stop), users).await?)
    }

    /// All that a user owns.
    pub(super) async fn owned_by(
        &self,
        user: &ObservedUser,
        stop: &CancellationToken,
    ) -> Result<Option<OwnedDetails>, OmniError> {
        let (reader, ids) = (self.client.reader(stop), [user.id.clone()]);
        let owned = async {
            match &user.owned {
                Some(owned) => Ok(Some(Arc::clone(owned))),
                None => {
                    let owned = omni::read_owned(&reader, &ids).await?.remove(&user.id);
                    Ok::<_, OmniError>(owned.map(Arc::new))
                }
            }
        };
        let (owned, mut documents) = tokio::try_join!(owned, read_documents(&reader, &ids))?;
        let documents = documents.remove(&user.id);
        Ok(owned
            .zip(documents)
            .map(|(owned, documents)| OwnedDetails { owned, documents }))
    }
}
