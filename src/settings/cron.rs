//! The schedule of runs.

use super::ScheduleSettings;
use crate::model::max_gap;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use std::fmt;

/// The times of scheduled runs: a cron expression in a time zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    zone: Tz,
}

/// The fields of a cron expression. The first one may be left out, and is then 0.
const FIELDS: [(&str, &str); 6] = [
    ("a second", "0 to 59"),
    ("a minute", "0 to 59"),
    ("an hour", "0 to 23"),
    ("a day", "1 to 31"),
    ("a month", "1 to 12 or JAN to DEC"),
    ("a weekday", "0 to 7 or SUN to SAT"),
];

/// The form of a cron expression.
const FORM: &str =
    "five or six fields ([second] minute hour day month weekday), such as */15 * * * *";

impl Schedule {
    /// Parses a cron expression (`[sec] min hour day month weekday`).
    ///
    /// # Errors
    /// Says what is expected. An expression that never fires is an error.
    pub fn parse(line: &str, zone: Tz) -> Result<Self, String> {
        // The parser accepts it as an empty set, and searches millennia for the next time.
        if has_empty_item(line) {
            return Err(format!("{FORM}, without empty list items"));
        }
        let cron = parsed(line).map_err(|_| expected(line))?;
        let schedule = Self { cron, zone };
        match schedule.next_after(Utc::now()) {
            Some(_) => Ok(schedule),
            None => Err("a schedule with a next run (its day and month never occur)".into()),
        }
    }

    /// The next scheduled time after `now`.
    #[must_use]
    pub fn next_after(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let local = now.with_timezone(&self.zone);
        let next = self.cron.find_next_occurrence(&local, false).ok()?;
        Some(next.with_timezone(&Utc))
    }

    /// The interval after `now`: the longer of the next two gaps between due times.
    #[must_use]
    pub fn interval_after(&self, now: DateTime<Utc>) -> Option<TimeDelta> {
        let next = self.next_after(now)?;
        let second = self.next_after(next)?;
        Some((next - now).max(second - next))
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.cron.pattern, self.zone)
    }
}

impl ScheduleSettings {
    /// The day in the time zone of the schedule.
    #[must_use]
    pub fn day_at(&self, now: DateTime<Utc>) -> NaiveDate {
        now.with_timezone(&self.zone).date_naive()
    }

    /// The longest gap that counts after a run that starts now.
    #[must_use]
    pub fn max_gap_after(&self, now: DateTime<Utc>) -> TimeDelta {
        let times = self.times.as_ref();
        max_gap(times.and_then(|times| times.interval_after(now)))
    }
}

fn parsed(line: &str) -> Result<Cron, CronError> {
    CronParser::builder()
        .seconds(Seconds::Optional)
        .year(Year::Disallowed)
        .build()
        .parse(line)
}

/// What is expected instead of an invalid expression, with the first wrong field.
fn expected(line: &str) -> String {
    let fields: Vec<_> = line.split_whitespace().collect();
    let names = match fields.len() {
        5 => &FIELDS[1..],
        6 => &FIELDS[..],
        _ => return FORM.into(),
    };
    let is_wrong = |at: usize| {
        let mut alone = vec!["*"; fields.len()];
        alone[at] = fields[at];
        parsed(&alone.join(" ")).is_err()
    };
    match (0..fields.len()).find(|at| is_wrong(*at)) {
        Some(at) => format!("{} from {}, not {:?}", names[at].0, names[at].1, fields[at]),
        None => FORM.into(),
    }
}

fn has_empty_item(line: &str) -> bool {
    let mut fields = line.split_whitespace();
    fields.any(|field| field.split(',').any(str::is_empty))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(line: &str, zone: Tz, now: &str) -> String {
        let schedule = Schedule::parse(line, zone).expect("valid");
        let now = now.parse().expect("a time");
        schedule.next_after(now).expect("comes again").to_rfc3339()
    }

    #[test]
    fn local_time_is_kept_across_daylight_saving() {
        let line = "0 0 18 * * *";
        let madrid = chrono_tz::Europe::Madrid;
        assert_eq!(
            next(line, madrid, "2026-10-24T00:00:00Z"),
            "2026-10-24T16:00:00+00:00"
        );
        assert_eq!(
            next(line, madrid, "2026-10-25T00:00:00Z"),
            "2026-10-25T17:00:00+00:00"
        );
    }

    #[test]
    fn a_weekend_counts_between_runs_on_weekdays() {
        let times = Schedule::parse("0 0 8 * * MON-FRI", Tz::UTC).expect("valid");
        let settings = ScheduleSettings {
            times: Some(times),
            zone: Tz::UTC,
            run_on_start: true,
        };
        let hours = |now: &str| {
            settings
                .max_gap_after(now.parse().expect("a time"))
                .num_hours()
        };
        assert_eq!(hours("2026-03-09T08:00:01Z"), 48, "from Monday to Tuesday");
        assert_eq!(hours("2026-03-13T08:00:00Z"), 2 * 72, "over the weekend");
        assert_eq!(
            hours("2026-03-16T07:00:00Z"),
            48,
            "by hand, before the first"
        );
    }

    #[test]
    fn invalid_and_impossible_schedules_are_refused() {
        for line in [
            "",
            "* * * *",
            "61 * * * * *",
            "0 0 0 31 2 *",
            "0 0 0 1 1 * 2027",
            "6 , 07 * * Mon-Fri",
            "0 1,,2 * * * *",
            "0 0 0 1, * *",
        ] {
            assert!(Schedule::parse(line, Tz::UTC).is_err(), "{line:?}");
        }
    }

    #[test]
    fn without_seconds_a_schedule_starts_at_zero() {
        let now = "2026-03-09T08:00:01Z";
        assert_eq!(
            next("*/15 * * * *", Tz::UTC, now),
            "2026-03-09T08:15:00+00:00"
        );
        assert_eq!(next("@hourly", Tz::UTC, now), "2026-03-09T09:00:00+00:00");
    }

    #[test]
    fn the_wrong_field_of_a_schedule_is_named() {
        for (line, says) in [
            ("0 0 25 * * *", r#"an hour from 0 to 23, not "25""#),
            ("60 * * * *", r#"a minute from 0 to 59, not "60""#),
            (
                "0 0 * * Mo",
                r#"a weekday from 0 to 7 or SUN to SAT, not "Mo""#,
            ),
            ("0 0 0 0 0 0", r#"a day from 1 to 31, not "0""#),
            (
                "hourly",
                "five or six fields ([second] minute hour day month weekday)",
            ),
            ("0 0 0 1 1 * 2027", "five or six fields"),
        ] {
            let error = Schedule::parse(line, Tz::UTC).expect_err(line);
            assert!(error.starts_with(says), "{line}: {error}");
        }
    }
}
