//! Runs and changes: nothing that was sent is missing, and nothing is claimed that did not happen.

use super::support::{
    State, at, change, email, end, hours, id, intent, removed, settle, settled, start,
};
use omni_user_sync::model::{
    AttributeName, ChangeIntent, ChangeOutcome, Counts, Field, FieldChange, Fingerprint, NewIds,
    Operation, OwnershipUpdate, RunEnd, RunNumber, RunRef, RunResult, RunState, Value,
};
use std::time::Duration;

#[tokio::test]
async fn a_run_is_read_as_recorded() {
    let state = State::new();
    let db = state.open();
    let run = db.begin(start(0)).await.expect("written");
    let open = db.run(RunRef::Latest).await.expect("read");
    assert_eq!(open.expect("there is one").state, RunState::Open);
    let end = RunEnd {
        result: RunResult::Held,
        fingerprint: Some(Fingerprint([9; 32])),
        rows: Some(40),
        users: Some(41),
        planned: Some(Counts::new([0, 1, 2, 5, 3, 4, 6, 8])),
        pending: Some(Counts::new([0, 0, 1, 4, 2, 3, 5, 7])),
        applied: 5,
        failed: 1,
        held: 3,
        bad_rows: 2,
        requests: 77,
        detail: "Omni was away".into(),
        ..end(9)
    };
    db.finish(run, &end).await.expect("written");
    db.finish(run, &end).await.expect_err("it has ended");
    let stored = db.run(RunRef::Number(run)).await.expect("read");
    let stored = stored.expect("there is one");
    assert_eq!(
        (stored.start, stored.state),
        (start(0), RunState::Ended(end.into()))
    );
}

#[tokio::test]
async fn run_numbers_ascend_and_are_never_reused() {
    let state = State::new();
    let mut last = RunNumber(0);
    for round in 0..3 {
        let db = state.open();
        let run = db.begin(start(round)).await.expect("written");
        db.finish(run, &end(round)).await.expect("written");
        assert!(run > last);
        last = run;
        let later = at(round) + hours(24 * 100);
        db.prune_old(later, Duration::ZERO).await.expect("written");
        assert_eq!(db.runs(10).await.expect("read"), []);
    }
}

#[tokio::test]
async fn an_unfinished_run_counts_as_interrupted() {
    let state = State::new();
    let db = state.open();
    let first = db.begin(start(0)).await.expect("written");
    let second = db.begin(start(1)).await.expect("written");
    let states = |runs: Vec<omni_user_sync::model::RunRecord>| {
        runs.into_iter()
            .map(|run| (run.number, run.state))
            .collect::<Vec<_>>()
    };
    let stored = states(db.runs(10).await.expect("read"));
    assert_eq!(
        stored,
        [(second, RunState::Open), (first, RunState::Interrupted)]
    );
    let stored = states(state.read().runs(1).await.expect("read"));
    assert_eq!(stored, [(second, RunState::Open)]);
    drop(db);
    let stored = states(state.read().runs(1).await.expect("read"));
    assert_eq!(
        stored,
        [(second, RunState::Interrupted)],
        "no process holds the state folder"
    );
    let stored = states(state.open().runs(1).await.expect("read"));
    assert_eq!(stored, [(second, RunState::Interrupted)]);
}

#[tokio::test]
async fn a_change_is_read_as_recorded() {
    let state = State::new();
    let db = state.open();
    let run = db.begin(start(0)).await.expect("written");
    let attribute = |name| Field::Attribute(AttributeName::new(name));
    let field = FieldChange::new;
    let intent = ChangeIntent {
        fields: vec![
            field(
                Field::DisplayName,
                Value::one("Ann \"x\"\n"),
                Value::one("Änn"),
            ),
            field(Field::Active, Value::one("false"), Value::one("true")),
            field(attribute("active"), Value::many(["s", "n"]), None),
            field(attribute("a/b"), None, Value::one("[1]")),
        ],
        approved: true,
        ..intent(Operation::Update, "Ann", 1)
    };
    let id = db.intend(run, &intent).await.expect("written");
    let ending = settled(ChangeOutcome::NotKept, 2);
    settle(&db, run, id, &intent, &ending).await;
    let none = NewIds::default();
    let again = db.settle(id, &ending, &none, OwnershipUpdate::default());
    again.await.expect_err("it is settled");
    let stored = db.changes(run).await.expect("read");
    assert_eq!(stored.len(), 1);
    assert_eq!(
        (&stored[0].intent, &stored[0].settled),
        (&intent, &Some(ending))
    );
    let of_ann = db.changes_of(&email("aNN"), 10).await.expect("read");
    assert_eq!(of_ann, stored);
    assert_eq!(db.changes_of(&email("bob"), 10).await.expect("read"), []);
}

#[tokio::test]
async fn a_change_without_a_run_is_not_written() {
    let state = State::new();
    let db = state.open();
    let run = db.begin(start(0)).await.expect("written");
    let intent = intent(Operation::Delete, "ann", 1);
    let (bad, good) = tokio::join!(db.intend(RunNumber(99), &intent), db.intend(run, &intent));
    bad.expect_err("there is no such run");
    good.expect("one that fails takes no other with it");
    assert_eq!(db.unknown().await.expect("read").len(), 1);
}

