//! Only a whole state database, of this organisation, that this program understands, is opened.

use super::support::{ORG, State, at, email, end, id, intent, open, start};
use chrono::{DateTime, TimeDelta};
use omni_user_sync::model::{
    AttributeName, Counts, Field, FieldChange, GuardRule, Operation, OwnershipUpdate, Quarantined,
    RunNumber, RunRef, RunState, RunTime, Value,
};
use omni_user_sync::state::{Access, StateDb, StateError, StateLock};
use rusqlite::Connection;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn try_open(state: &State, org: &str) -> Result<StateDb, StateError> {
    let lock = StateLock::acquire(&state.dir(), "run").expect("the lock is free");
    StateDb::open(org, Access::Write(lock))
}

/// How all three ways of opening end.
fn refusals(state: &State, org: &str) -> Vec<String> {
    let dir = state.dir();
    [
        try_open(state, org),
        StateDb::open(org, Access::Approve(&dir)),
        StateDb::open(org, Access::Read(&dir)),
    ]
    .map(|opened| opened.expect_err("it is refused").to_string())
    .to_vec()
}

/// A state database with a run in it, closed.
async fn with_a_run() -> State {
    let state = State::new();
    let db = state.open();
    let run = db.begin(start(0)).await.expect("it is written");
    db.finish(run, &end(1)).await.expect("it is written");
    state
}

#[tokio::test]
async fn writes_survive_a_restart() {
    let state = with_a_run().await;
    let runs = state.open().runs(10).await.expect("it is read");
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].state, RunState::Ended(end(1).into()));
}

