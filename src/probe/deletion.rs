//! Deletions, also after lost responses.

use crate::model::{GroupId, UserId};
use crate::omni::{OmniError, Writer};

/// How often a deletion is sent at most if its responses are lost.
const MAX_ATTEMPTS: u32 = 3;

/// The requests of a deletion whose response is lost: it is sent, and sent again after a read.
const AFTER_LOSS: u64 = 3;

/// What a probe has created. The user is deleted before the group.
#[derive(Clone, Copy, Debug)]
pub(super) enum Created<'a> {
    User(&'a UserId),
    Group(&'a GroupId),
}

impl Created<'_> {
    /// Deletes it, and reads it after that if it may still exist and enough requests are left.
    ///
    /// # Errors
    /// Why it is not deleted, as a clause.
    pub(super) async fn delete(self, writer: &Writer, may_exist: bool) -> Result<(), String> {
        let reader = writer.reader();
        let (next, next_after_loss) = match self {
            Self::User(_) => (1, AFTER_LOSS),
            Self::Group(_) => (0, 0),
        };
        for attempt in 1..=MAX_ATTEMPTS {
            let was_lost = match self.send_deletion(writer).await {
                Err(OmniError::NotFound { .. }) => return Ok(()),
                Ok(()) if !may_exist || reader.requests_left() <= next_after_loss => return Ok(()),
                Ok(()) => false,
                Err(OmniError::OutcomeUnknown(_)) => true,
                Err(error) => return Err(error.to_string()),
            };
            match self.exists(writer).await {
                Ok(false) => return Ok(()),
                Ok(true) if was_lost && reader.requests_left() > next => {
                    let waited = reader.back_off(attempt).await;
                    waited.map_err(|error| error.to_string())?;
                }
                Ok(true) => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("Omni still shows it".into())
    }

    async fn send_deletion(self, writer: &Writer) -> Result<(), OmniError> {
        match self {
            Self::User(id) => writer.delete(id).await,
            Self::Group(id) => writer.delete_group(id).await,
        }
    }

    async fn exists(self, writer: &Writer) -> Result<bool, OmniError> {
        let reader = writer.reader();
        Ok(match self {
            Self::User(id) => reader.get(id).await?.is_some(),
            Self::Group(id) => reader.group(id).await?.is_some(),
        })
    }
}
