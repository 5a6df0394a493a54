//! The status of the daemon: the run loop writes it, and the server reads it.
//!
//! The rules of this module:
//!
//! - Reads never wait for the run loop.
//! - The probes are open to any client, so the status contains no personal data, paths or addresses.
//!   Only the [`Findings`] do; they are for pages and the API.

mod findings;
mod readiness;

pub use findings::{Findings, Incompleteness, RosterFindings};

use crate::model::{Pause, Trigger};
use crate::omni::OmniError;
use crate::roster::SourceError;
use crate::run::{Completion, Progress, ProgressReport, RunError, RunOutcome};
use crate::settings::Schedule;
use crate::state::StateError;
use crate::trigger::watch::SourceState;
use crate::util::sync;
use chrono::{DateTime, SecondsFormat, Utc};
use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::time::Duration;
use tokio::time::Instant;

/// The run loop sends a heartbeat each second. Without one for this long, it is stuck.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(15);

/// The status of the daemon. Clones share it.
#[derive(Clone, Debug)]
pub struct Status(Arc<StatusInner>);

#[derive(Debug)]
struct StatusInner {
    schedule: RwLock<Option<Schedule>>,
    progress: RwLock<Progress>,
    facts: RwLock<Facts>,
    findings: RwLock<Arc<Findings>>,
}

/// The status at one moment.
#[derive(Clone, Debug)]
pub struct Facts {
    /// When the daemon started.
    pub started: DateTime<Utc>,
    /// The trigger and the start of the run in progress.
    pub running: Option<(Trigger, DateTime<Utc>)>,
    /// The last finished run.
    pub last: Option<LastRun>,
    /// When a run first read the roster and fetched the users of Omni.
    pub first_observed: Option<DateTime<Utc>>,
    /// The end of the last successful run.
    pub last_success: Option<DateTime<Utc>>,
    /// When a failed run is retried.
    pub retry: Option<DateTime<Utc>>,
    /// Whether no run was recorded when the daemon started, so that the safety limits start over.
    pub state_is_new: bool,
    /// The pause in force.
    pub paused: Option<Pause>,
    /// When the last pause ended.
    pub resumed: Option<DateTime<Utc>>,
    /// The state of the roster according to the watcher, and since when.
    pub roster: Option<(SourceState, DateTime<Utc>)>,
    heartbeat: Instant,
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
            state_is_new: false,
            paused: None,
            resumed: None,
            roster: None,
            heartbeat: Instant::now(),
        }
    }

    /// Whether the run loop is alive.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.heartbeat.elapsed() < HEARTBEAT_TIMEOUT
    }
}

/// A finished run, without personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastRun {
    /// The trigger.
    pub trigger: Trigger,
    /// The word for the result.
    pub result: &'static str,
    /// When it ended.
    pub ended: DateTime<Utc>,
    /// Why it failed, without paths and addresses.
    pub failure: Option<&'static str>,
    /// Whether it failed for a reason that does not pass by itself.
    pub needs_attention: bool,
}

impl Status {
    /// The status of a daemon that starts now.
    #[must_use]
    pub fn new(schedule: Option<Schedule>) -> Self {
        let facts = RwLock::new(Facts::at_start(Utc::now()));
        Self(Arc::new(StatusInner {
            schedule: RwLock::new(schedule),
            progress: RwLock::default(),
            facts,
            findings: RwLock::default(),
        }))
    }

