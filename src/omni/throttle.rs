//! Never more requests than allowed: a sliding log per key.
//!
//! A token bucket refilled at 60 a minute lets 119 requests through in one minute. A log of what was
//! sent does not: it may spend its whole budget at once, and never exceeds it in any 60 seconds.
//!
//! The server counts arrivals, and a request arrives somewhere between its sending and its answer.
//! So a slot is taken from the sending on, and free again 60 s after the **answer** came. That keeps
//! the promise under every kind of window: sliding, fixed or bucket.

use super::OmniError;
use super::redact::Redactor;
use crate::settings::ApiKeys;
use secrecy::{ExposeSecret, SecretString};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The time over which Omni counts.
const WINDOW: Duration = Duration::from_secs(60);
/// The longest that one 429 makes a key wait, whatever `Retry-After` says.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// So many 429 without any other answer between, and a key is given up for this run.
const MOST_REFUSALS: u32 = 10;

/// Hands out the right to send one request.
#[derive(Clone, Debug)]
pub struct Throttle {
    state: Arc<Mutex<State>>,
    /// Wakes the one that waits when a slot's time has become known, or keys have changed.
    changed: Arc<Notify>,
    /// Whose turn it is to wait for a slot: first come, first served.
    turn: Arc<Semaphore>,
    in_flight: Arc<Semaphore>,
}

#[derive(Debug)]
struct State {
    per_minute: usize,
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    secret: Arc<SecretString>,
    /// Requests sent and not yet answered.
    open: usize,
    /// When the answered ones were, oldest first.
    answered: VecDeque<Instant>,
    paused_until: Option<Instant>,
    /// 429 answers since the last other one.
    refusals: u32,
    /// How often a refusal was news. A slot that was taken before the last of them brings none.
    round: u64,
    /// No longer used in this run.
    aside: bool,
    /// Among the keys of this run. One that is not stays until its log is empty and its pause over.
    current: bool,
}

/// The right to send one request with one key. Dropping it says that the answer came, or that none
/// will.
#[derive(Debug)]
pub struct Slot {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    secret: Arc<SecretString>,
    /// The key's index: keys are only dropped while no slot is out.
    number: usize,
    /// The key's round when this was taken.
    round: u64,
    _in_flight: OwnedSemaphorePermit,
}

enum Next {
    Take(usize),
    At(Instant),
    WhenAnswered,
    NoKey,
}

impl Throttle {
    /// So many requests a minute and key, and so many at once over all.
    #[must_use]
    pub fn new(per_minute: u32, max_in_flight: usize) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                per_minute: per_minute as usize,
                keys: Vec::new(),
            })),
            changed: Arc::default(),
            turn: Arc::new(Semaphore::new(1)),
            in_flight: Arc::new(Semaphore::new(max_in_flight)),
        }
    }

    /// Starts a run with these keys: none is set aside any more, and what was sent with each
    /// before still counts.
    pub fn use_keys(&self, keys: &ApiKeys) {
        let mut state = lock(&self.state);
        state.forget(Instant::now());
        if state.keys.iter().all(|key| key.open == 0) {
            state
                .keys
                .retain(|key| !key.answered.is_empty() || key.paused_until.is_some());
        }
        state.keys.iter_mut().for_each(|key| key.current = false);
        for secret in keys.as_slice() {
            let known = state
                .keys
                .iter_mut()
                .find(|key| key.secret.expose_secret() == secret.expose_secret());
            match known {
                Some(key) => {
                    (key.current, key.aside, key.refusals) = (true, false, 0);
                }
                None => state.keys.push(Key::new(secret.clone())),
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    /// How many keys can be used now.
    #[must_use]
    pub fn usable_keys(&self) -> usize {
        lock(&self.state)
            .keys
            .iter()
            .filter(|key| key.is_usable())
            .count()
    }

    /// Takes every key that is in use out of what is told.
    pub(super) fn redactor(&self) -> Redactor {
        let state = lock(&self.state);
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
            let changed = self.changed.notified();
            match self.next() {
                Next::Take(number) => return Ok(self.take(number, in_flight)),
                Next::NoKey => return Err(OmniError::NoKeyLeft),
                Next::WhenAnswered => changed.await,
                Next::At(time) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(time) => {}
                        () = changed => {}
                    }
                }
            }
        }
    }

    fn next(&self) -> Next {
        let now = Instant::now();
        let mut state = lock(&self.state);
        state.forget(now);
        state.next(now)
    }

    fn take(&self, number: usize, in_flight: OwnedSemaphorePermit) -> Slot {
        let mut state = lock(&self.state);
        let key = &mut state.keys[number];
        key.open += 1;
        Slot {
            state: self.state.clone(),
            changed: self.changed.clone(),
            secret: key.secret.clone(),
            number,
            round: key.round,
            _in_flight: in_flight,
        }
    }

    /// How long `requests` more would take from now on, if each were answered at once.
    #[must_use]
    pub fn estimate(&self, requests: usize) -> Duration {
        let now = Instant::now();
        let mut state = lock(&self.state);
        state.forget(now);
        state.estimate(requests, now)
    }
}

