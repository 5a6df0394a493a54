//! The server, over real HTTP.

mod actions;
mod api;
#[cfg(feature = "sandbox")]
mod explain;
mod pages;
mod sockets;
mod support;
mod who;
