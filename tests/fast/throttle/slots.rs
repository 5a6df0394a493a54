//! When slots are free, and how long requests take.

use super::{MINUTE, keys, list, throttle, urgent};
use omni_user_sync::omni::{OmniError, Priority};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

#[tokio::test(start_paused = true)]
async fn background_requests_leave_slots_free() {
    for (limit, at_once) in [
        (1, 1),
        (2, 1),
        (10, 5),
        (11, 6),
        (55, 49),
        (60, 54),
        (500, 450),
    ] {
        let throttle = throttle(limit, 4, "key");
        let start = Instant::now();
        list(throttle.clone(), at_once, Duration::ZERO).await;
        assert_eq!(start.elapsed(), Duration::ZERO, "{limit}");
        let more = tokio::spawn(list(throttle.clone(), 1, Duration::ZERO));
        for _ in at_once..limit as usize {
            drop(urgent(&throttle).await);
        }
        assert_eq!(start.elapsed(), Duration::ZERO, "{limit}");
        more.await.expect("no panic");
        assert_eq!(start.elapsed().as_secs(), 60, "{limit}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_change_lets_the_listing_go_on() {
    let throttle = throttle(2, 4, "key");
    let stop = CancellationToken::new();
    let taken = [urgent(&throttle).await, urgent(&throttle).await];
    let (urgent, stopping) = (throttle.clone(), stop.clone());
    let urgent = tokio::spawn(async move { urgent.slot(Priority::Urgent, &stopping).await });
    let listing = tokio::spawn(list(throttle, 1, Duration::ZERO));
    sleep(Duration::from_secs(1)).await;
    stop.cancel();
    assert!(matches!(
        urgent.await.expect("no panic"),
        Err(OmniError::Stopped)
    ));
    drop(taken);
    listing.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn requests_in_flight_are_part_of_estimates() {
    let throttle = throttle(1, 4, "key");
    let slot = urgent(&throttle).await;
    assert_eq!(throttle.estimate(1, Priority::Urgent), MINUTE);
    drop(slot);
    assert_eq!(throttle.estimate(1, Priority::Urgent), MINUTE);
}

/// 130 changes at 60 per minute, whose time left is estimated every second after the first five.
#[tokio::test(start_paused = true)]
async fn estimates_during_a_run_are_near() {
    const CHANGES: usize = 130;
    let throttle = throttle(60, 4, "key");
    let start = Instant::now();
    let ended = Arc::new(AtomicUsize::new(0));
    let work = || async {
        for _ in 0..CHANGES / 2 {
            let slot = urgent(&throttle).await;
            sleep(Duration::from_millis(300)).await;
            drop(slot);
            ended.fetch_add(1, Ordering::Relaxed);
        }
        start.elapsed()
    };
    let estimates = async {
        let mut estimates = Vec::new();
        sleep(Duration::from_secs(5)).await;
        while ended.load(Ordering::Relaxed) < CHANGES {
            let left = CHANGES - ended.load(Ordering::Relaxed);
            estimates.push((start.elapsed(), throttle.estimate(left, Priority::Urgent)));
            sleep(Duration::from_secs(1)).await;
        }
        estimates
    };
    let (one, other, estimates) = tokio::join!(work(), work(), estimates);
    let took = one.max(other);
    assert!(estimates.len() > 100, "{estimates:?}");
    for (at, estimate) in estimates {
        let left = took - at;
        // A second is the unit in which it is shown.
        let off = estimate
            .abs_diff(left)
            .saturating_sub(Duration::from_secs(1));
        assert!(
            off * 5 <= left,
            "at {at:?} {left:?} were left, not {estimate:?}"
        );
    }
}

/// This many requests are not simulated one by one.
#[tokio::test(start_paused = true)]
async fn very_large_estimates_are_extrapolated() {
    let said = throttle(600, 4, "key").estimate(250_000, Priority::Urgent);
    let minutes = said.as_secs() / 60;
    assert!((410..=417).contains(&minutes), "250,000 at 600: {minutes}");
}

#[tokio::test(start_paused = true)]
async fn slots_are_free_a_minute_after_the_response() {
    let throttle = throttle(2, 4, "key");
    let start = Instant::now();
    let first = urgent(&throttle).await;
    let second = urgent(&throttle).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    sleep(Duration::from_secs(7)).await;
    drop(first);
    drop(second);
    let third = urgent(&throttle).await;
    let waited = start.elapsed();
    assert!(
        waited >= Duration::from_secs(67) && waited < Duration::from_secs(68),
        "{waited:?}"
    );
    drop(third);
}

#[tokio::test(start_paused = true)]
async fn each_key_has_its_own_limit() {
    let throttle = throttle(60, 4, "one\ntwo");
    let start = Instant::now();
    for _ in 0..120 {
        drop(urgent(&throttle).await);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    drop(urgent(&throttle).await);
    assert!(start.elapsed() >= MINUTE);
}

#[tokio::test(start_paused = true)]
async fn sent_requests_count_in_the_next_run() {
    let throttle = throttle(3, 4, "one");
    for _ in 0..3 {
        drop(urgent(&throttle).await);
    }
    throttle.use_keys(&keys("two\none"));
    let start = Instant::now();
    for _ in 0..3 {
        drop(urgent(&throttle).await);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    throttle.use_keys(&keys("one"));
    drop(urgent(&throttle).await);
    assert!(start.elapsed() >= MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_wait_without_a_slot() {
    let (throttle, stop) = (throttle(1, 4, "key"), CancellationToken::new());
    drop(urgent(&throttle).await);
    let waits = tokio::spawn({
        let (throttle, stop) = (throttle.clone(), stop.clone());
        async move { throttle.slot(Priority::Urgent, &stop).await.map(drop) }
    });
    sleep(Duration::from_secs(5)).await;
    stop.cancel();
    assert!(matches!(
        waits.await.expect("no panic"),
        Err(OmniError::Stopped)
    ));
    let start = Instant::now();
    drop(urgent(&throttle).await);
    assert!(
        start.elapsed() <= Duration::from_secs(56),
        "the wait left nothing behind"
    );
}

#[tokio::test(start_paused = true)]
async fn keys_are_numbered_by_position() {
    let throttle = throttle(1, 4, "one");
    drop(urgent(&throttle).await);
    throttle.use_keys(&keys("two\none"));
    let slot = urgent(&throttle).await;
    assert_eq!(slot.key_number(), 1);
    // Free a minute after the response, under its new number.
    let slot = urgent(&throttle).await;
    assert_eq!(slot.key_number(), 2);
}
