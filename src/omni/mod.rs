//! Omni over HTTP.
//!
//! The rules of the room (contract: errors at Omni's side; `omni-api.md` for what is known of the
//! API):
//!
//! - Reading and writing are two capabilities: a [`Reader`] can only send `GET`, so that a dry run
//!   can't write by mistake.
//! - Every request takes a [`Throttle`] slot, retries included. 429 makes the whole key wait.
//! - Reads are tried again here. A write is sent once: what to do when its answer was lost takes
//!   a look at the user, and a decision, which is [`reconcile`](crate::reconcile)'s.
//! - Nothing is followed, nothing is unbounded, and no key leaves its header.

mod client;
mod error;
mod observe;
mod read;
mod redact;
mod streak;
mod throttle;
mod wire;
mod write;

pub use client::{Client, ClientError};
pub use error::{Failure, OmniError};
pub use observe::{Observed, Sighting, list, look_up};
pub use read::{Definitions, Found, Reader, backoff};
pub use throttle::{Slot, Throttle};
pub use wire::Page;
pub use write::Writer;

use crate::user::{AttributeName, Value};

/// What is to change in a user that is there. What it does not name stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// A new name to show.
    pub display_name: Option<Box<str>>,
    /// Whether the user may log in from now on.
    pub active: Option<bool>,
    /// New values; `None` clears.
    pub attributes: Vec<(AttributeName, Option<Value>)>,
}
