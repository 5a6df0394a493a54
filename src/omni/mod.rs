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
pub use write::{WriteClient, Writer};
