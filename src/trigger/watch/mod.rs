//! Changes of the roster, of `source.groups` and of `source.roles`.
//!
//! ```text
//! fs_events ─┐
//! poll ──────┴─► prober (stamp, then content) ─► changes (stable for source.settle) ─► publish, wake
//! ```
//!
//! Events are only hints: they name other files, come during a write, and never come on a network
//! mount. A change counts if the first and the last probe of `source.settle`, and every probe between
//! them, find the same content. The source is also polled: every `source.poll_interval`, or, if events
//! work and there is a roster, every six intervals, at least a minute.

mod changes;
mod fs_events;
mod prober;
mod source_state;

pub use source_state::SourceState;

use super::Wake;
use crate::model::{Fingerprint, Trigger};
use crate::roster::{self, ReadTime, SourceStamp};
use crate::settings::{SourceSettings, Watch};
use changes::{ChangeTracker, NextStep, StableChange};
use fs_events::FsEvents;
use prober::{ProbeResult, Prober};
use source_state::StateReporter;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The minimum pause before a probe that an event causes, so that a busy folder does not cause
/// continuous probes. Reading a large roster repeatedly while it is written costs more, so the pause
/// is at least twice as long as the last probe.
const MIN_PAUSE: Duration = Duration::from_millis(25);

/// The time after which the file system counts as unresponsive.
const PROBE_TIMEOUT: Duration = Duration::from_secs(60);

/// The further time after which a probe is abandoned. A new probe may use a new mount.
const ABANDON_TIMEOUT: Duration = Duration::from_secs(600);

/// The minimum time between two polls if events work.
const MIN_SLOW_POLL: Duration = Duration::from_secs(60);

/// The reason why the source can't be read.
pub type ProbeError = Box<dyn Error + Send + Sync>;

/// Probes a source. Calls may block. A clone is used on another thread if a call hangs.
pub trait SourceProbe: Clone + Send + Sync + 'static {
    /// The stamp of the source, without reading it.
    ///
    /// # Errors
    /// Fails if there is no source, or it can't be accessed.
    fn stamp(&mut self) -> Result<SourceStamp, ProbeError>;

    /// The fingerprint of the source, which is read.
    ///
    /// # Errors
    /// Fails if the source can't be read.
    fn fingerprint(&mut self) -> Result<Fingerprint, ProbeError>;
}

/// Probes the roster of the settings, with the files beside it.
#[derive(Clone, Debug)]
pub struct RosterProbe {
    settings: SourceSettings,
    path: PathBuf,
}

impl RosterProbe {
    /// A probe of `source.path`; `None` if it is not set.
    #[must_use]
    pub fn new(settings: &SourceSettings) -> Option<Self> {
        Some(Self {
            path: settings.path.clone()?,
            settings: settings.clone(),
        })
    }
}

impl SourceProbe for RosterProbe {
    fn stamp(&mut self) -> Result<SourceStamp, ProbeError> {
        Ok(roster::stamp(&self.settings, &self.path)?)
    }

    fn fingerprint(&mut self) -> Result<Fingerprint, ProbeError> {
        Ok(roster::fingerprint(&self.settings, &self.path)?)
    }
}

/// The reason why the watch has ended.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The thread can't be started.
    #[error("can't start the thread that watches the roster")]
    Thread(#[source] std::io::Error),
    /// The thread has ended, since a probe panicked.
    #[error("the thread that watches the roster has ended")]
    Ended,
}

/// Watches the source.
#[derive(Debug)]
pub struct Watcher {
    /// The path of the source.
    pub path: PathBuf,
    /// The files of `source.groups` and `source.roles`, which are part of the source.
    pub beside: Vec<PathBuf>,
    /// The method.
    pub watch: Watch,
    /// The interval of the polls.
    pub poll_interval: Duration,
    /// The time for which the source must be stable.
    pub settle: Duration,
    /// Whether the first content wakes the loop too. This is needed after a run at the start, since
    /// the roster may have changed since that run read it. The loop skips a roster that it has read.
    pub wake_first: bool,
    /// Wakes the loop.
    pub wake: Wake,
    /// Publishes the fingerprint of the stable source; `None` while it is not readable.
    pub stable_fingerprint: watch::Sender<Option<Fingerprint>>,
    reporter: StateReporter,
}

