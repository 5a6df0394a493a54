//! What the state database and a run's outcome contain.

use super::{on, status};
use crate::support::{World, outcomes_of};
use chrono::Utc;
use omni_user_sync::model::{ChangeOutcome, RunNumber, RunState, Trigger};
use omni_user_sync::run::{Applied, Completion, Stop};
use omni_user_sync::sandbox::{Fault, Options, What, When};
use serde_json::json;

#[tokio::test]
async fn history_records_only_confirmed_outcomes() {
    let world = World::with(Options::with_full_lists()).await;
    world.user("lost@x.co", "L", json!({ "department": "old" }));
    world.user("refused@x.co", "R", json!({}));
    let world = world.set("omni.max_in_flight", "1");
    // The answer is lost, and so are the looks at what became of it.
    world.org().fault(on("PATCH", What::LostReply, 1));
    let path = Some("/api/scim/v2/Users/".into());
    let look = When {
        method: Some("GET".into()),
        path,
        ..When::default()
    };
    world.org().fault(Fault {
        when: look,
        what: status(401),
        times: 1,
    });
    world.roster("email,display_name,department\nlost@x.co,,new\nrefused@x.co,New,\n");
    let cut = world.run().await;
    assert!(!cut.is_success(), "{cut:?}");
    let changes = world.state_db().changes(RunNumber(1)).await.expect("read");
    assert_eq!(changes[0].settled, None, "what became of it is not known");

    assert_eq!(
        outcomes_of(&world.run().await),
        ["update refused@x.co applied"]
    );
    let db = world.state_db();
    let changes = db.changes(RunNumber(1)).await.expect("read");
    assert_eq!(
        changes[0].settled.as_ref().map(|settled| settled.outcome),
        Some(ChangeOutcome::Applied)
    );
    let runs = db.runs(9).await.expect("read");
    let words: Vec<_> = runs
        .iter()
        .map(|run| match &run.state {
            RunState::Ended(end) => end.result.as_str(),
            RunState::Open | RunState::Interrupted => "not ended",
        })
        .collect();
    assert_eq!(words, ["converged", "failed"]);
}

#[tokio::test]
async fn a_likely_rename_causes_a_warning() {
    let world = World::new().await;
    world.user("old@x.co", "Ann Lee", json!({}));
    world.roster("op,email,display_name\ndelete,old@x.co,\nupsert,new@x.co,Ann Lee\n");
    let plan = world.plan().await.expect("a plan");
    assert!(
        plan.assessment
            .warnings
            .iter()
            .any(|warning| warning.contains("with the same display name")),
        "{plan:?}"
    );
}

#[tokio::test]
async fn an_existing_user_is_recorded_as_updated() {
    let world = World::new().await;
    world.user("a@x.co", "Old", json!({}));
    world.org().fault(Fault::next(What::SkipUser));
    world.roster("email,display_name\na@x.co,New\n");
    assert_eq!(outcomes_of(&world.run().await), ["update a@x.co applied"]);
    let changes = world.state_db().changes(RunNumber(1)).await.expect("read");
    let recorded: Vec<_> = changes
        .iter()
        .map(|change| {
            (
                change.intent.operation.as_str(),
                change.settled.as_ref().map(|one| one.outcome),
            )
        })
        .collect();
    assert_eq!(
        recorded,
        [
            ("create", Some(ChangeOutcome::Failed)),
            ("update", Some(ChangeOutcome::Applied))
        ]
    );
}

#[tokio::test]
async fn a_declined_run_is_recorded_as_declined() {
    let world = World::new().await;
    world.roster("email,display_name\na@x.co,A\n");
    let reconciler = world.reconciler();
    let begun = reconciler.begin(Trigger::Command, world.target()).await;
    let mut run = begun.expect("it begins");
    let stop = Stop::default();
    let prepared = reconciler.prepare(&mut run, &stop).await;
    assert_eq!(
        prepared.expect("a plan").assessment.verdict.passed().len(),
        1
    );
    reconciler
        .finish(run, None, Applied::nothing(Completion::Declined))
        .await;
    let runs = reconciler.observer().state().runs(1).await.expect("read");
    let RunState::Ended(end) = &runs[0].state else {
        panic!("{runs:?}");
    };
    assert_eq!((end.result.as_str(), end.users), ("declined", Some(0)));
    assert_eq!(world.writes(), Vec::<String>::new());
}

/// The prompt for a wrong roster was declined: its users did not become managed, so they are never missed and
/// pruned later.
#[tokio::test]
async fn a_declined_roster_adds_no_managed_users() {
    let world = World::new().await.set("policy.max_removals", "0");
    for name in ["own", "other"] {
        world.user(&format!("{name}@x.co"), name, json!({}));
    }
    world.roster("op,email\nupsert,other@x.co\ndelete,own@x.co\n");
    let reconciler = world.reconciler();
    let begun = reconciler.begin(Trigger::Command, world.target()).await;
    let mut run = begun.expect("it begins");
    let stop = Stop::default();
    let prepared = reconciler.prepare(&mut run, &stop);
    assert_eq!(
        prepared
            .await
            .expect("a plan")
            .assessment
            .verdict
            .held()
            .len(),
        1
    );
    reconciler
        .finish(run, None, Applied::nothing(Completion::Declined))
        .await;
    let memory = reconciler.observer().state().memory(Utc::now()).await;
    let memory = memory.expect("read");
    assert!(memory.managed.is_empty() && memory.last_accepted.is_none());
    let held = reconciler
        .observer()
        .state()
        .last_held()
        .await
        .expect("read");
    assert_eq!(held.expect("a run").count(), 1, "its number is known");
}

/// A change that the state database does not record must not be sent: after a kill it would be unknown.
#[tokio::test]
async fn unrecorded_changes_are_not_sent() {
    let world = World::new().await;
    world.roster("email,display_name\na@x.co,A\nb@x.co,B\n");
    let db = world.settings().state.dir.join("state.db");
    world.org().before(2, move |_| {
        let raw = rusqlite::Connection::open(&db).expect("a file of the test");
        let full = "CREATE TRIGGER no_room BEFORE INSERT ON changes
                    BEGIN SELECT RAISE(FAIL, 'the disk is full'); END";
        raw.execute_batch(full).expect("made");
    });
    let run = world.run().await;
    assert_eq!(run.result().as_str(), "failed", "{run:#?}");
    assert_eq!(run.count(ChangeOutcome::Skipped), 2, "{run:#?}");
    assert_eq!(world.writes(), Vec::<String>::new());
}
