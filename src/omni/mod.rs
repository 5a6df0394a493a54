//! Omni over HTTP.
//!
//! Rules of this module (`docs/omni.md` has what is known of the API, and the meaning of each response):
//!
//! - Reading and writing are two capabilities: a [`Reader`] sends only `GET`, so that a dry run can't
//!   write by mistake.
//! - Every request takes a [`RateLimiter`] slot, retries included. A 429 pauses the whole key.
//! - Reads are retried here. A write is sent once: after a lost response, [`run`](crate::run) looks up
//!   the user and decides.
//! - Redirects are not followed, every response has a size limit, and no key leaves its header.

mod available;
mod client;
mod documents;
mod error;
mod exchange;
mod failure_breaker;
mod forms;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod group_list;
mod group_rules;
mod groups;
mod limiter;
mod list;
mod look_up;
mod owned;
mod page_sizes;
mod pages;
mod probe_writes;
mod reader;
mod records;
mod redact;
mod request_body;
mod roles;
mod whoami;
mod wire;
mod writer;

pub use available::{Available, Definitions, Groups};
pub use client::{Client, ClientError};
pub use documents::read_documents;
pub use error::{Failure, ForbiddenCause, OmniError};
pub use group_rules::{GroupRules, MAX_MEMBERS};
pub use limiter::{Priority, RateLimiter, Slot};
pub use list::{ListPart, list, list_from, list_part};
pub use look_up::{
    filter_ignores_case, look_up, look_up_each, read_incomplete, read_users, swap_case,
};
pub use owned::read_owned;
pub use reader::{ATTEMPTS, Lookup, Reader};
pub use roles::read_roles;
pub use whoami::{KeyIdentity, KeyScope, Whoami, diagnose};
pub use wire::UserListPage;
pub use writer::{WriteClient, Writer};
