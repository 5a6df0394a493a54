//! Never more requests than allowed: a sliding log per key.
//!
//! A token bucket refilled at 60 a minute lets 119 requests through in one minute. A log of what was
//! sent does not: it may spend its whole budget at once, and never exceeds it in any 60 seconds.
//!
//! The server counts arrivals, and a request arrives somewhere between its sending and its answer.
//! So a slot is taken from the sending on, and free again 60 s after the **answer** came. That keeps
//! the promise under every kind of window: sliding, fixed or bucket.
//!
//! The limit is a key's, not a process's. So slots are reserved in the state folder, and a command
//! beside the daemon, or the daemon after a restart, finds there what was sent:
//!
//! ```text
//! slot ─► desk ─┬─► state (which key, when, how long) ─► log (one process, one key)
//!               └─► folder (one locked file per key) ─► page (its text) ─► clock
//! ```
//!
//! - A slot is in its key's file before its request is sent, as under way until it can't arrive any
//!   more; when the answer has come, the file says when. Killed between the two, it counts for
//!   `omni.timeout` and a minute.
//! - A file is locked for as long as it takes to read and write it: well under 1 ms for a slot and as much
//!   for its answer. It is never synced. Both happen off the async threads, since a disk can hang; one
//!   that hangs for [`HANG`] is left alone from then on, and the process counts alone.
//! - Who waits for a slot wakes a few milliseconds late, by chance: so of several processes none
//!   always comes first.
//! - A 429 makes the key wait in every process. That a key is set aside is each process's own
//!   affair.

mod clock;
mod desk;
mod folder;
mod log;
mod page;
mod state;

use super::OmniError;
use super::redact::Redactor;
use crate::settings::ApiKeys;
use desk::{SharedLimiter, Took};
use folder::Patience;
use secrecy::SecretString;
use state::{Key, KeyId, KeyPool, LONGEST_PAUSE, Next};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long the state folder may take for one slot.
const HANG: Duration = Duration::from_secs(10);
/// By how much a request may arrive later than its time-out says: it is sent right after its slot is
/// taken.
const DELAY: Duration = Duration::from_secs(2);
/// The most milliseconds by which a process that shares the limit wakes late.
const LATE: u64 = 20;

/// Hands out the right to send one request.
#[derive(Clone, Debug)]
pub struct RateLimiter {
    counter: Arc<Counter>,
    /// Whose turn it is to wait for a slot: first come, first served.
    turn: Arc<Semaphore>,
    in_flight: Arc<Semaphore>,
}

/// What is counted, and who is told when it changes.
#[derive(Debug)]
struct Counter {
    desk: SharedLimiter,
    /// Wakes the one that waits when a slot's time has become known, or keys have changed.
    changed: Notify,
}

/// The right to send one request with one key. Dropping it says that the answer came, or that none
/// will.
#[derive(Debug)]
pub struct Slot {
    taken: Taken,
    secret: Arc<SecretString>,
    /// The key's number as a person counts.
    number: usize,
    /// The key's round when this was taken.
    round: u64,
    _in_flight: OwnedSemaphorePermit,
}

/// One request of a key that counts as under way for as long as this lives.
#[derive(Debug)]
struct Taken {
    counter: Arc<Counter>,
    key: KeyId,
    arrives_by: Instant,
    /// Somebody has it and may have sent. One that nobody waited for to the end is given back.
    in_use: bool,
}

impl RateLimiter {
    /// So many requests a minute and key, and so many at once over all, counted in this process
    /// alone.
    #[must_use]
    pub fn new(per_minute: u32, max_in_flight: usize) -> Self {
        let state = KeyPool::new(per_minute, max_in_flight, Duration::ZERO);
        Self::at(SharedLimiter::new(state, None), max_in_flight)
    }

    /// The same, counted together with every other process that uses this folder. No request takes
    /// longer than `timeout`.
    #[must_use]
    pub fn shared(per_minute: u32, max_in_flight: usize, timeout: Duration, dir: &Path) -> Self {
        let state = KeyPool::new(per_minute, max_in_flight, timeout + DELAY);
        Self::at(SharedLimiter::new(state, Some(dir)), max_in_flight)
    }

    fn at(desk: SharedLimiter, max_in_flight: usize) -> Self {
        Self {
            counter: Arc::new(Counter {
                desk,
                changed: Notify::new(),
            }),
            turn: Arc::new(Semaphore::new(1)),
            in_flight: Arc::new(Semaphore::new(max_in_flight)),
        }
    }

    /// Starts a run with these keys: none is set aside any more, and what was sent with each
    /// before still counts.
    pub fn use_keys(&self, keys: &ApiKeys) {
        self.counter.desk.state().use_keys(keys, Instant::now());
        self.counter.changed.notify_one();
    }

    /// How many keys can be used now.
    #[must_use]
    pub fn usable_keys(&self) -> usize {
        self.counter.desk.state().usable().count()
    }

    /// How many of this run's keys are set aside.
    #[must_use]
    pub fn keys_set_aside(&self) -> usize {
        let state = self.counter.desk.state();
        state.keys.iter().filter(|key| key.is_aside()).count()
    }

    /// Takes every key that is in use out of what is told.
    pub(super) fn redactor(&self) -> Redactor {
        let state = self.counter.desk.state();
        Redactor::new(state.keys.iter().map(|key| key.secret.clone()).collect())
    }

