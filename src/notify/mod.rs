//! Notifications: messages about runs to a webhook.
//!
//! ```text
//! RunOutcome ─► RunSummary ─► queue ─► message(notified, run) ─► Webhook
//!                                        ▲ NotifiedState          │
//!                                        └────────── delivered ◄──┘
//! ```
//!
//! The rules of this module:
//!
//! - **Runs and shutdown never wait.** The queue is bounded; runs beyond that are dropped and counted.
//!   A delivery in progress is aborted at shutdown.
//! - **One message per state.** An alert is sent once, until it changes or ends. The state is kept across
//!   restarts. An alert that could not be delivered is sent again.
//! - **No personal data**: no email, value or key, and only the file name of a path.
//! - The address of the webhook is a secret: it is in no log and no error.

mod message;
mod run_summary;
mod state;
mod webhook;

pub use message::{Event, Message, message};
pub use run_summary::{Alert, RunSummary};

use crate::metrics::Metrics;
use crate::run::RunOutcome;
use crate::settings::{Settings, SettingsError, WebhookFile};
use state::NotifiedState;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use webhook::Webhook;

/// Runs in the queue. While a webhook hangs, failing runs are retried with back-off, so there are few.
const MAX_QUEUED: usize = 32;

/// Hands runs to the [`Notifier`]. Clones share it; the default has no webhook.
#[derive(Clone, Debug, Default)]
pub struct NotificationSender(Option<(mpsc::Sender<RunSummary>, Metrics)>);

impl NotificationSender {
    /// Queues a run that has ended. Never waits.
    pub fn send(&self, run: &RunOutcome) {
        let (Some((queue, metrics)), Some(summary)) = (&self.0, RunSummary::of(run)) else {
            return;
        };
        if queue.try_send(summary).is_err() {
            metrics.notifications.with_label_values(&["dropped"]).inc();
            warn!("the notification queue is full; this run is not reported to the webhook");
        }
    }
}

/// Sends messages about runs to a webhook.
#[derive(Debug)]
pub struct Notifier {
    queue: mpsc::Receiver<RunSummary>,
    webhook: Webhook,
    organisation: Arc<str>,
    notified: NotifiedState,
    metrics: Metrics,
}

impl Notifier {
    /// A notifier for the webhook in this file, and the sender for its queue.
    ///
    /// # Errors
    /// If `omni.base_url` is not set, because messages name the organisation.
    pub fn new(
        file: WebhookFile,
        settings: &Settings,
        metrics: Metrics,
    ) -> Result<(NotificationSender, Self), SettingsError> {
        // Warns now, rather than at the first failure. The file is read again for each message.
        if let Err(error) = file.read() {
            warn!(%error, "notifications can't be sent");
        }
        let (sender, queue) = mpsc::channel(MAX_QUEUED);
        let notifier = Self {
            queue,
            webhook: Webhook::new(file, settings.omni.ca_file.clone()),
            organisation: settings.omni.base_url()?.host().into(),
            notified: NotifiedState::load(&settings.state.dir),
            metrics: metrics.clone(),
        };
        Ok((NotificationSender(Some((sender, metrics))), notifier))
    }

    /// Runs until `stop`. A message in progress is then aborted, and sent again after the restart.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.notify_all() => stop.cancelled().await,
        }
    }

    async fn notify_all(&mut self) {
        while let Some(run) = self.queue.recv().await {
            self.notify(run).await;
        }
    }

    async fn notify(&mut self, run: RunSummary) {
        if let Some(message) = message(self.notified.alerts(), &run, &self.organisation) {
            let event = message.event.as_str();
            let delivered = self.webhook.send(&message).await;
            let outcome = match delivered {
                Ok(_) => "delivered",
                Err(_) => "failed",
            };
            self.metrics
                .notifications
                .with_label_values(&[outcome])
                .inc();
            match delivered {
                Ok(()) => info!(event, "notification sent"),
                Err(error) => {
                    warn!(event, %error, "can't send a notification; the next run tries again");
                    return;
                }
            }
        }
        self.notified.set(run.alerts).await;
    }
}
