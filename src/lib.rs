//! Keeps the users of an Omni organisation and their attributes as a CSV says.
//!
//! ```text
//!  trigger           desired
//!  schedule ─┐       source → decode → lines → csv → merge ► Desired ─┐
//!  watch ────┤       omni                                             │  reconcile             omni
//!  serve ────┼─► run list | look up | what was kept ───────► Observed ┼► plan ► guard ► apply ► throttle ► HTTP
//!  SIGHUP ───┤       journal                                          │                   │
//!  start-up ─┘       what was before ───────────────────────► Memory ─┘                   └► RunOutcome ►
//!                                                                journal, report, metrics, log, notify, serve
//! ```
//!
//! Data flows one way, and a room uses those below it, never above. From the top: [`cli`], [`daemon`],
//! [`notify`], [`serve`], [`status`], [`trigger`], [`reconcile`], [`report`], [`journal`], [`omni`], [`metrics`],
//! [`desired`], [`settings`], [`user`]. Each room's header holds its rules. `sandbox` stands apart: a
//! stand-in for Omni that knows none of our types, so that a mistake of ours can't be mirrored in it.
//!
//! What always holds: what could not be read removes nobody; what the CSV does not name is not
//! touched; a guard's verdict can't be skipped; a dry run can't write; killed at any moment, it
//! converges after the restart; and in no 60 seconds are more requests sent per key than allowed,
//! restarts and commands beside the daemon included.

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
