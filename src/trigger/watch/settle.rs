//! When a change counts: all readings are equal for some time, the first and the last of it at least.

use super::SourceState;
use crate::model::Fingerprint;
use std::time::Duration;
use tokio::time::Instant;

/// What the source was at a look.
#[derive(Clone, Debug)]
pub(super) enum State<S> {
    /// It could be read.
    Content {
        /// As it looked from outside, before it was read.
        stamp: S,
        /// What it says.
        fingerprint: Fingerprint,
    },
    /// It could not, and why.
    Unreadable(String),
}

impl<S> State<S> {
    fn content(&self) -> Option<Fingerprint> {
        match self {
            Self::Content { fingerprint, .. } => Some(*fingerprint),
            Self::Unreadable(_) => None,
        }
    }
}

/// All ways of not being readable are one state: a mount's messages may change from look to look.
impl<S: PartialEq> PartialEq for State<S> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Content { stamp, fingerprint },
                Self::Content {
                    stamp: other_stamp,
                    fingerprint: other_fingerprint,
                },
            ) => stamp == other_stamp && fingerprint == other_fingerprint,
            (Self::Unreadable(_), Self::Unreadable(_)) => true,
            _ => false,
        }
    }
}

/// When a look was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) began: Instant,
    pub(super) ended: Instant,
}

/// What to do after a look.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Nothing new: wait for a hint.
    Wait,
    /// Something moved: look again at a hint, and at this time.
    Confirm(Instant),
    /// Something new stands still.
    Announce(News),
}

/// What stands still now and did not before.
#[derive(Debug, PartialEq)]
pub(super) struct News {
    /// The content, or why there is none.
    pub(super) now: Result<Fingerprint, String>,
    /// Whether nothing was known before.
    pub(super) first: bool,
    /// Whether it could not be read before.
    pub(super) was_unreadable: bool,
}

/// Goes from look to look, and says what to do after each.
#[derive(Debug)]
pub(super) struct Settle<S> {
    time: Duration,
    standing: Option<State<S>>,
    /// What moved, and since when it has been as it is.
    candidate: Option<(State<S>, Instant)>,
}

impl<S: Clone + PartialEq> Settle<S> {
    /// For a source that is to stand still for this time.
    pub(super) fn new(time: Duration) -> Self {
        Self {
            time,
            standing: None,
            candidate: None,
        }
    }

    /// The stamp at which there is no need to read. `None` while something moves: then nothing but
    /// the content counts, since two writes within a tick of the file system's clock look alike.
    pub(super) fn known(&self) -> Option<S> {
        match (&self.candidate, &self.standing) {
            (None, Some(State::Content { stamp, .. })) => Some(stamp.clone()),
            _ => None,
        }
    }

    /// How the source is; `None` before that is known.
    pub(super) fn condition(&self) -> Option<SourceState> {
        match (&self.candidate, &self.standing) {
            (Some((State::Content { .. }, _)), _) => Some(SourceState::Moving),
            (_, Some(State::Content { .. })) => Some(SourceState::Still),
            (_, Some(State::Unreadable(_))) => Some(SourceState::Away),
            (_, None) => None,
        }
    }

    /// Takes what a look saw; `None` is the known stamp.
    pub(super) fn take(&mut self, seen: Option<State<S>>, span: Span) -> Step {
        let Some(seen) = seen else {
            return Step::Wait;
        };
        let candidate = self.candidate.take();
        if self.standing.as_ref() == Some(&seen) {
            return Step::Wait;
        }
        // From the end of the first look to the beginning of the last.
        let since = match candidate {
            Some((candidate, since)) if candidate == seen => {
                if span.began >= since + self.time {
                    return self.settled(seen);
                }
                since
            }
            _ => span.ended,
        };
        self.candidate = Some((seen, since));
        Step::Confirm(since + self.time)
    }

