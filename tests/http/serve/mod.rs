//! The server, over real HTTP.

mod actions;
mod api;
mod auth;
#[cfg(feature = "sandbox")]
mod downloads;
#[cfg(feature = "sandbox")]
mod explain;
#[cfg(feature = "sandbox")]
mod leavers;
mod pages;
mod pause;
#[cfg(feature = "sandbox")]
mod preview;
mod proxy_user;
mod runs;
mod settings;
mod sockets;
pub(crate) mod support;
mod users;
