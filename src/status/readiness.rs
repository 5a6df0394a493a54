//! Whether the daemon does its work (README: "What it tells").

use super::{Facts, clock};
use crate::settings::Schedule;
use chrono::{DateTime, Utc};

/// Due times that may pass without a success; past the last of them, the daemon is not ready.
const DUE_TIMES: usize = 3;

/// Ready from the first roster that was read and listing that was answered, until the third due
/// time without a success has passed. Without due times there is nothing to be late for.
pub(super) fn of(
    facts: &Facts,
    times: Option<&Schedule>,
    now: DateTime<Utc>,
) -> Result<(), String> {
    let Some(observed) = facts.first_observed else {
        let reason = "no run has read the roster and listed Omni's users yet".to_owned();
        return Err(reason + &why(facts));
    };
    let success = facts.last_success.unwrap_or(observed);
    match third_due(times, success) {
        Some(late) if now > late => {
            let reason = format!("no run has succeeded since {}", clock(success));
            Err(reason + &why(facts))
        }
        _ => Ok(()),
    }
}

fn third_due(times: Option<&Schedule>, since: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let times = times?;
    (0..DUE_TIMES).try_fold(since, |last, _| times.next_after(last))
}

fn why(facts: &Facts) -> String {
    let last = facts.last.map(|last| match last.failure {
        Some(failure) => format!(": {failure}"),
        None => format!(": the last run ended as {}", last.outcome),
    });
    let running = facts
        .running
        .map(|(_, since)| format!("; a run is under way since {}", clock(since)));
    last.into_iter().chain(running).collect()
}

#[cfg(test)]
mod tests {
    use super::super::LastRun;
    use super::*;
    use crate::model::Trigger;
    use chrono_tz::Tz;

    fn time(clock: &str) -> DateTime<Utc> {
        format!("2026-03-10T{clock}:00Z").parse().expect("a time")
    }

    fn quarters() -> Schedule {
        Schedule::parse("0 */15 * * * *", Tz::UTC).expect("valid")
    }

    fn facts(
        observed: Option<&str>,
        success: Option<&str>,
        failure: Option<&'static str>,
    ) -> Facts {
        let mut facts = Facts::at_start(time("11:00"));
        facts.first_observed = observed.map(time);
        facts.last_success = success.map(time);
        facts.last = failure.map(|failure| LastRun {
            trigger: Trigger::Schedule,
            outcome: "failed",
            ended: time("12:00"),
            failure: Some(failure),
        });
        facts
    }

    #[test]
    fn is_earned_and_lost() {
        let all = [
            // observed, success, now, ready
            (None, None, "11:00", false),
            (Some("12:01"), Some("12:01"), "12:01", true),
            (Some("12:01"), Some("12:01"), "12:45", true), // the third due time itself
            (Some("12:01"), Some("12:01"), "12:46", false),
            (Some("12:01"), Some("12:31"), "12:46", true),
            (Some("12:01"), Some("12:31"), "13:16", false),
            (Some("12:01"), None, "12:10", true), // Omni failed while changes were sent
            (Some("12:01"), None, "12:46", false),
        ];
        for (observed, success, now, ready) in all {
            let facts = facts(observed, success, None);
            let verdict = of(&facts, Some(&quarters()), time(now));
            assert_eq!(verdict.is_ok(), ready, "{observed:?} {success:?} {now}");
        }
    }

    #[test]
    fn without_due_times_nothing_is_late() {
        let facts = facts(Some("12:01"), Some("12:01"), None);
        assert_eq!(of(&facts, None, time("23:59")), Ok(()));
    }

    #[test]
    fn says_why_not() {
        let late = facts(
            Some("09:00"),
            Some("09:00"),
            Some("the roster can't be read"),
        );
        assert_eq!(
            of(&late, Some(&quarters()), time("12:01")),
            Err("no run has succeeded since 2026-03-10T09:00:00Z: the roster can't be read".into())
        );
        let mut young = facts(None, None, None);
        young.running = Some((Trigger::Start, time("11:00")));
        assert_eq!(
            of(&young, None, time("11:01")),
            Err(
                "no run has read the roster and listed Omni's users yet; a run is under way since \
                 2026-03-10T11:00:00Z"
                    .into()
            )
        );
    }
}
