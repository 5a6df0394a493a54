//! A folder of rosters from one run to the next: files come, go and are renamed.
use crate::support::{World, assert_converged, outcomes_of};
use chrono::Utc;
use omni_user_sync::model::RunRef;
use omni_user_sync::run::RunOutcome;
use omni_user_sync::state::{Access, StateDb};
use serde_json::json;
use std::fs;

/// A folder with two files, whose users were made by a first run.
async fn two_files() -> World {
    let world = World::new().await;
    let folder = world.folder.path().join("rosters");
    fs::create_dir(&folder).expect("made");
    let world = world
        .set("source.path", folder.to_str().expect("text"))
        .set("policy.max_removals", "100%")
        .set("policy.prune", "managed");
    write(&world, "sales.csv", "a@x.co,A\nb@x.co,B\nc@x.co,C\n");
    write(&world, "support.csv", "d@x.co,D\n");
    assert_converged(&world.run().await);
    world
}

fn write(world: &World, name: &str, rows: &str) {
    let path = world.folder.path().join("rosters").join(name);
    fs::write(path, format!("email,display_name\n{rows}")).expect("written");
}

fn rename(world: &World, from: &str, to: &str) {
    let folder = world.folder.path();
    fs::rename(folder.join(from), folder.join(to)).expect("renamed");
}

/// Takes a file away, to where it can be taken back from.
fn take_away(world: &World, name: &str) {
    rename(world, &format!("rosters/{name}"), name);
}

fn put_back(world: &World, name: &str) {
    rename(world, name, &format!("rosters/{name}"));
}

fn held(run: &RunOutcome) -> Vec<(&'static str, usize)> {
    run.held()
        .iter()
        .map(|held| (held.rule.as_str(), held.count))
        .collect()
}

fn says(texts: &[String], text: &str) -> bool {
    texts.iter().any(|one| one.contains(text))
}

async fn approve(world: &World) {
    let dir = world.settings().state.dir;
    let db = StateDb::open(&world.sandbox.url(), Access::Approve(&dir)).expect("there");
    let approved = db.approve(RunRef::Latest, "ann", Utc::now(), false);
    approved.await.expect("approved");
}

const GONE: &str = "support.csv is missing (it was part of the last accepted roster)";

#[tokio::test]
async fn users_of_a_missing_file_stay_until_approved() {
    let world = two_files().await;
    take_away(&world, "support.csv");
    write(&world, "sales.csv", "a@x.co,New\nb@x.co,B\nc@x.co,C\n");
    for updates in [vec!["update a@x.co applied"], vec![]] {
        let run = world.run().await;
        assert_eq!(
            (held(&run), outcomes_of(&run)),
            (
                vec![("prune", 1)],
                updates.into_iter().map(Into::into).collect()
            )
        );
        assert!(
            run.held()[0].reason.starts_with(GONE),
            "{}",
            run.held()[0].reason
        );
        assert!(says(&run.warnings, GONE), "{:?}", run.warnings);
    }
    approve(&world).await;
    let run = world.run().await;
    assert_eq!(outcomes_of(&run), ["delete d@x.co applied"]);
    assert_converged(&run);
    let run = world.run().await;
    assert!(
        !says(&run.warnings, GONE),
        "it is gone for good: {:?}",
        run.warnings
    );
}

#[tokio::test]
async fn a_returned_file_no_longer_blocks_removals() {
    let world = two_files().await;
    take_away(&world, "support.csv");
    assert_eq!(held(&world.run().await), [("prune", 1)]);
    put_back(&world, "support.csv");
    let run = world.run().await;
    assert_converged(&run);
    assert!(!says(&run.warnings, GONE), "{:?}", run.warnings);
    // Who leaves a file that is there is removed as ever.
    write(&world, "sales.csv", "a@x.co,A\nb@x.co,B\n");
    assert_eq!(outcomes_of(&world.run().await), ["delete c@x.co applied"]);
}

#[tokio::test]
async fn a_renamed_file_is_not_reported_missing() {
    let world = two_files().await;
    for day in ["23", "24"] {
        fs::remove_file(world.folder.path().join("rosters/sales.csv")).unwrap_or_default();
        fs::remove_file(world.folder.path().join("rosters/sales-23.csv")).unwrap_or_default();
        let last = if day == "23" { "c@x.co,C\n" } else { "" };
        write(
            &world,
            &format!("sales-{day}.csv"),
            &format!("a@x.co,A\n{last}"),
        );
        let run = world.run().await;
        let leaver = if day == "23" { "b@x.co" } else { "c@x.co" };
        assert_eq!(outcomes_of(&run), [format!("delete {leaver} applied")]);
        assert_converged(&run);
        assert!(run.warnings.is_empty(), "{:?}", run.warnings);
    }
}

