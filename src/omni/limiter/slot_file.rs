//! The text of a key's file. It has times and counts, but no part of the key.
//!
//! ```text
//! omni-user-sync slots 1
//! boot <id, or ->
//! written <kernel clock> <wall clock>        all times in nanoseconds
//! paused <until>                             if the key is paused
//! pace <interval> <since> <next> <shared>    if the key has a lower pace; shared is 0 or 1
//! sender <random number>                     one process; its requests follow
//! open <arrives by>                          one in flight
//! done <answered> <how many>
//! sum <hash of all lines above>
//! ```

use super::MAX_PAUSE;
use super::clock::Clock;
use super::pace::Pace;
use super::window::{RequestWindow, WINDOW};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;
use tokio::time::Instant;

const TITLE: &str = "omni-user-sync slots 1";
/// The times of responses are rounded up to multiples of this, in nanoseconds, so that a file stays
/// small at any limit.
const GRAIN: i128 = 10_000_000;
/// The longest time that a request of another process is considered in flight.
const MAX_REQUEST: Duration = Duration::from_secs(600);

/// The random number of one process and key, which identifies its window.
pub(super) type Sender = u64;

/// The content of a key's file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SlotFile {
    pub(super) paused_until: Option<Instant>,
    pub(super) pace: Option<Pace>,
    pub(super) windows: BTreeMap<Sender, RequestWindow>,
}

/// The result of reading a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// An empty file: nothing has been sent yet.
    New,
    Slots(SlotFile),
    /// Not a file of this format, or truncated.
    Broken,
}

impl Content {
    /// Parses a file. Times are limited to what is possible at `now`, whatever the file says.
    pub(super) fn read(text: &[u8], clock: &Clock, now: Instant, wall: i128) -> Self {
        if text.is_empty() {
            return Self::New;
        }
        let file = Parser::checked(text).and_then(|parser| parser.file(clock, now, wall));
        file.map_or(Self::Broken, Self::Slots)
    }
}

impl SlotFile {
    /// The text of the file.
    pub(super) fn write(&self, clock: &Clock, now: Instant, wall: i128) -> String {
        let mut text = String::with_capacity(512);
        self.write_to(&mut text, clock, now, wall)
            .expect("a String takes every write");
        let sum = checksum(text.as_bytes());
        text + "sum " + &sum + "\n"
    }

    fn write_to(
        &self,
        text: &mut String,
        clock: &Clock,
        now: Instant,
        wall: i128,
    ) -> std::fmt::Result {
        let Self {
            paused_until,
            pace,
            windows,
        } = self;
        writeln!(text, "{TITLE}")?;
        writeln!(text, "boot {}", clock.boot.as_deref().unwrap_or("-"))?;
        writeln!(text, "written {} {wall}", clock.stamp(now))?;
        if let Some(until) = paused_until {
            writeln!(text, "paused {}", clock.stamp(*until))?;
        }
        if let Some(pace) = pace {
            let (since, next) = (clock.stamp(pace.since), clock.stamp(pace.next));
            let (interval, shared) = (pace.interval.as_nanos(), u8::from(pace.shared));
            writeln!(text, "pace {interval} {since} {next} {shared}")?;
        }
        for (sender, window) in windows.iter().filter(|(_, window)| !window.is_empty()) {
            writeln!(text, "sender {sender:016x}")?;
            for open in window.open() {
                writeln!(text, "open {}", clock.stamp(*open))?;
            }
            for (answered, count) in grains(window, clock) {
                writeln!(text, "done {answered} {count}")?;
            }
        }
        Ok(())
    }
}

/// The rounded times of a window's responses, with the number of responses at each.
fn grains(window: &RequestWindow, clock: &Clock) -> BTreeMap<i128, u32> {
    let mut grains = BTreeMap::<_, u32>::new();
    for (answered, count) in window.answered() {
        let stamp = clock.stamp(answered);
        let grain = stamp + (-stamp).rem_euclid(GRAIN);
        let all = grains.entry(grain).or_default();
        *all = all.saturating_add(count);
    }
    grains
}

fn checksum(text: &[u8]) -> String {
    blake3::hash(text).to_hex()[..16].to_owned()
}

/// The lines of a complete file, up to its checksum. The text after it is left over from a longer file.
struct Parser<'a>(std::str::Lines<'a>);

impl<'a> Parser<'a> {
    fn checked(text: &'a [u8]) -> Option<Self> {
        let end = memchr::memmem::find(text, b"\nsum ")? + 1;
        let (lines, rest) = text.split_at(end);
        let written = rest.get(4..21)?;
        (written == (checksum(lines) + "\n").as_bytes()).then_some(())?;
        Some(Self(std::str::from_utf8(lines).ok()?.lines()))
    }