#[tokio::test]
async fn removals_count_for_24_hours() {
    let state = State::new();
    let db = state.open();
    let run = db.begin(start(0)).await.expect("written");
    let day = 24 * 3600;
    for (operation, name, outcome) in [
        (Operation::Delete, "ann", ChangeOutcome::Applied),
        (Operation::Deactivate, "bob", ChangeOutcome::Applied),
        (Operation::Delete, "cid", ChangeOutcome::Failed),
        (Operation::Delete, "dan", ChangeOutcome::Skipped),
        (Operation::Deactivate, "eve", ChangeOutcome::NotKept),
        (Operation::Update, "fay", ChangeOutcome::Applied),
    ] {
        change(&db, run, &intent(operation, name, 0), outcome).await;
    }
    let approved = ChangeIntent {
        approved: true,
        ..intent(Operation::Delete, "gus", 0)
    };
    change(&db, run, &approved, ChangeOutcome::Applied).await;
    let again = intent(Operation::Delete, "bob", 0);
    change(&db, run, &again, ChangeOutcome::Applied).await;
    assert_eq!(
        removed(&db, 10).await,
        (4, 5),
        "each user once, whatever was answered"
    );
    assert_eq!(removed(&db, day - 1).await, (4, 5));
    assert_eq!(removed(&db, day + 1).await, (0, 0));
    assert_eq!(removed(&db, -day).await, (4, 5), "the clock was put back");
}

#[tokio::test]
async fn created_users_are_managed_except_by_another_roster() {
    let state = State::new();
    let db = state.open();
    for (name, is_source) in [("ann", true), ("bob", false)] {
        let start = omni_user_sync::model::RunStart {
            is_source,
            ..start(0)
        };
        let run = db.begin(start).await.expect("written");
        change(
            &db,
            run,
            &intent(Operation::Create, name, 1),
            ChangeOutcome::Applied,
        )
        .await;
    }
    let run = db.begin(start(2)).await.expect("written");
    change(
        &db,
        run,
        &intent(Operation::Create, "cid", 3),
        ChangeOutcome::Failed,
    )
    .await;
    let managed = db.memory(at(9)).await.expect("read").managed;
    assert_eq!(managed, [email("ann")].into());
    change(
        &db,
        run,
        &intent(Operation::Delete, "Ann", 4),
        ChangeOutcome::Applied,
    )
    .await;
    assert!(db.memory(at(9)).await.expect("read").managed.is_empty());
}

#[tokio::test]
async fn deactivated_users_are_recorded_until_reactivated() {
    let state = State::new();
    let db = state.open();
    let run = db.begin(start(0)).await.expect("written");
    let deactivated = async || db.memory(at(9)).await.expect("read").deactivated;
    change(
        &db,
        run,
        &intent(Operation::Deactivate, "ann", 1),
        ChangeOutcome::Applied,
    )
    .await;
    // An answer may show the state from before; what was not sent changed nothing.
    for (name, outcome) in [
        ("bob", ChangeOutcome::Failed),
        ("cid", ChangeOutcome::NotKept),
        ("dan", ChangeOutcome::Skipped),
    ] {
        change(&db, run, &intent(Operation::Deactivate, name, 1), outcome).await;
    }
    let ours = ["ann", "bob", "cid"].map(|name| (id(name), email(name)));
    assert_eq!(deactivated().await, ours.into());
    let update = |field| ChangeIntent {
        fields: vec![FieldChange::new(field, None, Value::one("true"))],
        ..intent(Operation::Update, "ann", 2)
    };
    let attribute = update(Field::Attribute(AttributeName::new("active")));
    change(&db, run, &attribute, ChangeOutcome::Applied).await;
    assert_eq!(
        deactivated().await.len(),
        3,
        "an attribute of that name is another thing"
    );
    change(&db, run, &update(Field::Active), ChangeOutcome::Applied).await;
    assert_eq!(deactivated().await.len(), 2);
}

#[tokio::test]
async fn old_history_is_deleted_and_ownership_kept() {
    let state = State::new();
    let db = state.open();
    let day = 24 * 3600;
    let old = db.begin(start(0)).await.expect("written");
    change(
        &db,
        old,
        &intent(Operation::Create, "ann", 1),
        ChangeOutcome::Applied,
    )
    .await;
    let unknown = db.begin(start(2)).await.expect("written");
    db.intend(unknown, &intent(Operation::Delete, "bob", 3))
        .await
        .expect("written");
    change(
        &db,
        unknown,
        &intent(Operation::Delete, "cid", 3),
        ChangeOutcome::Applied,
    )
    .await;
    let young = db.begin(start(90 * day)).await.expect("written");
    change(
        &db,
        young,
        &intent(Operation::Delete, "dan", 90 * day),
        ChangeOutcome::Applied,
    )
    .await;

    let now = at(90 * day + 3600);
    db.prune_old(now, Duration::from_secs(60))
        .await
        .expect("written");
    let left: Vec<_> = db
        .runs(10)
        .await
        .expect("read")
        .iter()
        .map(|run| run.number)
        .collect();
    assert_eq!(left, [young, unknown]);
    assert_eq!(db.changes(unknown).await.expect("read").len(), 1);
    assert_eq!(db.unknown().await.expect("read").len(), 1);
    let memory = db.memory(now).await.expect("read");
    assert_eq!(
        memory.recent.removed.len(),
        1,
        "the guard looks back a day, however short retain is"
    );
    assert!(memory.managed.contains(&email("ann")));
}
