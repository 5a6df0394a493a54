//! What is known of each key, and the arithmetic on it: which key is next, when there is room, how
//! long it takes. No file and no lock in here.

use super::log::{RequestWindow, WINDOW};
use super::page::SlotFile;
use crate::settings::ApiKeys;
use secrecy::{ExposeSecret, SecretString};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The longest that one 429 makes a key wait, whatever `Retry-After` says.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// So many 429 without any other answer between, and a key is given up for this run.
const MOST_REFUSALS: u32 = 10;
/// Over how many answers it is learnt how long one takes.
const RECENT: usize = 9;
/// An estimate goes through so many requests one by one; what is more goes on at the same pace.
const MOST_ESTIMATED: usize = 100_000;

/// Every key that is used, or was less than a minute ago.
#[derive(Debug)]
pub(super) struct KeyPool {
    pub(super) per_minute: usize,
    pub(super) max_in_flight: usize,
    /// How long after it was taken a slot's request can still arrive.
    pub(super) patience: Duration,
    pub(super) keys: Vec<Key>,
    made: u64,
    /// How long the last answers took.
    took: VecDeque<Duration>,
    /// It was told in this run that others have used the limit up.
    told_of_others: bool,
}

/// One key's name in this process, which no other key has after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyId(u64);

/// What a log is filed under: a random number of one process and key.
pub(super) type Sender = u64;
/// Who sent what can't be read. No process has this number.
const UNKNOWN: Sender = 0;

#[derive(Debug)]
pub(super) struct Key {
    pub(super) id: KeyId,
    pub(super) secret: Arc<SecretString>,
    pub(super) sender: Sender,
    /// Its place among the keys of this run, as a person counts.
    pub(super) number: usize,
    /// What this process sends.
    pub(super) own: RequestWindow,
    /// What others send, as far as is known.
    pub(super) others: BTreeMap<Sender, RequestWindow>,
    pub(super) paused_until: Option<Instant>,
    /// 429 answers since the last other one.
    refusals: u32,
    /// How often a refusal was news. A slot that was taken before the last of them brings none.
    pub(super) round: u64,
    /// No longer used in this run.
    aside: bool,
    /// That was told.
    told_aside: bool,
    /// Among the keys of this run. One that is not stays until its log is empty and its pause over.
    current: bool,
}

/// What is to be done for the next slot.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Take(KeyId),
    /// There is room then, as far as is known now.
    At(Instant),
    WhenAnswered,
    NoKey,
}

impl KeyPool {
    pub(super) fn new(per_minute: u32, max_in_flight: usize, patience: Duration) -> Self {
        Self {
            per_minute: per_minute as usize,
            max_in_flight,
            patience,
            keys: Vec::new(),
            made: 0,
            took: VecDeque::new(),
            told_of_others: false,
        }
    }

    /// These keys and no others are used from now on, and none is set aside.
    pub(super) fn use_keys(&mut self, keys: &ApiKeys, now: Instant) {
        self.forget(now);
        self.told_of_others = false;
        self.keys.retain(Key::still_counts);
        self.keys.iter_mut().for_each(|key| key.current = false);
        for (at, secret) in keys.as_slice().iter().enumerate() {
            let is_it = |key: &&mut Key| key.secret.expose_secret() == secret.expose_secret();
            let known = self.keys.iter_mut().find(is_it);
            match known {
                Some(key) => {
                    (key.current, key.aside, key.told_aside) = (true, false, false);
                    (key.number, key.refusals) = (at + 1, 0);
                }
                None => {
                    self.made += 1;
                    let id = KeyId(self.made);
                    self.keys.push(Key::new(id, secret.clone(), at + 1));
                }
            }
        }
    }

    /// Drops what no longer counts.
    pub(super) fn forget(&mut self, now: Instant) {
        self.keys.iter_mut().for_each(|key| key.forget(now));
    }

    pub(super) fn key(&mut self, id: KeyId) -> Option<&mut Key> {
        self.keys.iter_mut().find(|key| key.id == id)
    }

    pub(super) fn usable(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(|key| key.is_usable())
    }

    /// The usable key with the most room, or when there will be room.
    pub(super) fn next(&self, now: Instant) -> Next {
        if self.usable().next().is_none() {
            return Next::NoKey;
        }
        let room = |key: &&Key| self.per_minute.saturating_sub(key.count());
        let free = self
            .usable()
            .filter(|key| key.paused_until.is_none() && room(key) > 0);
        if let Some(key) = free.max_by_key(|key| (room(key), Reverse(key.number))) {
            return Next::Take(key.id);
        }
        let times = self
            .usable()
            .filter_map(|key| key.free_at(self.per_minute, now));
        times.min().map_or(Next::WhenAnswered, Next::At)
    }

