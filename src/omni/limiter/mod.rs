//! The rate limiter: never more requests than allowed, by a sliding window per key.
//!
//! A token bucket refilled at 60 per minute lets 119 requests through in one minute. A sliding
//! window does not: it allows a burst of the whole limit, and never more than that in any 60 seconds.
//!
//! The server counts arrivals, and a request arrives somewhere between its sending and its response.
//! So a slot is taken when the request is sent, and becomes free 60 s after the **response**. This is
//! correct for every kind of window on the server: sliding, fixed or bucket.
//!
//! The limit belongs to a key, not to a process. So slots are reserved in the state folder, where a
//! command run alongside the daemon, or the daemon after a restart, finds what was sent:
//!
//! ```text
//! slot ─► shared ─┬─► key_pool (which key, when, how long) ─► window (one process, one key)
//!                 └─► slot_folder (one locked file per key) ─► slot_file (its text) ─► clock
//! ```
//!
//! - A slot is written to its key's file before its request is sent, as in flight until the latest
//!   time the request can arrive. After the response, the time of the response replaces it. If the process is
//!   killed in between, the slot counts for `omni.timeout` plus one minute.
//! - A file is locked while it is read and written: well under 1 ms per slot, and the same per
//!   response. It is never synced. Both happen off the async threads, since a disk can hang; after
//!   [`FOLDER_LIMIT`] without a result the process stops using the folder and counts alone.
//! - Processes that wait for a slot wake a few milliseconds late, at random, so that none of them is
//!   always first.
//! - An urgent request precedes background ones, which wait until none is urgent and leave a part of each key's slots
//!   free ([`Priority`]). So a change waits for at most the requests in flight, however long a listing is.
//! - A 429 without `Retry-After` below the key's limit halves the key's pace (`pace`), which the file keeps for later
//!   runs.
//! - A 429 pauses the key in every process. Disabling a key affects only the process that does it.

mod clock;
mod key;
mod key_pool;
mod pace;
mod priority;
mod shared;
mod slot_file;
mod slot_folder;
mod window;

pub use priority::Priority;

use super::OmniError;
use super::redact::Redactor;
use crate::settings::ApiKeys;
use key::{Key, KeyId};
use key_pool::{KeyPool, NextSlot};
use secrecy::SecretString;
use shared::{Reservation, SharedLimiter};
use slot_folder::WhenLocked;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The longest pause of a key after one response, whatever `Retry-After` says.
const MAX_PAUSE: Duration = Duration::from_secs(120);
/// The time limit for taking one slot in the state folder.
const FOLDER_LIMIT: Duration = Duration::from_secs(10);
/// The extra time in which a request may arrive after `omni.timeout`: it is sent right after its slot
/// is taken.
const SEND_DELAY: Duration = Duration::from_secs(2);
/// The longest random delay, in milliseconds, of a process that waits for a shared slot.
const MAX_WAKE_DELAY: u64 = 20;

/// Hands out the right to send one request.
#[derive(Clone, Debug)]
pub struct RateLimiter {
    counter: Arc<Counter>,
    /// Held by the one urgent request that waits for a slot: first come, first served.
    urgent: Arc<Semaphore>,
    /// The same for background requests.
    background: Arc<Semaphore>,
    in_flight: Arc<Semaphore>,
}

/// The counted requests, and the notification of changes.
#[derive(Debug)]
struct Counter {
    shared: SharedLimiter,
    /// The number of urgent requests that wait.
    urgent_waiting: AtomicUsize,
    /// Wakes the waiting tasks when the time of a slot has become known, keys have changed, or no urgent request waits
    /// any more.
    changed: Notify,
}

/// An urgent request that waits while this exists.
struct UrgentWait<'a>(&'a Counter);

/// A permit to send one request with one key. Drop it after the response, or when the request has
/// failed.
#[derive(Debug)]
pub struct Slot {
    taken: Taken,
    secret: Arc<SecretString>,
    /// The position of the key, counted from 1.
    number: usize,
    /// The key's round when this slot was taken.
    round: u64,
    _in_flight: OwnedSemaphorePermit,
}

/// One request of a key that counts as in flight while this exists.
#[derive(Debug)]
struct Taken {
    counter: Arc<Counter>,
    key: KeyId,
    arrives_by: Instant,
    /// A caller has the slot and may have sent. A slot whose caller was cancelled is given back.
    in_use: bool,
}

impl RateLimiter {
    /// A limiter of requests per minute and key, and of requests in flight over all keys, that counts
    /// the requests of this process only.
    #[must_use]
    pub fn new(per_minute: u32, max_in_flight: usize) -> Self {
        let pool = KeyPool::new(per_minute, max_in_flight, Duration::ZERO);
        Self::with(SharedLimiter::new(pool, None), max_in_flight)
    }

