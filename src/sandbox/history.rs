//! The history of all changes of users and groups.

use serde_json::Value;

use super::world::{Change, World};

/// One change of a user or group. Memberships that end with the removal of a user are not recorded as changes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Changed {
    /// Number of the request; `None` for a change by a test.
    pub request: Option<u64>,
    /// The user or group before; `None` for a creation.
    pub before: Option<Value>,
    /// The user or group after; `None` for a removal.
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
    pub(super) fn apply(&mut self, request: Option<u64>, world: &mut World, change: Change) {
        if !self.enabled {
            return world.apply(change);
        }
        let concern = change.concern();
        let before = world.show_concern(&concern);
        world.apply(change);
        self.changes.push(Changed {
            request,
            before,
            after: world.show_concern(&concern),
        });
    }
}
