//! Due times.
//!
//! tokio-cron-scheduler gives a plain heartbeat in UTC and no more: it freezes a zone's offset when
//! a job is made, and so fires an hour off once the clocks change. What is due is decided here, at
//! each beat, from the time since the last check. Its beat follows the wall clock too and falls
//! silent when that is set back, so a timer steps in for it.

use super::Wake;
use crate::model::Trigger;
use crate::settings::Schedule;
use chrono::{DateTime, TimeDelta, Utc};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

/// How long the heartbeat may be silent before a check is made without it.
const SILENCE: Duration = Duration::from_secs(5);

/// A clock that is set back by less than this is waited for: what fired does not fire again.
const SMALL_STEP: TimeDelta = TimeDelta::minutes(1);

/// The heartbeat could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the scheduler can't be started")]
pub struct ScheduleError(#[from] JobSchedulerError);

/// Wakes the loop at each due time, until it is told to stop.
///
/// # Errors
/// When the heartbeat can't be started.
pub async fn run(
    times: Schedule,
    wake: Wake,
    stop: CancellationToken,
) -> Result<(), ScheduleError> {
    let (mut heart, mut beats) = heartbeat().await?;
    let mut due = Due::since(times, Utc::now());
    while next_check(&mut beats, &stop).await {
        if due.check(Utc::now()) {
            wake.wake(Trigger::Schedule);
        }
    }
    Ok(heart.shutdown().await?)
}

async fn heartbeat() -> Result<(JobScheduler, mpsc::Receiver<()>), JobSchedulerError> {
    let (beat, beats) = mpsc::channel(1);
    let heart = JobScheduler::new().await?;
    let each_second = Job::new("* * * * * *", move |_, _| {
        // Full: a check is on its way already.
        let _ = beat.try_send(());
    })?;
    heart.add(each_second).await?;
    heart.start().await?;
    Ok((heart, beats))
}

/// Waits for the next check; false when there is none, as it is told to stop.
async fn next_check(beats: &mut mpsc::Receiver<()>, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        Some(()) = beats.recv() => true,
        () = tokio::time::sleep(SILENCE) => true,
    }
}

/// Finds out what is due, from one check to the next.
struct Due {
    times: Schedule,
    checked: DateTime<Utc>,
}

impl Due {
    fn since(times: Schedule, checked: DateTime<Utc>) -> Self {
        Self { times, checked }
    }

    /// Whether a time has come since the last check. However many have: they are one.
    fn check(&mut self, now: DateTime<Utc>) -> bool {
        let set_back = self.checked - now;
        if TimeDelta::zero() < set_back && set_back < SMALL_STEP {
            return false;
        }
        let from = std::mem::replace(&mut self.checked, now);
        from < now && self.times.next_after(from).is_some_and(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::Tz;

    fn time(clock: &str) -> DateTime<Utc> {
        format!("2026-03-10T{clock}Z").parse().expect("a time")
    }

    /// Which of these checks, the first of them the start, find a quarter of an hour due.
    fn fired<'a>(checks: &[&'a str]) -> Vec<&'a str> {
        let times = Schedule::parse("0 */15 * * * *", Tz::UTC).expect("valid");
        let mut due = Due::since(times, time(checks[0]));
        let later = checks[1..].iter();
        later
            .filter(|clock| due.check(time(clock)))
            .copied()
            .collect()
    }

    #[test]
    fn each_time_is_due_once() {
        let checks = [
            "12:14:59", "12:15:00", "12:15:01", "12:29:59", "12:30:01", "12:30:02",
        ];
        assert_eq!(fired(&checks), ["12:15:00", "12:30:01"]);
    }

    #[test]
    fn the_time_of_the_start_itself_is_not_due() {
        assert!(fired(&["12:15:00", "12:15:01"]).is_empty());
    }

    #[test]
    fn times_that_were_slept_through_are_one() {
        assert_eq!(fired(&["08:00:01", "17:59:00", "17:59:01"]), ["17:59:00"]);
    }

    #[test]
    fn a_clock_set_back_a_little_fires_nothing_twice() {
        let checks = ["12:14:59", "12:15:00", "12:14:58", "12:14:59", "12:15:01"];
        assert_eq!(fired(&checks), ["12:15:00"]);
    }

    #[test]
    fn a_clock_set_back_far_neither_storms_nor_falls_silent() {
        let checks = [
            "12:14:59", "12:15:00", "03:00:00", "03:00:01", "03:14:59", "03:15:00", "03:15:01",
        ];
        assert_eq!(fired(&checks), ["12:15:00", "03:15:00"]);
    }

    #[tokio::test]
    async fn the_heart_beats() {
        let (mut heart, mut beats) = heartbeat().await.expect("starts");
        assert_eq!(beats.recv().await, Some(()));
        heart.shutdown().await.expect("stops");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_heart_is_not_waited_for() {
        let (_silent, mut beats) = mpsc::channel(1);
        let stop = CancellationToken::new();
        assert!(next_check(&mut beats, &stop).await);
        stop.cancel();
        assert!(!next_check(&mut beats, &stop).await);
    }
}
