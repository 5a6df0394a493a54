//! What is held, and what a person approves of it: these users, each once, for a day.

use super::support::{
    self, State, at, change, email, end, held, hours, id, intent, settle, settled, start,
};
use omni_user_sync::model::{ChangeOutcome, GuardRule, Operation, RunNumber, RunRef, UserId};
use omni_user_sync::state::{ApproveError, StateDb};
use std::collections::HashSet;
use std::time::Duration;

async fn approved(db: &StateDb, seconds: i64) -> HashSet<(UserId, Operation)> {
    support::approved(&db.approvals(at(seconds)).await.expect("read"))
}

/// A run in which the removal of these is held.
async fn holding(db: &StateDb, seconds: i64, names: &[&str]) -> RunNumber {
    let run = db.begin(start(seconds)).await.expect("written");
    let held = [held(GuardRule::MaxRemovals, Operation::Delete, names)];
    db.hold(run, &held).await.expect("written");
    db.finish(run, &end(seconds)).await.expect("written");
    run
}

#[tokio::test]
async fn an_approval_covers_its_changes_for_a_day() {
    let state = State::new();
    let db = state.open();
    let run = db.begin(start(0)).await.expect("written");
    let rules = [
        held(GuardRule::MaxClears, Operation::Update, &["ann"]),
        held(GuardRule::MaxRemovals, Operation::Delete, &["ann", "bob"]),
    ];
    db.hold(run, &rules).await.expect("written");
    assert_eq!(db.held(run).await.expect("read"), rules);
    let approval = db
        .approve(RunRef::Latest, "root", at(10), false)
        .await
        .expect("written");
    assert_eq!((approval.run, approval.by.as_str()), (run, "root"));
    assert_eq!(approval.expires, at(10) + hours(24));
    assert_eq!(approval.changes().len(), 3);
    let all = [
        (id("ann"), Operation::Update),
        (id("ann"), Operation::Delete),
        (id("bob"), Operation::Delete),
    ];
    assert_eq!(approved(&db, 11).await, all.into());
    let memory = db.memory(at(11)).await.expect("read");
    assert_eq!(memory.approved.iter().count(), 3);
    let day = 24 * 3600;
    assert_eq!(approved(&db, 10 + day - 1).await.len(), 3);
    assert!(approved(&db, 10 + day).await.is_empty());
}

#[tokio::test]
async fn an_approval_is_used_once_per_user() {
    let state = State::new();
    let db = state.open();
    holding(&db, 0, &["ann", "bob"]).await;
    for _ in 0..2 {
        db.approve(RunRef::Latest, "root", at(1), false)
            .await
            .expect("written");
    }
    let run = db.begin(start(2)).await.expect("written");
    for outcome in [
        ChangeOutcome::Failed,
        ChangeOutcome::NotKept,
        ChangeOutcome::Skipped,
    ] {
        change(&db, run, &intent(Operation::Delete, "ann", 3), outcome).await;
    }
    change(
        &db,
        run,
        &intent(Operation::Deactivate, "ann", 3),
        ChangeOutcome::Applied,
    )
    .await;
    let unknown = db
        .intend(run, &intent(Operation::Delete, "ann", 4))
        .await
        .expect("written");
    assert_eq!(
        approved(&db, 5).await.len(),
        2,
        "none of that was what was approved"
    );
    let found = settled(ChangeOutcome::Applied, 5);
    let deletion = intent(Operation::Delete, "ann", 4);
    settle(&db, run, unknown, &deletion, &found).await;
    assert_eq!(
        approved(&db, 6).await,
        [(id("bob"), Operation::Delete)].into()
    );
    change(
        &db,
        run,
        &intent(Operation::Delete, "bob", 6),
        ChangeOutcome::Applied,
    )
    .await;
    assert!(approved(&db, 7).await.is_empty());
    let again = db.approve(RunRef::Number(RunNumber(1)), "root", at(8), false);
    let again = again.await;
    assert!(matches!(again, Err(ApproveError::Done { .. })), "{again:?}");
    assert!(approved(&db, 9).await.is_empty(), "each once");
}

