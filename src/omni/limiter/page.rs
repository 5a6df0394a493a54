//! What a key's file says, as text and back. It holds times and counts; of the key there is nothing
//! in it.
//!
//! ```text
//! omni-user-sync slots 1
//! boot <id, or ->
//! written <kernel's clock> <wall clock>      all times in nanoseconds
//! paused <until>                             if the key waits after a 429
//! sender <random number>                     one process; its requests follow
//! open <arrives by>                          one under way
//! done <answered> <how many>
//! sum <of all lines above>
//! ```

use super::clock::Clock;
use super::log::{RequestWindow, WINDOW};
use super::state::{LONGEST_PAUSE, Sender};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;
use tokio::time::Instant;

const TITLE: &str = "omni-user-sync slots 1";
/// To so many nanoseconds answers are told, always later than they were, so that a file stays small
/// at any limit.
const GRAIN: i128 = 10_000_000;
/// The longest that a request of another process is taken to be under way.
const LONGEST_REQUEST: Duration = Duration::from_secs(600);

/// What is known of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SlotFile {
    pub(super) paused_until: Option<Instant>,
    pub(super) logs: BTreeMap<Sender, RequestWindow>,
}

/// What is in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Nothing has been sent yet.
    New,
    SlotFile(SlotFile),
    /// It is not a page, or not whole.
    Broken,
}

impl Content {
    /// Reads a file. Whatever it says, nothing in it lies in the future but what can.
    pub(super) fn read(text: &[u8], clock: &Clock, now: Instant, wall: i128) -> Self {
        if text.is_empty() {
            return Self::New;
        }
        let page = Lines::checked(text).and_then(|lines| lines.page(clock, now, wall));
        page.map_or(Self::Broken, Self::SlotFile)
    }
}

impl SlotFile {
    /// The text of a file.
    pub(super) fn write(&self, clock: &Clock, now: Instant, wall: i128) -> String {
        let mut text = String::with_capacity(512);
        self.write_to(&mut text, clock, now, wall)
            .expect("a String takes every write");
        let sum = sum(text.as_bytes());
        text + "sum " + &sum + "\n"
    }

    fn write_to(
        &self,
        text: &mut String,
        clock: &Clock,
        now: Instant,
        wall: i128,
    ) -> std::fmt::Result {
        let Self { paused_until, logs } = self;
        writeln!(text, "{TITLE}")?;
        writeln!(text, "boot {}", clock.boot.as_deref().unwrap_or("-"))?;
        writeln!(text, "written {} {wall}", clock.stamp(now))?;
        if let Some(until) = paused_until {
            writeln!(text, "paused {}", clock.stamp(*until))?;
        }
        for (sender, log) in logs.iter().filter(|(_, log)| !log.is_empty()) {
            writeln!(text, "sender {sender:016x}")?;
            for open in log.open() {
                writeln!(text, "open {}", clock.stamp(*open))?;
            }
            for (answered, count) in grains(log, clock) {
                writeln!(text, "done {answered} {count}")?;
            }
        }
        Ok(())
    }
}

/// When a log's requests were answered, and how many in that grain.
fn grains(log: &RequestWindow, clock: &Clock) -> BTreeMap<i128, u32> {
    let mut grains = BTreeMap::<_, u32>::new();
    for (answered, count) in log.answered() {
        let stamp = clock.stamp(answered);
        let grain = stamp + (-stamp).rem_euclid(GRAIN);
        let all = grains.entry(grain).or_default();
        *all = all.saturating_add(count);
    }
    grains
}

fn sum(text: &[u8]) -> String {
    blake3::hash(text).to_hex()[..16].to_owned()
}

/// The lines of a whole page. What follows its sum is left from a longer one.
struct Lines<'a>(std::str::Lines<'a>);

impl<'a> Lines<'a> {
    fn checked(text: &'a [u8]) -> Option<Self> {
        let end = memchr::memmem::find(text, b"\nsum ")? + 1;
        let (lines, rest) = text.split_at(end);
        let said = rest.get(4..21)?;
        (said == (sum(lines) + "\n").as_bytes()).then_some(())?;
        Some(Self(std::str::from_utf8(lines).ok()?.lines()))
    }

