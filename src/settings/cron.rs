//! When runs are due.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// The times at which runs are due: a cron line with seconds, in a time zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    zone: Tz,
}

impl Schedule {
    /// Reads a cron line (`sec min hour day month weekday`).
    ///
    /// # Errors
    /// Says what is wrong, as a clause for a person; a line that never fires is wrong too.
    pub fn parse(line: &str, zone: Tz) -> Result<Self, String> {
        let form = "write six fields: sec min hour day month weekday";
        // To the parser that is no minute at all, and the next time is looked for through millennia.
        if has_empty_item(line) {
            return Err(format!("a list has an empty item; {form}"));
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Required)
            .year(Year::Disallowed)
            .build();
        let cron = parser
            .parse(line)
            .map_err(|error| format!("{error}; {form}"))?;
        let schedule = Self { cron, zone };
        match schedule.next_after(Utc::now()) {
            Some(_) => Ok(schedule),
            None => Err("this never comes; look at its day and month".into()),
        }
    }

    /// The next due time after `now`.
    #[must_use]
    pub fn next_after(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let local = now.with_timezone(&self.zone);
        let next = self.cron.find_next_occurrence(&local, false).ok()?;
        Some(next.with_timezone(&Utc))
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
    fn keeps_local_time_across_the_change_of_clocks() {
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
    fn refuses_what_is_no_cron_line_or_never_comes() {
        for line in [
            "",
            "* * * * *",
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
}