    /// Whether others have more of the limit than this process, told once in a run. A key that waits for a 429 waits
    /// for nobody else, and that is told already.
    pub(super) fn is_news_that_others_sent(&mut self) -> bool {
        let open = || self.usable().filter(|key| key.paused_until.is_none());
        let others: usize = open().map(Key::count_of_others).sum();
        let own: usize = open().map(|key| key.own.count()).sum();
        let is_news = others > own && !self.told_of_others;
        self.told_of_others |= is_news;
        is_news
    }

    /// Takes a slot of a key, if there still is one; gives until when its request may arrive.
    pub(super) fn take(&mut self, id: KeyId, now: Instant) -> Option<Instant> {
        let (per_minute, patience) = (self.per_minute, self.patience);
        let key = self.key(id)?;
        if !key.is_usable() || key.paused_until.is_some() || key.count() >= per_minute {
            return None;
        }
        let arrives_by = now + patience;
        key.own.send(arrives_by);
        Some(arrives_by)
    }

    /// The answer to a slot's request came, or none will.
    pub(super) fn answered(&mut self, id: KeyId, arrives_by: Instant, now: Instant) {
        let took = now.saturating_duration_since(arrives_by - self.patience);
        self.took.push_back(took);
        if self.took.len() > RECENT {
            self.took.pop_front();
        }
        if let Some(key) = self.key(id) {
            key.own.answer(arrives_by, now);
        }
    }

    /// A slot that was taken is not used.
    pub(super) fn give_back(&mut self, id: KeyId, arrives_by: Instant) {
        if let Some(key) = self.key(id) {
            key.own.give_back(arrives_by);
        }
    }

    /// How long an answer takes: the middle one of the last.
    fn usual(&self) -> Duration {
        let mut took: Vec<_> = self.took.iter().collect();
        took.sort_unstable();
        took.get(took.len() / 2)
            .copied()
            .copied()
            .unwrap_or_default()
    }