    fn next(&mut self, name: &str) -> Option<&'a str> {
        self.0.next()?.strip_prefix(name)?.strip_prefix(' ')
    }

    fn page(mut self, clock: &Clock, now: Instant, wall: i128) -> Option<SlotFile> {
        (self.0.next()? == TITLE).then_some(())?;
        let boot = self.next("boot")?;
        let (written, written_wall) = self.next("written")?.split_once(' ')?;
        let (written, written_wall): (i128, i128) =
            (written.parse().ok()?, written_wall.parse().ok()?);
        let shift = match clock.boot.as_deref() == Some(boot) {
            true => 0,
            // Another boot, or none that has a name: as much later as the wall clock says, if that
            // goes forward.
            false => {
                let since = wall.saturating_sub(written_wall).max(0);
                clock.stamp(now).checked_sub(written.checked_add(since)?)?
            }
        };
        let times = Times { clock, shift, now };
        self.entries(&times)
    }

    fn entries(self, times: &Times<'_>) -> Option<SlotFile> {
        let mut paused_until = None;
        let mut logs: BTreeMap<Sender, (Vec<_>, Vec<_>)> = BTreeMap::new();
        let mut sender = None;
        for line in self.0 {
            let (what, said) = line.split_once(' ')?;
            let log = sender.and_then(|sender| logs.get_mut(&sender));
            match (what, log) {
                ("paused", None) => paused_until = times.at(said, LONGEST_PAUSE)?,
                ("sender", _) => {
                    let number = Sender::from_str_radix(said, 16).ok()?;
                    logs.entry(number).or_default();
                    sender = Some(number);
                }
                ("open", Some((open, _))) => open.extend(times.at(said, LONGEST_REQUEST)?),
                ("done", Some((_, done))) => {
                    let (answered, count) = said.split_once(' ')?;
                    let count: u32 = count.parse().ok()?;
                    let answered = times.at(answered, Duration::ZERO)?;
                    done.extend(answered.map(|answered| (answered, count)));
                }
                _ => return None,
            }
        }
        let log = |(sender, (open, done))| (sender, RequestWindow::of(open, done));
        Some(SlotFile {
            paused_until,
            logs: logs.into_iter().map(log).collect(),
        })
    }
}

/// Turns what is written into instants of this process.
struct Times<'a> {
    clock: &'a Clock,
    shift: i128,
    now: Instant,
}

