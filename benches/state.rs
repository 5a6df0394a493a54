//! How long the state database takes with a large organisation: `cargo bench --bench state`

#[allow(dead_code, unreachable_pub)] // made for tests, and used in part here
#[path = "../tests/support/results.rs"]
mod results;
#[allow(dead_code)] // made for tests, and used in part here
#[path = "../tests/fast/state/support.rs"]
mod support;

use futures_util::future::join_all;
use omni_user_sync::model::{
    ChangeOutcome, Desired, KnownUser, ObservationHeader, ObservationUpdate, Observed,
    ObservedGroupsUpdate, Operation, RunNumber, RunRef, Schema, UserMatch,
};
use omni_user_sync::state::StateDb;
use std::io::Write;
use std::time::Instant;
use support::{
    State, at, email, end, intent, omni, record_roster, roster, settle, settled, start, upsert,
};

async fn timed<T>(what: &str, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let result = work.await;
    let took = begun.elapsed();
    writeln!(std::io::stderr(), "{took:>12.3?}  {what}").expect("standard error is open");
    result
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("user{number}")).collect()
}

fn large(names: &[String]) -> (Desired, Observed) {
    let rows: Vec<_> = names.iter().map(|name| (name.as_str(), upsert())).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    (roster(&rows), omni(&names))
}

/// An observation as a run keeps it.
fn update(observed: &Observed) -> ObservationUpdate {
    let known = |user: &UserMatch| match user {
        UserMatch::One(user) => KnownUser::One {
            user: user.clone(),
            seen: None,
            verified: None,
        },
        UserMatch::Several(count) => KnownUser::Several(*count),
    };
    let users = observed.by_email();
    ObservationUpdate {
        header: ObservationHeader {
            observed: at(1),
            schema: Schema::unknown(),
            schema_read: at(1),
            summary: observed.summary(),
            listing: None,
            groups: None,
        },
        users: users
            .map(|(email, user)| (email.clone(), known(user)))
            .collect(),
        forgotten: Vec::new(),
        is_whole: true,
        groups: ObservedGroupsUpdate::default(),
    }
}

async fn note(db: &StateDb, (desired, observed): &(Desired, Observed)) {
    record_roster(db, 0, desired, observed, true).await;
}

async fn changes(db: &StateDb, run: RunNumber, count: usize) {
    let one = async |number: usize| {
        let intent = intent(Operation::Update, &format!("user{number}"), 1);
        let change = db.intend(run, &intent).await.expect("written");
        let settled = settled(ChangeOutcome::Applied, 2);
        settle(db, run, change, &intent, &settled).await;
    };
    join_all((0..count).map(one)).await;
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    for users in [100_000, 1_000_000] {
        let state = State::new();
        let db = state.open();
        let world = large(&names(users));
        writeln!(std::io::stderr(), "{users} managed users").expect("standard error is open");
        timed("first roster", note(&db, &world)).await;
        timed("same roster again", note(&db, &world)).await;
        timed("memory", db.memory(at(1))).await.expect("read");
        let ann = email("user77");
        timed("one user", db.user(&ann)).await.expect("read");
        let (_, observed) = &world;
        for what in ["observation kept", "observation kept again"] {
            timed(what, db.keep_observation(update(observed)))
                .await
                .expect("written");
        }
        timed("observation read", db.observation())
            .await
            .expect("read");
        drop(db);
        timed("opening for runs", async { state.open() }).await;
        timed("opening to read", async { state.read() }).await;
    }
    let state = State::new();
    let db = state.open();
    let fill = async {
        for round in 0..1000 {
            let run = db.begin(start(round)).await.expect("written");
            changes(&db, run, 100).await;
            db.finish(run, &end(round)).await.expect("written");
        }
    };
    timed("1,000 runs of 100 changes, written", fill).await;
    let last = db.run(RunRef::Latest).await.expect("read").expect("one");
    timed(
        "55 changes at once, both writes",
        changes(&db, last.number, 55),
    )
    .await;
    let one_by_one = async {
        for _ in 0..55 {
            changes(&db, last.number, 1).await;
        }
    };
    timed("55 changes one by one, both writes", one_by_one).await;
    timed("1,000 runs, read", db.runs(1000))
        .await
        .expect("read");
    timed("a run's changes", db.changes(last.number))
        .await
        .expect("read");
    timed("a user's changes", db.changes_of(&email("user7"), 1000))
        .await
        .expect("read");
    timed("unknown", db.unknown()).await.expect("read");
    timed("memory", db.memory(at(1))).await.expect("read");
    let later = at(0) + chrono::TimeDelta::days(90);
    timed(
        "pruning it all",
        db.prune_old(later, std::time::Duration::ZERO),
    )
    .await
    .expect("written");
}
