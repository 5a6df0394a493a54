//! What is remembered, through the public surface: nothing that happened is forgotten, and nothing
//! is claimed that did not.

mod approvals;
mod changes;
mod clock;
mod crash;
mod lock;
mod model;
mod observed_groups;
mod opening;
mod queries;
mod readings;
mod roster;
mod support;

use crate::support::results;