impl Times<'_> {
    /// The instant that is written, at most so much after now; nothing inside where it is so long
    /// ago that it can't matter.
    fn at(&self, said: &str, most: Duration) -> Option<Option<Instant>> {
        let stamp = said.parse::<i128>().ok()?.checked_add(self.shift)?;
        let now = self.clock.stamp(self.now);
        if stamp < now - super::clock::nanos(WINDOW) {
            return Some(None);
        }
        let latest = self.now + most;
        let instant = self.clock.instant(stamp).unwrap_or(latest);
        Some(Some(instant.min(latest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NANOS: i128 = 1_000_000_000;

    fn clock(boot: &str, kernel: i128, instant: Instant) -> Clock {
        Clock {
            boot: (!boot.is_empty()).then(|| boot.to_owned()),
            instant,
            kernel,
        }
    }

    fn page(open: &[Instant], answered: &[(Instant, u32)]) -> SlotFile {
        let log = RequestWindow::of(open.to_vec(), answered.to_vec());
        SlotFile {
            paused_until: None,
            logs: [(7, log)].into(),
        }
    }

    fn read(text: &str, clock: &Clock, now: Instant, wall: i128) -> SlotFile {
        match Content::read(text.as_bytes(), clock, now, wall) {
            Content::SlotFile(page) => page,
            other => panic!("{other:?}: {text}"),
        }
    }

    #[test]
    fn says_what_was_written_whatever_the_wall_clock_does() {
        let start = Instant::now();
        let clock = clock("b", 500 * NANOS, start);
        let page = SlotFile {
            paused_until: Some(start + 3 * SECOND),
            ..page(&[start + 30 * SECOND], &[(start - SECOND, 2), (start, 1)])
        };
        let text = page.write(&clock, start, 1_000 * NANOS);
        for wall in [0, 1_000 * NANOS, i128::from(u64::MAX) * NANOS] {
            assert_eq!(read(&text, &clock, start, wall), page);
        }
        let left_over = text.clone() + "done 1 1\nsum ";
        assert_eq!(read(&left_over, &clock, start, 0), page);
    }

    #[test]
    fn another_boot_goes_by_the_wall_clock_and_waits_no_longer_than_a_minute() {
        let start = Instant::now();
        let page = page(&[start + 30 * SECOND], &[(start - 20 * SECOND, 2)]);
        let text = page.write(&clock("old", 9_000 * NANOS, start), start, 1_000 * NANOS);
        for (boot, wall, age) in [
            ("new", 1_030, 50),
            ("", 1_030, 50),
            // The clock was set back: as if it had just been written.
            ("new", 10, 20),
        ] {
            let clock = clock(boot, 5 * NANOS, start);
            let page = read(&text, &clock, start, wall * NANOS);
            let log = &page.logs[&7];
            let answered: Vec<_> = log.answered().collect();
            assert_eq!(answered, [(start - age * SECOND, 2)], "{boot} {wall}");
            assert_eq!(log.open(), [start + (50 - age) * SECOND], "{boot} {wall}");
        }
        let later = read(&text, &clock("new", 5, start), start, 5_000 * NANOS);
        assert!(later.logs[&7].is_empty());
    }

    #[test]
    fn nothing_that_is_done_lies_in_the_future() {
        let start = Instant::now();
        let far = start + 5_000 * SECOND;
        let clock = clock("b", 500 * NANOS, start);
        let page = SlotFile {
            paused_until: Some(far),
            ..page(&[far], &[(far, 2)])
        };
        let page = read(&page.write(&clock, start, 0), &clock, start, 0);
        assert_eq!(page.paused_until, Some(start + LONGEST_PAUSE));
        let log = &page.logs[&7];
        assert_eq!(log.answered().collect::<Vec<_>>(), [(start, 2)]);
        assert_eq!(log.open(), [start + LONGEST_REQUEST]);
    }

    #[test]
    fn tells_answers_in_grains_however_often_it_is_written() {
        let start = Instant::now();
        let clock = clock("b", 500 * NANOS, start);
        let milli = Duration::from_millis(1);
        let page = page(
            &[],
            &[
                (start + milli, 2),
                (start + 9 * milli, 1),
                (start + 11 * milli, 3),
            ],
        );
        let now = start + SECOND;
        let once = page.write(&clock, now, 0);
        let again = read(&once, &clock, now, 0);
        let answered: Vec<_> = again.logs[&7].answered().collect();
        assert_eq!(answered, [(start + 10 * milli, 3), (start + 20 * milli, 3)]);
        assert_eq!(again.write(&clock, now, 0), once);
    }

    #[test]
    fn an_empty_file_is_a_new_one() {
        let now = Instant::now();
        let clock = clock("b", 0, now);
        assert_eq!(Content::read(b"", &clock, now, 0), Content::New);
    }

    proptest! {
        #[test]
        fn what_is_cut_off_or_foreign_is_broken_and_no_panic(
            cut in 1usize..200,
            at in 0usize..200,
            byte: u8,
            foreign in prop::collection::vec(any::<u8>(), 1..300),
        ) {
            let now = Instant::now();
            let clock = clock("b", 500 * NANOS, now);
            let page = page(&[now + SECOND], &[(now, 2)]);
            let text = page.write(&clock, now, 0).into_bytes();
            let read = |text: &[u8]| Content::read(text, &clock, now, 0);
            prop_assert_eq!(read(&text[..text.len() - cut.min(text.len() - 1)]), Content::Broken);
            let mut other = text.clone();
            let at = at % text.len();
            other[at] = byte;
            prop_assert!(other == text || read(&other) == Content::Broken);
            prop_assert_eq!(read(&foreign), Content::Broken);
        }

        #[test]
        fn whatever_numbers_it_says_it_is_no_panic(numbers in prop::collection::vec(any::<i128>(), 6)) {
            let [boot, written, wall, open, done, paused] = numbers[..] else { unreachable!() };
            let text = format!(
                "{TITLE}\nboot {boot}\nwritten {written} {wall}\npaused {paused}\nsender 1\n\
                 open {open}\ndone {done} 4294967295\n"
            );
            let text = format!("{text}sum {}\n", sum(text.as_bytes()));
            let now = Instant::now();
            let clock = clock(&boot.to_string(), 500 * NANOS, now);
            let _ = Content::read(text.as_bytes(), &clock, now, wall);
            let _ = Content::read(text.as_bytes(), &Clock { boot: None, ..clock }, now, 0);
        }
    }
}
