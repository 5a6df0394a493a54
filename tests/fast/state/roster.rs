//! Managed users, since when they are missing, and which roster was accepted.

use super::support::{
    State, at, change, email, id, intent, key, omni, omni_user, record_roster, roster, start,
    upsert,
};
use omni_user_sync::model::{
    AcceptedRoster, ChangeOutcome, Desired, DesiredUser, FileRead, Fingerprint, Leaving, Location,
    Memory, Observed, ObservedUser, Operation, Problem, Quarantined, RunTime,
};
use omni_user_sync::state::StateDb;
use std::time::{Duration, SystemTime};

async fn note(state: &StateDb, seconds: i64, desired: &Desired, observed: &Observed) {
    record_roster(state, seconds, desired, observed, false).await;
}

async fn memory(db: &StateDb) -> Memory {
    db.memory(at(99)).await.expect("read")
}

/// `name` of each managed user, or `name since` where they are missing; sorted.
async fn managed(db: &StateDb) -> Vec<String> {
    let memory = memory(db).await;
    let show = |email: &omni_user_sync::model::Email| {
        let name = email.folded().replace("@x.co", "");
        match memory.missing_since.get(email) {
            Some(since) => format!(
                "{name} {}",
                since.since(RunTime::first(at(0))).num_seconds()
            ),
            None => name,
        }
    };
    let mut shown: Vec<_> = memory.managed.iter().map(show).collect();
    shown.sort();
    shown
}

/// Removed users stay known, also after the history is pruned.
#[tokio::test]
async fn removed_users_are_remembered_for_good() {
    let state = State::new();
    let db = state.open();
    let knew = async |name: &str| memory(&db).await.knew(&email(name));
    let both = roster(&[
        ("ann", upsert()),
        ("bob", DesiredUser::Delete(Leaving::default())),
    ]);
    note(&db, 1, &both, &omni(&["ann", "bob"])).await;
    assert!(
        knew("ann").await && !knew("bob").await,
        "bob was never managed and is there"
    );
    let leaver = roster(&[
        ("ann", DesiredUser::Delete(Leaving::default())),
        ("bob", upsert()),
    ]);
    note(&db, 2, &leaver, &omni(&["bob"])).await;
    assert!(!memory(&db).await.managed.contains(&email("ann")));
    assert!(knew("ANN").await, "gone, and once managed");
}

#[tokio::test]
async fn upserted_users_are_managed_and_later_missing() {
    let state = State::new();
    let db = state.open();
    let everybody = omni(&["ann", "bob", "cid"]);
    let both = roster(&[
        ("Ann", upsert()),
        ("bob", upsert()),
        ("cid", DesiredUser::Delete(Leaving::default())),
    ]);
    note(&db, 1, &both, &everybody).await;
    assert_eq!(
        managed(&db).await,
        ["ann", "bob"],
        "cid was named to be removed"
    );
    let without = roster(&[("ann", upsert())]);
    note(&db, 2, &without, &everybody).await;
    note(&db, 3, &without, &everybody).await;
    assert_eq!(managed(&db).await, ["ann", "bob 2"], "since the first time");
    note(&db, 4, &both, &everybody).await;
    assert_eq!(managed(&db).await, ["ann", "bob"]);
    let bob = db.user(&email("BOB")).await.expect("read").managed;
    assert_eq!(bob.expect("a managed user").since, at(1));
}

#[tokio::test]
async fn removed_users_are_no_longer_tracked() {
    let state = State::new();
    let db = state.open();
    let rows = ["ann", "bob", "cid", "dan"].map(|name| (name, upsert()));
    note(&db, 1, &roster(&rows), &omni(&["ann", "bob", "cid", "dan"])).await;
    let later = roster(&[
        ("ann", upsert()),
        ("cid", DesiredUser::Delete(Leaving::default())),
        ("dan", DesiredUser::Deactivate(Leaving::default())),
    ]);
    note(&db, 2, &later, &omni(&["cid", "-dan"])).await;
    // ann is named and will be made; cid and dan are still there.
    assert_eq!(managed(&db).await, ["ann", "cid", "dan"]);
    note(&db, 3, &later, &omni(&[])).await;
    assert_eq!(managed(&db).await, ["ann"]);
}

