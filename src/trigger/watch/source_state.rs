//! The state of the source, for the status and the log.

use std::fmt;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// A source that keeps changing for longer is logged, once.
const MAX_QUIET: Duration = Duration::from_secs(10);

/// The state of the source, as far as the watcher knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// The source is stable and readable.
    Stable,
    /// The source has changed and is not stable yet.
    Changing,
    /// The source can't be read.
    Unavailable,
    /// The file system does not respond.
    Unresponsive,
}

/// Reports each change of the state to an observer and to the log.
pub(super) struct StateReporter {
    observer: Box<dyn Fn(SourceState) + Send + Sync>,
    last: Option<ReportedState>,
}

#[derive(Clone, Copy)]
struct ReportedState {
    state: SourceState,
    since: Instant,
    is_logged: bool,
}

impl fmt::Debug for StateReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateReporter")
    }
}

impl StateReporter {
    pub(super) fn new(observer: impl Fn(SourceState) + Send + Sync + 'static) -> Self {
        Self {
            observer: Box::new(observer),
            last: None,
        }
    }

    pub(super) fn report(&mut self, state: SourceState) {
        let before = self.last;
        let current = match before {
            Some(last) if last.state == state => last,
            _ => self.report_change(state),
        };
        self.last = Some(current.log(before));
    }

    fn report_change(&self, state: SourceState) -> ReportedState {
        (self.observer)(state);
        ReportedState {
            state,
            since: Instant::now(),
            is_logged: false,
        }
    }
}

impl ReportedState {
    /// Logs what the announced changes do not show.
    fn log(mut self, before: Option<Self>) -> Self {
        match self.state {
            _ if self.is_logged => return self,
            SourceState::Unresponsive => {
                warn!("the file system of the roster does not respond; changes are not noticed");
            }
            SourceState::Changing if self.since.elapsed() >= MAX_QUIET => {
                info!("waiting for the roster: it is still being written");
            }
            SourceState::Stable | SourceState::Changing | SourceState::Unavailable => {
                if before.is_some_and(|before| before.state == SourceState::Unresponsive) {
                    info!("the file system of the roster responds again");
                }
                return self;
            }
        }
        self.is_logged = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn reports_each_change_once_and_logs_long_ones() {
        use SourceState::{Changing, Stable, Unresponsive};
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let writer = Arc::new(file.reopen().expect("the file exists"));
        let log = tracing_subscriber::fmt()
            .with_writer(writer)
            .with_ansi(false);
        let _guard = tracing::subscriber::set_default(log.finish());
        let states = Arc::new(Mutex::new(Vec::new()));
        let observed = states.clone();
        let mut reporter =
            StateReporter::new(move |state| observed.lock().expect("no panic").push(state));
        for state in [Stable, Stable, Changing] {
            reporter.report(state);
        }
        let logged = || std::fs::read_to_string(file.path()).expect("text");
        assert_eq!(logged(), "");
        for _ in 0..3 {
            advance(MAX_QUIET).await;
            reporter.report(Changing);
        }
        assert_eq!(logged().matches("still being written").count(), 1);
        for state in [Unresponsive, Unresponsive, Stable] {
            reporter.report(state);
        }
        assert_eq!(logged().matches("does not respond").count(), 1);
        assert_eq!(logged().matches("responds again").count(), 1);
        let expected = [Stable, Changing, Unresponsive, Stable];
        assert_eq!(*states.lock().expect("no panic"), expected);
    }
}
