//! `approve` is another process: what it writes is looked for.

use crate::model::Trigger;
use crate::state::StateDb;
use crate::trigger::Wake;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often: an approval is acted on within 5 s, and the look is one row.
const EVERY: Duration = Duration::from_secs(2);

/// Wakes the loop when something has been approved since, until `stop` is cancelled.
pub(super) async fn watch(journal: StateDb, wake: Wake, stop: CancellationToken) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match journal.approval_mark().await {
            Ok(mark) if known.is_some_and(|known| known != mark) => {
                info!("something was approved");
                wake.wake(Trigger::Approval);
                known = Some(mark);
            }
            Ok(mark) => known = Some(mark),
            Err(error) => warn!(%error, "whether something was approved can't be seen"),
        }
    }
}