    /// The same, shared with every other process that uses this folder. No request takes longer than
    /// `timeout`.
    #[must_use]
    pub fn shared(per_minute: u32, max_in_flight: usize, timeout: Duration, dir: &Path) -> Self {
        let pool = KeyPool::new(per_minute, max_in_flight, timeout + SEND_DELAY);
        Self::with(SharedLimiter::new(pool, Some(dir)), max_in_flight)
    }

    fn with(shared: SharedLimiter, max_in_flight: usize) -> Self {
        Self {
            counter: Arc::new(Counter {
                shared,
                urgent_waiting: AtomicUsize::new(0),
                changed: Notify::new(),
            }),
            urgent: Arc::new(Semaphore::new(1)),
            background: Arc::new(Semaphore::new(1)),
            in_flight: Arc::new(Semaphore::new(max_in_flight)),
        }
    }

    /// Starts a run with these keys: all are enabled again, and requests sent before still count.
    pub fn use_keys(&self, keys: &ApiKeys) {
        self.counter.shared.pool().use_keys(keys, Instant::now());
        self.counter.changed.notify_waiters();
    }

    /// The number of keys that can be used.
    #[must_use]
    pub fn usable_keys(&self) -> usize {
        self.counter.shared.pool().usable().count()
    }

    /// The number of requests that may be sent at once; `None` before the first keys are known.
    #[must_use]
    pub fn available(&self) -> Option<usize> {
        let now = Instant::now();
        let mut pool = self.counter.shared.pool();
        pool.expire(now);
        (!pool.keys.is_empty()).then(|| pool.available(now))
    }

    /// How long the next request would wait; `None` if it would not, or until an unknown time.
    #[must_use]
    pub fn wait(&self, priority: Priority) -> Option<Duration> {
        let now = Instant::now();
        let mut pool = self.counter.shared.pool();
        pool.expire(now);
        match pool.next(priority, now) {
            NextSlot::At(time) => Some(time - now).filter(|wait| !wait.is_zero()),
            NextSlot::Now(_) | NextSlot::AfterResponse | NextSlot::NoKey => None,
        }
    }

    /// The number of this run's keys that are disabled.
    #[must_use]
    pub fn disabled_keys(&self) -> usize {
        let pool = self.counter.shared.pool();
        pool.keys.iter().filter(|key| key.is_disabled()).count()
    }

    /// A redactor for every key in use.
    pub(super) fn redactor(&self) -> Redactor {
        let pool = self.counter.shared.pool();
        Redactor::new(pool.keys.iter().map(|key| key.secret.clone()).collect())
    }

    /// Waits for the right to send one request. Cancel-safe.
    ///
    /// # Errors
    /// [`OmniError::Stopped`] if `stop` is cancelled first, [`OmniError::NoKeyLeft`] if every key is
    /// disabled.
    pub async fn slot(
        &self,
        priority: Priority,
        stop: &CancellationToken,
    ) -> Result<Slot, OmniError> {
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(OmniError::Stopped),
            slot = self.wait_for_slot(priority) => slot,
        }
    }

    async fn wait_for_slot(&self, priority: Priority) -> Result<Slot, OmniError> {
        let never_closed = "these semaphores are never closed";
        let is_urgent = priority == Priority::Urgent;
        let _waiting = is_urgent.then(|| UrgentWait::new(&self.counter));
        let queue = match priority {
            Priority::Urgent => &self.urgent,
            Priority::Background => &self.background,
        };
        let _first = queue.acquire().await.expect(never_closed);
        loop {
            let in_flight = self.in_flight.clone().acquire_owned();
            let in_flight = in_flight.await.expect(never_closed);
            let changed = self.counter.changed.notified();
            if !is_urgent && self.counter.urgent_waiting.load(Ordering::SeqCst) > 0 {
                drop(in_flight);
                changed.await;
                continue;
            }
            match self.counter.take(priority).await {
                Ok(taken) => return taken.into_slot(in_flight),
                Err(NextSlot::NoKey) => return Err(OmniError::NoKeyLeft),
                Err(NextSlot::At(time)) => {
                    drop(in_flight);
                    self.counter.log_wait(time);
                    tokio::select! {
                        () = tokio::time::sleep_until(time + self.counter.wake_delay()) => {}
                        () = changed => {}
                    }
                }
                Err(NextSlot::AfterResponse | NextSlot::Now(_)) => {
                    drop(in_flight);
                    changed.await;
                }
            }
        }
    }

    /// Reads what other processes have sent. Blocks, but does not wait for locked files; called once
    /// per run, so not worth a thread.
    pub fn catch_up(&self) {
        self.counter.shared.refresh(WhenLocked::Skip);
    }

    /// The time until the last response if `requests` more were sent from now on, each took as long
    /// as recent ones, and other processes sent no more than is known.
    #[must_use]
    pub fn estimate(&self, requests: usize, priority: Priority) -> Duration {
        let now = Instant::now();
        let mut pool = self.counter.shared.pool();
        pool.expire(now);
        pool.estimate(requests, priority, now)
    }
}