impl State {
    /// Drops what no longer counts.
    fn forget(&mut self, now: Instant) {
        for key in &mut self.keys {
            while key
                .answered
                .front()
                .is_some_and(|answered| *answered + WINDOW <= now)
            {
                key.answered.pop_front();
            }
            key.paused_until = key.paused_until.filter(|until| *until > now);
        }
    }

    /// The usable key with the most room, or when there will be room.
    fn next(&self, now: Instant) -> Next {
        let usable = || {
            self.keys
                .iter()
                .enumerate()
                .filter(|(_, key)| key.is_usable())
        };
        if usable().next().is_none() {
            return Next::NoKey;
        }
        let room = |key: &Key| {
            self.per_minute
                .saturating_sub(key.open + key.answered.len())
        };
        let free = usable().filter(|(_, key)| key.paused_until.is_none() && room(key) > 0);
        if let Some((number, _)) = free.max_by_key(|(number, key)| (room(key), usize::MAX - number))
        {
            return Next::Take(number);
        }
        let times = usable().filter_map(|(_, key)| key.free_at(self.per_minute, now));
        times.min().map_or(Next::WhenAnswered, Next::At)
    }

    fn estimate(&self, requests: usize, now: Instant) -> Duration {
        let keys: Vec<_> = self.keys.iter().filter(|key| key.is_usable()).collect();
        let mut free: Vec<Instant> = Vec::new();
        for key in &keys {
            let soonest = key.paused_until.unwrap_or(now);
            let taken = key
                .answered
                .iter()
                .map(|answered| (*answered + WINDOW).max(soonest));
            let open = std::iter::repeat_n(now + WINDOW, key.open);
            let room = self
                .per_minute
                .saturating_sub(key.open + key.answered.len());
            free.extend(std::iter::repeat_n(soonest, room).chain(taken).chain(open));
        }
        if requests == 0 || free.is_empty() {
            return Duration::ZERO;
        }
        free.sort();
        let (rounds, rest) = ((requests - 1) / free.len(), (requests - 1) % free.len());
        let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
        WINDOW
            .saturating_mul(rounds)
            .saturating_add(free[rest] - now)
    }
}

impl Key {
    fn new(secret: SecretString) -> Self {
        Self {
            secret: Arc::new(secret),
            open: 0,
            answered: VecDeque::new(),
            paused_until: None,
            refusals: 0,
            round: 0,
            aside: false,
            current: true,
        }
    }

    fn is_usable(&self) -> bool {
        self.current && !self.aside
    }

    /// Lets it wait for so long from now on, unless it waits longer already.
    fn pause(&mut self, pause: Duration) {
        let until = Instant::now() + pause;
        self.paused_until = self.paused_until.max(Some(until));
    }

    /// When it has room again, if that is known: while as many as allowed are under way, it is not.
    fn free_at(&self, per_minute: usize, now: Instant) -> Option<Instant> {
        let full = self.open + self.answered.len() >= per_minute;
        let first = self.answered.front().map(|answered| *answered + WINDOW);
        match (full, self.paused_until) {
            (true, pause) => first.map(|first| first.max(pause.unwrap_or(now))),
            (false, pause) => pause,
        }
    }
}

impl Slot {
    /// The key to send.
    #[must_use]
    pub fn secret(&self) -> &SecretString {
        &self.secret
    }

    /// The key's number as a person counts, for messages.
    #[must_use]
    pub fn key_number(&self) -> usize {
        self.number + 1
    }

    /// Says that the answer was something else than 429.
    pub fn accepted(&self) {
        lock(&self.state).keys[self.number].refusals = 0;
    }

    /// Says that the answer was 429: the whole key waits, as long as `retry_after` says, or longer
    /// each time. A `retry_after` that is too short is believed once. Returns how long; `None` when
    /// it has been refused too often and is set aside.
    pub fn refused(&self, retry_after: Option<Duration>) -> Option<Duration> {
        let mut state = lock(&self.state);
        let key = &mut state.keys[self.number];
        // What was under way when the key was refused is refused too, and says nothing new.
        if self.round == key.round {
            key.refusals += 1;
            key.round += 1;
        }
        if key.refusals >= MOST_REFUSALS {
            key.aside = true;
            return None;
        }
        let growing = Duration::from_secs(1 << key.refusals.min(6));
        let pause = match retry_after {
            Some(asked) if key.refusals > 1 => asked.max(growing),
            Some(asked) => asked,
            None => growing,
        };
        let pause = pause.min(LONGEST_PAUSE);
        key.pause(pause);
        Some(pause)
    }

    /// Says that the answer asked for a pause without being 429: the whole key waits. Returns how
    /// long.
    #[must_use]
    pub fn pause(&self, asked: Duration) -> Duration {
        let pause = asked.min(LONGEST_PAUSE);
        lock(&self.state).keys[self.number].pause(pause);
        pause
    }

    /// Uses the key no more in this run. Returns how many are left.
    #[must_use]
    pub fn set_aside(&self) -> usize {
        let mut state = lock(&self.state);
        state.keys[self.number].aside = true;
        state.keys.iter().filter(|key| key.is_usable()).count()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        let key = &mut state.keys[self.number];
        key.open -= 1;
        key.answered.push_back(Instant::now());
        drop(state);
        self.changed.notify_one();
    }
}

/// A lock that a panic elsewhere can't poison: no code that holds it can panic half-way through a
/// change.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
