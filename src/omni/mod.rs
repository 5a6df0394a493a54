//! Omni over HTTP.
//!
//! The rules of the room (what is known of the API, what is not, and what each answer leads to:
//! `docs/omni.md`):
//!
//! - Reading and writing are two capabilities: a [`Reader`] can only send `GET`, so that a dry run
//!   can't write by mistake.
//! - Every request takes a [`RateLimiter`] slot, retries included. 429 makes the whole key wait.
//! - Reads are tried again here. A write is sent once: what to do when its answer was lost takes
//!   a look at the user, and a decision, which is [`reconcile`](crate::run)'s.
//! - Nothing is followed, nothing is unbounded, and no key leaves its header.

mod client;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod limiter;
mod list;
mod look_up;
mod read;
mod redact;
mod streak;
mod wire;
mod write;

pub use client::{Client, ClientError};
pub use error::{Failure, OmniError};
pub use limiter::{RateLimiter, Slot};
pub use list::{list, list_from};
pub use look_up::{filter_ignores_case, look_up, look_up_into};
pub use read::{Definitions, Found, Reader};
pub use wire::Page;
pub use write::Writer;

use crate::model::{AttributeName, ObservedUser, Text, Value};

/// What is to change in a user that is there. What it does not name stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// A new name to show.
    pub display_name: Option<Text>,
    /// Whether the user may log in from now on.
    pub active: Option<bool>,
    /// New values; `None` clears.
    pub attributes: Vec<(AttributeName, Option<Value>)>,
}

impl Edit {
    /// A user as they are once this was done.
    #[must_use]
    pub fn applied_to(&self, user: &ObservedUser) -> ObservedUser {
        let Self {
            display_name,
            active,
            attributes,
        } = self;
        let is_named = |name: &AttributeName| attributes.iter().any(|(named, _)| named == name);
        let left = user.attributes.iter().filter(|(name, _)| !is_named(name));
        let set = attributes
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
        let left = left.map(|(name, value)| (name.clone(), value.clone()));
        let attributes = left.chain(set).collect();
        ObservedUser {
            display_name: display_name.as_ref().unwrap_or(&user.display_name).clone(),
            active: active.unwrap_or(user.active),
            attributes,
            ..user.clone()
        }
    }
}
