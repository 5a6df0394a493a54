//! How the source is, for whoever looks at the daemon and asks why nothing happens.

use std::fmt;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// What takes longer than this to come to rest is told in the log, once.
const LONG: Duration = Duration::from_secs(10);

/// How the source is, as far as the watcher knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// It stands still, and was read.
    Still,
    /// It was seen to change, and has not stood still for long enough since.
    Moving,
    /// It can't be read.
    Away,
    /// Its file system does not answer.
    Silent,
}

/// Tells of the condition when it is another one.
pub(super) struct StateReporter {
    tell: Box<dyn Fn(SourceState) + Send + Sync>,
    told: Option<Told>,
}

#[derive(Clone, Copy)]
struct Told {
    condition: SourceState,
    since: Instant,
    is_logged: bool,
}

impl fmt::Debug for StateReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Teller")
    }
}

impl StateReporter {
    pub(super) fn new(tell: impl Fn(SourceState) + Send + Sync + 'static) -> Self {
        Self {
            tell: Box::new(tell),
            told: None,
        }
    }

    pub(super) fn tell(&mut self, condition: SourceState) {
        let before = self.told;
        let told = match before {
            Some(told) if told.condition == condition => told,
            _ => self.tell_anew(condition),
        };
        self.told = Some(told.log(before));
    }

    fn tell_anew(&self, condition: SourceState) -> Told {
        (self.tell)(condition);
        Told {
            condition,
            since: Instant::now(),
            is_logged: false,
        }
    }
}

impl Told {
    /// Logs what the news of contents do not tell.
    fn log(mut self, before: Option<Self>) -> Self {
        match self.condition {
            _ if self.is_logged => return self,
            SourceState::Silent => {
                warn!("the roster's file system answers slowly, or hangs: no change is noticed");
            }
            SourceState::Moving if self.since.elapsed() >= LONG => {
                info!("the roster is still being written: it is waited for");
            }
            SourceState::Still | SourceState::Moving | SourceState::Away => {
                if before.is_some_and(|before| before.condition == SourceState::Silent) {
                    info!("the roster's file system has answered");
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
    async fn tells_each_change_once_and_logs_what_takes_long() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let writer = Arc::new(file.reopen().expect("is there"));
        let log = tracing_subscriber::fmt()
            .with_writer(writer)
            .with_ansi(false);
        let _guard = tracing::subscriber::set_default(log.finish());
        let all = Arc::new(Mutex::new(Vec::new()));
        let told = all.clone();
        let mut teller =
            StateReporter::new(move |condition| told.lock().expect("whole").push(condition));
        for condition in [SourceState::Still, SourceState::Still, SourceState::Moving] {
            teller.tell(condition);
        }
        let logged = || std::fs::read_to_string(file.path()).expect("text");
        assert_eq!(logged(), "");
        for _ in 0..3 {
            advance(LONG).await;
            teller.tell(SourceState::Moving);
        }
        assert_eq!(logged().matches("still being written").count(), 1);
        for condition in [SourceState::Silent, SourceState::Silent, SourceState::Still] {
            teller.tell(condition);
        }
        assert_eq!(logged().matches("answers slowly, or hangs").count(), 1);
        assert_eq!(logged().matches("has answered").count(), 1);
        let expected = [
            SourceState::Still,
            SourceState::Moving,
            SourceState::Silent,
            SourceState::Still,
        ];
        assert_eq!(*all.lock().expect("whole"), expected);
    }
}
