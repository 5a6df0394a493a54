//! Bar charts of the last runs. The same numbers are also in a table.

use super::rows::{format_clock, format_duration};
use crate::model::RunRecord;
use crate::serve::queries::CHART_RUNS;
use crate::serve::summary::Severity;
use chrono::TimeDelta;

/// The distance between bars, the width of a bar and the height of a chart, in SVG units.
const STEP: u32 = 10;
const BAR_WIDTH: u32 = 8;
const HEIGHT: u32 = 100;

/// The charts of the last runs, oldest run first.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) bars: Vec<Bar>,
    /// The number of changes at the full height.
    pub(super) max_changes: u64,
    /// The duration at the full height.
    pub(super) max_duration: String,
}

/// One run.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) number: u64,
    pub(super) started: String,
    pub(super) x: u32,
    pub(super) width: u32,
    pub(super) result: &'static str,
    pub(super) severity: Severity,
    pub(super) applied: u64,
    pub(super) failed: u64,
    pub(super) held: u64,
    /// The stacked bar of the changes, from the bottom: applied, failed, held.
    pub(super) changes: Vec<Segment>,
    pub(super) duration: String,
    pub(super) duration_bar: Segment,
}

/// A segment of a bar.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) class: &'static str,
    pub(super) y: u32,
    pub(super) height: u32,
}

impl Chart {
    /// Draws the finished runs of a list that starts with the newest one.
    pub(super) fn new(runs: &[RunRecord]) -> Self {
        let finished = runs.iter().rev().filter_map(|run| {
            let end = run.end()?;
            let duration = (end.ended - run.start.started).max(TimeDelta::zero());
            Some((run, end, duration))
        });
        let finished: Vec<_> = finished.collect();
        let changes = finished
            .iter()
            .map(|(_, end, _)| end.applied + end.failed + end.held);
        let max_changes = changes.max().unwrap_or(0);
        let durations = finished.iter().map(|(.., duration)| *duration);
        let max_duration = durations.max().unwrap_or_default();
        // The width is that of a full chart, so that bars have the same width in each chart.
        let places = u32::try_from(CHART_RUNS).unwrap_or(1);
        let first = places.saturating_sub(u32::try_from(finished.len()).unwrap_or(places));
        let bars = finished.iter().zip(first..);
        let bars = bars.map(|((run, end, duration), at)| Bar {
            number: run.number.0,
            started: format_clock(run.start.started),
            x: at * STEP,
            width: BAR_WIDTH,
            result: end.result.as_str(),
            severity: Severity::of(end.result.as_str()),
            applied: end.applied,
            failed: end.failed,
            held: end.held,
            changes: stack(
                [
                    ("applied", end.applied),
                    ("failed", end.failed),
                    ("held", end.held),
                ],
                max_changes,
            ),
            duration: format_duration(*duration),
            duration_bar: segment("duration", millis(*duration), millis(max_duration), HEIGHT),
        });
        Self {
            width: STEP * places,
            height: HEIGHT,
            bars: bars.collect(),
            max_changes,
            max_duration: format_duration(max_duration),
        }
    }
}

fn millis(duration: TimeDelta) -> u64 {
    duration.num_milliseconds().unsigned_abs()
}

/// Stacks segments on top of each other.
fn stack(counts: [(&'static str, u64); 3], max: u64) -> Vec<Segment> {
    let mut base = HEIGHT;
    let mut segments = Vec::new();
    for (class, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        let segment = segment(class, count, max, base);
        base = segment.y;
        segments.push(segment);
    }
    segments
}

/// A segment that ends at `base`. Non-zero values are drawn at least one unit high.
fn segment(class: &'static str, value: u64, max: u64, base: u32) -> Segment {
    let share = u128::from(value) * u128::from(HEIGHT) / u128::from(max.max(1));
    let min_height = u32::from(value > 0);
    let height = u32::try_from(share)
        .unwrap_or(HEIGHT)
        .clamp(min_height, HEIGHT)
        .min(base);
    Segment {
        class,
        y: base - height,
        height,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RunEnd, RunNumber, RunResult, RunStart, RunState, Trigger};
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
                max_gap: TimeDelta::hours(1),
            },
            state: RunState::Ended(Box::new(RunEnd {
                ended: started + TimeDelta::seconds(seconds),
                result: RunResult::Held,
                fingerprint: None,
                rows: None,
                users: None,
                planned: None,
                pending: None,
                applied: done,
                failed,
                held,
                bad_rows: 0,
                requests: 0,
                detail: String::new(),
            })),
        }
    }

    #[test]
    fn newest_run_is_on_the_right() {
        let chart = Chart::new(&[run(9, [5, 0, 5], 4), run(8, [0, 1, 0], 8)]);
        let [old, new] = &chart.bars[..] else {
            panic!("{chart:?}")
        };
        assert_eq!((old.number, old.x, new.number, new.x), (8, 480, 9, 490));
        assert_eq!((chart.max_changes, &*chart.max_duration), (10, "8.0 s"));
        let segment = |class, y, height| Segment { class, y, height };
        assert_eq!(
            new.changes,
            [segment("applied", 50, 50), segment("held", 0, 50)]
        );
        assert_eq!(old.changes, [segment("failed", 90, 10)]);
        assert_eq!(
            (new.duration_bar.height, old.duration_bar.height),
            (50, 100)
        );
    }

    #[test]
    fn small_segments_are_visible_without_overflow() {
        let chart = Chart::new(&[run(2, [1, 1, 1_000_000], 0), run(1, [0, 0, 0], 0)]);
        let tall = &chart.bars[1].changes;
        assert_eq!(tall.iter().map(|segment| segment.height).sum::<u32>(), 100);
        assert!(tall[0].height == 1 && tall[1].height == 1, "{tall:?}");
        assert!(chart.bars[0].changes.is_empty());
        assert!(Chart::new(&[]).bars.is_empty());
        let endless = Chart::new(&[run(1, [u64::MAX / 4; 3], 1_000_000_000)]);
        assert!(endless.bars[0].changes[2].y <= 100);
    }
}
