//! Looking: what pages ask for, a part at a time.

use super::support::{State, at, change, email, end, held, intent, key, start};
use omni_user_sync::model::{
    ChangeId, ChangeOutcome, Counts, GuardRule, HeldChange, Operation, Quarantined, RunEnd,
    RunNumber, RunResult, RunStart, Trigger,
};
use omni_user_sync::state::{ChangeFilter, OutcomeFilter, ResultFilter, RunFilter, StateDb};

async fn ended(db: &StateDb, seconds: i64, end: RunEnd) -> RunNumber {
    let run = db.begin(start(seconds)).await.expect("it begins");
    db.finish(run, &end).await.expect("it ends");
    run
}

#[tokio::test]
async fn runs_are_listed_before_a_number() {
    let state = State::new();
    let db = state.open();
    for second in 0..5 {
        ended(&db, second, end(second)).await;
    }
    let numbers = async |before, limit| {
        let all = RunFilter::default();
        let runs = db.find_runs(all, Some(RunNumber(before)), limit).await;
        let runs = runs.expect("they are read");
        runs.iter().map(|run| run.number.0).collect::<Vec<_>>()
    };
    assert_eq!(numbers(6, 2).await, [5, 4]);
    assert_eq!(numbers(4, 9).await, [3, 2, 1]);
    assert_eq!(numbers(1, 9).await, [0; 0]);
}

#[tokio::test]
async fn runs_are_found_by_filter() {
    let state = State::new();
    let db = state.open();
    let begin = async |seconds, trigger| {
        let start = RunStart {
            trigger,
            ..start(seconds)
        };
        db.begin(start).await.expect("it begins")
    };
    let finish = async |run, result| {
        let end = RunEnd { result, ..end(1) };
        db.finish(run, &end).await.expect("it ends");
    };
    // 1: sent a change. 2 and 3: dry runs, the second without changes. 4: interrupted. 5: in progress.
    let sent = begin(0, Trigger::File).await;
    let update = intent(Operation::Update, "ann", 1);
    change(&db, sent, &update, ChangeOutcome::Applied).await;
    finish(sent, RunResult::Converged).await;
    let planned = HeldChange {
        user_id: None,
        operation: Operation::Create,
        subject: email("ben").into(),
        group: None,
        role: None,
        successor: None,
        fields: Vec::new(),
    };
    for (seconds, changes) in [(10, vec![planned]), (20, Vec::new())] {
        let dry = begin(seconds, Trigger::Schedule).await;
        let recorded = db.record_planned(dry, changes).await;
        recorded.expect("it is written");
        finish(dry, RunResult::DryRun).await;
    }
    begin(30, Trigger::File).await;
    begin(40, Trigger::Schedule).await;

    let find = async |db: &StateDb, filter, before: Option<u64>, limit| {
        let found = db.find_runs(filter, before.map(RunNumber), limit).await;
        let found = found.expect("they are read");
        found.iter().map(|run| run.number.0).collect::<Vec<_>>()
    };
    let all = RunFilter::default();
    let with_changes = RunFilter {
        with_changes: true,
        ..all
    };
    let by_trigger = RunFilter {
        trigger: Some(Trigger::File),
        ..all
    };
    let by_result = |result| RunFilter {
        result: Some(result),
        ..all
    };
    let both = RunFilter {
        with_changes: true,
        ..by_result(ResultFilter::Is(RunResult::DryRun))
    };
    let interrupted = by_result(ResultFilter::Interrupted);
    assert_eq!(find(&db, all, None, 2).await, [5, 4]);
    assert_eq!(find(&db, with_changes, None, 9).await, [2, 1]);
    assert_eq!(find(&db, with_changes, None, 1).await, [2]);
    assert_eq!(find(&db, with_changes, Some(2), 9).await, [1]);
    assert_eq!(find(&db, by_trigger, None, 9).await, [4, 1]);
    assert_eq!(find(&db, both, None, 9).await, [2]);
    assert_eq!(find(&db, interrupted, None, 9).await, [4]);
    let running = by_result(ResultFilter::Running);
    assert_eq!(find(&db, running, None, 9).await, [5]);

    drop(db);
    let db = state.read();
    assert_eq!(find(&db, interrupted, None, 9).await, [5, 4], "no process");
    assert_eq!(find(&db, running, None, 9).await, [0; 0], "no process");
}

