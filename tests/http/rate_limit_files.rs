//! The files through which processes share the limit of a key: damaged, missing, private and small.
use crate::shared_rate_limit::{MINUTE, SLACK, file, folder, send, throttle, written};
use omni_user_sync::omni::Priority;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn an_unreadable_file_pauses_requests_for_a_minute() {
    let dir = folder();
    for broken in [&b"{}"[..], &[0; 4096], &vec![b'x'; 3 << 20]] {
        send(&throttle(5, dir.path()), 1).await;
        written().await;
        std::fs::write(file(dir.path()), broken).expect("a file of the test");
        for minutes in [1, 0] {
            let start = Instant::now();
            send(&throttle(5, dir.path()), 2).await;
            let waited = start.elapsed();
            assert!(
                waited >= MINUTE * minutes && waited < MINUTE * minutes + SLACK,
                "{waited:?}"
            );
        }
        sleep(MINUTE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_file_never_exceeds_the_limit() {
    let (dir, start) = (folder(), Instant::now());
    let throttle = throttle(4, dir.path());
    for number in 0..8 {
        send(&throttle, 1).await;
        written().await;
        match number % 3 {
            0 => std::fs::remove_file(file(dir.path())).expect("a file of the test"),
            1 => std::fs::write(file(dir.path()), "").expect("a file of the test"),
            _ => {}
        }
    }
    let waited = start.elapsed();
    assert!(waited >= MINUTE && waited < MINUTE + SLACK, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_process_without_a_folder_counts_alone() {
    let dir = folder();
    let no_folder = dir.path().join("file");
    std::fs::write(&no_folder, "").expect("a file of the test");
    let (throttle, start) = (throttle(3, &no_folder), Instant::now());
    assert_eq!(throttle.estimate(4, Priority::Urgent), MINUTE);
    send(&throttle, 3).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    send(&throttle, 1).await;
    assert!(start.elapsed() >= MINUTE);
}

#[tokio::test(start_paused = true)]
async fn the_file_is_private_and_holds_no_key() {
    let dir = folder();
    send(&throttle(3, &dir.path().join("made")), 1).await;
    let file = file(&dir.path().join("made"));
    let mode = file.metadata().expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).expect("text");
    let shown = format!("{} {text}", file.display());
    let hash = blake3::hash(b"hunter2").to_hex();
    assert!(
        !shown.contains("hunter2") && !shown.contains(&hash[..8]),
        "{shown}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_file_stays_small_at_any_limit() {
    let dir = folder();
    let throttle = throttle(10_000, dir.path());
    for _ in 0..100 {
        send(&throttle, 20).await;
        sleep(Duration::from_micros(700)).await;
    }
    let length = file(dir.path()).metadata().expect("there").len();
    assert!(length < 4096, "{length}");
}

#[tokio::test(start_paused = true)]
async fn a_long_file_is_read_completely() {
    let dir = folder();
    let busy = throttle(1_000, dir.path());
    for _ in 0..200 {
        send(&busy, 1).await;
        sleep(Duration::from_millis(20)).await;
    }
    let length = file(dir.path()).metadata().expect("there").len();
    assert!(length > 4096, "{length}");
    let start = Instant::now();
    send(&throttle(1_000, dir.path()), 1).await;
    assert!(start.elapsed() < SLACK, "{:?}", start.elapsed());
}
