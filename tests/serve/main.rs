//! The server, over real HTTP.

mod actions;
mod api;
mod pages;
mod sockets;
mod support;
mod who;
