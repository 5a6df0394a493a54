//! The state of one key: its requests of the last minute, its pause and pace, and whether it is disabled.

use super::MAX_PAUSE;
use super::pace::Pace;
use super::slot_file::{Sender, SlotFile};
use super::window::{RequestWindow, WINDOW};
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// After this many 429 in a row a key is disabled for the run.
const MAX_THROTTLED_IN_A_ROW: u32 = 10;

/// The id of one key in this process, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyId(pub(super) u64);

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
    pub(super) own: RequestWindow,
    /// The requests of other processes, as far as known.
    others: BTreeMap<Sender, RequestWindow>,
    pub(super) paused_until: Option<Instant>,
    /// A lower pace than configured, after a 429 below the limit.
    pub(super) pace: Option<Pace>,
    /// 429 responses since the last other response.
    throttled_in_a_row: u32,
    /// The number of 429 that counted. A slot taken before the last one is from an earlier round.
    pub(super) round: u64,
    /// Not used in this run any more.
    disabled: bool,
    /// Whether this run has reported that the key is disabled.
    disabled_reported: bool,
    /// Whether this run uses the key. Other keys are kept until their window is empty and their pause has ended.
    current: bool,
}

impl Key {
    pub(super) fn new(id: KeyId, secret: SecretString, number: usize) -> Self {
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

    /// Takes the key into use for a run, enabled.
    pub(super) fn begin(&mut self, number: usize) {
        self.current = true;
        self.disabled = false;
        self.disabled_reported = false;
        self.number = number;
        self.throttled_in_a_row = 0;
    }

    /// Takes the key out of use. Its requests still count.
    pub(super) fn end(&mut self) {
        self.current = false;
    }

    pub(super) fn is_usable(&self) -> bool {
        self.current && !self.disabled
    }

    pub(super) fn is_disabled(&self) -> bool {
        self.current && self.disabled
    }

    /// Whether to report that the key is disabled: true once per run.
    pub(super) fn take_disabled_notice(&mut self) -> bool {
        self.disabled && !std::mem::replace(&mut self.disabled_reported, true)
    }

    pub(super) fn still_counts(&self) -> bool {
        !self.own.is_empty() || self.paused_until.is_some() || self.pace.is_some()
    }

    /// The earliest time at which the key's pause and pace allow a request.
    pub(super) fn soonest(&self, per_minute: usize, now: Instant) -> Instant {
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
    pub(super) fn count(&self) -> usize {
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
    pub(super) fn count_of_others(&self) -> usize {
        self.count().saturating_sub(self.own.count())
    }

    /// When the key has a free slot, if known. The end of this process's own requests in flight is
    /// known only after their responses; those of others are checked again when they could be free.
    pub(super) fn free_at(&self, per_minute: usize, limit: usize, now: Instant) -> Option<Instant> {
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

    /// When each slot is free, if all requests in flight were answered now. Of keys that share a pace, each has its
    /// part.
    pub(super) fn slots(
        &self,
        per_minute: usize,
        limit: usize,
        sharing: u32,
        now: Instant,
    ) -> Vec<Instant> {
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
