//! Due times.
//!
//! tokio-cron-scheduler is used only as a tick each second in UTC: it fixes the offset of a time zone
//! when a job is created, and would be an hour off after a change to or from daylight saving time. At
//! each tick, due times since the last check are computed here. The ticks follow the wall clock and
//! stop when it is set back, so a timer replaces missing ticks.

use super::Wake;
use crate::model::Trigger;
use crate::settings::Schedule;
use chrono::{DateTime, TimeDelta, Utc};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

/// The time without a tick after which a check is made anyway.
const MAX_TICK_GAP: Duration = Duration::from_secs(5);

/// If the clock is set back by less than this, checks wait for it, so that no time is due twice.
const MAX_WAITED_STEP: TimeDelta = TimeDelta::minutes(1);

/// The ticks could not be started.
#[derive(Debug, thiserror::Error)]
#[error("can't start the scheduler")]
pub struct ScheduleError(#[from] JobSchedulerError);

/// Wakes the loop at each due time, until `stop` is cancelled.
///
/// # Errors
/// Fails if the ticks can't be started.
pub async fn run(
    times: Schedule,
    wake: Wake,
    stop: CancellationToken,
) -> Result<(), ScheduleError> {
    let (mut scheduler, mut ticks) = start_ticks().await?;
    let mut due = DueCheck::since(times, Utc::now());
    while next_check(&mut ticks, &stop).await {
        if due.check(Utc::now()) {
            wake.wake(Trigger::Schedule);
        }
    }
    Ok(scheduler.shutdown().await?)
}

async fn start_ticks() -> Result<(JobScheduler, mpsc::Receiver<()>), JobSchedulerError> {
    let (tick, ticks) = mpsc::channel(1);
    let scheduler = JobScheduler::new().await?;
    let each_second = Job::new("* * * * * *", move |_, _| {
        // If the channel is full, a check is pending already.
        let _ = tick.try_send(());
    })?;
    scheduler.add(each_second).await?;
    scheduler.start().await?;
    Ok((scheduler, ticks))
}

/// Waits for the next check. Returns false if `stop` is cancelled.
async fn next_check(ticks: &mut mpsc::Receiver<()>, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        Some(()) = ticks.recv() => true,
        () = tokio::time::sleep(MAX_TICK_GAP) => true,
    }
}

/// Computes whether a time is due, from one check to the next.
struct DueCheck {
    times: Schedule,
    checked: DateTime<Utc>,
}

impl DueCheck {
    fn since(times: Schedule, checked: DateTime<Utc>) -> Self {
        Self { times, checked }
    }

    /// Whether at least one time was due since the last check.
    fn check(&mut self, now: DateTime<Utc>) -> bool {
        let set_back = self.checked - now;
        if TimeDelta::zero() < set_back && set_back < MAX_WAITED_STEP {
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

    /// The checks at which a quarter of an hour is due. The first time is the start.
    fn fired<'a>(checks: &[&'a str]) -> Vec<&'a str> {
        let times = Schedule::parse("0 */15 * * * *", Tz::UTC).expect("valid");
        let mut due = DueCheck::since(times, time(checks[0]));
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
    fn the_start_time_itself_is_not_due() {
        assert!(fired(&["12:15:00", "12:15:01"]).is_empty());
    }

    #[test]
    fn missed_times_are_due_once() {
        assert_eq!(fired(&["08:00:01", "17:59:00", "17:59:01"]), ["17:59:00"]);
    }

    #[test]
    fn a_small_step_back_fires_no_time_twice() {
        let checks = ["12:14:59", "12:15:00", "12:14:58", "12:14:59", "12:15:01"];
        assert_eq!(fired(&checks), ["12:15:00"]);
    }

    #[test]
    fn a_large_step_back_fires_each_time_once() {
        let checks = [
            "12:14:59", "12:15:00", "03:00:00", "03:00:01", "03:14:59", "03:15:00", "03:15:01",
        ];
        assert_eq!(fired(&checks), ["12:15:00", "03:15:00"]);
    }

    #[tokio::test]
    async fn the_scheduler_sends_ticks() {
        let (mut scheduler, mut ticks) = start_ticks().await.expect("starts");
        assert_eq!(ticks.recv().await, Some(()));
        scheduler.shutdown().await.expect("stops");
    }

    #[tokio::test(start_paused = true)]
    async fn checks_continue_without_ticks() {
        let (_silent, mut ticks) = mpsc::channel(1);
        let stop = CancellationToken::new();
        assert!(next_check(&mut ticks, &stop).await);
        stop.cancel();
        assert!(!next_check(&mut ticks, &stop).await);
    }
}