#[tokio::test]
async fn changes_of_all_runs_are_found_by_prefix() {
    let state = State::new();
    let db = state.open();
    for names in [["Ann", "ben"], ["annb", "an_"], ["ann", "cat"]] {
        let run = db.begin(start(0)).await.expect("it begins");
        for name in names {
            let update = intent(Operation::Update, name, 1);
            change(&db, run, &update, ChangeOutcome::Applied).await;
        }
    }
    let find = async |prefix, before: Option<u64>, limit| {
        let found = db.changes_by_prefix(prefix, before.map(ChangeId), limit);
        let found = found.await.expect("they are read");
        let texts = found.iter().map(|one| {
            let name = one.intent.subject.to_string();
            let name = name.trim_end_matches("@x.co");
            format!("{}:{name}", one.id)
        });
        texts.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(find(" ANN", None, 9).await, "5:ann 3:annb 1:Ann");
    assert_eq!(find("ann", None, 2).await, "5:ann 3:annb");
    assert_eq!(find("ann", Some(3), 9).await, "1:Ann");
    assert_eq!(find("ann@x.co", None, 9).await, "5:ann 1:Ann");
    assert_eq!(find("an_", None, 9).await, "4:an_", "no pattern");
    assert_eq!(find("%", None, 9).await, "");
    assert_eq!(find("", None, 3).await, "6:cat 5:ann 4:an_");
}

#[tokio::test]
async fn changes_are_found_by_filter() {
    let state = State::new();
    let db = state.open();
    let run = db.begin(start(0)).await.expect("it begins");
    for (operation, name, outcome) in [
        (Operation::Delete, "Ann", ChangeOutcome::Applied),
        (Operation::Update, "ben", ChangeOutcome::Failed),
        (Operation::Update, "annb", ChangeOutcome::Applied),
    ] {
        change(&db, run, &intent(operation, name, 1), outcome).await;
    }
    let open = intent(Operation::Create, "cat", 2);
    db.intend(run, &open).await.expect("it is written");
    let other = db.begin(start(9)).await.expect("it begins");
    change(
        &db,
        other,
        &intent(Operation::Delete, "ann", 9),
        ChangeOutcome::Applied,
    )
    .await;

    let find = async |filter: ChangeFilter, skip, limit| {
        let page = db.find_changes(run, filter, skip, limit).await;
        let page = page.expect("they are read");
        let emails = page
            .changes
            .iter()
            .map(|one| one.intent.subject.to_string());
        (page.total, emails.collect::<Vec<_>>().join(" "))
    };
    let all = ChangeFilter::default();
    let found = |total, emails: &str| (total, emails.to_owned());
    let everybody = "Ann@x.co ben@x.co annb@x.co cat@x.co";
    assert_eq!(find(all.clone(), 0, 9).await, found(4, everybody));
    assert_eq!(
        find(all.clone(), 1, 2).await,
        found(4, "ben@x.co annb@x.co")
    );
    assert_eq!(find(all.clone(), 9, 2).await, found(4, ""));
    let text = |text: &str| ChangeFilter {
        text: text.into(),
        ..all.clone()
    };
    assert_eq!(
        find(text(" ANN"), 0, 9).await,
        found(2, "Ann@x.co annb@x.co")
    );
    assert_eq!(find(text("%"), 0, 9).await, found(0, ""));
    let operation = ChangeFilter {
        operation: Some(Operation::Update),
        ..text("b")
    };
    assert_eq!(find(operation, 0, 1).await, found(2, "ben@x.co"));
    let outcome = |outcome| ChangeFilter {
        outcome: Some(outcome),
        ..all.clone()
    };
    assert_eq!(
        find(outcome(OutcomeFilter::Unknown), 0, 9).await,
        found(1, "cat@x.co")
    );
    assert_eq!(
        find(outcome(OutcomeFilter::Is(ChangeOutcome::Failed)), 0, 9).await,
        found(1, "ben@x.co")
    );
}

#[tokio::test]
async fn quarantined_users_are_ordered_by_retry_time() {
    let state = State::new();
    let db = state.open();
    for (name, until) in [("late", 90), ("soon", 20), ("over", 10)] {
        let quarantined = Quarantined {
            until: at(until),
            failures: 1,
            undone: 0,
            fingerprint: [0; 32],
            reason: "no".into(),
        };
        let put = db.quarantine_put(&email(name), &quarantined).await;
        put.expect("it is written");
    }
    let (count, some) = db.quarantined(at(10), 1).await.expect("it is read");
    assert_eq!((count, some.len()), (2, 1));
    assert_eq!(some[0].0.subject, email("soon"));
}

/// Held changes are reported after a failed run, and no longer after a run that held nothing.
#[tokio::test]
async fn a_run_without_a_plan_keeps_held_changes() {
    let state = State::new();
    let db = state.open();
    assert_eq!(db.last_held().await.expect("it is read"), None);
    let planned = |seconds| RunEnd {
        planned: Some(Counts::new([0, 1, 0, 0, 0, 0, 0, 0])),
        ..end(seconds)
    };
    let run = db.begin(start(0)).await.expect("it begins");
    let held = held(GuardRule::MaxRemovals, Operation::Delete, &["ann"]);
    db.hold(run, &[held]).await.expect("it is written");
    db.finish(run, &planned(1)).await.expect("it ends");
    ended(&db, 2, end(2)).await;
    let last = db.last_held().await.expect("it is read").expect("a plan");
    assert_eq!((last.run, last.count()), (run, 1));
    assert!(last.of(&key("ann"), Operation::Delete).is_some());
    assert!(last.of(&key("ann"), Operation::Update).is_none());
    let next = ended(&db, 3, planned(3)).await;
    let last = db.last_held().await.expect("it is read").expect("a plan");
    assert_eq!((last.run, last.count()), (next, 0));
}
