//! Which probes are a change: the source differs from its last stable state, and is stable again.

use super::SourceState;
use crate::model::Fingerprint;
use crate::roster::{ReadTime, SourceStamp, Stability, StabilityDetector};
use std::time::Duration;
use tokio::time::Instant;

/// The state of the source at a probe.
#[derive(Clone, Debug)]
pub(super) enum ProbedState {
    Content {
        /// The stamp before the content was read.
        stamp: SourceStamp,
        fingerprint: Fingerprint,
    },
    /// The source can't be read, for this reason.
    Unreadable(String),
}

impl ProbedState {
    fn fingerprint(&self) -> Option<Fingerprint> {
        match self {
            Self::Content { fingerprint, .. } => Some(*fingerprint),
            Self::Unreadable(_) => None,
        }
    }

    fn stamp(&self) -> Option<SourceStamp> {
        match self {
            Self::Content { stamp, .. } => Some(*stamp),
            Self::Unreadable(_) => None,
        }
    }
}

/// Unreadable states are equal whatever the reason: the messages of a mount may vary.
impl PartialEq for ProbedState {
    fn eq(&self, other: &Self) -> bool {
        (self.stamp(), self.fingerprint()) == (other.stamp(), other.fingerprint())
    }
}

/// What to do after a probe.
#[derive(Debug, PartialEq)]
pub(super) enum NextStep {
    /// Nothing has changed: wait for an event.
    Wait,
    /// The source is changing: probe again at an event, and at this time.
    Confirm(Instant),
    Announce(StableChange),
    /// Other files than before lie behind the one that is read.
    AnnounceHidden,
}

/// A new stable state.
#[derive(Debug, PartialEq)]
pub(super) struct StableChange {
    /// The fingerprint, or the reason why the source can't be read.
    pub(super) now: Result<Fingerprint, String>,
    /// Whether this is the first stable state.
    pub(super) is_first: bool,
    pub(super) was_unreadable: bool,
}

/// Decides after each probe what to do.
#[derive(Debug)]
pub(super) struct ChangeTracker {
    stable: Option<ProbedState>,
    detector: StabilityDetector<ProbedState>,
}

impl ChangeTracker {
    pub(super) fn new(settle: Duration) -> Self {
        Self {
            stable: None,
            detector: StabilityDetector::new(settle),
        }
    }

    /// The stamp at which the source need not be read. `None` while the source is changing: two writes
    /// within one tick of the file system's clock have the same stamp.
    pub(super) fn stable_stamp(&self) -> Option<SourceStamp> {
        match self.detector.candidate() {
            None => self.stable.as_ref().and_then(ProbedState::stamp),
            Some(_) => None,
        }
    }

    /// The state of the source; `None` before it is known.
    pub(super) fn source_state(&self) -> Option<SourceState> {
        match (self.detector.candidate(), &self.stable) {
            (Some(ProbedState::Content { .. }), _) => Some(SourceState::Changing),
            (_, Some(ProbedState::Content { .. })) => Some(SourceState::Stable),
            (_, Some(ProbedState::Unreadable(_))) => Some(SourceState::Unavailable),
            (_, None) => None,
        }
    }

    /// Takes the state found by a probe; `None` if the stamp is the stable one.
    pub(super) fn take(&mut self, state: Option<ProbedState>, time: ReadTime) -> NextStep {
        let Some(state) = state else {
            return NextStep::Wait;
        };
        if self.stable.as_ref() == Some(&state) {
            self.detector.reset();
            return NextStep::Wait;
        }
        match self.detector.add(state, time) {
            Stability::Stable(state) => self.take_stable(state),
            Stability::Unstable(due) => NextStep::Confirm(due),
        }
    }

    fn take_stable(&mut self, state: ProbedState) -> NextStep {
        let (before, stamp) = (self.stable.replace(state.clone()), state.stamp());
        let change = StableChange {
            is_first: before.is_none(),
            was_unreadable: matches!(before, Some(ProbedState::Unreadable(_))),
            now: match state {
                ProbedState::Content { fingerprint, .. } => Ok(fingerprint),
                ProbedState::Unreadable(reason) => Err(reason),
            },
        };
        match before {
            // The stamp has changed and the content has not.
            Some(before) if before.fingerprint() == change.now.as_ref().ok().copied() => {
                match hides_as(before.stamp(), stamp) {
                    true => NextStep::Wait,
                    false => NextStep::AnnounceHidden,
                }
            }
            _ => NextStep::Announce(change),
        }
    }
}

