//! Every change of a user, for whoever wants to know afterwards who did what.

use serde_json::Value;

use super::world::{Change, World};

/// One change of a user.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Changed {
    /// The number of the request that made it; `None` where a test did.
    pub request: Option<u64>,
    /// The user before; `None` where there was none.
    pub before: Option<Value>,
    /// The user since; `None` where they were removed.
    pub after: Option<Value>,
}

#[derive(Debug)]
pub(super) struct History {
    is_kept: bool,
    changes: Vec<Changed>,
}

impl History {
    pub(super) fn new(is_kept: bool) -> Self {
        Self {
            is_kept,
            changes: Vec::new(),
        }
    }

    pub(super) fn all(&self) -> &[Changed] {
        &self.changes
    }

    /// Makes a change, and keeps what it was.
    pub(super) fn watch(&mut self, request: Option<u64>, world: &mut World, change: Change) {
        if !self.is_kept {
            return world.make(change);
        }
        let id = match &change {
            Change::Insert(user) | Change::Replace(user) => user.id,
            Change::Remove(id) => *id,
        };
        let show = |world: &World| world.users.get(id).map(|user| world.show(user));
        let before = show(world);
        world.make(change);
        self.changes.push(Changed {
            request,
            before,
            after: show(world),
        });
    }
}
