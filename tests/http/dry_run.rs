//! Dry runs: what they record, and what they leave alone.
use crate::support::World;
use chrono::Utc;
use omni_user_sync::model::RunRef;
use omni_user_sync::sandbox::Options;
use omni_user_sync::state::{Access, ApproveError, StateDb};

const ROSTER: &str = "op,email,display_name,department\ndelete,user0001@example.com,,\n\
    upsert,user0002@example.com,,Ops\nupsert,new@x.co,New,Ops\n";

async fn world() -> World {
    let world = World::with(Options {
        users: 3,
        ..Options::default()
    })
    .await;
    world.roster(ROSTER);
    world
        .set("policy.mode", "dry-run")
        .set("policy.max_removals", "0")
}

fn state(world: &World) -> StateDb {
    let dir = world.settings().state.dir;
    StateDb::open(&world.sandbox.url(), Access::Approve(&dir)).expect("a state database")
}

async fn changes(db: &StateDb, run: RunRef) -> String {
    let run = db.run(run).await.expect("it is read").expect("a run");
    let changes = db.changes(run.number).await.expect("they are read");
    let lines = changes.iter().map(|change| {
        let intent = &change.intent;
        let fields = intent.fields.iter().map(|field| {
            let value = |value: &Option<_>| value.as_ref().map(ToString::to_string);
            format!(
                " {}: {:?} => {:?}",
                field.field,
                value(&field.from),
                value(&field.to)
            )
        });
        let (operation, email) = (intent.operation, &intent.subject);
        let fields: String = fields.collect();
        format!("{} {operation} {email}{fields}\n", change.outcome_word())
    });
    lines.collect()
}

#[tokio::test]
async fn a_dry_run_records_planned_changes() {
    let world = world().await;
    let first = world.run().await;
    let db = state(&world);
    insta::assert_snapshot!(changes(&db, RunRef::Latest).await, @r#"
    planned update user0002@example.com department: Some("'Finance'") => Some("'Ops'")
    planned create new@x.co display_name: None => Some("'New'") department: None => Some("'Ops'")
    "#);
    let held = db
        .held(first.number.expect("a number"))
        .await
        .expect("it is read");
    assert_eq!(held[0].changes.len(), 1);
    let reports = world.reports();
    assert!(reports[0].0.ends_with("-planned.csv"), "{reports:?}");
    for row in [
        "users.csv,2,user0001@example.com,delete,held,held by policy.max_removals",
        "users.csv,3,user0002@example.com,upsert,planned,update: department\n",
        "users.csv,4,new@x.co,upsert,planned,\"create: display_name, department\"\n",
    ] {
        assert!(reports[0].1.contains(row), "{row}: {}", reports[0].1);
    }
    // The same plan is a reference to the first.
    world.run().await;
    let again = changes(&db, RunRef::Latest).await;
    assert_eq!(
        again,
        changes(&db, RunRef::Number(first.number.expect("a number"))).await
    );
    assert_eq!(world.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_dry_run_accepts_nothing() {
    let world = world().await;
    world.run().await;
    let db = state(&world);
    let memory = db.memory(Utc::now()).await.expect("it is read");
    assert!(memory.managed.is_empty() && memory.last_accepted.is_none());
    for dry in [true, false] {
        let refused = db.approve(RunRef::Latest, "ann", Utc::now(), dry).await;
        assert!(
            matches!(refused, Err(ApproveError::DryRun { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(db.approval_mark().await.expect("it is read"), 0);
}

#[tokio::test]
async fn the_old_name_is_accepted() {
    let world = world().await.set("policy.mode", "plan");
    assert_eq!(world.run().await.result().as_str(), "dry_run");
    assert_eq!(world.writes(), Vec::<String>::new());
}
