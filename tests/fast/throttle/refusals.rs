//! What a 429 changes: pauses, the pace, and whether the key is used.

use super::{MINUTE, keys, throttle, urgent};
use omni_user_sync::omni::RateLimiter;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn a_429_pauses_the_key_with_a_maximum() {
    let throttle = throttle(60, 4, "key");
    let slot = urgent(&throttle).await;
    assert_eq!(
        slot.throttled(Some(Duration::from_secs(3244))),
        Some(Duration::from_secs(120))
    );
    drop(slot);
    let start = Instant::now();
    drop(urgent(&throttle).await);
    assert_eq!(start.elapsed().as_secs(), 120);
}

#[tokio::test(start_paused = true)]
async fn a_key_with_repeated_429_is_disabled() {
    let throttle = throttle(600, 1, "one\ntwo");
    let mut pauses = 0;
    while throttle.usable_keys() == 2 {
        let slot = urgent(&throttle).await;
        if slot.key_number() == 1 {
            pauses += usize::from(slot.throttled(None).is_some());
        } else {
            slot.accepted();
        }
    }
    assert_eq!(pauses, 9);
    assert_eq!(urgent(&throttle).await.key_number(), 2);
}

#[tokio::test(start_paused = true)]
async fn another_response_resets_the_refusal_count() {
    let throttle = throttle(600, 1, "key");
    for _ in 0..3 {
        for _ in 0..9 {
            let slot = urgent(&throttle).await;
            assert!(slot.throttled(None).is_some());
        }
        urgent(&throttle).await.accepted();
    }
    let slot = urgent(&throttle).await;
    let first = slot.throttled(None);
    assert_eq!(first, Some(Duration::from_secs(2)), "as after the first");
}

#[tokio::test(start_paused = true)]
async fn concurrent_refusals_count_once() {
    for retry_after in [None, Some(Duration::ZERO)] {
        let throttle = throttle(600, 20, "key");
        let mut slots = Vec::new();
        for _ in 0..20 {
            slots.push(urgent(&throttle).await);
        }
        assert!(
            slots
                .iter()
                .all(|slot| slot.throttled(retry_after).is_some()),
            "one burst is one refusal"
        );
        assert_eq!(throttle.usable_keys(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_zero_retry_after_is_used_once() {
    let throttle = throttle(600, 4, "key");
    let start = Instant::now();
    for _ in 0..5 {
        let slot = urgent(&throttle).await;
        assert!(slot.throttled(Some(Duration::ZERO)).is_some());
    }
    drop(urgent(&throttle).await);
    let waited = start.elapsed().as_secs();
    assert_eq!(waited, 4 + 8 + 16 + 32);
}

#[tokio::test(start_paused = true)]
async fn a_pause_continues_in_the_next_run() {
    let throttle = throttle(600, 4, "key");
    let start = Instant::now();
    let slot = urgent(&throttle).await;
    assert!(slot.throttled(Some(Duration::from_secs(100))).is_some());
    drop(slot);
    sleep(Duration::from_secs(70)).await;
    throttle.use_keys(&keys("key"));
    drop(urgent(&throttle).await);
    assert_eq!(start.elapsed().as_secs(), 100);
}

/// Sends requests, four at a time, to a server with another limit over all keys, which sends no `Retry-After`. Rejected
/// requests count or not. Returns how long it took, and the number of 429.
async fn drive_against(
    throttle: &RateLimiter,
    requests: usize,
    (limit, span): (usize, Duration),
    rejected_count: bool,
) -> (Duration, usize) {
    let start = Instant::now();
    let arrivals: Mutex<Vec<Instant>> = Mutex::default();
    let (left, refused) = (AtomicUsize::new(requests), AtomicUsize::new(0));
    let admits = || {
        let mut arrivals = arrivals.lock().expect("no panic holds it");
        arrivals.retain(|at| at.elapsed() < span);
        let admits = arrivals.len() < limit;
        if admits || rejected_count {
            arrivals.push(Instant::now());
        }
        admits
    };
    let worker = || async {
        while left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .is_ok()
        {
            loop {
                let slot = urgent(throttle).await;
                sleep(Duration::from_millis(25)).await;
                let is_admitted = admits();
                sleep(Duration::from_millis(25)).await;
                if is_admitted {
                    slot.accepted();
                    break;
                }
                refused.fetch_add(1, Ordering::Relaxed);
                assert!(slot.throttled(None).is_some(), "it is not disabled");
            }
        }
    };
    tokio::join!(worker(), worker(), worker(), worker());
    (start.elapsed(), refused.into_inner())
}

#[tokio::test(start_paused = true)]
async fn adapts_to_a_lower_limit_over_shorter_periods() {
    let server = (20, Duration::from_secs(10));
    for of in ["key", "one\ntwo"] {
        for rejected_count in [false, true] {
            let throttle = throttle(600, 4, of);
            let (took, refused) = drive_against(&throttle, 152, server, rejected_count).await;
            let case = format!("{of:?} {rejected_count}: {took:?}, {refused} refused");
            // 20 at once, and 20 more every ten seconds.
            assert!(took <= 2 * Duration::from_secs(70), "{case}");
            assert!(refused <= 30, "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lower_pace_recovers_within_minutes() {
    let throttle = throttle(60, 4, "key");
    let slot = urgent(&throttle).await;
    assert!(slot.throttled(None).is_some());
    assert_eq!(slot.pace(), Some(30));
    drop(slot);
    throttle.use_keys(&keys("key"));
    let start = Instant::now();
    for _ in 0..4 {
        drop(urgent(&throttle).await);
    }
    let spread = start.elapsed().as_secs();
    assert!(
        (7..=8).contains(&spread),
        "every two seconds, after the pause: {spread}"
    );
    sleep(5 * MINUTE).await;
    let start = Instant::now();
    for _ in 0..60 {
        drop(urgent(&throttle).await);
    }
    assert_eq!(start.elapsed(), Duration::ZERO, "at once again");
}

#[tokio::test(start_paused = true)]
async fn a_429_at_the_own_limit_keeps_the_pace() {
    let throttle = throttle(2, 4, "key");
    let _first = urgent(&throttle).await;
    let second = urgent(&throttle).await;
    assert!(second.throttled(None).is_some());
    assert_eq!(second.pace(), None);
}
