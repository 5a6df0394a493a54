//! Syncs users, user attributes, memberships in groups and roles in an Omni organisation from a CSV file, the *roster*.
//!
//! ```text
//!  trigger           roster
//!  schedule ─┐       files → decode → records → rows ───────► Desired ──┐
//!  watch ────┼─► run ─ observe (list | look up | cache) ────► Observed ─┼─► plan ─► guard ─► apply ─► limiter ─► Omni
//!  serve ────┘         state ───────────────────────────────► Memory ───┘                      └► RunOutcome ─►
//!                                                           state, report, metrics, log, notify, page
//! ```
//!
//! Data flows one way. A module uses the modules below it and never those above. From the bottom:
//!
//! | module | holds |
//! | --- | --- |
//! | [`model`] | plain values of all modules |
//! | `util` | small helpers |
//! | [`settings`] | settings and secrets |
//! | [`roster`] | roster files, from bytes to the desired state |
//! | [`metrics`] | Prometheus metrics |
//! | [`omni`] | the client, with the rate limiter |
//! | [`plan`] | differences, ownership, safety limits: pure functions |
//! | [`state`] | the state database |
//! | [`report`] | row reports |
//! | [`run`] | one run: observe, plan, apply, finish |
//! | [`probe`] | learns how an organisation answers |
//! | [`trigger`] | schedule and file watcher |
//! | [`status`] | the state of the daemon, for probes and pages |
//! | [`notify`] | webhook notifications |
//! | [`serve`] | HTTP server: probes, metrics, pages, API |
//! | [`daemon`] | the run loop and its tasks |
//! | [`cli`] | the commands |
//!
//! The header of each module holds its rules. `sandbox` is separate: a mock server for Omni that
//! shares no types with the client, so that it can't repeat the client's bugs.
//!
//! These rules always hold:
//!
//! - Unreadable input never removes a user, and takes no user out of a group.
//! - Users, attributes and memberships that the roster does not name are left unchanged.
//! - The verdict of the guard can't be skipped, and a dry run can't write.
//! - After a kill at any moment, the next start converges.
//! - No 60-second window has more requests per key than the limit allows, including retries, restarts and commands run
//!   alongside the daemon.
//!
//! `docs/architecture.md` says why it is built this way.

pub mod cli;
pub mod daemon;
mod file_system;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod metrics;
pub mod model;
pub mod notify;
pub mod omni;
pub mod plan;
pub mod probe;
pub mod report;
pub mod roster;
pub mod run;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod serve;
pub mod settings;
pub mod shutdown;
pub mod state;
pub mod status;
pub mod telemetry;
pub mod trigger;
mod util;

mod version;
