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

#[tokio::test]
async fn the_groups_file_must_be_stable_too() {
    let mut folder = Folder::new();
    folder.settings.settle = Duration::from_secs(3600);
    folder.write("users.csv", "email\na@x.co\n");
    let groups = folder.write("groups.csv", "op,email,group_name\n+,a@x.co,Sales\n");
    folder.settings.groups = Some(groups);
    let known = fingerprint(&folder.settings, folder.path()).expect("a roster");
    let desired = at_once(read(&folder, Some(known))).await.expect("a roster");
    assert_eq!(desired.fingerprint, known);
    assert_eq!(desired.memberships.rows.len(), 1);
    folder.write("groups.csv", "op,email,group_name\n-,a@x.co,Sales\n");
    let soon = Duration::from_millis(50);
    let waiting = tokio::time::timeout(soon, read(&folder, Some(known))).await;
    assert!(waiting.is_err(), "the file may still be written to");
}

/// Reads the roster, `source.groups` and `source.roles` while other programs never stop writing these files.
async fn read_while_changing(changing: &[&str]) -> Desired {
    let mut folder = Folder::new();
    folder.settings.settle = Duration::from_secs(60);
    let roster = folder.write("users.csv", "email\na@x.co\n");
    let write = |folder: &Folder, name: &str, number: u32| {
        let text = match name {
            "groups.csv" => format!("op,email,group_name\n+,a{number}@x.co,Sales\n"),
            _ => format!("subject,connection,model,role\na{number}@x.co,c,m,VIEWER\n"),
        };
        folder.write(name, text)
    };
    folder.settings.groups = Some(write(&folder, "groups.csv", 0));
    folder.settings.roles = Some(write(&folder, "roles.csv", 0));
    let reading = read_stable(&folder.settings, &roster, true, &folder.schema, None);
    let writing = async {
        for number in 1.. {
            for name in changing {
                write(&folder, name, number);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        desired = reading => desired.expect("the roster is stable"),
        () = writing => unreachable!("they are written without end"),
    }
}

/// A program that never stops writing a file beside the roster blocks neither the roster nor the other file.
#[tokio::test(start_paused = true)]
async fn files_that_keep_changing_are_unreadable() {
    for changing in [
        &["groups.csv"][..],
        &["roles.csv"],
        &["groups.csv", "roles.csv"],
    ] {
        let desired = read_while_changing(changing).await;
        assert_eq!(desired.users.len(), 1, "{changing:?}");
        let problem = |name: &str| {
            let problem = "the file keeps changing; try again when it is completely written";
            changing
                .contains(&name)
                .then(|| format!("{name}: {problem}"))
        };
        let groups = desired.memberships.unreadable.as_ref();
        assert_eq!(groups.map(ToString::to_string), problem("groups.csv"));
        assert_eq!(
            desired.memberships.rows.len(),
            usize::from(groups.is_none())
        );
        let roles = desired.unreadable_roles();
        assert_eq!(roles.map(ToString::to_string), problem("roles.csv"));
        let rows = desired.roles.as_ref().map(|stated| stated.rows.len());
        assert_eq!(rows, Some(usize::from(roles.is_none())));
    }
}
