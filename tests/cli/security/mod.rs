//! Attacks: secrets appear nowhere, and input from Omni, from the roster and from clients of the server is bounded
//! and never obeyed.
mod canaries;
mod child;
mod client;
mod omni;
mod roster;
mod said;
mod secrets;
mod server;
mod world;