impl Counter {
    /// Takes a slot, or returns what to wait for. Cancel-safe: a slot that no caller receives is given
    /// back.
    async fn take(self: &Arc<Self>, priority: Priority) -> Result<Taken, NextSlot> {
        if self.shared.uses_folder() {
            let counter = self.clone();
            let take = tokio::task::spawn_blocking(move || counter.take_blocking(priority));
            match tokio::time::timeout(FOLDER_LIMIT, take).await {
                Ok(Ok(taken)) => return taken,
                Ok(Err(_panicked_or_shut_down)) => {}
                Err(_elapsed) => self.shared.give_up(),
            }
        }
        self.take_blocking(priority)
    }

    /// Takes a slot. Blocks as long as the disk does.
    fn take_blocking(self: &Arc<Self>, priority: Priority) -> Result<Taken, NextSlot> {
        let Reservation { key, arrives_by } = self.shared.take(priority)?;
        Ok(Taken {
            counter: self.clone(),
            key,
            arrives_by,
            in_use: false,
        })
    }

    fn wake_delay(&self) -> Duration {
        if self.shared.uses_folder() {
            Duration::from_millis(fastrand::u64(..=MAX_WAKE_DELAY))
        } else {
            Duration::ZERO
        }
    }

    /// Logs once per run that other processes use up the limit: the wait would look like a hang.
    fn log_wait(&self, until: Instant) {
        let wait = until.saturating_duration_since(Instant::now());
        if self.shared.pool().take_others_notice() {
            tracing::warn!(
                seconds = wait.as_secs_f64().ceil(),
                "waiting: other processes with this state folder have used up the request limit \
                 (omni.requests_per_minute)"
            );
        }
    }
}

impl<'a> UrgentWait<'a> {
    fn new(counter: &'a Counter) -> Self {
        counter.urgent_waiting.fetch_add(1, Ordering::SeqCst);
        Self(counter)
    }
}

impl Drop for UrgentWait<'_> {
    fn drop(&mut self) {
        self.0.urgent_waiting.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }
}

impl Taken {
    /// Fails if the key was removed in the meantime by new keys.
    fn into_slot(mut self, in_flight: OwnedSemaphorePermit) -> Result<Slot, OmniError> {
        let parts = self.with_key(|key| (key.secret.clone(), key.number, key.round));
        let (secret, number, round) = parts.ok_or(OmniError::NoKeyLeft)?;
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
        self.counter.shared.pool().key(self.key).map(act)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let (counter, key) = (self.counter.clone(), self.key);
        let now = Instant::now();
        if self.in_use {
            counter.shared.pool().answered(key, self.arrives_by, now);
        } else {
            counter.shared.pool().give_back(key, self.arrives_by);
        }
        counter.changed.notify_waiters();
        // Not awaited. If it never runs, the slot counts for longer than necessary.
        if counter.shared.uses_folder()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn_blocking(move || counter.shared.save(key));
        }
    }
}

impl Slot {
    /// The key to send.
    #[must_use]
    pub fn secret(&self) -> &SecretString {
        &self.secret
    }

    /// The position of the key among the keys of the run, counted from 1, for messages.
    #[must_use]
    pub fn key_number(&self) -> usize {
        self.number
    }

    /// Reports a response other than 429.
    pub fn accepted(&self) {
        self.taken.with_key(Key::accepted);
    }

    /// Reports a 429: the key pauses for `retry_after`, or with exponential back-off if there is
    /// none, or if the last one proved too short. Returns the pause, or `None` if the key has had too
    /// many 429s and is now disabled.
    pub fn throttled(&self, retry_after: Option<Duration>) -> Option<Duration> {
        let Taken {
            counter,
            key,
            arrives_by,
            ..
        } = &self.taken;
        let mut pool = counter.shared.pool();
        if retry_after.is_none() {
            pool.slow_down(*key, *arrives_by, Instant::now());
        }
        let throttled = |key: &mut Key| key.throttled(self.round, retry_after);
        pool.key(*key).and_then(throttled)
    }

    /// The requests per minute that the key keeps to, if these are fewer than configured.
    #[must_use]
    pub fn pace(&self) -> Option<u64> {
        let counter = &self.taken.counter;
        let pool = counter.shared.pool();
        pool.pace(self.taken.key, Instant::now())
    }

    /// Reports another response that asks for a pause: the key pauses. Returns the pause.
    #[must_use]
    pub fn pause(&self, asked: Duration) -> Duration {
        let pause = asked.min(MAX_PAUSE);
        self.taken.with_key(|key| key.pause(pause));
        pause
    }

    /// Disables the key for this run. Returns the number of usable keys.
    #[must_use]
    pub fn disable_key(&self) -> usize {
        self.taken.with_key(Key::disable);
        self.taken.counter.shared.pool().usable().count()
    }

    /// Whether to report that the key is disabled: true once per run, however many of its requests
    /// were in flight.
    pub(super) fn take_disabled_notice(&self) -> bool {
        let notice = self.taken.with_key(Key::take_disabled_notice);
        notice.unwrap_or(false)
    }
}
