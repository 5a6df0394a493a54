//! The types of the rate limit, under paused time.

use std::time::Duration;

use omni_user_sync::sandbox::{Burst, Fault, Limiter, Options, What};
use reqwest::Method;
use serde_json::json;

use super::{Lab, USERS, answer};

/// Milliseconds before a request, and its result: accepted (`None`) or the seconds to wait.
type Step = (u64, Option<&'static str>);

async fn play(limiter: Limiter, steps: &[Step]) {
    let options = Options {
        requests_per_minute: 3,
        limiter,
        ..Options::default()
    };
    let lab = Lab::with(options).await;
    for (number, &(pause, wait)) in steps.iter().enumerate() {
        tokio::time::advance(Duration::from_millis(pause)).await;
        let got = lab.get(USERS).await;
        assert_eq!(
            got.header("retry-after"),
            wait,
            "{limiter}, request {}",
            number + 1
        );
        if wait.is_some() {
            got.refused(429, "over the limit");
        } else {
            assert_eq!(got.status, 200);
        }
    }
    let at = lab.org().requests().last().unwrap().at_ms;
    assert_eq!(
        at,
        steps.iter().map(|step| step.0).sum::<u64>(),
        "time passed by itself"
    );
    let refused = steps.iter().filter(|step| step.1.is_some()).count();
    assert_eq!(lab.org().too_many().len(), refused);
}

#[tokio::test(start_paused = true)]
async fn a_sliding_window_counts_rejected_requests() {
    let steps = [
        (0, None),
        (20_000, None),
        (10_000, None),
        // Rejected requests count too: now those at 20, 30 and 30 s are the latest three.
        (0, Some("50")),
        (29_999, Some("31")),
        (1, Some("30")),
        // The latest three are those at 30, 59.999 and 60 s; the first of them leaves at 90 s.
        (30_000, None),
        (0, Some("30")),
    ];
    play(Limiter::Sliding, &steps).await;
}

#[tokio::test(start_paused = true)]
async fn a_fixed_window_ends_with_the_minute() {
    let steps = [
        (59_000, None),
        (0, None),
        (500, None),
        (0, Some("1")),
        (500, None),
        (0, None),
        (0, None),
        (0, Some("60")),
        (59_999, Some("1")),
        (1, None),
    ];
    play(Limiter::Fixed, &steps).await;
}

#[tokio::test(start_paused = true)]
async fn a_bucket_refills_at_a_constant_rate() {
    let steps = [
        (0, None),
        (0, None),
        (0, None),
        (0, Some("20")),
        (19_999, Some("1")),
        (1, None),
        (0, Some("20")),
        (600_000, None),
        (0, None),
        (0, None),
        (0, Some("20")),
    ];
    play(Limiter::Bucket, &steps).await;
}

#[tokio::test(start_paused = true)]
async fn each_key_has_its_own_budget() {
    let keys = vec!["sandbox-key".into(), "other".into()];
    let options = Options {
        requests_per_minute: 3,
        keys,
        ..Options::default()
    };
    let lab = Lab::with(options).await;
    let other = || answer(lab.bare(Method::GET, USERS).bearer_auth("other"));
    lab.get("/nowhere").await.refused(404, "costs");
    lab.post(&json!({})).await.refused(400, "costs");
    answer(lab.bare(Method::GET, USERS).bearer_auth("unknown"))
        .await
        .refused(401, "costs nothing");
    assert_eq!(lab.get(USERS).await.status, 200);
    lab.get(USERS)
        .await
        .refused(429, "the first key is used up");
    assert_eq!(other().await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn retry_after_may_be_missing() {
    let options = Options {
        requests_per_minute: 1,
        ..Options::default()
    };
    let lab = Lab::with(options).await;
    lab.get(USERS).await;
    lab.org().fault(Fault::next(What::NoRetryAfter));
    let got = lab.get(USERS).await;
    got.refused(429, "over the limit");
    assert_eq!(got.header("retry-after"), None);
    assert_eq!(lab.get(USERS).await.header("retry-after"), Some("60"));
}

#[test]
fn limiters_parse_their_own_names() {
    for limiter in [Limiter::Sliding, Limiter::Fixed, Limiter::Bucket] {
        assert_eq!(limiter.to_string().parse(), Ok(limiter));
    }
    let error = "leaky".parse::<Limiter>().unwrap_err().to_string();
    assert!(
        error.contains("`leaky`") && error.contains("bucket"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_bursts_without_retry_after() {
    let options = Options {
        burst: Some("2/10".parse().expect("two in ten seconds")),
        retry_after: false,
        ..Options::default()
    };
    let lab = Lab::with(options).await;
    for (pause, status) in [(0, 200), (0, 200), (0, 429), (5, 429), (10, 200)] {
        tokio::time::advance(Duration::from_secs(pause)).await;
        let got = lab.get(USERS).await;
        assert_eq!((got.status, got.header("retry-after")), (status, None));
    }
    for invalid in ["", "20", "20/", "0/10", "20/0", "a/b"] {
        assert!(invalid.parse::<Burst>().is_err(), "{invalid}");
    }
}
