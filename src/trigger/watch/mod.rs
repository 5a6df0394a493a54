//! Changes of the roster.
//!
//! ```text
//! hints (events) ─┐
//! poll ───────────┴─► look (stamp, then content) ─► settle (two equal readings) ─► publish, wake
//! ```
//!
//! Events are only hints: they name other files, come while a writer still writes, and on a network
//! mount never come. The truth is what two looks, `source.settle` apart, find alike. A poll goes
//! beside the events always: every `source.poll_interval`, and where events can be relied on every
//! six of those, at least a minute.

mod eye;
mod hints;
mod settle;

use super::Wake;
use crate::desired::{self, Fingerprint, Stamp};
use crate::reconcile::Trigger;
use crate::settings::{SourceSettings, Watch};
use eye::Eye;
use hints::Hints;
use settle::{News, Settle, Step};
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How long a hint is let rest, so that a busy folder does not make look upon look.
const REST: Duration = Duration::from_millis(100);

/// The least time between two polls where events can be relied on.
const SLOW: Duration = Duration::from_secs(60);

/// Why the source can't be read.
pub type Unreadable = Box<dyn Error + Send + Sync>;

/// How the source is looked at. It may block.
pub trait Look: Send + 'static {
    /// How the source looks from outside: sizes, times, inodes.
    type Stamp: Clone + PartialEq + Send + Sync + 'static;

    /// The stamp, cheaply.
    ///
    /// # Errors
    /// When there is nothing, or it can't be looked at.
    fn stamp(&mut self) -> Result<Self::Stamp, Unreadable>;

    /// The content, read whole.
    ///
    /// # Errors
    /// When it can't be read.
    fn fingerprint(&mut self) -> Result<Fingerprint, Unreadable>;
}

/// Looks at the roster of the settings.
#[derive(Debug)]
pub struct SourceLook {
    settings: SourceSettings,
    path: PathBuf,
}

impl SourceLook {
    /// Looks at the roster; `None` where the settings name none.
    #[must_use]
    pub fn new(settings: &SourceSettings) -> Option<Self> {
        Some(Self {
            path: settings.path.clone()?,
            settings: settings.clone(),
        })
    }
}

impl Look for SourceLook {
    type Stamp = Stamp;

    fn stamp(&mut self) -> Result<Stamp, Unreadable> {
        Ok(desired::stamp(&self.settings, &self.path)?)
    }

    fn fingerprint(&mut self) -> Result<Fingerprint, Unreadable> {
        Ok(desired::fingerprint(&self.settings, &self.path)?)
    }
}

/// Why no change is noticed any more.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The thread that looks can't be started.
    #[error("the thread that watches the roster can't be started")]
    Thread(#[source] std::io::Error),
    /// It has ended: a look panicked.
    #[error("the thread that watches the roster has ended")]
    Ended,
}

/// Watches the source.
#[derive(Debug)]
pub struct Watcher {
    /// What is watched.
    pub path: PathBuf,
    /// By which means.
    pub watch: Watch,
    /// How often it is looked at without a hint.
    pub poll_interval: Duration,
    /// How long it must stand still.
    pub settle: Duration,
    /// Whether the first content found wakes the loop too. With a run at the start it must: the
    /// roster may have changed since that run read it. The loop skips what was read already.
    pub wake_first: bool,
    /// Who is woken.
    pub wake: Wake,
    /// Where the content that stands still is published; `None` while there is none.
    pub still: watch::Sender<Option<Fingerprint>>,
}

impl Watcher {
    /// A watcher as the settings want it; `None` where they want none.
    #[must_use]
    pub fn new(
        source: &SourceSettings,
        wake_first: bool,
        wake: Wake,
        still: watch::Sender<Option<Fingerprint>>,
    ) -> Option<Self> {
        let path = source.path.clone()?;
        (source.watch != Watch::Off).then_some(Self {
            path,
            watch: source.watch,
            poll_interval: source.poll_interval,
            settle: source.settle,
            wake_first,
            wake,
            still,
        })
    }

    /// Watches until it is told to stop. A source that is missing or can't be read is no error:
    /// it is waited for.
    ///
    /// # Errors
    /// When the thread that looks can't be started, or has ended.
    pub async fn run<L: Look>(self, look: L, stop: CancellationToken) -> Result<(), WatchError> {
        let ended = stop.run_until_cancelled(self.watch(look)).await;
        ended.map_or(Ok(()), |never| match never? {})
    }

    async fn watch<L: Look>(self, look: L) -> Result<std::convert::Infallible, WatchError> {
        let bell = Arc::new(Notify::new());
        let hints = Hints::new(&self.path, self.watch, Arc::clone(&bell));
        let mut eye = Eye::open(look, hints)?;
        let mut settle = Settle::new();
        loop {
            let sight = eye.look(settle.known()).await?;
            match settle.take(sight.state) {
                Step::Confirm => tokio::time::sleep(self.settle).await,
                Step::Announce(news) => self.announce(news),
                Step::Wait => self.pause(&bell, sight.events).await,
            }
        }
    }

    /// Waits for a hint or the next poll.
    async fn pause(&self, bell: &Notify, events: bool) {
        let poll = if events {
            (self.poll_interval * 6).max(SLOW)
        } else {
            self.poll_interval
        };
        if tokio::time::timeout(poll, bell.notified()).await.is_ok() {
            tokio::time::sleep(REST).await;
        }
    }

    fn announce(&self, news: News) {
        let wakes = !news.first || (self.wake_first && news.now.is_ok());
        match &news.now {
            Ok(content) if news.was_unreadable => info!(%content, "the roster is back"),
            Ok(content) if news.first => info!(%content, "the roster is there"),
            Ok(content) => info!(%content, "the roster has changed"),
            Err(why) => warn!(error = why, "the roster can't be read"),
        }
        let now = news.now.ok();
        self.still
            .send_if_modified(|still| std::mem::replace(still, now) != now);
        if wakes {
            self.wake.wake(Trigger::File);
        }
    }
}
