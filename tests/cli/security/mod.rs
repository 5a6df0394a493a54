//! Somebody means harm: what must not be told is told to nobody, and what comes from Omni, from the
//! roster or from a client of the server is bounded and obeyed by nothing.
mod canaries;
mod child;
mod client;
mod omni;
mod roster;
mod said;
mod secrets;
mod server;
mod world;
