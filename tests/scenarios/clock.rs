//! Accelerated time: paused, and advanced by a fixed step in each real millisecond, so that pauses and back-off of
//! minutes take a second, while real sockets get enough time.
//!
//! A paused clock jumps to the next timer whenever nothing is ready, and an answer on its way through
//! the kernel does not count as ready: each request would time out at once. A blocking task holds the
//! jump back, so one is always in progress.

use crate::support::World;
use std::convert::Infallible;
use std::time::Duration;

/// The step for each real millisecond.
const STEP: Duration = Duration::from_millis(50);

pub(crate) fn hurried<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        tokio::select! {
            output = test => output,
            never = hurry() => match never {},
        }
    })
}

async fn hurry() -> Infallible {
    loop {
        let wait = tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(1)));
        wait.await.expect("sleeping can't panic");
        tokio::time::advance(STEP).await;
    }
}

/// Moves the wall clock: all times in the state database become later or earlier. The limiter uses the kernel's clock
/// instead.
pub(crate) fn shift(world: &World, by_ms: i64) {
    let path = world.state_db().path().to_owned();
    if !path.exists() {
        return;
    }
    let db = rusqlite::Connection::open(path).expect("the state database opens");
    for (table, columns) in [
        ("runs", &["started", "ended"][..]),
        ("changes", &["intended", "settled"]),
        ("managed", &["since", "missing_since"]),
        ("deactivated", &["since"]),
        ("roster", &["accepted"]),
        ("approvals", &["approved", "expires"]),
        ("quarantine", &["until"]),
        ("role_scopes", &["read"]),
        ("observed_roles", &["read"]),
    ] {
        for column in columns {
            let sql = format!("UPDATE {table} SET {column} = {column} + ?1");
            db.execute(&sql, [by_ms]).expect("times are numbers");
        }
    }
}