    fn next(&mut self, name: &str) -> Option<&'a str> {
        self.0.next()?.strip_prefix(name)?.strip_prefix(' ')
    }

    fn file(mut self, clock: &Clock, now: Instant, wall: i128) -> Option<SlotFile> {
        (self.0.next()? == TITLE).then_some(())?;
        let boot = self.next("boot")?;
        let (written, written_wall) = self.next("written")?.split_once(' ')?;
        let (written, written_wall): (i128, i128) =
            (written.parse().ok()?, written_wall.parse().ok()?);
        let shift = if clock.boot.as_deref() == Some(boot) {
            0
        } else {
            // Another boot, or one without an id: the wall clock says how much time has passed. A
            // clock that was set back counts as no time.
            let since = wall.saturating_sub(written_wall).max(0);
            clock.stamp(now).checked_sub(written.checked_add(since)?)?
        };
        let times = Times { clock, shift, now };
        self.entries(&times)
    }

    fn entries(self, times: &Times<'_>) -> Option<SlotFile> {
        let (mut paused_until, mut pace) = (None, None);
        let mut windows: BTreeMap<Sender, (Vec<_>, Vec<_>)> = BTreeMap::new();
        let mut sender = None;
        for line in self.0 {
            let (name, value) = line.split_once(' ')?;
            let window = sender.and_then(|sender| windows.get_mut(&sender));
            match (name, window) {
                ("paused", None) => paused_until = times.at(value, MAX_PAUSE)?,
                ("pace", None) => pace = Some(times.pace(value)?),
                ("sender", _) => {
                    let number = Sender::from_str_radix(value, 16).ok()?;
                    windows.entry(number).or_default();
                    sender = Some(number);
                }
                ("open", Some((open, _))) => open.extend(times.at(value, MAX_REQUEST)?),
                ("done", Some((_, done))) => {
                    let (answered, count) = value.split_once(' ')?;
                    let count: u32 = count.parse().ok()?;
                    let answered = times.at(answered, Duration::ZERO)?;
                    done.extend(answered.map(|answered| (answered, count)));
                }
                _ => return None,
            }
        }
        let window = |(sender, (open, done))| (sender, RequestWindow::of(open, done));
        Some(SlotFile {
            paused_until,
            pace,
            windows: windows.into_iter().map(window).collect(),
        })
    }
}

/// Converts times of the file to instants of this process.
struct Times<'a> {
    clock: &'a Clock,
    shift: i128,
    now: Instant,
}