fn hides_as(before: Option<SourceStamp>, now: Option<SourceStamp>) -> bool {
    let both = before.zip(now);
    both.is_none_or(|(before, now)| before.hides_as(&now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_secs(2);
    const PROBE: Duration = Duration::from_millis(10);

    fn content(stamp: u8, byte: u8) -> Option<ProbedState> {
        let stamp = SourceStamp::of(&[stamp]);
        let fingerprint = Fingerprint([byte; 32]);
        Some(ProbedState::Content { stamp, fingerprint })
    }

    fn gone(reason: &str) -> Option<ProbedState> {
        Some(ProbedState::Unreadable(reason.into()))
    }

    fn announced(now: Result<u8, &str>, is_first: bool, was_unreadable: bool) -> NextStep {
        NextStep::Announce(StableChange {
            now: now.map(|byte| Fingerprint([byte; 32])).map_err(Into::into),
            is_first,
            was_unreadable,
        })
    }

    /// A tracker with its own clock.
    struct Rig {
        tracker: ChangeTracker,
        now: Instant,
    }

    impl Rig {
        fn new() -> Self {
            let (tracker, now) = (ChangeTracker::new(SETTLE), Instant::now());
            Self { tracker, now }
        }

        /// A tracker whose stable content is 1, with stamp 1.
        fn stable() -> Self {
            let mut rig = Self::new();
            assert!(rig.changes(content(1, 1)));
            assert_eq!(rig.due(content(1, 1)), announced(Ok(1), true, false));
            rig
        }

        /// Probes after a time.
        fn after(&mut self, time: Duration, state: Option<ProbedState>) -> NextStep {
            let start = self.now + time;
            self.now = start + PROBE;
            let end = self.now;
            self.tracker.take(state, ReadTime { start, end })
        }

        /// Probes at once, and returns whether the time of the change is now.
        fn changes(&mut self, state: Option<ProbedState>) -> bool {
            self.after(Duration::ZERO, state) == NextStep::Confirm(self.now + SETTLE)
        }

        /// Probes once `SETTLE` has passed since the last probe.
        fn due(&mut self, state: Option<ProbedState>) -> NextStep {
            self.after(SETTLE, state)
        }
    }

    #[test]
    fn an_unchanged_stamp_skips_reading() {
        let mut rig = Rig::stable();
        assert_eq!(rig.tracker.stable_stamp(), Some(SourceStamp::of(&[1])));
        assert_eq!(rig.due(None), NextStep::Wait);
    }

    #[test]
    fn a_source_being_written_is_not_announced() {
        let mut rig = Rig::stable();
        for (stamp, byte) in [(2, 2), (3, 3), (4, 4)] {
            assert!(rig.changes(content(stamp, byte)));
            let stamp = rig.tracker.stable_stamp();
            assert_eq!(stamp, None, "the content is read whatever the stamp");
        }
        assert_eq!(rig.due(content(4, 4)), announced(Ok(4), false, false));
        assert_eq!(rig.tracker.stable_stamp(), Some(SourceStamp::of(&[4])));
    }

    #[test]
    fn an_early_probe_keeps_the_due_time() {
        let mut rig = Rig::stable();
        assert!(rig.changes(content(2, 2)));
        let due = rig.now + SETTLE;
        let early = rig.after(SETTLE / 2, content(2, 2));
        assert_eq!(early, NextStep::Confirm(due));
        let early = rig.after(SETTLE / 2 - PROBE - Duration::from_nanos(1), content(2, 2));
        assert_eq!(early, NextStep::Confirm(due));
        let step = rig.after(Duration::ZERO, content(2, 2));
        assert_eq!(step, announced(Ok(2), false, false));
    }

    #[test]
    fn the_state_is_unknown_before_the_first_content() {
        let mut rig = Rig::new();
        assert_eq!(rig.tracker.source_state(), None);
        assert!(rig.changes(gone("no such file")));
        assert_eq!(rig.tracker.source_state(), None);
    }

    #[test]
    fn without_a_settle_time_two_probes_are_needed() {
        let mut rig = Rig::new();
        rig.tracker = ChangeTracker::new(Duration::ZERO);
        assert_eq!(
            rig.after(SETTLE, content(1, 1)),
            NextStep::Confirm(rig.now),
            "the first"
        );
        let second = rig.after(Duration::ZERO, content(1, 1));
        assert_eq!(second, announced(Ok(1), true, false));
    }

    #[test]
    fn a_new_modification_time_is_not_announced() {
        let mut rig = Rig::stable();
        assert!(rig.changes(content(2, 1)));
        assert_eq!(rig.due(content(2, 1)), NextStep::Wait);
        assert_eq!(rig.tracker.stable_stamp(), Some(SourceStamp::of(&[2])));
    }

    /// The file that is read stays, because it is dated in the future.
    #[test]
    fn a_new_hidden_file_is_announced() {
        let hiding = |byte| {
            let stamp = SourceStamp::of(&[1]).hiding(&[byte]);
            let fingerprint = Fingerprint([1; 32]);
            Some(ProbedState::Content { stamp, fingerprint })
        };
        let mut rig = Rig::stable();
        for byte in [1, 2] {
            assert!(rig.changes(hiding(byte)));
            assert_eq!(rig.due(hiding(byte)), NextStep::AnnounceHidden);
        }
        assert!(rig.changes(content(1, 1)), "its time has come");
        assert_eq!(rig.due(content(1, 1)), NextStep::AnnounceHidden);
    }

    #[test]
    fn a_reverted_change_is_not_announced() {
        let mut rig = Rig::stable();
        assert!(rig.changes(content(2, 2)));
        assert_eq!(rig.due(content(1, 1)), NextStep::Wait);
        assert!(rig.changes(content(2, 2)), "starts again");
    }

    #[test]
    fn vanishing_and_returning_are_announced_once() {
        let mut rig = Rig::stable();
        assert!(rig.changes(gone("no such file")));
        assert_eq!(
            rig.tracker.source_state(),
            Some(SourceState::Stable),
            "not yet"
        );
        let step = rig.due(gone("no such file"));
        assert_eq!(step, announced(Err("no such file"), false, false));
        assert_eq!(rig.tracker.source_state(), Some(SourceState::Unavailable));
        assert_eq!(rig.due(gone("no such folder")), NextStep::Wait);
        assert!(rig.changes(content(1, 1)));
        assert_eq!(rig.tracker.source_state(), Some(SourceState::Changing));
        assert_eq!(rig.due(content(1, 1)), announced(Ok(1), false, true));
    }

    #[test]
    fn a_short_absence_is_not_announced() {
        let mut rig = Rig::stable();
        assert!(rig.changes(gone("no such file")));
        assert!(rig.changes(content(2, 2)));
        assert_eq!(rig.due(content(2, 2)), announced(Ok(2), false, false));
    }
}
