//! What becomes of a run for those who do not look: a message to a webhook.
//!
//! ```text
//! RunOutcome ─► RunSummary ─► queue ─► message(told, news) ─► Webhook
//!                                   ▲ told                 │
//!                                   └──────── delivered ◄──┘
//! ```
//!
//! The rules of the room:
//!
//! - **No run waits for it, and no end.** The queue is bounded, and what does not fit is dropped and
//!   counted; a message under way is given up when the program ends.
//! - **Once per state**: a trouble that was told is not told again until it was over or is another
//!   one. What was told outlasts a restart; what could not be delivered was not told.
//! - **It names nobody**: no email, no value, no key, and of a path the file's name alone.
//! - The address is a secret: it stands in no log and no error.

mod message;
mod news;
mod told;
mod webhook;

pub use message::{Event, Message, message};
pub use news::{RunSummary, Trouble};

use crate::metrics::Metrics;
use crate::run::RunOutcome;
use crate::settings::{Settings, SettingsError, WebhookFile};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use told::NotifiedState;
use tracing::{info, warn};
use webhook::Webhook;

/// Runs that may wait to be told of. While a webhook hangs, runs that fail come with back-off.
const MOST_WAITING: usize = 32;

/// Takes what became of runs. Clones take for the same webhook; the default takes for none.
#[derive(Clone, Debug, Default)]
pub struct NotificationSender(Option<(mpsc::Sender<RunSummary>, Metrics)>);

impl NotificationSender {
    /// Hands in a run that has ended. Never waits.
    pub fn tell(&self, run: &RunOutcome) {
        let (Some((queue, metrics)), Some(news)) = (&self.0, RunSummary::of(run)) else {
            return;
        };
        if queue.try_send(news).is_err() {
            metrics.notifications.with_label_values(&["dropped"]).inc();
            warn!("too many messages wait for the webhook: this run is not told there");
        }
    }
}

/// Tells a webhook of runs.
#[derive(Debug)]
pub struct Notifier {
    queue: mpsc::Receiver<RunSummary>,
    webhook: Webhook,
    organisation: Arc<str>,
    told: NotifiedState,
    metrics: Metrics,
}

impl Notifier {
    /// A notifier for the webhook of this file, and what to hand runs in by.
    ///
    /// # Errors
    /// When `omni.base_url` is not set: a message says whose it is.
    pub fn new(
        file: WebhookFile,
        settings: &Settings,
        metrics: Metrics,
    ) -> Result<(NotificationSender, Self), SettingsError> {
        // NotifiedState now, and not only when something has gone wrong. It is read anew for each message.
        if let Err(error) = file.read() {
            warn!(%error, "the webhook can't be told anything");
        }
        let (sender, queue) = mpsc::channel(MOST_WAITING);
        let notifier = Self {
            queue,
            webhook: Webhook::new(file, settings.omni.ca_file.clone()),
            organisation: settings.omni.base_url()?.host().into(),
            told: NotifiedState::load(&settings.state.dir),
            metrics: metrics.clone(),
        };
        Ok((NotificationSender(Some((sender, metrics))), notifier))
    }

    /// Tells until it is told to stop; a message under way is given up then, and told after the
    /// restart.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.tell_all() => stop.cancelled().await,
        }
    }

    async fn tell_all(&mut self) {
        while let Some(news) = self.queue.recv().await {
            self.tell(news).await;
        }
    }

    async fn tell(&mut self, news: RunSummary) {
        if let Some(message) = message(self.told.troubles(), &news, &self.organisation) {
            let event = message.event.as_str();
            let delivered = self.webhook.send(&message).await;
            let outcome = if delivered.is_ok() {
                "delivered"
            } else {
                "failed"
            };
            self.metrics
                .notifications
                .with_label_values(&[outcome])
                .inc();
            match delivered {
                Ok(()) => info!(event, "the webhook was told"),
                Err(error) => {
                    warn!(event, %error, "the webhook could not be told; the next run tries again");
                    return;
                }
            }
        }
        self.told.set(news.troubles).await;
    }
}