    fn settled(&mut self, seen: State<S>) -> Step {
        let before = self.standing.replace(seen.clone());
        let news = News {
            first: before.is_none(),
            was_unreadable: matches!(before, Some(State::Unreadable(_))),
            now: match seen {
                State::Content { fingerprint, .. } => Ok(fingerprint),
                State::Unreadable(why) => Err(why),
            },
        };
        match before {
            // Touched or moved, and the content is what it was.
            Some(before) if before.content() == news.now.as_ref().ok().copied() => Step::Wait,
            _ => Step::Announce(news),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(2);
    const LOOK: Duration = Duration::from_millis(10);

    fn content(stamp: u8, byte: u8) -> Option<State<u8>> {
        let fingerprint = Fingerprint([byte; 32]);
        Some(State::Content { stamp, fingerprint })
    }

    fn gone(why: &str) -> Option<State<u8>> {
        Some(State::Unreadable(why.into()))
    }

    fn announced(now: Result<u8, &str>, first: bool, was_unreadable: bool) -> Step {
        Step::Announce(News {
            now: now.map(|byte| Fingerprint([byte; 32])).map_err(Into::into),
            first,
            was_unreadable,
        })
    }

    /// Settles, at a clock of its own.
    struct Rig {
        settle: Settle<u8>,
        now: Instant,
    }

    impl Rig {
        fn new() -> Self {
            let (settle, now) = (Settle::new(TIME), Instant::now());
            Self { settle, now }
        }

        /// After the content 1 was settled at stamp 1.
        fn settled() -> Self {
            let mut rig = Self::new();
            assert!(rig.moved(content(1, 1)));
            assert_eq!(rig.due(content(1, 1)), announced(Ok(1), true, false));
            rig
        }

        /// Looks after a time.
        fn after(&mut self, time: Duration, seen: Option<State<u8>>) -> Step {
            let began = self.now + time;
            self.now = began + LOOK;
            let span = Span {
                began,
                ended: self.now,
            };
            self.settle.take(seen, span)
        }

        /// Looks at once; whether it is to settle from here on.
        fn moved(&mut self, seen: Option<State<u8>>) -> bool {
            self.after(Duration::ZERO, seen) == Step::Confirm(self.now + TIME)
        }

        /// Looks when something that moved at the last look may have settled.
        fn due(&mut self, seen: Option<State<u8>>) -> Step {
            self.after(TIME, seen)
        }
    }

    #[test]
    fn a_stamp_that_stands_needs_no_reading() {
        let mut rig = Rig::settled();
        assert_eq!(rig.settle.known(), Some(1));
        assert_eq!(rig.due(None), Step::Wait);
    }

    #[test]
    fn what_is_being_written_is_not_announced() {
        let mut rig = Rig::settled();
        for (stamp, byte) in [(2, 2), (3, 3), (4, 4)] {
            assert!(rig.moved(content(stamp, byte)));
            let known = rig.settle.known();
            assert_eq!(known, None, "the content is read, whatever the stamp");
        }
        assert_eq!(rig.due(content(4, 4)), announced(Ok(4), false, false));
        assert_eq!(rig.settle.known(), Some(4));
    }

    #[test]
    fn a_look_in_between_neither_shortens_nor_lengthens_the_time() {
        let mut rig = Rig::settled();
        assert!(rig.moved(content(2, 2)));
        let due = rig.now + TIME;
        let early = rig.after(TIME / 2, content(2, 2));
        assert_eq!(early, Step::Confirm(due));
        let early = rig.after(TIME / 2 - LOOK - Duration::from_nanos(1), content(2, 2));
        assert_eq!(early, Step::Confirm(due));
        let step = rig.after(Duration::ZERO, content(2, 2));
        assert_eq!(step, announced(Ok(2), false, false));
    }

    #[test]
    fn nothing_is_said_of_a_source_before_it_was_seen() {
        let mut rig = Rig::new();
        assert_eq!(rig.settle.condition(), None);
        assert!(rig.moved(gone("no such file")));
        assert_eq!(rig.settle.condition(), None);
    }

    #[test]
    fn without_a_time_two_looks_are_taken_all_the_same() {
        let mut rig = Rig::new();
        rig.settle.time = Duration::ZERO;
        assert_eq!(
            rig.after(TIME, content(1, 1)),
            Step::Confirm(rig.now),
            "the first"
        );
        let second = rig.after(Duration::ZERO, content(1, 1));
        assert_eq!(second, announced(Ok(1), true, false));
    }

    #[test]
    fn a_touch_is_no_change() {
        let mut rig = Rig::settled();
        assert!(rig.moved(content(2, 1)));
        assert_eq!(rig.due(content(2, 1)), Step::Wait);
        assert_eq!(rig.settle.known(), Some(2));
    }

    #[test]
    fn a_change_that_is_taken_back_is_none() {
        let mut rig = Rig::settled();
        assert!(rig.moved(content(2, 2)));
        assert_eq!(rig.due(content(1, 1)), Step::Wait);
        assert!(rig.moved(content(2, 2)), "starts anew");
    }

    #[test]
    fn vanishing_is_told_once_and_so_is_the_return() {
        let mut rig = Rig::settled();
        assert!(rig.moved(gone("no such file")));
        assert_eq!(rig.settle.condition(), Some(SourceState::Still), "not yet");
        let step = rig.due(gone("no such file"));
        assert_eq!(step, announced(Err("no such file"), false, false));
        assert_eq!(rig.settle.condition(), Some(SourceState::Away));
        assert_eq!(rig.due(gone("no such folder")), Step::Wait);
        assert!(rig.moved(content(1, 1)));
        assert_eq!(rig.settle.condition(), Some(SourceState::Moving));
        assert_eq!(rig.due(content(1, 1)), announced(Ok(1), false, true));
    }

    #[test]
    fn a_short_absence_is_none() {
        let mut rig = Rig::settled();
        assert!(rig.moved(gone("no such file")));
        assert!(rig.moved(content(2, 2)));
        assert_eq!(rig.due(content(2, 2)), announced(Ok(2), false, false));
    }
}
