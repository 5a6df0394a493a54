//! Which requests are sent again, when, and with which key.

use super::{email, spec, status, times, writer};
use crate::support::World;
use crate::support::logged::Logged;
use omni_user_sync::omni::{OmniError, list};
use omni_user_sync::sandbox::{Fault, Options, What};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[tokio::test(start_paused = true)]
async fn reads_are_retried_after_temporary_failures() {
    for what in [
        status(500, None),
        status(503, Some(7)),
        status(408, None),
        What::Html { code: 200 },
        What::Html { code: 502 },
        What::CutJson,
        What::Reset,
    ] {
        let world = World::with(Options {
            users: 3,
            ..Options::default()
        })
        .await;
        world.org().fault(times(5, what.clone()));
        let observed = list(&world.reader()).await;
        assert_eq!(observed.expect("the sixth works").count(), 3, "{what:?}");
        assert_eq!(world.org().requests().len(), 6, "{what:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn twenty_failures_in_a_row_end_the_run() {
    let world = World::new().await;
    world.org().fault(times(99, What::Reset));
    let reader = world.reader();
    let mut last = String::new();
    for _ in 0..5 {
        let error = list(&reader).await.expect_err("it never works");
        last = error.to_string();
    }
    assert!(last.contains("20 consecutive failures"), "{last}");
    assert!(last.contains("connection lost"), "{last}");
    assert_eq!(
        world.org().requests().len(),
        20,
        "nothing is sent after that"
    );
}

#[tokio::test(start_paused = true)]
async fn the_outcome_of_an_unanswered_write_is_unknown() {
    let world = World::new().await;
    world.org().fault(times(18, What::Reset));
    world.org().fault(times(2, What::LostReply));
    let writer = writer(&world);
    for _ in 0..3 {
        list(writer.reader()).await.expect_err("it never works");
    }
    for name in ["ann", "bob"] {
        let address = email(&format!("{name}@x.co"));
        let made = writer.create(&address, &spec(name)).await;
        let error = made.expect_err("no answer");
        assert!(
            matches!(error, OmniError::OutcomeUnknown(_)),
            "{name}: {error:?}"
        );
    }
    let made = writer.create(&email("cem@x.co"), &spec("Cem")).await;
    let error = made.expect_err("nothing more is sent");
    let OmniError::CircuitOpen { in_a_row: 20, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(error.to_string().contains("connection lost"), "{error}");
    assert_eq!(world.org().users().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_429_is_retried_after_the_pause() {
    let world = World::new().await;
    world.org().fault(times(3, status(429, Some(20))));
    let start = Instant::now();
    list(&world.reader()).await.expect("the fourth works");
    let waited = start.elapsed();
    assert!(
        waited >= Duration::from_secs(60) && waited < Duration::from_secs(70),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn repeated_429_end_the_run() {
    let world = World::new().await;
    world.org().fault(times(99, status(429, None)));
    let error = list(&world.reader()).await.expect_err("it never works");
    assert!(matches!(error, OmniError::Throttled), "{error:?}");
    assert_eq!(world.org().requests().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_zero_retry_after_does_not_exhaust_attempts() {
    let world = World::new().await;
    world.org().fault(times(5, status(429, Some(0))));
    let start = Instant::now();
    list(&world.reader()).await.expect("the sixth works");
    let waited = start.elapsed();
    assert!(waited >= Duration::from_secs(60), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_with_retry_after_pauses_the_key() {
    for (code, asked, seconds) in [(503, 30, 30), (500, 7, 7), (408, 45, 45), (502, 3244, 120)] {
        let world = World::new().await;
        world.org().fault(Fault::next(status(code, Some(asked))));
        let (writer, start) = (writer(&world), Instant::now());
        let made = writer.create(&email("ann@x.co"), &spec("Ann")).await;
        assert!(
            matches!(made, Err(OmniError::OutcomeUnknown(_))),
            "{made:?}"
        );
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "it is reported at once"
        );
        list(writer.reader()).await.expect("it works");
        let waited = start.elapsed().as_secs();
        assert!((seconds..seconds + 2).contains(&waited), "{code}: {waited}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_403_on_a_read_disables_the_key() {
    let world = World::with(Options {
        users: 3,
        keys: vec!["sandbox-key".into(), "another".into()],
        ..Options::default()
    })
    .await
    .with_variable("OMNI_API_KEY", "sandbox-key\nanother");
    world.org().fault(times(1, status(403, None)));
    let reader = world.reader();
    assert_eq!(list(&reader).await.expect("the other key").count(), 3);
    list(&reader).await.expect("the other key");
    let keys = world.org().requests().into_iter().map(|sent| sent.key);
    assert_eq!(keys.collect::<Vec<_>>(), [None, Some(1), Some(1)]);
}

#[tokio::test(start_paused = true)]
async fn a_disabled_key_is_reported_once_per_run() {
    let world = World::new()
        .await
        .with_variable("OMNI_API_KEY", "revoked\nsandbox-key");
    let logged = Logged::default();
    let _listening = logged.listen();
    let client = world.client();
    let reader = client.reader(&CancellationToken::new());
    let all = futures_util::future::join_all((0..4).map(|_| reader.page(1))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    let text = logged.text();
    assert_eq!(
        text.matches("is disabled for this run").count(),
        1,
        "{text}"
    );
    assert!(
        text.contains("WARN") && text.contains("key=1 status=401 remaining=1"),
        "{text}"
    );
    assert!(!text.contains("revoked"), "{text}");
    assert_eq!(world.metrics.keys_disabled.get(), 1);

    client.begin(&world.settings().omni.keys.read().expect("keys"));
    assert_eq!(world.metrics.keys_disabled.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_key_with_repeated_429_is_disabled() {
    let world = World::with(Options {
        keys: vec!["sandbox-key".into(), "another".into()],
        ..Options::default()
    })
    .await
    .with_variable("OMNI_API_KEY", "sandbox-key\nanother");
    let logged = Logged::default();
    let _listening = logged.listen();
    // One more than both keys can have nine times, and one of them ten times.
    world.org().fault(times(19, status(429, Some(0))));
    let page = world.reader().page(1).await;
    assert!(page.is_ok(), "{page:?}");
    let text = logged.text();
    assert_eq!(
        text.matches("is disabled for this run").count(),
        1,
        "{text}"
    );
    assert!(text.contains("status=429 remaining=1"), "{text}");
    assert_eq!(world.metrics.keys_disabled.get(), 1);
}