    /// Waits for the right to send one request. Cancel-safe.
    ///
    /// # Errors
    /// When `stop` is cancelled before, or no key is left.
    pub async fn slot(&self, stop: &CancellationToken) -> Result<Slot, OmniError> {
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(OmniError::Stopped),
            slot = self.wait_for_slot() => slot,
        }
    }

    async fn wait_for_slot(&self) -> Result<Slot, OmniError> {
        let closed = "these semaphores are never closed";
        let in_flight = self.in_flight.clone().acquire_owned().await.expect(closed);
        let _turn = self.turn.acquire().await.expect(closed);
        loop {
            let changed = self.counter.changed.notified();
            match self.counter.take().await {
                Ok(taken) => return taken.into_slot(in_flight),
                Err(Next::NoKey) => return Err(OmniError::NoKeyLeft),
                Err(Next::At(time)) => {
                    self.counter.tell_wait(time);
                    tokio::select! {
                        () = tokio::time::sleep_until(time + self.counter.lateness()) => {}
                        () = changed => {}
                    }
                }
                Err(Next::WhenAnswered | Next::Take(_)) => changed.await,
            }
        }
    }

    /// Finds out what others have sent. Once a run, so not worth a thread of its own; and it waits for nobody.
    pub fn catch_up(&self) {
        self.counter.desk.look(Patience::None);
    }

    /// How long `requests` more would take from now on, to the last answer, if each took as long as
    /// the last ones did, and others sent no more than is known.
    #[must_use]
    pub fn estimate(&self, requests: usize) -> Duration {
        let now = Instant::now();
        let mut state = self.counter.desk.state();
        state.forget(now);
        state.estimate(requests, now)
    }
}

impl Counter {
    /// Takes a slot, or says what to wait for. Cancel-safe: a slot that nobody takes is given back.
    async fn take(self: &Arc<Self>) -> Result<Taken, Next> {
        if self.desk.is_shared() {
            let counter = self.clone();
            let take = tokio::task::spawn_blocking(move || counter.take_now());
            match tokio::time::timeout(HANG, take).await {
                Ok(Ok(taken)) => return taken,
                Ok(Err(_panicked_or_ended)) => {}
                Err(_elapsed) => self.desk.give_up(),
            }
        }
        self.take_now()
    }

    /// Takes a slot, which may take as long as the disk does.
    fn take_now(self: &Arc<Self>) -> Result<Taken, Next> {
        let (key, arrives_by): Took = self.desk.take()?;
        Ok(Taken {
            counter: self.clone(),
            key,
            arrives_by,
            in_use: false,
        })
    }

    fn lateness(&self) -> Duration {
        match self.desk.is_shared() {
            true => Duration::from_millis(fastrand::u64(..=LATE)),
            false => Duration::ZERO,
        }
    }

    /// Says once in a run that others have used the limit up: the wait would look like a hang.
    fn tell_wait(&self, until: Instant) {
        let wait = until.saturating_duration_since(Instant::now());
        let mut state = self.desk.state();
        if state.is_news_that_others_sent() {
            tracing::warn!(
                seconds = wait.as_secs_f64().ceil(),
                "others with this state folder have used up the limit of requests \
                 (omni.requests_per_minute): waiting"
            );
        }
    }
}

impl Taken {
    /// # Errors
    /// When the key is gone since, which takes new keys between.
    fn into_slot(mut self, in_flight: OwnedSemaphorePermit) -> Result<Slot, OmniError> {
        let told = |key: &mut Key| (key.secret.clone(), key.number, key.round);
        let told = self.counter.desk.state().key(self.key).map(told);
        let (secret, number, round) = told.ok_or(OmniError::NoKeyLeft)?;
        self.in_use = true;
        Ok(Slot {
            taken: self,
            secret,
            number,
            round,
            _in_flight: in_flight,
        })
    }

    fn with_key<T>(&self, act: impl FnOnce(&mut Key) -> T) -> Option<T> {
        self.counter.desk.state().key(self.key).map(act)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let (counter, key) = (self.counter.clone(), self.key);
        let now = Instant::now();
        match self.in_use {
            true => counter.desk.state().answered(key, self.arrives_by, now),
            false => counter.desk.state().give_back(key, self.arrives_by),
        }
        counter.changed.notify_one();
        // Nobody waits for this. Where it does not come to it any more, the slot counts for longer.
        if counter.desk.is_shared()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn_blocking(move || counter.desk.note(key));
        }
    }
}

impl Slot {
    /// The key to send.
    #[must_use]
    pub fn secret(&self) -> &SecretString {
        &self.secret
    }

    /// The key's place among the keys of the run, as a person counts, for messages.
    #[must_use]
    pub fn key_number(&self) -> usize {
        self.number
    }

    /// Says that the answer was something else than 429.
    pub fn accepted(&self) {
        self.taken.with_key(Key::accepted);
    }

    /// Says that the answer was 429: the whole key waits, as long as `retry_after` says, or longer
    /// each time. A `retry_after` that is too short is believed once. Returns how long; `None` when
    /// it has been refused too often and is set aside.
    pub fn refused(&self, retry_after: Option<Duration>) -> Option<Duration> {
        let refused = |key: &mut Key| key.refused(self.round, retry_after);
        self.taken.with_key(refused).flatten()
    }

    /// Says that the answer asked for a pause without being 429: the whole key waits. Returns how
    /// long.
    #[must_use]
    pub fn pause(&self, asked: Duration) -> Duration {
        let pause = asked.min(LONGEST_PAUSE);
        self.taken.with_key(|key| key.pause(pause));
        pause
    }

    /// Uses the key no more in this run. Returns how many are left.
    #[must_use]
    pub fn set_aside(&self) -> usize {
        self.taken.with_key(Key::set_aside);
        self.taken.counter.desk.state().usable().count()
    }

    /// Whether that the key is set aside is yet to be told: once in a run, however many of its
    /// requests were under way.
    pub(super) fn is_news_that_it_is_aside(&self) -> bool {
        let news = self.taken.with_key(Key::is_news_that_it_is_aside);
        news.unwrap_or(false)
    }
}
