//! How the source is, for whoever looks at the daemon and asks why nothing happens.

use std::fmt;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// What takes longer than this to come to rest is told in the log, once.
const LONG: Duration = Duration::from_secs(10);

/// How the source is, as far as the watcher knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
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
pub(super) struct Teller {
    tell: Box<dyn Fn(Condition) + Send + Sync>,
    told: Option<Told>,
}

#[derive(Clone, Copy)]
struct Told {
    condition: Condition,
    since: Instant,
    is_logged: bool,
}

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Teller")
    }
}

impl Teller {
    pub(super) fn new(tell: impl Fn(Condition) + Send + Sync + 'static) -> Self {
        Self {
            tell: Box::new(tell),
            told: None,
        }
    }

    pub(super) fn tell(&mut self, condition: Condition) {
        let before = self.told;
        let told = match before {
            Some(told) if told.condition == condition => told,
            _ => self.tell_anew(condition),
        };
        self.told = Some(told.log(before));
    }

    fn tell_anew(&self, condition: Condition) -> Told {
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
            Condition::Silent => {
                warn!("the roster's file system answers slowly, or hangs: no change is noticed");
            }
            Condition::Moving if self.since.elapsed() >= LONG => {
                info!("the roster is still being written: it is waited for");
            }
            Condition::Still | Condition::Moving | Condition::Away => {
                if before.is_some_and(|before| before.condition == Condition::Silent) {
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
        let mut teller = Teller::new(move |condition| told.lock().expect("whole").push(condition));
        for condition in [Condition::Still, Condition::Still, Condition::Moving] {
            teller.tell(condition);
        }
        let logged = || std::fs::read_to_string(file.path()).expect("text");
        assert_eq!(logged(), "");
        for _ in 0..3 {
            advance(LONG).await;
            teller.tell(Condition::Moving);
        }
        assert_eq!(logged().matches("still being written").count(), 1);
        for condition in [Condition::Silent, Condition::Silent, Condition::Still] {
            teller.tell(condition);
        }
        assert_eq!(logged().matches("answers slowly, or hangs").count(), 1);
        assert_eq!(logged().matches("has answered").count(), 1);
        let expected = [
            Condition::Still,
            Condition::Moving,
            Condition::Silent,
            Condition::Still,
        ];
        assert_eq!(*all.lock().expect("whole"), expected);
    }
}