    /// The current facts.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.read().clone()
    }

    /// The findings of the last runs. They contain personal data.
    #[must_use]
    pub fn findings(&self) -> Arc<Findings> {
        Arc::clone(&sync::read(&self.0.findings))
    }

    /// When the schedule is due next.
    #[must_use]
    pub fn next_due(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        sync::read(&self.0.schedule).as_ref()?.next_after(now)
    }

    /// Whether the run loop is alive.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.read().is_alive()
    }

    /// Whether the daemon is paused, and starts no runs.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.read().paused.is_some()
    }

    /// Records the pause in force.
    pub fn pause(&self, pause: Option<Pause>) {
        self.write(|facts| {
            if facts.paused.is_some() && pause.is_none() {
                facts.resumed = Some(Utc::now());
            }
            facts.paused = pause;
        });
    }

    /// Whether the daemon is ready.
    ///
    /// # Errors
    /// If not, with a clause that says why, without personal data.
    pub fn readiness(&self, now: DateTime<Utc>) -> Result<(), String> {
        readiness::check(&self.read(), sync::read(&self.0.schedule).as_ref(), now)
    }

    /// The status line for the service manager: the last and next run, and the state of the roster.
    #[must_use]
    pub fn status_line(&self, now: DateTime<Utc>) -> String {
        let facts = self.facts();
        let roster = facts.roster.and_then(|(state, since)| {
            let state = describe_roster(state)?;
            Some(format!("; {state} since {}", clock(since)))
        });
        let pause = facts.paused.as_ref();
        let pause = pause.map(|pause| format!("PAUSED {pause}; "));
        pause.unwrap_or_default() + &self.describe_runs(&facts, now) + &roster.unwrap_or_default()
    }

    fn describe_runs(&self, facts: &Facts, now: DateTime<Utc>) -> String {
        if let Some((trigger, since)) = facts.running {
            let since = clock(since);
            return format!(
                "Run in progress since {since} (trigger: {})",
                trigger.as_str()
            );
        }
        let last = match facts.last {
            Some(last) => format!("Last run {} at {}", last.result, clock(last.ended)),
            None => "No run yet".into(),
        };
        match (facts.retry, self.next_due(now)) {
            (Some(at), _) => format!("{last}, retry at {}", clock(at)),
            (None, Some(at)) => format!("{last}, next due at {}", clock(at)),
            (None, None) => format!("{last}, waiting for a change"),
        }
    }

    /// Records a heartbeat of the run loop.
    pub fn beat(&self) {
        self.write(|facts| facts.heartbeat = Instant::now());
    }

    /// The progress of the run in progress, if it reads or applies changes.
    #[must_use]
    pub fn progress(&self) -> Option<ProgressReport> {
        sync::read(&self.0.progress).report()
    }

    /// Where the progress of runs is found.
    pub fn set_progress(&self, progress: Progress) {
        *sync::write(&self.0.progress) = progress;
    }

    /// Replaces the schedule.
    pub fn set_schedule(&self, schedule: Option<Schedule>) {
        *sync::write(&self.0.schedule) = schedule;
    }

    /// Records that no run was recorded when the daemon started.
    pub fn state_is_new(&self) {
        self.write(|facts| facts.state_is_new = true);
    }

    /// Records a new state of the roster.
    pub fn roster(&self, state: SourceState) {
        self.write(|facts| facts.roster = Some((state, Utc::now())));
    }

    /// Records the start of a run.
    pub fn run_starts(&self, trigger: Trigger) {
        self.write(|facts| {
            facts.running = Some((trigger, Utc::now()));
            facts.retry = None;
        });
    }

    /// Records that a run has read the roster and fetched the users of Omni. The first time makes the
    /// daemon ready.
    pub fn observed(&self) {
        self.write(|facts| {
            facts.first_observed.get_or_insert_with(Utc::now);
        });
    }

    /// Records the end of a run, and the wait until its retry.
    pub fn run_ended(&self, run: &RunOutcome, retry: Option<Duration>) {
        if run.plan.as_ref().is_some_and(|plan| !plan.needs_listing) {
            self.observed();
        }
        let now = Utc::now();
        let findings = Arc::new(self.findings().after(run, now));
        *sync::write(&self.0.findings) = findings;
        let last = LastRun {
            trigger: run.trigger,
            result: run.result().as_str(),
            ended: now,
            failure: failure(run),
            needs_attention: needs_attention(run),
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

/// Describes the roster; `None` if it is stable.
fn describe_roster(state: SourceState) -> Option<&'static str> {
    match state {
        SourceState::Stable => None,
        SourceState::Changing => Some("the roster is changing"),
        SourceState::Unavailable => Some("the roster is unavailable"),
        SourceState::Unresponsive => Some("the roster's file system is unresponsive"),
    }
}

fn needs_attention(run: &RunOutcome) -> bool {
    let Completion::Failed(error) = &run.completion else {
        return false;
    };
    matches!(
        error,
        RunError::Source(SourceError::Moved { .. }) | RunError::State(StateError::Replaced { .. })
    )
}

/// Why a run failed, in fixed words. The text of the error may contain paths, addresses and responses
/// of Omni.
pub(crate) fn failure(run: &RunOutcome) -> Option<&'static str> {
    let Completion::Failed(error) = &run.completion else {
        return None;
    };
    Some(match error {
        RunError::Settings(_) | RunError::Omni(OmniError::PutWithoutDefinitions) => {
            "a setting is missing or invalid"
        }
        RunError::Keys(_) => "the API keys can't be read",
        RunError::Source(SourceError::StillChanging { .. }) => "the roster keeps changing",
        RunError::Source(SourceError::Unresponsive { .. }) => {
            "the roster's file system is unresponsive"
        }
        RunError::Source(SourceError::Moved { .. }) => {
            "the roster lies on another file system (source_moved)"
        }
        RunError::Source(_) => "the roster can't be read",
        RunError::Omni(
            OmniError::Unauthorized { .. } | OmniError::Forbidden { .. } | OmniError::NoKeyLeft,
        ) => "Omni rejects the API key",
        RunError::Omni(OmniError::Malformed { .. } | OmniError::WrongAddress { .. }) => {
            "the API key or the address of Omni is wrong"
        }
        RunError::Omni(OmniError::Unavailable { .. } | OmniError::CircuitOpen { .. }) => {
            "Omni can't be reached"
        }
        RunError::Omni(OmniError::Throttled) => {
            "Omni keeps responding with 429 (too many requests)"
        }
        RunError::Omni(_) => "Omni sent an unexpected response",
        RunError::State(StateError::Replaced { .. }) => {
            "the state folder was removed or replaced while the daemon runs"
        }
        RunError::State(_) => "the state database can't be used",
        RunError::Approve(_) => "the held changes can't be approved",
    })
}

/// A time, in RFC 3339.
fn clock(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
