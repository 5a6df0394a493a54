//! Changes of the roster.
//!
//! ```text
//! hints (events) ─┐
//! poll ───────────┴─► look (stamp, then content) ─► settle (two equal readings) ─► publish, wake
//! ```
//!
//! Events are only hints: they name other files, come while a writer still writes, and on a network
//! mount never come. The truth is what two looks, `source.settle` apart, find alike, and every look
//! between them. A poll goes beside the events always: every `source.poll_interval`, and where events
//! can be relied on and a roster is there, every six of those, at least a minute.

mod condition;
mod eye;
mod hints;
mod settle;

pub use condition::SourceState;

use super::Wake;
use crate::model::{Fingerprint, Trigger};
use crate::roster::{self, Stamp};
use crate::settings::{SourceSettings, Watch};
use condition::StateReporter;
use eye::{Probe, Prober};
use hints::FsEvents;
use settle::{News, Settle, Span, Step};
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The least time from a look to the next that a hint asks for, so that a busy folder does not make
/// look upon look. Reading a large roster again and again while it is written costs more: such looks
/// take a third of the time at most.
const REST: Duration = Duration::from_millis(25);

/// A file system that does not answer for so long is told to hang.
const HANGS: Duration = Duration::from_secs(60);

/// So long after that it is asked anew: what was mounted there may have been given up.
const GIVEN_UP: Duration = Duration::from_secs(600);

/// The least time between two polls where events can be relied on.
const SLOW: Duration = Duration::from_secs(60);

/// Why the source can't be read.
pub type Unreadable = Box<dyn Error + Send + Sync>;

/// How the source is looked at. It may block. A clone looks from another thread when one hangs.
pub trait Look: Clone + Send + Sync + 'static {
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
#[derive(Clone, Debug)]
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
        Ok(roster::stamp(&self.settings, &self.path)?)
    }

    fn fingerprint(&mut self) -> Result<Fingerprint, Unreadable> {
        Ok(roster::fingerprint(&self.settings, &self.path)?)
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
    teller: StateReporter,
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
            teller: StateReporter::new(|_| ()),
        })
    }

    /// Tells how the source is, whenever that changes.
    #[must_use]
    pub fn with_observer(self, tell: impl Fn(SourceState) + Send + Sync + 'static) -> Self {
        Self {
            teller: StateReporter::new(tell),
            ..self
        }
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

    async fn watch<L: Look>(mut self, look: L) -> Result<std::convert::Infallible, WatchError> {
        let bell = Arc::new(Notify::new());
        let (path, watch) = (self.path.clone(), self.watch);
        let open = || {
            let hints = FsEvents::new(&path, watch, Arc::clone(&bell));
            Prober::open(look.clone(), hints)
        };
        let (mut eye, mut settle) = (open()?, Settle::new(self.settle));
        loop {
            let Some(sight) = self.look(&mut eye, settle.known()).await? else {
                eye = open()?;
                continue;
            };
            let Probe {
                state,
                span,
                events,
            } = sight;
            let step = settle.take(state, span);
            let condition = settle.condition();
            if let Some(condition) = condition {
                self.teller.tell(condition);
            }
            // What is mounted over an empty folder makes no event in it.
            let events = events && condition == Some(SourceState::Still);
            let next = match step {
                Step::Confirm(due) => due,
                Step::Wait => self.next_poll(events),
                Step::Announce(news) => {
                    self.announce(news);
                    self.next_poll(events)
                }
            };
            pause(&bell, span, next).await;
        }
    }

    /// Looks once; `None` when there is no answer, and none is to be expected.
    async fn look<S: PartialEq + Send + 'static>(
        &mut self,
        eye: &mut Prober<S>,
        known: Option<S>,
    ) -> Result<Option<Probe<S>>, WatchError> {
        let mut look = std::pin::pin!(eye.look(known));
        if let Ok(sight) = timeout(HANGS, &mut look).await {
            return sight.map(Some);
        }
        self.teller.tell(SourceState::Silent);
        timeout(GIVEN_UP, look).await.ok().transpose()
    }

    fn next_poll(&self, events: bool) -> Instant {
        let poll = if events {
            (self.poll_interval * 6).max(SLOW)
        } else {
            self.poll_interval
        };
        Instant::now() + poll
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

/// Waits for a hint, or for a time. A hint right after a look is let rest.
async fn pause(bell: &Notify, last: Span, until: Instant) {
    if timeout_at(until, bell.notified()).await.is_ok() {
        let rest = REST.max((last.ended - last.began) * 2);
        tokio::time::sleep_until(last.ended + rest).await;
    }
}
