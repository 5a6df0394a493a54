//! How long the state database takes with a large organisation: `cargo bench --bench state`

#[allow(dead_code)] // made for tests, and used in part here
#[path = "../tests/fast/state/support.rs"]
mod support;

use futures_util::future::join_all;
use omni_user_sync::model::{ChangeOutcome, Desired, Observed, Operation, RunNumber, RunRef};
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
    writeln!(std::io::stderr(), "{took:>12.3?}  {what}").expect("somebody reads");
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

async fn note(journal: &StateDb, (desired, observed): &(Desired, Observed)) {
    record_roster(journal, 0, desired, observed, true).await;
}

async fn changes(journal: &StateDb, run: RunNumber, count: usize) {
    let one = async |number: usize| {
        let intent = intent(Operation::Update, &format!("user{number}"), 1);
        let change = journal.intend(run, &intent).await.expect("written");
        let settled = settled(ChangeOutcome::Applied, 2);
        settle(journal, run, change, &intent, &settled).await;
    };
    join_all((0..count).map(one)).await;
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    for users in [100_000, 1_000_000] {
        let state = State::new();
        let journal = state.open();
        let world = large(&names(users));
        writeln!(std::io::stderr(), "{users} managed users").expect("somebody reads");
        timed("first roster", note(&journal, &world)).await;
        timed("same roster again", note(&journal, &world)).await;
        timed("memory", journal.memory(at(1))).await.expect("read");
        let ann = email("user77");
        timed("one user", journal.user(&ann)).await.expect("read");
        drop(journal);
        timed("opening for runs", async { state.open() }).await;
        timed("opening to read", async { state.read() }).await;
    }
    let state = State::new();
    let journal = state.open();
    let fill = async {
        for round in 0..1000 {
            let run = journal.begin(start(round)).await.expect("written");
            changes(&journal, run, 100).await;
            journal.finish(run, &end(round)).await.expect("written");
        }
    };
    timed("1,000 runs of 100 changes, written", fill).await;
    let last = journal
        .run(RunRef::Latest)
        .await
        .expect("read")
        .expect("one");
    timed(
        "55 changes at once, both writes",
        changes(&journal, last.number, 55),
    )
    .await;
    let one_by_one = async {
        for _ in 0..55 {
            changes(&journal, last.number, 1).await;
        }
    };
    timed("55 changes one by one, both writes", one_by_one).await;
    timed("1,000 runs, read", journal.runs(1000))
        .await
        .expect("read");
    timed("a run's changes", journal.changes(last.number))
        .await
        .expect("read");
    timed(
        "a user's changes",
        journal.changes_of(&email("user7"), 1000),
    )
    .await
    .expect("read");
    timed("unknown", journal.unknown()).await.expect("read");
    timed("memory", journal.memory(at(1))).await.expect("read");
    let later = at(0) + chrono::TimeDelta::days(90);
    timed(
        "pruning it all",
        journal.prune_old(later, std::time::Duration::ZERO),
    )
    .await
    .expect("written");
}
