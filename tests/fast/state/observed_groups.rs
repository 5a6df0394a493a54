//! Observed groups are stored with their members, by their differences.

use super::support::{State, at, id, intent, start};
use omni_user_sync::model::{
    ChangeIntent, GroupId, GroupListing, GroupName, GroupRef, ObservationHeader, ObservationUpdate,
    Observed, ObservedGroup, ObservedGroupsUpdate, Operation, Schema, StoredObservation,
};
use omni_user_sync::state::StateDb;
use rusqlite::Connection;
use std::sync::Arc;

fn group_id(text: &str) -> GroupId {
    GroupId::parse(text).expect("an id")
}

fn group(text: &str, members: Option<&[&str]>) -> ObservedGroup {
    let members = members.map(|members| members.iter().map(|name| id(name)).collect());
    ObservedGroup {
        id: group_id(text),
        name: format!("Name of {text}").as_str().into(),
        members,
    }
}

const LISTING: GroupListing = GroupListing {
    read: chrono::DateTime::UNIX_EPOCH,
    refused: None,
    users_show_groups: true,
};

async fn keep(db: &StateDb, groups: &[ObservedGroup], forgotten: &[&str], is_whole: bool) {
    let update = ObservationUpdate {
        header: ObservationHeader {
            observed: at(1),
            schema: Schema::unknown(),
            schema_read: at(1),
            summary: Observed::default().summary(),
            listing: None,
            groups: Some(LISTING),
        },
        users: Vec::new(),
        forgotten: Vec::new(),
        is_whole: false,
        groups: ObservedGroupsUpdate {
            groups: groups.iter().cloned().map(Arc::new).collect(),
            forgotten: forgotten.iter().map(|id| group_id(id)).collect(),
            is_whole,
        },
    };
    db.keep_observation(update).await.expect("written");
}

async fn stored(db: &StateDb) -> StoredObservation {
    let stored = db.observation().await.expect("read");
    let mut stored = stored.expect("there is one");
    stored.groups.sort_by(|a, b| a.id.cmp(&b.id));
    stored
}

/// The number of rows that a connection of this test sees.
fn rows(state: &State, table: &str) -> i64 {
    let raw = Connection::open(state.file("state.db")).expect("a file of the test");
    let count = raw.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
        row.get(0)
    });
    count.expect("a table")
}

#[tokio::test]
async fn groups_outlast_a_restart() {
    let state = State::new();
    let groups = [
        group("a", Some(&["Ann", "Bob"])),
        group("b", Some(&[])),
        group("c", None),
        group("d", Some(&["Bob"])),
    ];
    keep(&state.open(), &groups, &[], true).await;
    let stored = stored(&state.open()).await;
    assert_eq!(stored.groups, groups);
    assert_eq!(stored.header.groups, Some(LISTING));
    assert_eq!(rows(&state, "group_users"), 2);
}

#[tokio::test]
async fn only_named_groups_are_changed() {
    let state = State::new();
    let db = state.open();
    let before = [
        group("a", Some(&["Ann", "Bob"])),
        group("b", Some(&["Ann"])),
        group("c", Some(&["Cid"])),
        group("d", Some(&["Cid"])),
    ];
    keep(&db, &before, &[], true).await;
    let renamed = ObservedGroup {
        name: "Other".into(),
        ..group("a", Some(&["Bob", "Dan"]))
    };
    let changed = [renamed, group("d", None)];
    keep(&db, &changed, &["c"], false).await;
    let [a, d] = changed;
    let expected = [a, group("b", Some(&["Ann"])), d];
    assert_eq!(stored(&db).await.groups, expected);
    assert_eq!(
        rows(&state, "group_users"),
        3,
        "Cid is in no group any more"
    );

    keep(&db, &[group("b", Some(&["Bob"]))], &[], true).await;
    assert_eq!(stored(&db).await.groups, [group("b", Some(&["Bob"]))]);
    assert_eq!(rows(&state, "observed_members"), 1);
    keep(&db, &[], &[], true).await;
    assert_eq!(stored(&db).await.groups, []);
    assert_eq!(rows(&state, "group_users"), 0);
}

fn membership(operation: Operation, name: &str, group: Option<&str>) -> ChangeIntent {
    let name = GroupName::parse(name).expect("a name");
    ChangeIntent {
        group: Some(GroupRef {
            id: group.map(group_id),
            name,
        }),
        ..intent(operation, "Ann", 5)
    }
}

#[tokio::test]
async fn members_changed_since_are_unknown() {
    let state = State::new();
    let db = state.open();
    let run = db.begin(start(0)).await.expect("written");
    let change = |group| membership(Operation::Join, "Group", group);
    db.intend(run, &change(Some("a"))).await.expect("written");
    let groups = ["a", "b", "c"].map(|id| group(id, Some(&["Ann"])));
    keep(&db, &groups, &[], true).await;
    db.intend(run, &change(Some("b"))).await.expect("written");
    db.intend(run, &change(None)).await.expect("written");
    let stored = stored(&db).await;
    let [a, _, c] = groups;
    assert_eq!(stored.groups, [a, group("b", None), c]);
    assert_eq!(stored.users, [], "the user is as it was");
}
