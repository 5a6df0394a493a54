//! Watches for approvals. `approve` runs in another process, so the state database is polled.

use crate::model::Trigger;
use crate::state::StateDb;
use crate::trigger::Wake;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The daemon must act on an approval within 5 s. A poll reads a single row.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Wakes the loop after each approval, until `stop` is cancelled.
pub(super) async fn watch(state: StateDb, wake: Wake, stop: CancellationToken) {
    let mut ticks = interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match state.approval_mark().await {
            Ok(mark) if last.is_some_and(|last| last != mark) => {
                info!("changes were approved");
                wake.wake(Trigger::Approval);
                last = Some(mark);
            }
            Ok(mark) => last = Some(mark),
            Err(error) => warn!(%error, "approvals can't be read"),
        }
    }
}
