//! The rate limiter keeps Omni's limit however Omni counts, and loses no time. All tests run under
//! paused time.

mod refusals;
mod slots;
mod windows;

use omni_user_sync::omni::{Priority, RateLimiter, Slot};
use omni_user_sync::settings::{ApiKeys, KeySource};
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

/// Waits for a slot.
async fn urgent(throttle: &RateLimiter) -> Slot {
    let never = CancellationToken::new();
    let slot = throttle.slot(Priority::Urgent, &never).await;
    slot.expect("a slot")
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