impl Watcher {
    /// A watcher with these settings; `None` if there is no roster to watch.
    #[must_use]
    pub fn new(
        source: &SourceSettings,
        wake_first: bool,
        wake: Wake,
        stable_fingerprint: watch::Sender<Option<Fingerprint>>,
    ) -> Option<Self> {
        let path = source.path.clone()?;
        (source.watch != Watch::Off).then_some(Self {
            path,
            beside: [&source.groups, &source.roles]
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
            watch: source.watch,
            poll_interval: source.poll_interval,
            settle: source.settle,
            wake_first,
            wake,
            stable_fingerprint,
            reporter: StateReporter::new(|_| ()),
        })
    }

    /// Reports the state of the source whenever it changes.
    #[must_use]
    pub fn with_observer(self, observer: impl Fn(SourceState) + Send + Sync + 'static) -> Self {
        Self {
            reporter: StateReporter::new(observer),
            ..self
        }
    }

    /// Watches until `stop` is cancelled. A source that is missing or unreadable is not an error: the
    /// watch continues.
    ///
    /// # Errors
    /// Fails if the thread can't be started, or has ended.
    pub async fn run(
        self,
        source: impl SourceProbe,
        stop: CancellationToken,
    ) -> Result<(), WatchError> {
        let ended = stop.run_until_cancelled(self.watch(source)).await;
        ended.map_or(Ok(()), |never| match never? {})
    }

    async fn watch(
        mut self,
        source: impl SourceProbe,
    ) -> Result<std::convert::Infallible, WatchError> {
        let event = Arc::new(Notify::new());
        let paths = [&self.path].into_iter().chain(&self.beside);
        let (paths, watch): (Vec<_>, _) = (paths.cloned().collect(), self.watch);
        let start_prober = || {
            let events = FsEvents::new(paths.clone(), watch, Arc::clone(&event));
            Prober::start(source.clone(), events)
        };
        let mut prober = start_prober()?;
        let mut changes = ChangeTracker::new(self.settle);
        loop {
            let Some(probe) = self.probe(&mut prober, changes.stable_stamp()).await? else {
                prober = start_prober()?;
                continue;
            };
            let ProbeResult {
                state,
                time,
                has_events,
            } = probe;
            let step = changes.take(state, time);
            let source_state = changes.source_state();
            if let Some(state) = source_state {
                self.reporter.report(state);
            }
            // A mount over an empty folder causes no event in it.
            let has_events = has_events && source_state == Some(SourceState::Stable);
            let next = match step {
                NextStep::Confirm(due) => due,
                NextStep::Wait => self.next_poll(has_events),
                NextStep::Announce(change) => {
                    self.announce(change);
                    self.next_poll(has_events)
                }
                NextStep::AnnounceHidden => {
                    info!("files behind one that is dated in the future have changed");
                    self.wake.wake_for_hidden();
                    self.next_poll(has_events)
                }
            };
            pause(&event, time, next).await;
        }
    }

    /// Probes once; `None` if the probe is abandoned.
    async fn probe(
        &mut self,
        prober: &mut Prober,
        stable_stamp: Option<SourceStamp>,
    ) -> Result<Option<ProbeResult>, WatchError> {
        let mut probe = std::pin::pin!(prober.probe(stable_stamp));
        if let Ok(result) = timeout(PROBE_TIMEOUT, &mut probe).await {
            return result.map(Some);
        }
        self.reporter.report(SourceState::Unresponsive);
        timeout(ABANDON_TIMEOUT, probe).await.ok().transpose()
    }

    fn next_poll(&self, has_events: bool) -> Instant {
        let interval = if has_events {
            (self.poll_interval * 6).max(MIN_SLOW_POLL)
        } else {
            self.poll_interval
        };
        Instant::now() + interval
    }

    fn announce(&self, change: StableChange) {
        let wakes = !change.is_first || (self.wake_first && change.now.is_ok());
        match &change.now {
            Ok(fingerprint) if change.was_unreadable => {
                info!(%fingerprint, "roster available again");
            }
            Ok(fingerprint) if change.is_first => info!(%fingerprint, "roster found"),
            Ok(fingerprint) => info!(%fingerprint, "roster changed"),
            Err(error) => warn!(error, "roster can't be read"),
        }
        let now = change.now.ok();
        self.stable_fingerprint
            .send_if_modified(|fingerprint| std::mem::replace(fingerprint, now) != now);
        if wakes {
            self.wake.wake(Trigger::File);
        }
    }
}

/// Waits for an event or a time. After an event, waits until the minimum pause since the last probe.
async fn pause(event: &Notify, last: ReadTime, until: Instant) {
    if timeout_at(until, event.notified()).await.is_ok() {
        let pause = MIN_PAUSE.max((last.end - last.start) * 2);
        tokio::time::sleep_until(last.end + pause).await;
    }
}
