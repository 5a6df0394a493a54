//! Random requests against servers that count in different ways.

use super::{MINUTE, list, reserved, throttle};
use crate::support::cases;
use crate::support::paused::paused;
use omni_user_sync::omni::{Priority, RateLimiter};
use proptest::prelude::*;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

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
