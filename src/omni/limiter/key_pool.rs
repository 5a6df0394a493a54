//! All keys, and the arithmetic on them: which key is next, when a slot is free, how long requests take. No files and
//! no locks.

use super::key::{Key, KeyId};
use super::pace::Pace;
use super::priority::Priority;
use super::window::WINDOW;
use crate::settings::ApiKeys;
use secrecy::ExposeSecret;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// The number of recent responses from which the usual response time is taken.
const RECENT: usize = 9;
/// The number of requests that an estimate simulates one by one; it extrapolates the rest.
const MAX_SIMULATED: usize = 100_000;

/// Every key that is in use, or was in use less than a minute ago.
#[derive(Debug)]
pub(super) struct KeyPool {
    pub(super) per_minute: usize,
    pub(super) max_in_flight: usize,
    /// The time within which a request arrives after its slot was taken.
    arrival_limit: Duration,
    pub(super) keys: Vec<Key>,
    /// The number of key ids in use so far.
    ids: u64,
    /// The times of recent responses.
    response_times: VecDeque<Duration>,
    /// Whether this run has reported that other processes use up the limit.
    others_reported: bool,
}

/// Where the next slot comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NextSlot {
    /// This key has a free slot.
    Now(KeyId),
    /// A slot becomes free at this time, as far as known.
    At(Instant),
    /// A slot becomes free a minute after the next response.
    AfterResponse,
    /// No key is usable.
    NoKey,
}

impl KeyPool {
    pub(super) fn new(per_minute: u32, max_in_flight: usize, arrival_limit: Duration) -> Self {
        Self {
            per_minute: per_minute as usize,
            max_in_flight,
            arrival_limit,
            keys: Vec::new(),
            ids: 0,
            response_times: VecDeque::new(),
            others_reported: false,
        }
    }

    /// Replaces the keys in use, and enables all of them.
    pub(super) fn use_keys(&mut self, keys: &ApiKeys, now: Instant) {
        self.expire(now);
        self.others_reported = false;
        self.keys.retain(Key::still_counts);
        self.keys.iter_mut().for_each(Key::end);
        for (at, secret) in keys.as_slice().iter().enumerate() {
            let is_same = |key: &&mut Key| key.secret.expose_secret() == secret.expose_secret();
            let known = self.keys.iter_mut().find(is_same);
            match known {
                Some(key) => key.begin(at + 1),
                None => {
                    self.ids += 1;
                    let id = KeyId(self.ids);
                    self.keys.push(Key::new(id, secret.clone(), at + 1));
                }
            }
        }
    }

    /// Drops requests that no longer count.
    pub(super) fn expire(&mut self, now: Instant) {
        for key in &mut self.keys {
            key.expire(now);
            key.pace = key
                .pace
                .filter(|pace| pace.interval(self.per_minute, now).is_some());
        }
    }

    pub(super) fn key(&mut self, id: KeyId) -> Option<&mut Key> {
        self.keys.iter_mut().find(|key| key.id == id)
    }

    pub(super) fn usable(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(|key| key.is_usable())
    }

    /// The number of slots that are free now. A key that keeps to a lower pace has one at a time.
    pub(super) fn available(&self, now: Instant) -> usize {
        let limit = self.per_minute;
        let free = self.usable().filter(|key| key.soonest(limit, now) <= now);
        free.map(|key| match key.pace {
            Some(_) => limit.saturating_sub(key.count()).min(1),
            None => limit.saturating_sub(key.count()),
        })
        .sum()
    }

    /// The usable key with the most free slots, or when the next slot becomes free.
    pub(super) fn next(&self, priority: Priority, now: Instant) -> NextSlot {
        if self.usable().next().is_none() {
            return NextSlot::NoKey;
        }
        let limit = priority.limit(self.per_minute);
        let room = |key: &&Key| limit.saturating_sub(key.count());
        let free = self
            .usable()
            .filter(|key| key.soonest(self.per_minute, now) <= now && room(key) > 0);
        if let Some(key) = free.max_by_key(|key| (room(key), Reverse(key.number))) {
            return NextSlot::Now(key.id);
        }
        let times = self
            .usable()
            .filter_map(|key| key.free_at(self.per_minute, limit, now));
        times.min().map_or(NextSlot::AfterResponse, NextSlot::At)
    }

    /// Whether to report that other processes use more of the limit than this one: true once per run.
    /// Keys paused by a 429 don't count, since the 429 is reported separately.
    pub(super) fn take_others_notice(&mut self) -> bool {
        let open = || self.usable().filter(|key| key.paused_until.is_none());
        let others: usize = open().map(Key::count_of_others).sum();
        let own: usize = open().map(|key| key.own.count()).sum();
        let notice = others > own && !self.others_reported;
        self.others_reported |= notice;
        notice
    }

    /// Takes a slot of a key if one is free. Returns the latest possible arrival of its request.
    pub(super) fn take(&mut self, id: KeyId, priority: Priority, now: Instant) -> Option<Instant> {
        let (per_minute, arrival_limit) = (self.per_minute, self.arrival_limit);
        let limit = priority.limit(per_minute);
        let key = self.key(id)?;
        let is_free = key.soonest(per_minute, now) <= now && key.count() < limit;
        if !key.is_usable() || !is_free {
            return None;
        }
        let arrives_by = now + arrival_limit;
        key.own.send(arrives_by);
        self.space(id, now);
        Some(arrives_by)
    }