#[tokio::test]
async fn applied_changes_are_not_approved_again() {
    let state = State::new();
    let db = state.open();
    let held = holding(&db, 0, &["ann", "bob"]).await;
    let approve = async |seconds| {
        let approval = db.approve(RunRef::Number(held), "root", at(seconds), false);
        approval.await.expect("an approval").changes().len()
    };
    assert_eq!(approve(1).await, 2);
    let run = db.begin(start(2)).await.expect("written");
    let ann = intent(Operation::Delete, "ann", 3);
    change(&db, run, &ann, ChangeOutcome::Applied).await;
    assert_eq!(approve(4).await, 1);
    assert_eq!(
        approved(&db, 5).await,
        [(id("bob"), Operation::Delete)].into()
    );
}

#[tokio::test]
async fn a_dry_approval_approves_nothing() {
    let state = State::new();
    let db = state.open();
    holding(&db, 0, &["ann"]).await;
    let dry = db
        .approve(RunRef::Latest, "root", at(1), true)
        .await
        .expect("read");
    assert_eq!(dry.changes()[0].subject, email("ann"));
    assert!(approved(&db, 2).await.is_empty());
    assert_eq!(db.approval_mark().await.expect("read"), 0);
}

#[tokio::test]
async fn approvals_of_another_process_are_noticed() {
    let state = State::new();
    let daemon = state.open();
    holding(&daemon, 0, &["ann"]).await;
    let before = daemon.approval_mark().await.expect("read");
    let beside = state.approve();
    beside
        .approve(RunRef::Latest, "eve", at(1), false)
        .await
        .expect("written");
    assert_ne!(daemon.approval_mark().await.expect("read"), before);
    assert_eq!(approved(&daemon, 2).await.len(), 1);
    let mark = daemon.approval_mark().await.expect("read");
    daemon
        .prune_old(at(0) + hours(999), Duration::ZERO)
        .await
        .expect("written");
    assert_eq!(
        daemon.approval_mark().await.expect("read"),
        mark,
        "forgetting is no approval"
    );
}

#[tokio::test]
async fn impossible_approvals_are_explained() {
    let state = State::new();
    let error = state
        .approve()
        .approve(RunRef::Latest, "root", at(1), false)
        .await;
    assert!(matches!(error, Err(ApproveError::Unknown)), "{error:?}");
    let db = state.open();
    let first = holding(&db, 0, &["ann"]).await;
    let second = db.begin(start(2)).await.expect("written");
    let refused = async |run, dry| {
        let error = db.approve(run, "root", at(3), dry).await;
        error.expect_err("there is nothing to approve").to_string()
    };
    for dry in [true, false] {
        let said = refused(RunRef::Latest, dry).await;
        assert_eq!(
            said,
            format!("run {second} has no held changes; the latest run that has any is {first}")
        );
        let said = refused(RunRef::Number(RunNumber(3)), dry).await;
        assert!(said.contains("no such run"), "{said}");
        let said = refused(RunRef::Number(RunNumber(0)), dry).await;
        assert!(said.contains("no such run"), "{said}");
    }
    db.prune_old(at(0) + hours(48), Duration::ZERO)
        .await
        .expect("written");
    let said = refused(RunRef::Number(first), false).await;
    assert!(said.contains("older than state.retain"), "{said}");
    assert_eq!(db.approval_mark().await.expect("read"), 0);
}

#[tokio::test]
async fn repeatedly_held_changes_are_stored_once() {
    let state = State::new();
    let db = state.open();
    for round in 0..3 {
        let run = holding(&db, round, &["ann", "bob"]).await;
        assert_eq!(db.held(run).await.expect("read")[0].changes.len(), 2);
    }
    let run = holding(&db, 3, &["ann"]).await;
    assert_eq!(db.held(run).await.expect("read")[0].changes.len(), 1);
    let raw = rusqlite::Connection::open(state.file("state.db")).expect("a file of the test");
    let stored = || {
        raw.query_row("SELECT count(*) FROM set_changes", [], |row| {
            row.get::<_, i64>(0)
        })
    };
    assert_eq!(stored(), Ok(3));
    db.prune_old(at(0) + hours(48), Duration::ZERO)
        .await
        .expect("written");
    assert_eq!(stored(), Ok(0));
}
