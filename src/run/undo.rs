//! The undo roster of a run by what earlier runs have stored of Omni, without a request.

use super::cache::ObservationCache;
use super::observer::Observer;
use crate::model::ChangeRecord;
use crate::report::{Undo, undo};
use chrono::{DateTime, SubsecRound, Utc};

/// An undo roster, and when the oldest part of what it rests on was read.
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