#[tokio::test]
async fn incomplete_input_makes_no_user_missing() {
    let state = State::new();
    let db = state.open();
    let everybody = omni(&["ann", "bob"]);
    note(
        &db,
        1,
        &roster(&[("ann", upsert()), ("bob", upsert())]),
        &everybody,
    )
    .await;
    let without_bob = roster(&[("ann", upsert())]);
    let location = Location {
        file: "b.csv".into(),
        line: 0,
        column: None,
    };
    let rejected = Problem {
        kind: omni_user_sync::model::ProblemKind::File,
        location: location.clone(),
        message: "it vanished".into(),
        remedy: "put it back".into(),
        email: None,
    };
    let doubtful = [
        Desired {
            rejected: vec![rejected],
            ..without_bob.clone()
        },
        Desired {
            unnamed: 1,
            ..without_bob.clone()
        },
        Desired {
            is_source: false,
            ..without_bob.clone()
        },
        Desired {
            frozen: [(email("bob"), location)].into_iter().collect(),
            ..without_bob.clone()
        },
        roster(&[("ann", DesiredUser::Delete(Leaving::default()))]),
    ];
    for (number, desired) in doubtful.iter().enumerate() {
        note(&db, 2, desired, &everybody).await;
        assert_eq!(managed(&db).await, ["ann", "bob"], "{number}");
    }
    record_roster(&db, 3, &without_bob, &everybody, true).await;
    assert_eq!(
        managed(&db).await,
        ["ann", "bob 3"],
        "the grace begins, though the roster is not taken for what it was yet"
    );

    let nobody = omni(&[]);
    note(&db, 3, &without_bob, &Observed::of_some([], 2)).await;
    assert_eq!(managed(&db).await, ["ann", "bob 3"], "not seen is not gone");
    note(
        &db,
        4,
        &without_bob,
        &nobody.with_doubt("it broke off".into()),
    )
    .await;
    assert_eq!(managed(&db).await, ["ann", "bob 3"]);
}

#[tokio::test]
async fn a_bad_row_clears_the_missing_time() {
    let state = State::new();
    let db = state.open();
    let everybody = omni(&["ann", "bob"]);
    note(
        &db,
        1,
        &roster(&[("ann", upsert()), ("bob", upsert())]),
        &everybody,
    )
    .await;
    let without_bob = roster(&[("ann", upsert())]);
    note(&db, 2, &without_bob, &everybody).await;
    let location = without_bob.users[&email("ann")].location.clone();
    let frozen = Desired {
        frozen: [(email("bob"), location)].into_iter().collect(),
        ..without_bob
    };
    note(&db, 3, &frozen, &everybody).await;
    assert_eq!(managed(&db).await, ["ann", "bob"]);
}

#[tokio::test]
async fn another_roster_changes_no_ownership() {
    let state = State::new();
    let db = state.open();
    let other = Desired {
        is_source: false,
        ..roster(&[("ann", upsert())])
    };
    note(&db, 1, &other, &omni(&["ann"])).await;
    assert!(managed(&db).await.is_empty());
    assert_eq!(memory(&db).await.last_accepted, None);
}

#[tokio::test]
async fn the_last_accepted_roster_is_remembered() {
    let state = State::new();
    let db = state.open();
    let file = |name: &str, nanos| FileRead {
        name: name.into(),
        modified: SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos),
    };
    let first = Desired {
        files: vec![file("a.csv", 1_700_000_000_123_456_789), file("b.csv", 0)],
        rows: 40,
        ..roster(&[("ann", upsert())])
    };
    note(&db, 1, &first, &omni(&["ann"])).await;
    let second = Desired {
        rows: 3,
        fingerprint: Fingerprint([8; 32]),
        ..first.clone()
    };
    record_roster(&db, 2, &second, &omni(&["ann"]), true).await;
    drop(db);
    let memory = memory(&state.open()).await;
    let accepted = AcceptedRoster {
        fingerprint: Fingerprint([7; 32]),
        rows: 40,
        files: first.files,
    };
    assert_eq!(memory.last_accepted, Some(accepted));
}

