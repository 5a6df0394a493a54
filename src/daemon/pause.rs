//! Watches for `pause` and `resume`, which run in other processes, so the state database is polled.

use crate::metrics::Metrics;
use crate::model::Pause;
use crate::state::{StateDb, StateError};
use crate::status::Status;
use chrono::Utc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// The daemon must act within 5 s. A poll reads a single row.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Publishes the pause in force to the run loop, the pages and the metrics.
pub(super) struct PauseWatch {
    state: StateDb,
    status: Status,
    metrics: Metrics,
    current: Option<Pause>,
}

impl PauseWatch {
    /// A watch that has read the pause in force, so that the run loop starts with it.
    pub(super) async fn start(
        state: StateDb,
        status: Status,
        metrics: Metrics,
    ) -> Result<Self, StateError> {
        // The settings may have been read again during a pause.
        let current = status.facts().paused;
        let mut watch = Self {
            state,
            status,
            metrics,
            current,
        };
        watch.look().await?;
        Ok(watch)
    }

    /// Watches until `stop` is cancelled.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.look().await {
                // The watch for approvals warns of it.
                debug!(%error, "the pause can't be read");
            }
        }
    }

    async fn look(&mut self) -> Result<(), StateError> {
        let pause = self.state.paused(Utc::now()).await?;
        if pause == self.current {
            return Ok(());
        }
        match &pause {
            Some(pause) => warn!("the daemon is paused {pause}; it starts no runs"),
            None => info!("the daemon is resumed"),
        }
        self.metrics.paused.set(pause.is_some().into());
        self.status.pause(pause.clone());
        self.current = pause;
        Ok(())
    }
}
