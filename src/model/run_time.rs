//! The clock for graces, the guard's 24 hours and retention. It is a sum over the recorded runs, so a wrong wall clock
//! in one run neither ends nor prolongs any of them.

use chrono::{DateTime, TimeDelta, Utc};

/// The longest gap that counts after a run without a schedule.
const WITHOUT_SCHEDULE: TimeDelta = TimeDelta::hours(25);
/// The minimum of the longest gap that counts, however often runs are due.
const MIN_GAP: TimeDelta = TimeDelta::hours(1);
/// The minimum difference from the last run's clock that is reported.
const REPORTED: TimeDelta = TimeDelta::days(1);

/// A time on the clock that recorded runs move. Only differences mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunTime {
    millis: i64,
}

impl RunTime {
    /// The time of the first run.
    #[must_use]
    pub fn first(started: DateTime<Utc>) -> Self {
        Self::from_millis(started.timestamp_millis())
    }

    /// The time from its number in the state database.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self { millis }
    }

    /// The number for the state database.
    #[must_use]
    pub fn millis(self) -> i64 {
        self.millis
    }

    /// The time that has passed since an earlier one.
    #[must_use]
    pub fn since(self, earlier: Self) -> TimeDelta {
        TimeDelta::milliseconds(self.millis.saturating_sub(earlier.millis).max(-i64::MAX))
    }

    /// The time before this one.
    #[must_use]
    pub fn before(self, span: TimeDelta) -> Self {
        Self::from_millis(self.millis.saturating_sub(span.num_milliseconds()))
    }
}

/// Where a run began on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunClock {
    /// The start by the wall clock.
    pub started: DateTime<Utc>,
    /// The start by the clock of recorded runs.
    pub time: RunTime,
    /// The longest gap that counts after the run.
    pub max_gap: TimeDelta,
}

impl RunClock {
    /// The time when the wall clock shows this.
    #[must_use]
    pub fn at(&self, now: DateTime<Utc>) -> RunTime {
        let gap = counted(now - self.started, self.max_gap);
        RunTime::from_millis(self.time.millis.saturating_add(gap.num_milliseconds()))
    }

    /// How far the wall clock is from this run's, if it is at least a day and does not count.
    #[must_use]
    pub fn step(&self, now: DateTime<Utc>) -> Option<ClockStep> {
        let gap = now - self.started;
        let counts = counted(gap, self.max_gap);
        (gap != counts && gap.abs() >= REPORTED).then_some(ClockStep {
            last: self.started,
            gap,
            counts,
        })
    }
}

/// A wall clock that is far from the last run's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStep {
    /// The start of the last run.
    pub last: DateTime<Utc>,
    /// The difference by the wall clock.
    pub gap: TimeDelta,
    /// The part of it that counts.
    pub counts: TimeDelta,
}

/// The part of a gap between two runs that counts.
fn counted(gap: TimeDelta, max_gap: TimeDelta) -> TimeDelta {
    gap.min(max_gap).max(TimeDelta::zero())
}

/// The longest gap that counts after a run, by the interval of the schedule.
#[must_use]
pub fn max_gap(interval: Option<TimeDelta>) -> TimeDelta {
    let twice = |interval: TimeDelta| interval.checked_mul(2).unwrap_or(TimeDelta::MAX);
    interval.map_or(WITHOUT_SCHEDULE, |interval| twice(interval).max(MIN_GAP))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wall(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).expect("a time")
    }

    /// The times of runs that start at these times.
    fn times(starts: &[i64], max_gap: TimeDelta) -> Vec<RunTime> {
        let mut times: Vec<RunTime> = Vec::new();
        for (number, start) in starts.iter().enumerate() {
            let before = number.checked_sub(1).map(|before| RunClock {
                started: wall(starts[before]),
                time: times[before],
                max_gap,
            });
            times.push(before.map_or(RunTime::first(wall(*start)), |run| run.at(wall(*start))));
        }
        times
    }

    const YEAR: i64 = 365 * 24 * 3600;

    proptest! {
        #[test]
        fn it_never_goes_back_or_jumps(starts in prop::collection::vec(-YEAR..YEAR, 1..20)) {
            let max_gap = TimeDelta::hours(1);
            for pair in times(&starts, max_gap).windows(2) {
                let gap = pair[1].since(pair[0]);
                prop_assert!(TimeDelta::zero() <= gap && gap <= max_gap, "{gap}");
            }
        }

        /// By the gaps on either side of the wrong run at most.
        #[test]
        fn one_wrong_clock_changes_little(
            gaps in prop::collection::vec(1i64..1800, 3..20), wrong in 0usize..18, by in -YEAR..YEAR,
        ) {
            let max_gap = TimeDelta::hours(1);
            let right: Vec<i64> = gaps.iter().scan(0, |now, gap| { *now += gap; Some(*now) }).collect();
            let mut starts = right.clone();
            let wrong = 1 + wrong % (starts.len() - 1);
            starts[wrong] += by;
            let last = |starts: &[i64]| *times(starts, max_gap).last().expect("a run");
            let error = last(&starts).since(last(&right)).abs();
            prop_assert!(error <= max_gap, "{error}");
        }

        #[test]
        fn a_right_clock_is_followed(gaps in prop::collection::vec(0i64..3600, 1..20)) {
            let starts: Vec<i64> = gaps.iter().scan(0, |now, gap| { *now += gap; Some(*now) }).collect();
            let times = times(&starts, TimeDelta::hours(1));
            let passed = times[times.len() - 1].since(times[0]);
            prop_assert_eq!(passed, TimeDelta::seconds(starts[starts.len() - 1] - starts[0]));
        }
    }

    #[test]
    fn a_gap_counts_by_the_schedule() {
        let gap = |minutes| max_gap(Some(TimeDelta::minutes(minutes))).num_minutes();
        assert_eq!([gap(15), gap(45), gap(24 * 60)], [60, 90, 48 * 60]);
        assert_eq!(max_gap(None).num_hours(), 25);
    }

    #[test]
    fn only_a_step_of_a_day_is_reported() {
        let run = RunClock {
            started: wall(0),
            time: RunTime::first(wall(0)),
            max_gap: TimeDelta::hours(48),
        };
        let is_reported = |hours: i64| run.step(wall(hours * 3600)).is_some();
        assert_eq!(
            [-25, -23, 0, 23, 47, 49].map(is_reported),
            [true, false, false, false, false, true]
        );
    }
}
