//! Which requests go first.

/// How soon a request is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// A change, or a look-up that a change waits for. It gets the next free slot.
    Urgent,
    /// A page of the list, or a read that verifies what is known. It leaves some slots of each key free, and waits
    /// while an urgent request does.
    Background,
}

/// A background request leaves at least this many slots of a key free.
const MIN_RESERVE: usize = 5;
/// A background request leaves at least one slot in this many free.
const RESERVED_PART: usize = 10;

impl Priority {
    /// The number of slots of a key with this limit that requests of this priority may use. Of a very low limit, at
    /// most half is reserved.
    pub(super) fn limit(self, per_minute: usize) -> usize {
        let part = per_minute.div_ceil(RESERVED_PART);
        match self {
            Self::Urgent => per_minute,
            Self::Background => per_minute - part.max(MIN_RESERVE).min(per_minute / 2),
        }
    }
}
