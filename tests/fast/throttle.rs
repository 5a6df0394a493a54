//! The rate limiter keeps Omni's limit however Omni counts, and loses no time. All tests run under
//! paused time.

use crate::support::cases;
use crate::support::paused::paused;
use omni_user_sync::omni::{OmniError, Priority, RateLimiter};
use omni_user_sync::settings::{ApiKeys, KeySource};
use proptest::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const MINUTE: Duration = Duration::from_secs(60);

fn keys(text: &str) -> ApiKeys {
    KeySource::from_text(text).read().expect("keys")
}

fn throttle(per_minute: u32, max_in_flight: usize, of: &str) -> RateLimiter {
    let throttle = RateLimiter::new(per_minute, max_in_flight);
    throttle.use_keys(&keys(of));
    throttle
}

/// A server's count of the arrivals with one key, in one of the three kinds of window.
enum Limiter {
    Sliding(Vec<Duration>),
    Fixed {
        offset: Duration,
        window: Option<u64>,
        count: usize,
    },
    Bucket {
        level: f64,
        at: Duration,
    },
}

impl Limiter {
    fn admits(&mut self, now: Duration, limit: usize) -> bool {
        match self {
            Self::Sliding(arrivals) => {
                arrivals.retain(|arrival| *arrival + MINUTE > now);
                let admits = arrivals.len() < limit;
                if admits {
                    arrivals.push(now);
                }
                admits
            }
            Self::Fixed {
                offset,
                window,
                count,
            } => {
                let this = (now + *offset).as_secs() / 60;
                if *window != Some(this) {
                    (*window, *count) = (Some(this), 0);
                }
                *count += 1;
                *count <= limit
            }
            Self::Bucket { level, at } => {
                let refill = (now - *at).as_secs_f64() * limit as f64 / 60.0;
                (*level, *at) = ((*level + refill).min(limit as f64), now);
                // A small tolerance for rounding errors.
                let admits = *level > 1.0 - 1e-6;
                if admits {
                    *level -= 1.0;
                }
                admits
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Send {
    priority: Priority,
    before: u64,
    to_server: u64,
    back: u64,
    lost: bool,
}

fn sends() -> impl Strategy<Value = Vec<Send>> {
    let times = (
        0u64..20_000,
        0u64..40_000,
        0u64..40_000,
        prop::bool::weighted(0.1),
        prop::bool::ANY,
    );
    let one = times.prop_map(|(before, to_server, back, lost, is_urgent)| Send {
        priority: match is_urgent {
            true => Priority::Urgent,
            false => Priority::Background,
        },
        before: if before < 15_000 { 0 } else { before },
        to_server: if to_server < 30_000 {
            to_server % 200
        } else {
            to_server
        },
        back: if back < 30_000 { back % 200 } else { back },
        lost,
    });
    prop::collection::vec(one, 1..120)
}

/// Sends everything through the limiter. Returns the time of each arrival at the server, and whether
/// it was admitted.
async fn drive(
    throttle: RateLimiter,
    limit: usize,
    mut limiter: Limiter,
    sends: Vec<Send>,
) -> Vec<(Duration, bool)> {
    let start = Instant::now();
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for send in sends {
        let (throttle, arrivals) = (throttle.clone(), arrivals.clone());
        tasks.spawn(async move {
            sleep(Duration::from_millis(send.before)).await;
            // A lost response is retried, through the limiter like everything.
            for _ in 0..=usize::from(send.lost) {
                let slot = throttle
                    .slot(send.priority, &CancellationToken::new())
                    .await
                    .expect("a slot");
                sleep(Duration::from_millis(send.to_server)).await;
                arrivals
                    .lock()
                    .expect("no panic holds it")
                    .push(start.elapsed());
                sleep(Duration::from_millis(send.back)).await;
                drop(slot);
            }
        });
    }
    while let Some(end) = tasks.join_next().await {
        end.expect("no task panics");
    }
    let mut arrivals = arrivals.lock().expect("no panic holds it").clone();
    arrivals.sort();
    arrivals
        .into_iter()
        .map(|at| (at, limiter.admits(at, limit)))
        .collect()
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn never_exceeds_the_limit_under_any_window(
        limit in 1u32..25,
        max_in_flight in 1usize..6,
        kind in 0u8..3,
        offset in 0u64..60,
        sends in sends(),
    ) {
        let limiter = match kind {
            0 => Limiter::Sliding(Vec::new()),
            1 => Limiter::Fixed { offset: Duration::from_secs(offset), window: None, count: 0 },
            _ => Limiter::Bucket { level: f64::from(limit), at: Duration::ZERO },
        };
        let arrivals =
            paused(drive(throttle(limit, max_in_flight, "key"), limit as usize, limiter, sends));
        for (number, (at, admitted)) in arrivals.iter().enumerate() {
            prop_assert!(admitted, "request {number} at {at:?} was refused");
            let within = arrivals[number..].iter().take_while(|(other, _)| *other < *at + MINUTE);
            prop_assert!(within.count() <= limit as usize, "too many in the minute from {at:?}");
        }
    }

    #[test]
    fn estimates_are_upper_bounds(
        limit in 1u32..70,
        keys in 1usize..4,
        requests in 0usize..400,
        is_urgent in prop::bool::ANY,
    ) {
        let names: Vec<_> = (0..keys).map(|number| format!("key{number}")).collect();
        let (priority, slots) = match is_urgent {
            true => (Priority::Urgent, limit),
            false => (Priority::Background, limit - reserved(limit)),
        };
        let (estimate, took) = paused(async move {
            let throttle = throttle(limit, 4, &names.join("\n"));
            let (estimate, start) = (throttle.estimate(requests, priority), Instant::now());
            for _ in 0..requests {
                drop(throttle.slot(priority, &CancellationToken::new()).await.expect("a slot"));
            }
            (estimate, start.elapsed())
        });
        let rounds = requests.saturating_sub(1) / (slots as usize * keys);
        prop_assert_eq!(estimate, MINUTE * u32::try_from(rounds).expect("few"));
        // Timers have a resolution of a millisecond.
        prop_assert!(took <= estimate + Duration::from_millis(1), "{took:?} > {estimate:?}");
    }

    #[test]
    fn changes_never_wait_for_a_listing(
        limit in 2u32..70,
        max_in_flight in 1usize..6,
        pages in 1usize..200,
        latency in 0u64..3_000,
        pauses in prop::collection::vec(0u64..90_000, 1..12),
    ) {
        let latency = Duration::from_millis(latency);
        let (waits, sent) = paused(async move {
            let throttle = throttle(limit, max_in_flight, "key");
            let listing = tokio::spawn(list(throttle.clone(), pages, latency));
            let mut sent: Vec<(Instant, Priority)> = Vec::new();
            let mut waits = Vec::new();
            for pause in pauses {
                sleep(Duration::from_millis(pause)).await;
                // No more changes than reserved slots.
                let recent = sent.iter().rev().nth(reserved(limit) as usize - 1);
                if let Some((at, _)) = recent {
                    tokio::time::sleep_until(*at + MINUTE + latency).await;
                }
                let start = Instant::now();
                let slot = throttle.slot(Priority::Urgent, &CancellationToken::new()).await;
                waits.push(start.elapsed());
                sent.push((Instant::now(), Priority::Urgent));
                sleep(latency).await;
                drop(slot.expect("a slot"));
            }
            let listed = listing.await.expect("no panic");
            sent.extend(listed.into_iter().map(|at| (at, Priority::Background)));
            sent.sort_by_key(|(at, _)| *at);
            (waits, sent)
        });
        for wait in waits {
            prop_assert!(wait <= latency + Duration::from_millis(1), "it waited for {wait:?}");
        }
        for (number, (at, priority)) in sent.iter().enumerate() {
            let before = sent[..=number].iter().filter(|(other, _)| *other + MINUTE > *at);
            let allowed = match priority {
                Priority::Urgent => limit,
                Priority::Background => limit - reserved(limit),
            };
            let is_within = *priority == Priority::Urgent || before.count() <= allowed as usize;
            prop_assert!(is_within, "a page takes a slot for changes at {at:?}");
        }
    }
}

/// The slots per minute that are reserved for changes.
fn reserved(limit: u32) -> u32 {
    limit.div_ceil(10).max(5).min(limit / 2)
}

/// Requests all pages at once. Returns when they were sent.
async fn list(throttle: RateLimiter, pages: usize, latency: Duration) -> Vec<Instant> {
    let page = || async {
        let slot = throttle
            .slot(Priority::Background, &CancellationToken::new())
            .await;
        let sent = Instant::now();
        sleep(latency).await;
        drop(slot.expect("a slot"));
        sent
    };
    futures_util::future::join_all((0..pages).map(|_| page())).await
}

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
        let (throttle, stop) = (throttle(limit, 4, "key"), CancellationToken::new());
        let start = Instant::now();
        list(throttle.clone(), at_once, Duration::ZERO).await;
        assert_eq!(start.elapsed(), Duration::ZERO, "{limit}");
        let more = tokio::spawn(list(throttle.clone(), 1, Duration::ZERO));
        for _ in at_once..limit as usize {
            drop(throttle.slot(Priority::Urgent, &stop).await.expect("free"));
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
    let taken = [
        throttle.slot(Priority::Urgent, &stop).await.expect("free"),
        throttle.slot(Priority::Urgent, &stop).await.expect("free"),
    ];
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
    let (throttle, stop) = (throttle(1, 4, "key"), CancellationToken::new());
    let slot = throttle.slot(Priority::Urgent, &stop).await.expect("free");
    assert_eq!(throttle.estimate(1, Priority::Urgent), MINUTE);
    drop(slot);
    assert_eq!(throttle.estimate(1, Priority::Urgent), MINUTE);
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
    let (throttle, stop) = (throttle(2, 4, "key"), CancellationToken::new());
    let start = Instant::now();
    let first = throttle.slot(Priority::Urgent, &stop).await.expect("free");
    let second = throttle.slot(Priority::Urgent, &stop).await.expect("free");
    assert_eq!(start.elapsed(), Duration::ZERO);
    sleep(Duration::from_secs(7)).await;
    drop(first);
    drop(second);
    let third = throttle
        .slot(Priority::Urgent, &stop)
        .await
        .expect("free after a minute");
    let waited = start.elapsed();
    assert!(
        waited >= Duration::from_secs(67) && waited < Duration::from_secs(68),
        "{waited:?}"
    );
    drop(third);
}

#[tokio::test(start_paused = true)]
async fn a_429_pauses_the_key_with_a_maximum() {
    let (throttle, stop) = (throttle(60, 4, "key"), CancellationToken::new());
    let slot = throttle.slot(Priority::Urgent, &stop).await.expect("free");
    assert_eq!(
        slot.throttled(Some(Duration::from_secs(3244))),
        Some(Duration::from_secs(120))
    );
    drop(slot);
    let start = Instant::now();
    drop(
        throttle
            .slot(Priority::Urgent, &stop)
            .await
            .expect("free after the pause"),
    );
    assert_eq!(start.elapsed().as_secs(), 120);
}

#[tokio::test(start_paused = true)]
async fn a_key_with_repeated_429_is_disabled() {
    let (throttle, stop) = (throttle(600, 1, "one\ntwo"), CancellationToken::new());
    let mut pauses = 0;
    while throttle.usable_keys() == 2 {
        let slot = throttle
            .slot(Priority::Urgent, &stop)
            .await
            .expect("a key is left");
        if slot.key_number() == 1 {
            pauses += usize::from(slot.throttled(None).is_some());
        } else {
            slot.accepted();
        }
    }
    assert_eq!(pauses, 9);
    assert_eq!(
        throttle
            .slot(Priority::Urgent, &stop)
            .await
            .expect("the other key")
            .key_number(),
        2
    );
}

#[tokio::test(start_paused = true)]
async fn another_response_resets_the_refusal_count() {
    let (throttle, stop) = (throttle(600, 1, "key"), CancellationToken::new());
    for _ in 0..3 {
        for _ in 0..9 {
            let slot = throttle
                .slot(Priority::Urgent, &stop)
                .await
                .expect("it is enabled");
            assert!(slot.throttled(None).is_some());
        }
        throttle
            .slot(Priority::Urgent, &stop)
            .await
            .expect("free")
            .accepted();
    }
    let slot = throttle.slot(Priority::Urgent, &stop).await.expect("free");
    let first = slot.throttled(None);
    assert_eq!(first, Some(Duration::from_secs(2)), "as after the first");
}

#[tokio::test(start_paused = true)]
async fn concurrent_refusals_count_once() {
    for retry_after in [None, Some(Duration::ZERO)] {
        let (throttle, stop) = (throttle(600, 20, "key"), CancellationToken::new());
        let mut slots = Vec::new();
        for _ in 0..20 {
            slots.push(throttle.slot(Priority::Urgent, &stop).await.expect("free"));
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
    let (throttle, stop) = (throttle(600, 4, "key"), CancellationToken::new());
    let start = Instant::now();
    for _ in 0..5 {
        let slot = throttle.slot(Priority::Urgent, &stop).await.expect("free");
        assert!(slot.throttled(Some(Duration::ZERO)).is_some());
    }
    drop(throttle.slot(Priority::Urgent, &stop).await.expect("free"));
    let waited = start.elapsed().as_secs();
    assert_eq!(waited, 4 + 8 + 16 + 32);
}

#[tokio::test(start_paused = true)]
async fn a_pause_continues_in_the_next_run() {
    let (throttle, stop) = (throttle(600, 4, "key"), CancellationToken::new());
    let start = Instant::now();
    let slot = throttle.slot(Priority::Urgent, &stop).await.expect("free");
    assert!(slot.throttled(Some(Duration::from_secs(100))).is_some());
    drop(slot);
    sleep(Duration::from_secs(70)).await;
    throttle.use_keys(&keys("key"));
    drop(
        throttle
            .slot(Priority::Urgent, &stop)
            .await
            .expect("free after the pause"),
    );
    assert_eq!(start.elapsed().as_secs(), 100);
}

#[tokio::test(start_paused = true)]
async fn each_key_has_its_own_limit() {
    let (throttle, stop) = (throttle(60, 4, "one\ntwo"), CancellationToken::new());
    let start = Instant::now();
    for _ in 0..120 {
        drop(throttle.slot(Priority::Urgent, &stop).await.expect("free"));
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    drop(
        throttle
            .slot(Priority::Urgent, &stop)
            .await
            .expect("free after a minute"),
    );
    assert!(start.elapsed() >= MINUTE);
}

#[tokio::test(start_paused = true)]
async fn sent_requests_count_in_the_next_run() {
    let (throttle, stop) = (throttle(3, 4, "one"), CancellationToken::new());
    for _ in 0..3 {
        drop(throttle.slot(Priority::Urgent, &stop).await.expect("free"));
    }
    throttle.use_keys(&keys("two\none"));
    let start = Instant::now();
    for _ in 0..3 {
        drop(
            throttle
                .slot(Priority::Urgent, &stop)
                .await
                .expect("the new key is free"),
        );
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    throttle.use_keys(&keys("one"));
    drop(
        throttle
            .slot(Priority::Urgent, &stop)
            .await
            .expect("free after a minute"),
    );
    assert!(start.elapsed() >= MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_wait_without_a_slot() {
    let (throttle, stop) = (throttle(1, 4, "key"), CancellationToken::new());
    drop(throttle.slot(Priority::Urgent, &stop).await.expect("free"));
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
    drop(
        throttle
            .slot(Priority::Urgent, &CancellationToken::new())
            .await
            .expect("free"),
    );
    assert!(
        start.elapsed() <= Duration::from_secs(56),
        "the wait left nothing behind"
    );
}

#[tokio::test(start_paused = true)]
async fn keys_are_numbered_by_position() {
    let (throttle, stop) = (throttle(1, 4, "one"), CancellationToken::new());
    drop(throttle.slot(Priority::Urgent, &stop).await.expect("free"));
    throttle.use_keys(&keys("two\none"));
    let slot = throttle
        .slot(Priority::Urgent, &stop)
        .await
        .expect("the new key is free");
    assert_eq!(slot.key_number(), 1);
    // Free a minute after the response, under its new number.
    let slot = throttle
        .slot(Priority::Urgent, &stop)
        .await
        .expect("the old key");
    assert_eq!(slot.key_number(), 2);
}

/// Sends requests, four at a time, to a server with another limit over all keys, which sends no `Retry-After`. Rejected
/// requests count or not. Returns how long it took, and the number of 429.
async fn drive_against(
    throttle: &RateLimiter,
    requests: usize,
    (limit, span): (usize, Duration),
    rejected_count: bool,
) -> (Duration, usize) {
    let (start, stop) = (Instant::now(), CancellationToken::new());
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
                let slot = throttle
                    .slot(Priority::Urgent, &stop)
                    .await
                    .expect("a key is left");
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
    let (throttle, stop) = (throttle(60, 4, "key"), CancellationToken::new());
    let slot = throttle.slot(Priority::Urgent, &stop).await.expect("free");
    assert!(slot.throttled(None).is_some());
    assert_eq!(slot.pace(), Some(30));
    drop(slot);
    throttle.use_keys(&keys("key"));
    let start = Instant::now();
    for _ in 0..4 {
        drop(throttle.slot(Priority::Urgent, &stop).await.expect("free"));
    }
    let spread = start.elapsed().as_secs();
    assert!(
        (7..=8).contains(&spread),
        "every two seconds, after the pause: {spread}"
    );
    sleep(5 * MINUTE).await;
    let start = Instant::now();
    for _ in 0..60 {
        drop(throttle.slot(Priority::Urgent, &stop).await.expect("free"));
    }
    assert_eq!(start.elapsed(), Duration::ZERO, "at once again");
}

#[tokio::test(start_paused = true)]
async fn a_429_at_the_own_limit_keeps_the_pace() {
    let (throttle, stop) = (throttle(2, 4, "key"), CancellationToken::new());
    let _first = throttle.slot(Priority::Urgent, &stop).await.expect("free");
    let second = throttle.slot(Priority::Urgent, &stop).await.expect("free");
    assert!(second.throttled(None).is_some());
    assert_eq!(second.pace(), None);
}
