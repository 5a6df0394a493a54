//! How the daemon is: the loop writes it, and the server reads it.
//!
//! The rules of the room:
//!
//! - Whoever asks is answered at once, whatever the loop is doing.
//! - What the probes tell names nobody, and shows no path and no address: they tell it to whoever
//!   connects. Only the [`Findings`] name rows; they are for the pages.

mod findings;
mod readiness;

pub use findings::{Findings, Incompleteness, RosterFindings};

use crate::model::Trigger;
use crate::omni::OmniError;
use crate::roster::SourceError;
use crate::run::{Completion, RunError, RunOutcome};
use crate::settings::Schedule;
use crate::trigger::watch::SourceState;
use crate::util::sync;
use chrono::{DateTime, SecondsFormat, Utc};
use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::time::Duration;
use tokio::time::Instant;

/// A loop that has not beaten for so long is stuck: it beats each second.
const STUCK: Duration = Duration::from_secs(15);

/// How the daemon is. Clones tell of the same daemon; only the loop writes.
#[derive(Clone, Debug)]
pub struct Status(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    times: Option<Schedule>,
    facts: RwLock<Facts>,
    findings: RwLock<Arc<Findings>>,
}

/// What is known of the daemon at one moment.
#[derive(Clone, Debug)]
pub struct Facts {
    /// When it was started.
    pub started: DateTime<Utc>,
    /// What started the run under way, and when.
    pub running: Option<(Trigger, DateTime<Utc>)>,
    /// The run that ended last.
    pub last: Option<LastRun>,
    /// When a run first read a roster and was answered with a listing.
    pub first_observed: Option<DateTime<Utc>>,
    /// When the last run that succeeded ended.
    pub last_success: Option<DateTime<Utc>>,
    /// When a run that failed is tried again.
    pub retry: Option<DateTime<Utc>>,
    /// How the roster is, as the watcher sees it, and since when.
    pub roster: Option<(SourceState, DateTime<Utc>)>,
    beat: Instant,
}

impl Facts {
    fn at_start(started: DateTime<Utc>) -> Self {
        Self {
            started,
            running: None,
            last: None,
            first_observed: None,
            last_success: None,
            retry: None,
            roster: None,
            beat: Instant::now(),
        }
    }

    /// Whether the loop itself is alive.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.beat.elapsed() < STUCK
    }
}

/// A run, in short. It names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastRun {
    /// What started it.
    pub trigger: Trigger,
    /// The word for how it ended.
    pub outcome: &'static str,
    /// When it ended.
    pub ended: DateTime<Utc>,
    /// Why it failed, if it did; without a path or an address.
    pub failure: Option<&'static str>,
}

impl Status {
    /// The status of a daemon that starts now.
    #[must_use]
    pub fn new(times: Option<Schedule>) -> Self {
        let facts = RwLock::new(Facts::at_start(Utc::now()));
        Self(Arc::new(Shared {
            times,
            facts,
            findings: RwLock::default(),
        }))
    }