impl Times<'_> {
    /// The instant, at most `max` after now; `Some(None)` if it is so long ago that it no longer
    /// counts, and `None` if the text is invalid.
    fn at(&self, text: &str, max: Duration) -> Option<Option<Instant>> {
        let stamp = text.parse::<i128>().ok()?.checked_add(self.shift)?;
        let now = self.clock.stamp(self.now);
        if stamp < now - super::clock::nanos(WINDOW) {
            return Some(None);
        }
        let latest = self.now + max;
        let instant = self.clock.instant(stamp).unwrap_or(latest);
        Some(Some(instant.min(latest)))
    }

    /// The pace of a line; `None` if the text is invalid.
    fn pace(&self, text: &str) -> Option<Pace> {
        let mut parts = text.split(' ');
        let mut part = || parts.next();
        let interval = Duration::from_nanos(part()?.parse().ok()?);
        let since = part()?.parse::<i128>().ok()?.checked_add(self.shift)?;
        let next = self.at(part()?, MAX_PAUSE)?;
        let shared = part()? == "1";
        let is_valid = !interval.is_zero() && interval <= MAX_PAUSE && part().is_none();
        is_valid.then(|| Pace {
            interval,
            since: self.clock.instant(since).unwrap_or(self.now).min(self.now),
            next: next.unwrap_or(self.now),
            shared,
        })
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

    fn file(open: &[Instant], answered: &[(Instant, u32)]) -> SlotFile {
        let window = RequestWindow::of(open.to_vec(), answered.to_vec());
        SlotFile {
            paused_until: None,
            pace: None,
            windows: [(7, window)].into(),
        }
    }

    fn read(text: &str, clock: &Clock, now: Instant, wall: i128) -> SlotFile {
        match Content::read(text.as_bytes(), clock, now, wall) {
            Content::Slots(file) => file,
            other => panic!("{other:?}: {text}"),
        }
    }

    #[test]
    fn wall_clock_is_ignored_within_a_boot() {
        let start = Instant::now();
        let clock = clock("b", 500 * NANOS, start);
        let pace = Pace {
            interval: 2 * SECOND,
            since: start - 300 * SECOND,
            next: start + SECOND,
            shared: true,
        };
        let file = SlotFile {
            paused_until: Some(start + 3 * SECOND),
            pace: Some(pace),
            ..file(&[start + 30 * SECOND], &[(start - SECOND, 2), (start, 1)])
        };
        let text = file.write(&clock, start, 1_000 * NANOS);
        for wall in [0, 1_000 * NANOS, i128::from(u64::MAX) * NANOS] {
            assert_eq!(read(&text, &clock, start, wall), file);
        }
        let left_over = text.clone() + "done 1 1\nsum ";
        assert_eq!(read(&left_over, &clock, start, 0), file);
    }

    #[test]
    fn wall_clock_is_used_after_a_reboot() {
        let start = Instant::now();
        let file = file(&[start + 30 * SECOND], &[(start - 20 * SECOND, 2)]);
        let text = file.write(&clock("old", 9_000 * NANOS, start), start, 1_000 * NANOS);
        for (boot, wall, age) in [
            ("new", 1_030, 50),
            ("", 1_030, 50),
            // The clock was set back: as if the file had just been written.
            ("new", 10, 20),
        ] {
            let clock = clock(boot, 5 * NANOS, start);
            let file = read(&text, &clock, start, wall * NANOS);
            let window = &file.windows[&7];
            let answered: Vec<_> = window.answered().collect();
            assert_eq!(answered, [(start - age * SECOND, 2)], "{boot} {wall}");
            assert_eq!(
                window.open(),
                [start + (50 - age) * SECOND],
                "{boot} {wall}"
            );
        }
        let later = read(&text, &clock("new", 5, start), start, 5_000 * NANOS);
        assert!(later.windows[&7].is_empty());
    }

    #[test]
    fn times_in_the_future_are_limited() {
        let start = Instant::now();
        let far = start + 5_000 * SECOND;
        let clock = clock("b", 500 * NANOS, start);
        let file = SlotFile {
            paused_until: Some(far),
            ..file(&[far], &[(far, 2)])
        };
        let file = read(&file.write(&clock, start, 0), &clock, start, 0);
        assert_eq!(file.paused_until, Some(start + MAX_PAUSE));
        let window = &file.windows[&7];
        assert_eq!(window.answered().collect::<Vec<_>>(), [(start, 2)]);
        assert_eq!(window.open(), [start + MAX_REQUEST]);
    }

    #[test]
    fn rounding_is_stable_when_rewritten() {
        let start = Instant::now();
        let clock = clock("b", 500 * NANOS, start);
        let milli = Duration::from_millis(1);
        let file = file(
            &[],
            &[
                (start + milli, 2),
                (start + 9 * milli, 1),
                (start + 11 * milli, 3),
            ],
        );
        let now = start + SECOND;
        let once = file.write(&clock, now, 0);
        let again = read(&once, &clock, now, 0);
        let answered: Vec<_> = again.windows[&7].answered().collect();
        assert_eq!(answered, [(start + 10 * milli, 3), (start + 20 * milli, 3)]);
        assert_eq!(again.write(&clock, now, 0), once);
    }

    #[test]
    fn an_empty_file_is_new() {
        let now = Instant::now();
        let clock = clock("b", 0, now);
        assert_eq!(Content::read(b"", &clock, now, 0), Content::New);
    }

    proptest! {
        #[test]
        fn truncated_and_foreign_files_are_broken(
            cut in 1usize..200,
            at in 0usize..200,
            byte: u8,
            foreign in prop::collection::vec(any::<u8>(), 1..300),
        ) {
            let now = Instant::now();
            let clock = clock("b", 500 * NANOS, now);
            let file = file(&[now + SECOND], &[(now, 2)]);
            let text = file.write(&clock, now, 0).into_bytes();
            let read = |text: &[u8]| Content::read(text, &clock, now, 0);
            prop_assert_eq!(read(&text[..text.len() - cut.min(text.len() - 1)]), Content::Broken);
            let mut other = text.clone();
            let at = at % text.len();
            other[at] = byte;
            prop_assert!(other == text || read(&other) == Content::Broken);
            prop_assert_eq!(read(&foreign), Content::Broken);
        }

        #[test]
        fn extreme_numbers_do_not_panic(numbers in prop::collection::vec(any::<i128>(), 6)) {
            let [boot, written, wall, open, done, paused] = numbers[..] else { unreachable!() };
            let text = format!(
                "{TITLE}\nboot {boot}\nwritten {written} {wall}\npaused {paused}\nsender 1\n\
                 open {open}\ndone {done} 4294967295\n"
            );
            let text = format!("{text}sum {}\n", checksum(text.as_bytes()));
            let now = Instant::now();
            let clock = clock(&boot.to_string(), 500 * NANOS, now);
            let _ = Content::read(text.as_bytes(), &clock, now, wall);
            let _ = Content::read(text.as_bytes(), &Clock { boot: None, ..clock }, now, 0);
        }
    }
}