    /// How long so many requests take from now on, to the last answer.
    pub(super) fn estimate(&self, requests: usize, now: Instant) -> Duration {
        let counted = requests.min(MOST_ESTIMATED);
        let time = self.play(counted, now);
        if counted == requests {
            return time;
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let whole = time.as_secs_f64() * (requests as f64 / counted as f64);
        Duration::try_from_secs_f64(whole).unwrap_or(Duration::MAX)
    }

    /// Plays through what would be sent: each waits for a slot and for one of those under way.
    fn play(&self, requests: usize, now: Instant) -> Duration {
        let usual = self.usual();
        let mut slots: BinaryHeap<_> = self
            .usable()
            .flat_map(|key| key.slots(self.per_minute, now))
            .map(Reverse)
            .collect();
        let workers = self.max_in_flight.clamp(1, requests.max(1));
        let mut workers: BinaryHeap<_> = std::iter::repeat_n(Reverse(now), workers).collect();
        let mut end = now;
        for _ in 0..requests {
            let (Some(Reverse(slot)), Some(Reverse(worker))) = (slots.pop(), workers.pop()) else {
                break;
            };
            let answered = slot.max(worker) + usual;
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
            refusals: 0,
            round: 0,
            aside: false,
            told_aside: false,
            current: true,
        }
    }

    pub(super) fn is_usable(&self) -> bool {
        self.current && !self.aside
    }

    pub(super) fn is_aside(&self) -> bool {
        self.current && self.aside
    }

    /// Whether it is set aside and that was not told yet. From then on it was.
    pub(super) fn is_news_that_it_is_aside(&mut self) -> bool {
        self.aside && !std::mem::replace(&mut self.told_aside, true)
    }

    fn still_counts(&self) -> bool {
        !self.own.is_empty() || self.paused_until.is_some()
    }

    pub(super) fn set_aside(&mut self) {
        self.aside = true;
    }

    pub(super) fn forget(&mut self, now: Instant) {
        self.own.expire(now);
        for log in self.others.values_mut() {
            log.give_up(now);
            log.expire(now);
        }
        self.others.retain(|_, log| !log.is_empty());
        self.paused_until = self.paused_until.filter(|until| *until > now);
    }

    fn logs(&self) -> impl Iterator<Item = &RequestWindow> {
        std::iter::once(&self.own).chain(self.others.values())
    }

    /// How many requests count towards its limit.
    pub(super) fn count(&self) -> usize {
        self.logs()
            .map(RequestWindow::count)
            .fold(0, usize::saturating_add)
    }

    /// Lets it wait for so long from now on, unless it waits longer already.
    pub(super) fn pause(&mut self, pause: Duration) {
        let until = Instant::now() + pause;
        self.paused_until = self.paused_until.max(Some(until));
    }

    /// The answer was something else than 429.
    pub(super) fn accepted(&mut self) {
        self.refusals = 0;
    }

    /// The answer to a slot taken in that round was 429: how long it waits, or `None` when it has
    /// been refused too often and is set aside.
    pub(super) fn refused(
        &mut self,
        round: u64,
        retry_after: Option<Duration>,
    ) -> Option<Duration> {
        // What was under way when the key was refused is refused too, and says nothing new.
        if round == self.round {
            self.refusals += 1;
            self.round += 1;
        }
        if self.refusals >= MOST_REFUSALS {
            self.aside = true;
            return None;
        }
        let growing = Duration::from_secs(1 << self.refusals.min(6));
        let pause = match retry_after {
            Some(asked) if self.refusals > 1 => asked.max(growing),
            Some(asked) => asked,
            None => growing,
        };
        let pause = pause.min(LONGEST_PAUSE);
        self.pause(pause);
        Some(pause)
    }

    /// What a file is to say of it.
    pub(super) fn page(&self) -> SlotFile {
        let mut logs = self.others.clone();
        logs.insert(self.sender, self.own.clone());
        SlotFile {
            paused_until: self.paused_until,
            logs,
        }
    }

    /// Takes in what a file says. What this process sent it knows best itself.
    pub(super) fn learn(&mut self, page: SlotFile, now: Instant) {
        self.others = page.logs;
        self.others.remove(&self.sender);
        self.paused_until = self.paused_until.max(page.paused_until);
        self.forget(now);
    }

    /// Nobody knows what others have sent: it may be all that is allowed, and just now.
    pub(super) fn assume_exhausted(&mut self, per_minute: usize, now: Instant) {
        let all = u32::try_from(per_minute).unwrap_or(u32::MAX);
        let unknown = RequestWindow::of(Vec::new(), vec![(now, all)]);
        self.others.insert(UNKNOWN, unknown);
    }

    /// How many requests of others count.
    pub(super) fn count_of_others(&self) -> usize {
        self.count().saturating_sub(self.own.count())
    }

    /// When it has room again, if that is known: what this process has under way tells when it is
    /// answered. What others have is looked at again once it could be free.
    fn free_at(&self, per_minute: usize, now: Instant) -> Option<Instant> {
        let Some(over) = self.count().checked_sub(per_minute) else {
            return self.paused_until;
        };
        let free = self.ends(now).into_iter().nth(over)?;
        Some(free.max(self.paused_until.unwrap_or(now)))
    }

    /// When what is answered stops counting, and what others have under way at the earliest.
    fn ends(&self, now: Instant) -> Vec<Instant> {
        let others = self.others.values().map(|log| log.open().len()).sum();
        let mut ends: Vec<_> = self.logs().flat_map(RequestWindow::expirations).collect();
        ends.extend(std::iter::repeat_n(now + WINDOW, others));
        ends.sort_unstable();
        ends
    }

    /// When each of its slots is free, if all that is under way is answered now.
    fn slots(&self, per_minute: usize, now: Instant) -> Vec<Instant> {
        let soonest = self.paused_until.unwrap_or(now);
        let mut ends = self.ends(now);
        ends.extend(std::iter::repeat_n(now + WINDOW, self.own.open().len()));
        ends.sort_unstable();
        let over = ends.len().saturating_sub(per_minute);
        let room = per_minute.saturating_sub(ends.len());
        let taken = ends.into_iter().skip(over).map(|end| end.max(soonest));
        std::iter::repeat_n(soonest, room).chain(taken).collect()
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
    fn that_a_key_is_set_aside_is_news_once_in_a_run() {
        let now = Instant::now();
        let mut state = KeyPool::new(60, 4, Duration::ZERO);
        for run in ["the first", "the next"] {
            state.use_keys(&keys("key"), now);
            let key = state.keys.first_mut().expect("a key");
            assert!(!key.is_news_that_it_is_aside(), "{run}: it is not");
            key.set_aside();
            // Of all that were under way, one tells.
            let news = [(); 3].map(|()| key.is_news_that_it_is_aside());
            assert_eq!(news, [true, false, false], "{run}");
        }
    }

    #[test]
    fn a_key_that_was_taken_away_is_kept_for_as_long_as_its_requests_count() {
        let now = Instant::now();
        let mut state = KeyPool::new(60, 4, Duration::ZERO);
        state.use_keys(&keys("old"), now);
        let old = state.keys.first().expect("a key").id;
        let arrives_by = state.take(old, now).expect("free");
        state.answered(old, arrives_by, now);
        for (after, is_kept) in [(59, true), (60, false)] {
            state.use_keys(&keys("new"), now + Duration::from_secs(after));
            assert_eq!(state.key(old).is_some(), is_kept, "after {after} s");
        }
    }
}