/// As where each day's file is put beside the others and taken away when it is done: in the run that misses
/// it no user is removed, not even by a row. The next run uses the roster as it is.
#[tokio::test]
async fn a_missing_file_blocks_removals_without_pruning() {
    let world = two_files().await.set("policy.prune", "never");
    take_away(&world, "support.csv");
    let path = world.folder.path().join("rosters/sales.csv");
    let rows = "op,email,display_name\ndelete,a@x.co,\ndeactivate,b@x.co,\nupsert,c@x.co,New\n";
    fs::write(path, rows).expect("written");
    let run = world.run().await;
    assert_eq!(
        outcomes_of(&run),
        ["update c@x.co applied"],
        "the rest goes on"
    );
    assert!(says(&run.warnings, GONE), "{:?}", run.warnings);
    let [blocked] = run.blocked() else {
        panic!("{:?}", run.blocked());
    };
    assert!(
        blocked.starts_with("2 removals are not planned: support.csv is missing"),
        "{blocked}"
    );
    let run = world.run().await;
    assert!(!says(&run.warnings, GONE), "once");
    assert_eq!(
        outcomes_of(&run),
        ["deactivate b@x.co applied", "delete a@x.co applied"]
    );
    assert_converged(&run);
}

/// Users that pruning never removes do not delay removals by rows beyond one run.
#[tokio::test]
async fn a_missing_file_blocks_removals_during_the_grace() {
    for prune in ["managed", "all"] {
        let world = two_files()
            .await
            .set("policy.prune", prune)
            .set("policy.prune_grace", "7d");
        world.user("stranger@x.co", "S", json!({}));
        take_away(&world, "support.csv");
        let path = world.folder.path().join("rosters/sales.csv");
        let rows = "op,email,display_name\ndelete,a@x.co,\nupsert,b@x.co,B\nupsert,c@x.co,C\n";
        fs::write(path, rows).expect("written");
        let run = world.run().await;
        assert_eq!(
            (outcomes_of(&run), run.blocked().len()),
            (vec![], 1),
            "{prune}: {run:?}"
        );
        let run = world.run().await;
        assert_eq!(outcomes_of(&run), ["delete a@x.co applied"], "{prune}");
        assert!(
            says(&run.warnings, GONE),
            "still reported: {:?}",
            run.warnings
        );
        // And who is only missing is held as ever, once their grace is over.
        let world = world.set("policy.prune_grace", "1ms");
        let run = world.run().await;
        assert!(
            held(&run).iter().all(|(rule, _)| *rule == "prune"),
            "{run:?}"
        );
        assert_eq!(outcomes_of(&run), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_missing_file_is_held_after_the_grace() {
    let world = two_files().await.set("policy.prune_grace", "1ms");
    take_away(&world, "support.csv");
    let run = world.run().await;
    assert_eq!(held(&run), [], "the grace begins");
    assert!(says(&run.warnings, GONE), "{:?}", run.warnings);
    assert_eq!(held(&world.run().await), [("prune", 1)]);
    approve(&world).await;
    assert_eq!(outcomes_of(&world.run().await), ["delete d@x.co applied"]);
}

/// What could not be read in the run in which it went must not make it forgotten.
#[tokio::test]
async fn a_missing_file_is_held_once_pruning_resumes() {
    let world = two_files().await;
    take_away(&world, "support.csv");
    let sales = "a@x.co,A\nb@x.co,B\nc@x.co,C\n";
    write(&world, "sales.csv", &format!("{sales}nobody,N\n"));
    let run = world.run().await;
    assert_eq!((held(&run), outcomes_of(&run)), (vec![], vec![]));
    assert!(says(run.blocked(), "without a readable email"), "{run:?}");
    write(&world, "sales.csv", sales);
    let run = world.run().await;
    assert_eq!(
        (held(&run), outcomes_of(&run)),
        (vec![("prune", 1)], vec![])
    );
}

#[tokio::test]
async fn a_missing_file_without_own_users_is_ignored() {
    let world = two_files().await;
    take_away(&world, "support.csv");
    write(
        &world,
        "sales.csv",
        "a@x.co,A\nb@x.co,B\nc@x.co,C\nd@x.co,D\n",
    );
    let run = world.run().await;
    assert_converged(&run);
    assert!(says(&run.warnings, GONE), "{:?}", run.warnings);
    write(&world, "sales.csv", "a@x.co,A\nb@x.co,B\nd@x.co,D\n");
    assert_eq!(outcomes_of(&world.run().await), ["delete c@x.co applied"]);
}

#[tokio::test]
async fn a_rejected_file_is_not_reported_missing() {
    let world = two_files().await;
    let path = world.folder.path().join("rosters/support.csv");
    fs::write(path, "email\n\"d@x.co").expect("written");
    let run = world.run().await;
    assert!(!says(&run.warnings, GONE), "{:?}", run.warnings);
    assert!(
        says(run.blocked(), "A file of the roster could not be read"),
        "{run:?}"
    );
}
