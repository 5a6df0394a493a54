//! When a change counts: two equal readings, some time apart.

use crate::desired::Fingerprint;

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

/// What to do after a look.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Nothing new: wait for a hint.
    Wait,
    /// Something moved: look again after the settling time.
    Confirm,
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
    standing: Option<State<S>>,
    candidate: Option<State<S>>,
}

impl<S: Clone + PartialEq> Settle<S> {
    pub(super) fn new() -> Self {
        Self {
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

    /// Takes what a look saw; `None` is the known stamp.
    pub(super) fn take(&mut self, seen: Option<State<S>>) -> Step {
        let Some(seen) = seen else {
            return Step::Wait;
        };
        let candidate = self.candidate.take();
        if self.standing.as_ref() == Some(&seen) {
            return Step::Wait;
        }
        if candidate.as_ref() != Some(&seen) {
            self.candidate = Some(seen);
            return Step::Confirm;
        }
        self.settled(seen)
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

    /// After the content 1 was settled at stamp 1.
    fn settled() -> Settle<u8> {
        let mut settle = Settle::new();
        assert_eq!(settle.take(content(1, 1)), Step::Confirm);
        assert_eq!(settle.take(content(1, 1)), announced(Ok(1), true, false));
        settle
    }

    #[test]
    fn a_stamp_that_stands_needs_no_reading() {
        let mut settle = settled();
        assert_eq!(settle.known(), Some(1));
        assert_eq!(settle.take(None), Step::Wait);
    }

    #[test]
    fn what_is_being_written_is_not_announced() {
        let mut settle = settled();
        for (stamp, byte) in [(2, 2), (3, 3), (4, 4)] {
            assert_eq!(settle.take(content(stamp, byte)), Step::Confirm);
            assert_eq!(
                settle.known(),
                None,
                "the content is read, whatever the stamp"
            );
        }
        assert_eq!(settle.take(content(4, 4)), announced(Ok(4), false, false));
        assert_eq!(settle.known(), Some(4));
    }

    #[test]
    fn a_touch_is_no_change() {
        let mut settle = settled();
        assert_eq!(settle.take(content(2, 1)), Step::Confirm);
        assert_eq!(settle.take(content(2, 1)), Step::Wait);
        assert_eq!(settle.known(), Some(2));
    }

    #[test]
    fn a_change_that_is_taken_back_is_none() {
        let mut settle = settled();
        assert_eq!(settle.take(content(2, 2)), Step::Confirm);
        assert_eq!(settle.take(content(1, 1)), Step::Wait);
        assert_eq!(settle.take(content(2, 2)), Step::Confirm, "starts anew");
    }

    #[test]
    fn vanishing_is_told_once_and_so_is_the_return() {
        let mut settle = settled();
        assert_eq!(settle.take(gone("no such file")), Step::Confirm);
        assert_eq!(
            settle.take(gone("no such file")),
            announced(Err("no such file"), false, false)
        );
        assert_eq!(settle.take(gone("no such folder")), Step::Wait);
        assert_eq!(settle.take(content(1, 1)), Step::Confirm);
        assert_eq!(settle.take(content(1, 1)), announced(Ok(1), false, true));
    }

    #[test]
    fn a_short_absence_is_none() {
        let mut settle = settled();
        assert_eq!(settle.take(gone("no such file")), Step::Confirm);
        assert_eq!(settle.take(content(2, 2)), Step::Confirm);
        assert_eq!(settle.take(content(2, 2)), announced(Ok(2), false, false));
    }
}
