//! The result of a valid request.

use super::answer::Reply;
use super::world::Change;

/// An answer, and at most one change.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) reply: Reply,
    pub(super) change: Option<Change>,
}

impl Done {
    /// A read, which changes nothing.
    pub(super) fn reading(reply: Reply) -> Self {
        Self {
            reply,
            change: None,
        }
    }
}
