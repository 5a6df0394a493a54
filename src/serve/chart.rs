//! The runs as a picture: where each bar stands. Its numbers stand in a table too.

use super::rows::took;
use super::standing::{Severity, ended};
use crate::model::RunRecord;
use chrono::TimeDelta;

/// How wide a bar's place is, and how much of it is the bar, in units of the picture.
const STEP: u32 = 10;
const BAR: u32 = 8;
/// How high the picture is.
const HEIGHT: u32 = 100;

/// The last runs, from left to right.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) bars: Vec<Bar>,
    /// What the highest bar stands for.
    pub(super) most: u64,
    pub(super) longest: String,
}

/// One run.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) number: u64,
    pub(super) x: u32,
    pub(super) width: u32,
    pub(super) outcome: String,
    pub(super) tone: Severity,
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) held: u64,
    /// The bar of the changes: done below, then failed, then held.
    pub(super) parts: Vec<Part>,
    pub(super) took: String,
    /// The bar of the duration.
    pub(super) span: Part,
}

/// A piece of a bar.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) class: &'static str,
    pub(super) y: u32,
    pub(super) height: u32,
}

impl Chart {
    /// The picture of runs that stand with the last one first. Those that have not ended are left out.
    pub(super) fn new(runs: &[RunRecord]) -> Self {
        let ended = runs.iter().rev().filter_map(|run| {
            let end = ended(run)?;
            Some((
                run,
                end,
                (end.ended - run.start.started).max(TimeDelta::zero()),
            ))
        });
        let ended: Vec<_> = ended.collect();
        let changes = ended
            .iter()
            .map(|(_, end, _)| end.applied + end.failed + end.held);
        let most = changes.max().unwrap_or(0);
        let longest = ended
            .iter()
            .map(|(.., span)| *span)
            .max()
            .unwrap_or_default();
        // As wide as for all that it may hold, so that a bar is as wide with one as with fifty.
        let places = u32::try_from(super::look::PICTURED).unwrap_or(1);
        let first = places.saturating_sub(u32::try_from(ended.len()).unwrap_or(places));
        let bars = ended.iter().zip(first..).map(|((run, end, span), at)| Bar {
            number: run.number.0,
            x: at * STEP,
            width: BAR,
            outcome: end.result.as_str().into(),
            tone: Severity::of(end.result.as_str()),
            done: end.applied,
            failed: end.failed,
            held: end.held,
            parts: stacked(
                [
                    ("done", end.applied),
                    ("failed", end.failed),
                    ("held", end.held),
                ],
                most,
            ),
            took: took(*span),
            span: part("span", millis(*span), millis(longest), HEIGHT),
        });
        let bars: Vec<_> = bars.collect();
        Self {
            width: STEP * places,
            height: HEIGHT,
            bars,
            most,
            longest: took(longest),
        }
    }
}

fn millis(span: TimeDelta) -> u64 {
    span.num_milliseconds().unsigned_abs()
}

/// Pieces on top of each other.
fn stacked(counts: [(&'static str, u64); 3], most: u64) -> Vec<Part> {
    let mut floor = HEIGHT;
    let mut parts = Vec::new();
    for (class, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        let part = part(class, count, most, floor);
        floor = part.y;
        parts.push(part);
    }
    parts
}

/// A piece that stands on a floor. What is more than nothing can be seen.
fn part(class: &'static str, value: u64, most: u64, floor: u32) -> Part {
    let share = u128::from(value) * u128::from(HEIGHT) / u128::from(most.max(1));
    let least = u32::from(value > 0);
    let height = u32::try_from(share)
        .unwrap_or(HEIGHT)
        .clamp(least, HEIGHT)
        .min(floor);
    Part {
        class,
        y: floor - height,
        height,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RunEnd, RunNumber, RunStart, RunState, Trigger};
    use chrono::{DateTime, Utc};

    fn run(number: u64, changes: [u64; 3], seconds: i64) -> RunRecord {
        let started: DateTime<Utc> = "2026-03-10T12:00:00Z".parse().expect("a time");
        let [done, failed, held] = changes;
        RunRecord {
            number: RunNumber(number),
            start: RunStart {
                trigger: Trigger::Schedule,
                started,
                is_source: true,
            },
            state: RunState::Ended(Box::new(RunEnd {
                ended: started + TimeDelta::seconds(seconds),
                outcome: "held".into(),
                fingerprint: None,
                rows: None,
                users: None,
                needed: None,
                done,
                failed,
                held,
                bad_rows: 0,
                requests: 0,
                detail: String::new(),
            })),
        }
    }

    #[test]
    fn the_last_run_stands_right_and_the_most_fills_the_height() {
        let chart = Chart::new(&[run(9, [5, 0, 5], 4), run(8, [0, 1, 0], 8)]);
        let [old, new] = &chart.bars[..] else {
            panic!("{chart:?}")
        };
        assert_eq!((old.number, old.x, new.number, new.x), (8, 480, 9, 490));
        assert_eq!((chart.most, &*chart.longest), (10, "8.0 s"));
        let part = |class, y, height| Part { class, y, height };
        assert_eq!(new.parts, [part("done", 50, 50), part("held", 0, 50)]);
        assert_eq!(old.parts, [part("failed", 90, 10)]);
        assert_eq!((new.span.height, old.span.height), (50, 100));
    }

    #[test]
    fn little_beside_much_can_be_seen_and_nothing_grows_out() {
        let chart = Chart::new(&[run(2, [1, 1, 1_000_000], 0), run(1, [0, 0, 0], 0)]);
        let tall = &chart.bars[1].parts;
        assert_eq!(tall.iter().map(|part| part.height).sum::<u32>(), 100);
        assert!(tall[0].height == 1 && tall[1].height == 1, "{tall:?}");
        assert!(chart.bars[0].parts.is_empty());
        assert!(Chart::new(&[]).bars.is_empty());
        let endless = Chart::new(&[run(1, [u64::MAX / 4; 3], 1_000_000_000)]);
        assert!(endless.bars[0].parts[2].y <= 100);
    }
}