#[tokio::test]
async fn files_are_private() {
    let state = with_a_run().await;
    let loose = fs::Permissions::from_mode(0o644);
    fs::set_permissions(state.file("state.db"), loose).expect("a file of the test");
    let db = state.open();
    db.begin(start(2)).await.expect("it is written");
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let about = fs::metadata(state.file(name)).expect("it is there");
        assert_eq!(about.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn readers_and_approvers_create_no_files() {
    let state = State::new();
    for db in [state.read(), state.approve()] {
        assert_eq!(db.runs(10).await.expect("it is read"), []);
        assert_eq!(db.run(RunRef::Latest).await.expect("it is read"), None);
    }
    assert!(!state.dir().exists());
}

#[tokio::test]
async fn a_reader_sees_new_writes_and_writes_nothing() {
    let state = State::new();
    let writer = state.open();
    let reader = state.read();
    let run = writer.begin(start(0)).await.expect("it is written");
    let change = intent(Operation::Delete, "Ann", 1);
    writer.intend(run, &change).await.expect("it is written");
    let seen = reader.changes(run).await.expect("it is read");
    assert_eq!(seen[0].intent, change);
    let error = reader.begin(start(2)).await.expect_err("it may only read");
    assert!(
        error
            .to_string()
            .contains("give the service user write permission"),
        "{error}"
    );
    assert_eq!(reader.runs(10).await.expect("it is read").len(), 1);
}

#[tokio::test]
async fn another_organisation_is_refused() {
    let state = with_a_run().await;
    for said in refusals(&state, "https://other.omniapp.co") {
        assert!(said.contains(&format!("belongs to {ORG}")), "{said}");
        assert!(said.contains("is https://other.omniapp.co;"), "{said}");
        assert!(said.contains("its own state.dir"), "{said}");
    }
    assert_eq!(state.open().runs(10).await.expect("it is read").len(), 1);
}

#[tokio::test]
async fn a_newer_database_is_rejected_and_unchanged() {
    let state = with_a_run().await;
    let raw = Connection::open(state.file("state.db")).expect("a file of the test");
    raw.pragma_update(None, "user_version", 99)
        .expect("a file of the test");
    drop(raw);
    for said in refusals(&state, ORG) {
        assert!(said.contains("has version 99"), "{said}");
    }
}

#[tokio::test]
async fn only_runs_migrate_an_older_database() {
    let state = with_a_run().await;
    let raw = Connection::open(state.file("state.db")).expect("a file of the test");
    raw.pragma_update(None, "user_version", 0)
        .expect("a file of the test");
    drop(raw);
    let error = StateDb::open(ORG, Access::Read(&state.dir())).expect_err("it is old");
    assert!(matches!(error, StateError::Older { .. }), "{error}");
}

#[tokio::test]
async fn a_damaged_database_is_rejected_and_unchanged() {
    let whole = fs::read(with_a_run().await.file("state.db")).expect("a file of the test");
    let mut page = whole.clone();
    page[4096..8192].fill(0xAA);
    let cases = [
        ("nothing in it", Vec::new()),
        ("garbage", b"garbage".repeat(1000)),
        ("a broken header", [&[0; 100], &whole[100..]].concat()),
        ("cut short", whole[..whole.len() / 2].to_vec()),
        ("a broken page", page),
    ];
    for (what, bytes) in cases {
        let state = State::new();
        fs::create_dir(state.dir()).expect("a file of the test");
        fs::write(state.file("state.db"), &bytes).expect("a file of the test");
        let error = try_open(&state, ORG).expect_err(what);
        assert!(
            matches!(error, StateError::Damaged { .. }),
            "{what}: {error}"
        );
        let left = fs::read(state.file("state.db")).expect("a file of the test");
        assert!(left == bytes, "{what}: it is left as it is");
    }
}

#[tokio::test]
async fn a_log_without_its_database_is_rejected() {
    for log in ["state.db-wal", "journal.db-wal"] {
        let state = with_a_run().await;
        fs::rename(state.file("state.db"), state.file(log)).expect("a file of the test");
        for said in refusals(&state, ORG) {
            let problem = "the file is missing, and its -wal file exists";
            assert!(said.contains(problem), "{said}");
        }
    }
}

#[tokio::test]
async fn another_organisations_old_database_keeps_its_name() {
    let state = with_a_run().await;
    fs::rename(state.file("state.db"), state.file("journal.db")).expect("a file of the test");
    for said in refusals(&state, "https://other.omniapp.co") {
        assert!(said.contains("other.omniapp.co"), "{said}");
    }
    assert!(state.file("journal.db").exists() && !state.file("state.db").exists());
}

#[tokio::test]
async fn another_programs_database_is_rejected() {
    let state = State::new();
    fs::create_dir(state.dir()).expect("a file of the test");
    let raw = Connection::open(state.file("state.db")).expect("a file of the test");
    raw.execute_batch("CREATE TABLE runs (a)")
        .expect("a file of the test");
    drop(raw);
    for said in refusals(&state, ORG) {
        assert!(said.contains("a database of another program"), "{said}");
    }
}

#[tokio::test]
async fn a_folder_instead_of_the_file_is_rejected() {
    let state = State::new();
    fs::create_dir_all(state.file("state.db")).expect("a file of the test");
    for said in refusals(&state, ORG) {
        assert!(said.contains("it is not a file"), "{said}");
    }
}

#[tokio::test]
async fn deleted_data_is_overwritten_in_the_files() {
    let state = State::new();
    let db = state.open();
    let ann = email("ann");
    let why = Quarantined {
        until: at(0),
        failures: 1,
        undone: 0,
        fingerprint: [0; 32],
        reason: "sesame-7".into(),
    };
    let holds_it = || {
        let files = fs::read_dir(state.dir())
            .expect("a file of the test")
            .flatten();
        let mut bytes = files.map(|file| fs::read(file.path()).expect("a file of the test"));
        bytes.any(|bytes| bytes.windows(8).any(|window| window == b"sesame-7"))
    };
    db.quarantine_put(&ann, &why).await.expect("written");
    assert!(holds_it());
    db.quarantine_clear([&(&ann).into()])
        .await
        .expect("written");
    drop(db);
    assert!(!holds_it());
}

#[tokio::test]
async fn an_interrupted_creation_is_repeated() {
    let state = State::new();
    fs::create_dir(state.dir()).expect("a file of the test");
    fs::write(state.file("state.db.new"), "half of one").expect("a file of the test");
    assert_eq!(state.open().runs(1).await.expect("it is read"), []);
    assert!(!state.file("state.db.new").exists());
}

/// A database of version 1 under its old name is renamed with its write-ahead log, which holds all the rows here, and
/// migrated, with the present words.
#[tokio::test]
async fn a_database_of_version_1_is_migrated() {
    let state = State::new();
    fs::create_dir(state.dir()).expect("a file of the test");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let raw = Connection::open(elsewhere.path().join("journal.db")).expect("a file of the test");
    raw.pragma_update(None, "journal_mode", "WAL")
        .expect("a file of the test");
    raw.execute_batch(include_str!("version_1.sql"))
        .expect("a file of the test");
    for name in ["journal.db", "journal.db-wal"] {
        fs::copy(elsewhere.path().join(name), state.file(name)).expect("a file of the test");
    }
    drop(raw);
    let error = StateDb::open(ORG, Access::Read(&state.dir())).expect_err("it is old");
    assert!(matches!(error, StateError::Older { .. }), "{error}");
    let db = open(&state.dir());
    assert!(state.file("state.db").exists() && !state.file("journal.db").exists());
    let runs = db.runs(10).await.expect("it is read");
    let results: Vec<_> = runs
        .iter()
        .map(|run| (run.number.0, run.state.as_str()))
        .collect();
    assert_eq!(results, [(8, "dry_run"), (7, "converged"), (6, "partial")]);
    let counts = |run: usize| {
        let end = runs[run].end().expect("it ended");
        (end.planned, end.pending, end.users)
    };
    let same = Some(Counts::new([0, 1, 2, 0, 3, 4, 0, 0]));
    assert_eq!(counts(0), (same, same, None));
    assert_eq!(counts(1), (None, None, None));
    let (planned, left) = (
        Counts::new([0, 3, 1, 0, 0, 4, 0, 0]),
        Counts::new([0, 2, 1, 0, 0, 2, 0, 0]),
    );
    assert_eq!(counts(2), (Some(planned), Some(left), Some(21)));
    let changes = db.changes(RunNumber(7)).await.expect("it is read");
    let outcomes: Vec<_> = changes.iter().map(|change| change.outcome_word()).collect();
    assert_eq!(outcomes, ["applied", "skipped"]);
    let attribute = |name| Field::Attribute(AttributeName::new(name));
    let fields = [
        FieldChange::new(
            attribute("region"),
            Value::one("n"),
            Value::many(["s", "e"]),
        ),
        FieldChange::new(Field::DisplayName, None, Value::one("Ann")),
        FieldChange::active(false, true),
        FieldChange::new(attribute("active"), Value::one("x"), None),
    ];
    assert_eq!(changes[0].intent.fields, fields);
    let ann = db.user(&email("ann")).await.expect("it is read");
    assert!(ann.managed.is_some());
    let last = RunTime::first(runs[0].start.started);
    let memory = db.memory(runs[0].start.started).await.expect("it is read");
    let missing = |name| last.since(memory.missing_since[&email(name)]);
    assert!(memory.run_time == last && missing("dan") > TimeDelta::zero());
    assert_eq!(missing("eve"), TimeDelta::zero(), "not in the future");
    let cid = db.user(&email("cid")).await.expect("it is read");
    assert_eq!(cid.quarantined.expect("in quarantine").reason, "refused");
    let held = db.held(RunNumber(8)).await.expect("it is read");
    assert_eq!(
        (held[0].rule, held[0].reason.as_str()),
        (GuardRule::MaxRemovals, "too many")
    );
    let now = DateTime::from_timestamp_millis(1_800_000_005_000).expect("a time");
    let approved = db.approvals(now).await.expect("it is read");
    assert!(approved.is_empty(), "fields were not shown: {approved:?}");
    assert_eq!(held[0].changes[0].user_id, Some(id("bob")));
}

#[tokio::test]
async fn a_flipped_bit_in_an_address_is_damage() {
    for table in ["managed", "quarantine", "deactivated"] {
        let state = State::new();
        let db = state.open();
        let why = Quarantined {
            until: at(0),
            failures: 1,
            undone: 0,
            fingerprint: [0; 32],
            reason: String::new(),
        };
        let ann = email("ann");
        db.quarantine_put(&ann, &why).await.expect("written");
        let ownership = OwnershipUpdate {
            managed: vec![ann.clone()],
            deactivated: vec![(id("ann"), ann.clone())],
            ..OwnershipUpdate::default()
        };
        db.record_roster(ownership, None, at(0))
            .await
            .expect("written");
        db.memory(at(1)).await.expect("it is whole");
        drop(db);
        let raw = Connection::open(state.file("state.db")).expect("a file of the test");
        raw.execute_batch(&format!("UPDATE {table} SET email = 'cnn@x.co'"))
            .expect("a file of the test");
        drop(raw);
        let error = state.open().memory(at(1)).await.expect_err("damaged");
        assert!(
            matches!(error, StateError::Damaged { .. }),
            "{table}: {error}"
        );
    }
}

/// Each stands for a folder or file that was removed, restored from a copy, or mounted over.
#[tokio::test]
async fn writes_stop_while_the_place_is_another() {
    let copy = |from: &Path, to: &Path| {
        fs::create_dir(to).expect("a file of the test");
        for entry in fs::read_dir(from).expect("a file of the test").flatten() {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("a file of the test");
        }
    };
    for replaced in ["folder", "copy", "state.db", "lock"] {
        let state = State::new();
        let db = state.open();
        let run = db.begin(start(0)).await.expect("it is written");
        let (dir, away) = (state.dir(), state.dir().with_extension("away"));
        match replaced {
            "folder" => fs::rename(&dir, &away).expect("a file of the test"),
            "copy" => {
                fs::rename(&dir, &away).expect("a file of the test");
                copy(&away, &dir);
            }
            file => {
                fs::rename(dir.join(file), &away).expect("a file of the test");
                fs::copy(&away, dir.join(file)).expect("a file of the test");
            }
        }
        let change = intent(Operation::Delete, "Ann", 1);
        let error = db.intend(run, &change).await.expect_err("it is another");
        assert!(
            matches!(error, StateError::Replaced { .. }),
            "{replaced}: {error}"
        );
        if replaced == "folder" {
            fs::rename(&away, &dir).expect("a file of the test");
            db.intend(run, &change).await.expect("it is back");
        }
    }
}
