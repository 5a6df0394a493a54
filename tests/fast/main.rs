//! What takes neither the program nor the mock server: values, files, the state database, and waits under
//! paused time.

mod daemon;
mod documents;
mod guard;
mod leaving;
mod memberships;
mod plan;
mod planned;
mod planned_roles;
mod roles;
mod roster;
mod schedules;
mod settings;
mod settings_errors;
mod state;
#[path = "../support/mod.rs"]
mod support;
mod throttle;
mod undo;
