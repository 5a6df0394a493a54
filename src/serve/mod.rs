//! What is served over HTTP: probes and metrics for machines, pages and an API for people.
//!
//! ```text
//! Server (bounded connections) ─► router ─┬─ probes: any Host, nobody named
//!                                         └─ guard (Host, Origin) ─► auth (who may) ─┬─ pages ─┐
//!                                                                                    └─ api ───┴─► look
//! ```
//!
//! The rules of the room:
//!
//! - It reads: the daemon's status, and the journal by a reader of its own, so that nobody who looks
//!   holds up a run. What it can do is two things: wake the loop, and write an approval.
//! - Looking asks nothing of Omni, unless somebody presses for it; then it has a reader of its own, and is
//!   bounded: see `asking`.
//! - The probes answer whoever connects and name nobody. All else is for those who may know: see
//!   `auth` and `guard`. An action always takes the admin token.
//! - Whoever connects is bounded: how many, how long, how large a head and a body, how many look
//!   into the journal at once. A half-sent request makes way for a whole one.
//! - Pages work without the script, and every text in them is escaped by its template.
//! - What a page tells, the API tells too: both are made from what `look` finds.

mod api;
mod asking;
mod assets;
mod auth;
mod chart;
mod guard;
mod look;
mod pages;
mod probes;
mod refusal;
mod router;
mod rows;
mod server;
mod session;
mod site;
mod standing;
mod token;

pub use probes::Probes;
pub use server::{ServeError, Server};
pub use site::ServerConfig;
pub use token::token_warnings;