#[tokio::test]
async fn reactivated_or_recreated_users_are_not_deactivated() {
    let state = State::new();
    let db = state.open();
    let run = db.begin(start(0)).await.expect("written");
    for name in ["ann", "bob", "cid", "dan"] {
        change(
            &db,
            run,
            &intent(Operation::Deactivate, name, 1),
            ChangeOutcome::Applied,
        )
        .await;
    }
    let mut users: Vec<_> = omni(&["ann", "-bob", "-cid"])
        .users()
        .map(|user| (**user).clone())
        .collect();
    for user in &mut users {
        if user.email == email("cid") {
            user.id = id("cid-made-again");
        }
    }
    note(&db, 2, &roster(&[]), &Observed::new(users, 0)).await;
    assert_eq!(
        memory(&db).await.deactivated,
        [(id("bob"), email("bob"))].into()
    );
}

#[tokio::test]
async fn quarantine_is_set_changed_and_cleared() {
    let state = State::new();
    let db = state.open();
    let quarantined = |failures| Quarantined {
        until: at(3600),
        failures,
        undone: 0,
        fingerprint: [3; 32],
        reason: "Omni refused it".into(),
    };
    for failures in [1, 2] {
        let (ann, why) = (email("Ann"), quarantined(failures));
        db.quarantine_put(&ann, &why).await.expect("written");
    }
    assert_eq!(
        memory(&db).await.quarantined,
        [(key("ann"), quarantined(2))].into()
    );
    let ann = db.user(&email("ann")).await.expect("read");
    assert_eq!(ann.quarantined, Some(quarantined(2)));
    db.quarantine_clear([&key("aNN")]).await.expect("written");
    db.quarantine_clear([&key("bob")])
        .await
        .expect("nothing to do");
    assert!(memory(&db).await.quarantined.is_empty());
}

/// Omni may confirm a removal and not keep it, and others may create the user again.
#[tokio::test]
async fn confirmed_removals_stay_managed_until_seen_gone() {
    let without_bob = roster(&[("ann", upsert())]);
    let both = roster(&[("ann", upsert()), ("bob", upsert())]);
    let other = |name| ObservedUser {
        id: id("other"),
        ..omni_user(name)
    };
    let recreated = Observed::new([omni_user("ann"), other("bob")], 0);
    for (seen, expected, is_removed) in [
        (omni(&["ann", "bob"]), &["ann", "bob 2"][..], false),
        (omni(&["ann"]), &["ann"], false),
        (recreated, &["ann"], false),
        (Observed::of_some([], 2), &["ann"], true),
        (
            omni(&["ann"]).with_doubt("it broke off".into()),
            &["ann"],
            true,
        ),
    ] {
        let state = State::new();
        let db = state.open();
        note(&db, 1, &both, &omni(&["ann", "bob"])).await;
        note(&db, 2, &without_bob, &omni(&["ann", "bob"])).await;
        let run = db.begin(start(3)).await.expect("written");
        let removal = intent(Operation::Delete, "bob", 3);
        change(&db, run, &removal, ChangeOutcome::Applied).await;
        let confirmed = memory(&db).await.confirmed_removals;
        assert_eq!(confirmed, [(email("bob"), id("bob"))].into());
        assert_eq!(managed(&db).await, ["ann"]);
        let bob = db.user(&email("bob")).await.expect("read");
        assert!(bob.managed.is_none(), "not shown as managed");
        note(&db, 4, &without_bob, &seen).await;
        assert_eq!(managed(&db).await, expected, "{seen:?}");
        let confirmed = memory(&db).await.confirmed_removals;
        assert_eq!(confirmed.len(), usize::from(is_removed), "{seen:?}");
        // A roster that names the user again makes it managed from then on.
        note(&db, 5, &both, &seen).await;
        assert_eq!(managed(&db).await, ["ann", "bob"], "{seen:?}");
        assert!(memory(&db).await.confirmed_removals.is_empty());
    }
}
