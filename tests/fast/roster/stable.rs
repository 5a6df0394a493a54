//! A roster is read only when it is stable.

use super::support::Folder;
use omni_user_sync::model::{Desired, Fingerprint};
use omni_user_sync::roster::{SourceError, fingerprint, read_stable, unless_stopped};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

async fn read(folder: &Folder, known: Option<Fingerprint>) -> Result<Desired, SourceError> {
    read_stable(&folder.settings, folder.path(), true, &folder.schema, known).await
}

/// Fails if the work waits.
async fn at_once<T>(work: impl Future<Output = T>) -> T {
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, work)
        .await
        .expect("no waiting")
}

#[tokio::test]
async fn stable_content_is_read_at_once() {
    let mut folder = Folder::new();
    folder.settings.settle = Duration::from_secs(3600);
    folder.write("users.csv", "email\na@x.co\n");
    let known = fingerprint(&folder.settings, folder.path()).expect("a roster");
    let read = at_once(read(&folder, Some(known))).await.expect("a roster");
    assert_eq!(read.fingerprint, known);
}

#[tokio::test]
async fn a_recently_changed_file_delays_reading() {
    let mut folder = Folder::new();
    folder.write("users.csv", "email\na@x.co\n");
    folder.settings.settle = Duration::ZERO;
    assert_eq!(
        at_once(read(&folder, None))
            .await
            .expect("a roster")
            .users
            .len(),
        1
    );
    folder.settings.settle = Duration::from_secs(3600);
    let soon = Duration::from_millis(50);
    let waiting = tokio::time::timeout(soon, read(&folder, None)).await;
    assert!(
        waiting.is_err(),
        "a file written just now may still be written to"
    );
}

#[tokio::test]
async fn unknown_content_needs_two_equal_readings() {
    let mut folder = Folder::new();
    folder.settings.settle = Duration::from_millis(1);
    folder.write("users.csv", "email\na@x.co\n");
    let known = fingerprint(&folder.settings, folder.path()).expect("a roster");
    folder.write("users.csv", "email\na@x.co\nb@x.co\n");
    let read = at_once(read(&folder, Some(known))).await.expect("a roster");
    assert_eq!(read.users.len(), 2);
}

#[tokio::test]
async fn a_changing_file_is_not_reported() {
    let mut folder = Folder::new();
    folder.settings.settle = Duration::from_secs(3600);
    folder.write("users.csv", "email\n\"a@x");
    let soon = Duration::from_millis(50);
    assert!(
        tokio::time::timeout(soon, read(&folder, None))
            .await
            .is_err()
    );
    folder.settings.settle = Duration::ZERO;
    let error = at_once(read(&folder, None))
        .await
        .expect_err("an open quote");
    assert!(matches!(error, SourceError::Rejected(_)), "{error}");
}

#[tokio::test]
async fn a_missing_roster_is_reported_at_once() {
    let mut folder = Folder::new();
    folder.settings.settle = Duration::from_secs(3600);
    let error = at_once(read(&folder, None))
        .await
        .expect_err("an empty folder");
    assert!(matches!(error, SourceError::NoFiles { .. }), "{error}");
}

#[tokio::test]
async fn a_stop_ends_the_wait() {
    let mut folder = Folder::new();
    folder.settings.settle = Duration::from_secs(3600);
    folder.write("users.csv", "email\na@x.co\n");
    let stop = CancellationToken::new();
    let waiting = unless_stopped(&stop, read(&folder, None));
    let stopping = async {
        tokio::task::yield_now().await;
        stop.cancel();
    };
    let (waited, ()) = at_once(async { tokio::join!(waiting, stopping) }).await;
    assert!(matches!(waited, Err(SourceError::Stopped)), "{waited:?}");
}
