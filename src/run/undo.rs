//! The undo roster of a run, computed from the cache without a request to Omni.

use super::cache::ObservationCache;
use super::observer::Observer;
use crate::model::ChangeRecord;
use crate::report::{Undo, undo};
use chrono::{DateTime, SubsecRound, Utc};

/// An undo roster, and the time of the oldest part of the cache.
#[derive(Debug)]
pub struct StoredUndo {
    /// The roster.
    pub undo: Undo,
    /// When Omni was read.
    pub observed: DateTime<Utc>,
}

impl Observer {
    /// The roster that undoes these changes, by the stored observation. `None` if no run has stored one.
    pub async fn undo(&self, changes: &[ChangeRecord]) -> Option<StoredUndo> {
        let cache = ObservationCache::stored(self.state()).await?;
        Some(StoredUndo {
            undo: undo(
                changes,
                &cache.observed,
                &cache.schema,
                &self.settings().source,
            ),
            observed: (Utc::now() - cache.age()).trunc_subsecs(0),
        })
    }
}
