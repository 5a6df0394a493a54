//! The history of all changes of users, groups and schedules.

use serde_json::Value;

use super::world::{Change, World};

/// One change of a user, group or schedule. Memberships and schedules that end with the removal of a user are not
/// recorded as changes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Changed {
    /// Number of the request; `None` for a change by a test.
    pub request: Option<u64>,
    /// Number of the first request that arrived after it.
    pub next_request: u64,
    /// The user, group or schedule before; `None` for a creation.
    pub before: Option<Value>,
    /// The user, group or schedule after; `None` for a removal.
    pub after: Option<Value>,
}

#[derive(Debug)]
pub(super) struct History {
    enabled: bool,
    changes: Vec<Changed>,
}

impl History {
    pub(super) fn new(enabled: bool) -> Self {
        Self {
            enabled,
            changes: Vec::new(),
        }
    }

    pub(super) fn all(&self) -> &[Changed] {
        &self.changes
    }

    /// Applies a change and records it.
    pub(super) fn apply(
        &mut self,
        request: Option<u64>,
        next_request: u64,
        world: &mut World,
        change: Change,
    ) {
        if !self.enabled {
            return world.apply(change);
        }
        let concern = change.concern();
        let before = world.show_concern(&concern);
        world.apply(change);
        self.changes.push(Changed {
            request,
            next_request,
            before,
            after: world.show_concern(&concern),
        });
    }
}
