//! Killed at any moment, the state database has each change that was sent, and claims none that was not done.

use super::support::{State, at, change, email, id, intent, open, removed, settle, settled, start};
use omni_user_sync::model::{ChangeOutcome, Operation, RunRef, RunState};
use omni_user_sync::state::StateLock;
use std::io::{BufRead, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

#[tokio::test]
async fn unsettled_changes_are_unknown_until_observed() {
    let state = State::new();
    let db = state.open();
    let run = db.begin(start(0)).await.expect("written");
    for (operation, name) in [
        (Operation::Delete, "ann"),
        (Operation::Deactivate, "bob"),
        (Operation::Create, "cid"),
    ] {
        db.intend(run, &intent(operation, name, 1))
            .await
            .expect("written");
    }
    drop(db);
    let db = state.open();
    let unknown = db.unknown().await.expect("read");
    assert_eq!(unknown.len(), 3);
    assert!(unknown.iter().all(|change| change.settled.is_none()));
    assert_eq!(
        removed(&db, 2).await,
        (2, 2),
        "the guard counts what may have happened"
    );
    for change in &unknown {
        let outcome = match change.intent.operation {
            Operation::Delete => ChangeOutcome::Failed,
            _ => ChangeOutcome::Applied,
        };
        let settled = settled(outcome, 3);
        settle(&db, run, change.id, &change.intent, &settled).await;
    }
    assert_eq!(db.unknown().await.expect("read"), []);
    assert_eq!(removed(&db, 4).await, (2, 2), "until they are seen active");
    let stored = db.changes(run).await.expect("read");
    let outcomes: Vec<_> = stored
        .iter()
        .map(|change| change.settled.as_ref().map(|settled| settled.outcome))
        .collect();
    assert_eq!(
        outcomes,
        [
            Some(ChangeOutcome::Failed),
            Some(ChangeOutcome::Applied),
            Some(ChangeOutcome::Applied)
        ]
    );
    let memory = db.memory(at(4)).await.expect("read");
    assert!(memory.deactivated.contains_key(&id("bob")));
    assert!(memory.managed.contains(&email("cid")), "we made them");
}

#[tokio::test]
async fn completed_writes_are_in_the_files() {
    let state = State::new();
    let db = state.open();
    let run = db.begin(start(0)).await.expect("written");
    for name in ["ann", "bob"] {
        db.intend(run, &intent(Operation::Delete, name, 1))
            .await
            .expect("written");
        let copy = State::new();
        std::fs::create_dir(copy.dir()).expect("a file of the test");
        for file in ["state.db", "state.db-wal"] {
            std::fs::copy(state.file(file), copy.file(file)).expect("a file of the test");
        }
        let unknown = copy.open().unknown().await.expect("read");
        assert_eq!(
            unknown.last().expect("it is there").intent.subject,
            email(name)
        );
    }
}

#[tokio::test]
async fn pending_writes_finish_before_closing() {
    let state = State::new();
    let db = state.open();
    let run = db.begin(start(0)).await.expect("written");
    for name in ["ann", "bob", "cid"] {
        let intent = intent(Operation::Delete, name, 1);
        // Asked once, and then dropped.
        let write = tokio::time::timeout(Duration::ZERO, db.intend(run, &intent));
        drop(write.await);
    }
    drop(db);
    assert_eq!(state.open().unknown().await.expect("read").len(), 3);
}

/// What the test below starts in a process of its own, and kills.
#[tokio::test]
#[ignore = "not a test by itself"]
async fn victim() {
    let Some(dir) = std::env::var_os("JOURNAL_VICTIM") else {
        return;
    };
    let db = open(dir.as_ref());
    let run = db.begin(start(0)).await.expect("written");
    change(
        &db,
        run,
        &intent(Operation::Delete, "ann", 1),
        ChangeOutcome::Applied,
    )
    .await;
    db.intend(run, &intent(Operation::Delete, "bob", 2))
        .await
        .expect("written");
    // A line that the parent waits for.
    writeln!(std::io::stderr(), "at work").expect("the parent reads");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_process_keeps_changes_and_releases_locks() {
    let state = State::new();
    let mut victim = Command::new(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "state::crash::victim",
            "--ignored",
            "--nocapture",
        ])
        .env("JOURNAL_VICTIM", state.dir())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let stderr = victim.stderr.take().expect("it is piped");
    let mut lines = std::io::BufReader::new(stderr).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line == "at work")));
    let error = StateLock::acquire(&state.dir(), "run").expect_err("the other has it");
    assert!(
        error
            .to_string()
            .contains(&format!("`apply` (pid {}", victim.id())),
        "{error}"
    );
    victim.kill().expect("the child runs");
    victim.wait().expect("the child runs");

    let db = state.open();
    let run = db
        .run(RunRef::Latest)
        .await
        .expect("read")
        .expect("there is one");
    assert_eq!(run.state, RunState::Interrupted);
    let unknown = db.unknown().await.expect("read");
    assert_eq!(unknown.len(), 1);
    assert_eq!(unknown[0].intent.subject, email("bob"));
    assert_eq!(removed(&db, 5).await, (2, 2));
}
