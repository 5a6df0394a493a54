//! What holds over time: a memory, a guard over 24 hours, approvals, ownership, quarantine. Each
//! `World::run` is a process of its own: it opens the state database again.
mod guard;
mod identity;
mod kept;
mod key_users;
mod leave_on;
mod leavers;
mod protected;
mod pruning;
mod record;

use crate::support::World;
use chrono::Utc;
use omni_user_sync::model::RunRef;
use omni_user_sync::run::RunOutcome;
use omni_user_sync::sandbox::{Fault, Options, What, When};
use omni_user_sync::state::{Access, StateDb};
use std::fmt::Write;

async fn hundred() -> World {
    World::with(Options {
        users: 100,
        ..Options::default()
    })
    .await
}

fn user(number: usize) -> String {
    format!("user{number:04}@example.com")
}

/// A roster that deletes these users of the mock server's.
fn deleting(numbers: impl IntoIterator<Item = usize>) -> String {
    numbers
        .into_iter()
        .fold("op,email\n".to_owned(), |mut text, number| {
            writeln!(text, "delete,{}", user(number)).expect("a String takes every write");
            text
        })
}

async fn approve(world: &World, run: RunRef) -> usize {
    let dir = world.settings().state.dir;
    let db = StateDb::open(&world.sandbox.url(), Access::Approve(&dir)).expect("a state database");
    db.approve(run, "ann", Utc::now(), false)
        .await
        .expect("approved")
        .changes()
        .len()
}

fn on(method: &str, what: What, times: usize) -> Fault {
    let when = When {
        method: Some(method.into()),
        ..When::default()
    };
    Fault { when, what, times }
}

fn status(code: u16) -> What {
    What::Status {
        code,
        retry_after: None,
        body: None,
    }
}

fn held(run: &RunOutcome) -> usize {
    run.held().iter().map(|held| held.count).sum()
}