    /// Lets the next request of a paced key, and of those that share its pace, wait.
    fn space(&mut self, id: KeyId, now: Instant) {
        let per_minute = self.per_minute;
        let Some(pace) = self.key(id).and_then(|key| key.pace) else {
            return;
        };
        let Some(interval) = pace.interval(per_minute, now) else {
            return;
        };
        for key in &mut self.keys {
            let is_own = key.id == id;
            if let Some(other) = &mut key.pace
                && (is_own || pace.shared && other.shared)
            {
                other.next = now + interval;
            }
        }
    }

    /// Halves the pace of a key that got 429 below its limit, if the request was sent since it was halved last. Keys
    /// that get 429 together share a pace from then on.
    pub(super) fn slow_down(&mut self, id: KeyId, arrives_by: Instant, now: Instant) {
        let (per_minute, sent) = (self.per_minute, arrives_by - self.arrival_limit);
        let Some(key) = self.key(id) else { return };
        let is_known = key.pace.is_some_and(|pace| sent < pace.since);
        if key.count() >= per_minute || is_known {
            return;
        }
        let halved = Pace::halved(key.pace, per_minute, now);
        let is_recent = |key: &Key| key.pace.is_some_and(|pace| pace.is_together(now));
        let with_another = |key: &Key| key.id != id && is_recent(key);
        let shared = halved.shared || self.keys.iter().any(with_another);
        let halved = Pace { shared, ..halved };
        for key in &mut self.keys {
            let shares = shared && (is_recent(key) || key.pace.is_some_and(|pace| pace.shared));
            if key.id == id || shares {
                key.pace = Some(halved);
            }
        }
    }

    /// The requests per minute that a key keeps to, if these are fewer than configured.
    pub(super) fn pace(&self, id: KeyId, now: Instant) -> Option<u64> {
        let key = self.keys.iter().find(|key| key.id == id)?;
        let interval = key.pace?.interval(self.per_minute, now)?;
        u64::try_from(WINDOW.as_nanos() / interval.as_nanos().max(1)).ok()
    }

    /// Records the response to a slot's request, or that there will be none.
    pub(super) fn answered(&mut self, id: KeyId, arrives_by: Instant, now: Instant) {
        let sent = arrives_by - self.arrival_limit;
        let time = now.saturating_duration_since(sent);
        self.response_times.push_back(time);
        if self.response_times.len() > RECENT {
            self.response_times.pop_front();
        }
        if let Some(key) = self.key(id) {
            key.own.answer(arrives_by, now);
        }
    }

    /// Gives back a slot that was not used.
    pub(super) fn give_back(&mut self, id: KeyId, arrives_by: Instant) {
        if let Some(key) = self.key(id) {
            key.own.give_back(arrives_by);
        }
    }

    /// The median of recent response times.
    fn usual_response_time(&self) -> Duration {
        let mut times: Vec<_> = self.response_times.iter().copied().collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }

    /// The time from now until the response to the last of this many requests.
    pub(super) fn estimate(&self, requests: usize, priority: Priority, now: Instant) -> Duration {
        let simulated = requests.min(MAX_SIMULATED);
        let time = self.simulate(simulated, priority, now);
        if simulated == requests {
            return time;
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let whole = time.as_secs_f64() * (requests as f64 / simulated as f64);
        Duration::try_from_secs_f64(whole).unwrap_or(Duration::MAX)
    }

    /// Simulates sending: each request waits for a slot and for one of the requests in flight.
    fn simulate(&self, requests: usize, priority: Priority, now: Instant) -> Duration {
        let limit = priority.limit(self.per_minute);
        let response_time = self.usual_response_time();
        let shared = self
            .usable()
            .filter(|key| key.pace.is_some_and(|pace| pace.shared));
        let sharing = u32::try_from(shared.count()).unwrap_or(u32::MAX);
        let mut slots: BinaryHeap<_> = self
            .usable()
            .flat_map(|key| key.slots(self.per_minute, limit, sharing, now))
            .map(Reverse)
            .collect();
        let workers = self.max_in_flight.clamp(1, requests.max(1));
        let mut workers: BinaryHeap<_> = std::iter::repeat_n(Reverse(now), workers).collect();
        let mut end = now;
        for _ in 0..requests {
            let (Some(Reverse(slot)), Some(Reverse(worker))) = (slots.pop(), workers.pop()) else {
                break;
            };
            let answered = slot.max(worker) + response_time;
            slots.push(Reverse(answered + WINDOW));
            workers.push(Reverse(answered));
            end = end.max(answered);
        }
        end - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::KeySource;

    fn keys(text: &str) -> ApiKeys {
        KeySource::from_text(text).read().expect("keys")
    }

    #[test]
    fn a_disabled_key_is_reported_once_per_run() {
        let now = Instant::now();
        let mut pool = KeyPool::new(60, 4, Duration::ZERO);
        for run in ["the first", "the next"] {
            pool.use_keys(&keys("key"), now);
            let key = pool.keys.first_mut().expect("a key");
            assert!(!key.take_disabled_notice(), "{run}: enabled");
            key.disable();
            let notices = [(); 3].map(|()| key.take_disabled_notice());
            assert_eq!(notices, [true, false, false], "{run}");
        }
    }

    #[test]
    fn keeps_a_removed_key_while_its_requests_count() {
        let now = Instant::now();
        let mut pool = KeyPool::new(60, 4, Duration::ZERO);
        pool.use_keys(&keys("old"), now);
        let old = pool.keys.first().expect("a key").id;
        let arrives_by = pool.take(old, Priority::Urgent, now).expect("free");
        pool.answered(old, arrives_by, now);
        for (after, is_kept) in [(59, true), (60, false)] {
            pool.use_keys(&keys("new"), now + Duration::from_secs(after));
            assert_eq!(pool.key(old).is_some(), is_kept, "after {after} s");
        }
    }
}