    /// What is known now.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.read().clone()
    }

    /// What the last runs found wrong. It names rows and users.
    #[must_use]
    pub fn findings(&self) -> Arc<Findings> {
        Arc::clone(&sync::read(&self.0.findings))
    }

    /// When the next run is due by the schedule.
    #[must_use]
    pub fn next_due(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.0.times.as_ref()?.next_after(now)
    }

    /// Whether the loop itself is alive.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.read().is_alive()
    }

    /// Whether the daemon does its work.
    ///
    /// # Errors
    /// Says why not, as a clause for a person that names nobody.
    pub fn readiness(&self, now: DateTime<Utc>) -> Result<(), String> {
        readiness::of(&self.read(), self.0.times.as_ref(), now)
    }

    /// The state in a sentence, for the service manager: the runs, and what is wrong with the roster.
    #[must_use]
    pub fn sentence(&self, now: DateTime<Utc>) -> String {
        let facts = self.facts();
        let roster = facts.roster.and_then(|(condition, since)| {
            Some(format!("; {} since {}", trouble(condition)?, clock(since)))
        });
        self.about_runs(&facts, now) + &roster.unwrap_or_default()
    }

    fn about_runs(&self, facts: &Facts, now: DateTime<Utc>) -> String {
        if let Some((trigger, since)) = facts.running {
            return format!(
                "Run under way since {} ({})",
                clock(since),
                trigger.as_str()
            );
        }
        let last = match facts.last {
            Some(last) => format!("Last run {} at {}", last.outcome, clock(last.ended)),
            None => "No run yet".into(),
        };
        match (facts.retry, self.next_due(now)) {
            (Some(at), _) => format!("{last}, tried again at {}", clock(at)),
            (None, Some(at)) => format!("{last}, next due at {}", clock(at)),
            (None, None) => format!("{last}, waiting for a change"),
        }
    }

    /// The loop is alive.
    pub fn beat(&self) {
        self.write(|facts| facts.beat = Instant::now());
    }

    /// The watcher sees the roster in another condition.
    pub fn roster(&self, condition: SourceState) {
        self.write(|facts| facts.roster = Some((condition, Utc::now())));
    }

    /// A run begins.
    pub fn run_starts(&self, trigger: Trigger) {
        self.write(|facts| {
            facts.running = Some((trigger, Utc::now()));
            facts.retry = None;
        });
    }

    /// A roster was read and a listing answered: from the first on, the daemon is ready.
    pub fn observed(&self) {
        self.write(|facts| {
            facts.first_observed.get_or_insert_with(Utc::now);
        });
    }

    /// Takes a run that has ended, and when it is tried again if it failed.
    pub fn run_ended(&self, run: &RunOutcome, retry: Option<Duration>) {
        if run.roster().is_some() && run.users().is_some() {
            self.observed();
        }
        let now = Utc::now();
        let findings = Arc::new(self.findings().after(run, now));
        *sync::write(&self.0.findings) = findings;
        let last = LastRun {
            trigger: run.trigger,
            outcome: run.result().as_str(),
            ended: now,
            failure: failure(run),
        };
        self.write(|facts| {
            facts.running = None;
            facts.last = Some(last);
            facts.retry = retry.map(|wait| now + wait);
            if run.is_success() {
                facts.last_success = Some(now);
            }
        });
    }

    fn read(&self) -> RwLockReadGuard<'_, Facts> {
        sync::read(&self.0.facts)
    }

    fn write(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut sync::write(&self.0.facts));
    }
}

/// Why nothing comes of the roster just now.
fn trouble(roster: SourceState) -> Option<&'static str> {
    match roster {
        SourceState::Stable => None,
        SourceState::Changing => Some("waiting for the roster to stand still"),
        SourceState::Unavailable => Some("the roster can't be read"),
        SourceState::Unresponsive => Some("the roster's file system does not answer"),
    }
}

/// What failed, in words of our own: an error's text may hold paths, addresses and what Omni said.
pub(crate) fn failure(run: &RunOutcome) -> Option<&'static str> {
    let Completion::Failed(error) = &run.completion else {
        return None;
    };
    Some(match error {
        RunError::Settings(_) | RunError::Omni(OmniError::PutWithoutDefinitions) => {
            "a setting is missing or wrong"
        }
        RunError::Keys(_) => "the API keys can't be read",
        RunError::Source(SourceError::StillChanging { .. }) => "the roster keeps changing",
        RunError::Source(SourceError::Unresponsive { .. }) => {
            "the roster's file system does not answer"
        }
        RunError::Source(_) => "the roster can't be read",
        RunError::Omni(OmniError::Unauthorized { .. } | OmniError::NoKeyLeft) => {
            "Omni does not accept the API key"
        }
        RunError::Omni(OmniError::Forbidden { .. }) => "Omni denies the API key the right",
        RunError::Omni(OmniError::Unavailable { .. } | OmniError::CircuitOpen { .. }) => {
            "Omni can't be reached"
        }
        RunError::Omni(OmniError::Throttled) => "Omni answers that there are too many requests",
        RunError::Omni(_) => "Omni does not answer as it should",
        RunError::State(_) => "the journal can't be used",
    })
}

/// A time, as people and machines read it.
fn clock(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
