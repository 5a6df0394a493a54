//! The HTTP server: probes and metrics for machines, an API, and pages for people.
//!
//! ```text
//! Server (bounded connections) ─► router ─┬─ probes: any Host, no personal data
//!                                         └─ origin (Host, Origin) ─► auth (permissions) ─┬─ pages ─┐
//!                                                                                         └─ api ───┴─► queries ─► summary
//! ```
//!
//! The rules of this module:
//!
//! - The server reads: the daemon's status, and the state database over its own connection, so that
//!   page views never delay a run. Its actions are the wake-up and the stop of a run, and two records in the state
//!   database: an approval, and a pause.
//! - Page views send no requests to Omni, except `explain`, which uses its own reader and is
//!   rate-limited. A preview plans by the stored observation, without a request, and is rate-limited too.
//! - A file for a preview is never stored. Its body, the only large one, is read after the check of the
//!   permission, one at a time.
//! - Probes answer any client and contain no personal data. Everything else requires permission: see
//!   `auth` and `origin`. Actions always require the admin token.
//! - Client resources are bounded: the number and lifetime of connections, the size of headers and
//!   bodies, and the number of concurrent database queries. If all connections are in use, the oldest
//!   one with an incomplete request is closed.
//! - Pages work without JavaScript, and templates escape every text.
//! - Pages and the API show the same data: both come from `queries` and `summary`.

mod actions;
mod api;
mod assets;
mod auth;
mod connections;
mod downloads;
mod explain;
mod on_demand;
mod origin;
mod pages;
mod params;
mod preview;
mod probes;
mod queries;
mod response;
mod router;
mod row_reports;
mod server;
mod session;
mod state;
mod summary;
mod token;
mod undo;

pub use probes::Probes;
pub use server::{Listener, ServeError, Server};
pub use state::ServerConfig;
