//! The state of each key and the arithmetic on it: which key is next, when a slot is free, how long
//! requests take. No files and no locks.

use super::MAX_PAUSE;
use super::pace::Pace;
use super::priority::Priority;
use super::slot_file::{Sender, SlotFile};
use super::window::{RequestWindow, WINDOW};
use crate::settings::ApiKeys;
use secrecy::{ExposeSecret, SecretString};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// After this many 429 in a row a key is disabled for the run.
const MAX_THROTTLED_IN_A_ROW: u32 = 10;
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

/// The id of one key in this process, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyId(u64);

/// The sender of requests from an unreadable file. No process has this number.
const UNKNOWN: Sender = 0;

#[derive(Debug)]
pub(super) struct Key {
    pub(super) id: KeyId,
    pub(super) secret: Arc<SecretString>,
    pub(super) sender: Sender,
    /// The position among the keys of this run, counted from 1.
    pub(super) number: usize,
    /// The requests of this process.
    own: RequestWindow,
    /// The requests of other processes, as far as known.
    others: BTreeMap<Sender, RequestWindow>,
    paused_until: Option<Instant>,
    /// A lower pace than configured, after a 429 below the limit.
    pace: Option<Pace>,
    /// 429 responses since the last other response.
    throttled_in_a_row: u32,
    /// The number of 429 that counted. A slot taken before the last one is from an earlier round.
    pub(super) round: u64,
    /// Not used in this run any more.
    disabled: bool,
    /// Whether this run has reported that the key is disabled.
    disabled_reported: bool,
    /// Whether this run uses the key. Others stay until their window is empty and their pause over.
    current: bool,
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
        self.keys.iter_mut().for_each(|key| key.current = false);
        for (at, secret) in keys.as_slice().iter().enumerate() {
            let is_same = |key: &&mut Key| key.secret.expose_secret() == secret.expose_secret();
            let known = self.keys.iter_mut().find(is_same);
            match known {
                Some(key) => {
                    key.current = true;
                    key.disabled = false;
                    key.disabled_reported = false;
                    key.number = at + 1;
                    key.throttled_in_a_row = 0;
                }
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

    /// Halves the pace of a key that got 429 below its limit, if the request was sent since it was halved last. Keys that
    /// get 429 together share a pace from then on.
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

impl Key {
    fn new(id: KeyId, secret: SecretString, number: usize) -> Self {
        Self {
            id,
            secret: Arc::new(secret),
            sender: fastrand::u64(1..),
            number,
            own: RequestWindow::default(),
            others: BTreeMap::new(),
            paused_until: None,
            pace: None,
            throttled_in_a_row: 0,
            round: 0,
            disabled: false,
            disabled_reported: false,
            current: true,
        }
    }

    fn is_usable(&self) -> bool {
        self.current && !self.disabled
    }

    pub(super) fn is_disabled(&self) -> bool {
        self.current && self.disabled
    }

    /// Whether to report that the key is disabled: true once per run.
    pub(super) fn take_disabled_notice(&mut self) -> bool {
        self.disabled && !std::mem::replace(&mut self.disabled_reported, true)
    }

    fn still_counts(&self) -> bool {
        !self.own.is_empty() || self.paused_until.is_some() || self.pace.is_some()
    }

    /// The earliest time at which the key's pause and pace allow a request.
    fn soonest(&self, per_minute: usize, now: Instant) -> Instant {
        let pace = self
            .pace
            .filter(|pace| pace.interval(per_minute, now).is_some());
        let times = [self.paused_until, pace.map(|pace| pace.next)];
        times.into_iter().flatten().fold(now, Instant::max)
    }

    pub(super) fn disable(&mut self) {
        self.disabled = true;
    }

    /// Drops requests that no longer count, and a pause that is over.
    pub(super) fn expire(&mut self, now: Instant) {
        self.own.expire(now);
        for window in self.others.values_mut() {
            window.give_up(now);
            window.expire(now);
        }
        self.others.retain(|_, window| !window.is_empty());
        self.paused_until = self.paused_until.filter(|until| *until > now);
    }

    fn windows(&self) -> impl Iterator<Item = &RequestWindow> {
        std::iter::once(&self.own).chain(self.others.values())
    }

    /// The number of requests that count towards the limit.
    fn count(&self) -> usize {
        self.windows()
            .map(RequestWindow::count)
            .fold(0, usize::saturating_add)
    }

    /// Pauses the key from now on, unless it is paused for longer already.
    pub(super) fn pause(&mut self, pause: Duration) {
        let until = Instant::now() + pause;
        self.paused_until = self.paused_until.max(Some(until));
    }

    /// Records a response other than 429.
    pub(super) fn accepted(&mut self) {
        self.throttled_in_a_row = 0;
    }

    /// Records a 429 for a slot taken in `round`. Returns the pause, or `None` if the key has been
    /// throttled too often and is now disabled.
    pub(super) fn throttled(
        &mut self,
        round: u64,
        retry_after: Option<Duration>,
    ) -> Option<Duration> {
        // Requests in flight at the first 429 get one too, which is no new information.
        if round == self.round {
            self.throttled_in_a_row += 1;
            self.round += 1;
        }
        if self.throttled_in_a_row >= MAX_THROTTLED_IN_A_ROW {
            self.disabled = true;
            return None;
        }
        let growing = Duration::from_secs(1 << self.throttled_in_a_row.min(6));
        let pause = match retry_after {
            Some(asked) if self.throttled_in_a_row > 1 => asked.max(growing),
            Some(asked) => asked,
            None => growing,
        };
        let pause = pause.min(MAX_PAUSE);
        self.pause(pause);
        Some(pause)
    }

    /// The content for the key's file.
    pub(super) fn to_file(&self) -> SlotFile {
        let mut windows = self.others.clone();
        windows.insert(self.sender, self.own.clone());
        SlotFile {
            paused_until: self.paused_until,
            pace: self.pace,
            windows,
        }
    }

    /// Merges the content of the key's file, except for the requests of this process.
    pub(super) fn merge(&mut self, file: SlotFile, per_minute: usize, now: Instant) {
        self.others = file.windows;
        self.others.remove(&self.sender);
        self.paused_until = self.paused_until.max(file.paused_until);
        self.pace = match (self.pace, file.pace) {
            (Some(own), Some(other)) => Some(own.merged(other)),
            (own, other) => own.or(other),
        };
        self.pace = self
            .pace
            .filter(|pace| pace.interval(per_minute, now).is_some());
        self.expire(now);
    }

    /// Assumes that other processes have used up the limit just now, since their requests are unknown.
    pub(super) fn assume_exhausted(&mut self, per_minute: usize, now: Instant) {
        let all = u32::try_from(per_minute).unwrap_or(u32::MAX);
        let unknown = RequestWindow::of(Vec::new(), vec![(now, all)]);
        self.others.insert(UNKNOWN, unknown);
    }

    /// The number of other processes' requests that count.
    fn count_of_others(&self) -> usize {
        self.count().saturating_sub(self.own.count())
    }

    /// When the key has a free slot, if known. The end of this process's own requests in flight is
    /// known only after their responses; those of others are checked again when they could be free.
    fn free_at(&self, per_minute: usize, limit: usize, now: Instant) -> Option<Instant> {
        let soonest = self.soonest(per_minute, now);
        let Some(over) = self.count().checked_sub(limit) else {
            return Some(soonest);
        };
        let free = self.expirations(now).into_iter().nth(over)?;
        Some(free.max(soonest))
    }

    /// The time at which each response stops counting, and the earliest time for other processes'
    /// requests in flight.
    fn expirations(&self, now: Instant) -> Vec<Instant> {
        let others = self.others.values().map(|window| window.open().len()).sum();
        let mut times: Vec<_> = self
            .windows()
            .flat_map(RequestWindow::expirations)
            .collect();
        times.extend(std::iter::repeat_n(now + WINDOW, others));
        times.sort_unstable();
        times
    }

    /// When each slot is free, if all requests in flight were answered now. Of keys that share a pace, each has its part.
    fn slots(&self, per_minute: usize, limit: usize, sharing: u32, now: Instant) -> Vec<Instant> {
        let soonest = self.soonest(per_minute, now);
        let mut times = self.expirations(now);
        times.extend(std::iter::repeat_n(now + WINDOW, self.own.open().len()));
        times.sort_unstable();
        let over = times.len().saturating_sub(limit);
        let room = limit.saturating_sub(times.len());
        let taken = times.into_iter().skip(over).map(|time| time.max(soonest));
        let slots = std::iter::repeat_n(soonest, room).chain(taken);
        let Some((pace, interval)) = self
            .pace
            .and_then(|pace| Some((pace, pace.interval(per_minute, now)?)))
        else {
            return slots.collect();
        };
        let interval = if pace.shared {
            interval * sharing
        } else {
            interval
        };
        let paced = std::iter::successors(Some(soonest), |time| Some(*time + interval));
        let paced = paced.take_while(|time| *time < soonest + WINDOW);
        slots
            .zip(paced)
            .map(|(slot, time)| slot.max(time))
            .collect()
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
