//! The history of all changes of users.

use serde_json::Value;

use super::world::{Change, World};

/// One change of a user.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Changed {
    /// Number of the request; `None` for a change by a test.
    pub request: Option<u64>,
    /// The user before; `None` for a creation.
    pub before: Option<Value>,
    /// The user after; `None` for a removal.
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
        let id = match &change {
            Change::Insert(user) | Change::Replace(user) => user.id,
            Change::Remove(id) => *id,
        };
        let show = |world: &World| world.users.get(id).map(|user| world.show(user));
        let before = show(world);
        world.apply(change);
        self.changes.push(Changed {
            request,
            before,
            after: show(world),
        });
    }
}
