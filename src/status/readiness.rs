//! The readiness of the daemon (`/readyz`).

use super::{Facts, clock};
use crate::settings::Schedule;
use chrono::{DateTime, Utc};

/// Due times that may pass without a success. After the last of them, the daemon is not ready.
const MAX_MISSED: usize = 3;

/// Ready after the first roster and the first list of users, until the third due time without a
/// success has passed. Without a schedule, no run can be late, nor during a pause.
pub(super) fn check(
    facts: &Facts,
    schedule: Option<&Schedule>,
    now: DateTime<Utc>,
) -> Result<(), String> {
    if let Some(failure) = facts.last.filter(|last| last.needs_attention) {
        return Err(failure.failure.unwrap_or(failure.result).to_owned());
    }
    if facts.paused.is_some() {
        return Ok(());
    }
    let Some(observed) = facts.first_observed else {
        let reason = "no run has read the roster and listed the users in Omni yet".to_owned();
        return Err(reason + &details(facts));
    };
    let success = facts.last_success.unwrap_or(observed);
    // No run was due during a pause.
    let counted = facts.resumed.map_or(success, |at| at.max(success));
    match deadline(schedule, counted) {
        Some(deadline) if now > deadline => {
            let reason = format!("no run has succeeded since {}", clock(success));
            Err(reason + &details(facts))
        }
        _ => Ok(()),
    }
}

fn deadline(schedule: Option<&Schedule>, since: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let schedule = schedule?;
    (0..MAX_MISSED).try_fold(since, |last, _| schedule.next_after(last))
}

fn details(facts: &Facts) -> String {
    let last = facts.last.map(|last| match last.failure {
        Some(failure) => format!(": {failure}"),
        None => format!(" (result of the last run: {})", last.result),
    });
    let running = facts
        .running
        .map(|(_, since)| format!("; a run has been in progress since {}", clock(since)));
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
            result: "failed",
            ended: time("12:00"),
            failure: Some(failure),
            needs_attention: false,
        });
        facts
    }

    #[test]
    fn readiness_follows_runs_and_due_times() {
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
            let verdict = check(&facts, Some(&quarters()), time(now));
            assert_eq!(verdict.is_ok(), ready, "{observed:?} {success:?} {now}");
        }
    }

    #[test]
    fn a_failure_that_needs_attention_is_not_ready() {
        let mut moved = facts(Some("12:01"), Some("12:01"), Some("the roster has moved"));
        assert!(check(&moved, None, time("12:02")).is_ok());
        moved.last.as_mut().expect("set").needs_attention = true;
        let reason = check(&moved, None, time("12:02"));
        assert_eq!(reason, Err("the roster has moved".to_owned()));
    }

    #[test]
    fn a_paused_daemon_stays_ready() {
        let pause = crate::model::Pause {
            since: time("12:05"),
            until: None,
            by: "ann".into(),
        };
        let mut facts = facts(Some("12:01"), Some("12:01"), None);
        facts.paused = Some(pause);
        assert_eq!(check(&facts, Some(&quarters()), time("18:00")), Ok(()));
        facts.paused = None;
        facts.resumed = Some(time("18:00"));
        assert_eq!(check(&facts, Some(&quarters()), time("18:30")), Ok(()));
        assert!(check(&facts, Some(&quarters()), time("19:00")).is_err());
    }

    #[test]
    fn without_a_schedule_no_run_is_late() {
        let facts = facts(Some("12:01"), Some("12:01"), None);
        assert_eq!(check(&facts, None, time("23:59")), Ok(()));
    }

    #[test]
    fn reports_why_it_is_not_ready() {
        let late = facts(
            Some("09:00"),
            Some("09:00"),
            Some("the roster can't be read"),
        );
        assert_eq!(
            check(&late, Some(&quarters()), time("12:01")),
            Err("no run has succeeded since 2026-03-10T09:00:00Z: the roster can't be read".into())
        );
        let mut young = facts(None, None, None);
        young.running = Some((Trigger::Start, time("11:00")));
        assert_eq!(
            check(&young, None, time("11:01")),
            Err(
                "no run has read the roster and listed the users in Omni yet; a run has been in progress since \
                 2026-03-10T11:00:00Z"
                    .into()
            )
        );
    }
}
